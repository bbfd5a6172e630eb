//! The host of the world `session-sync`: plain functions, without a runtime.
//!
//! | module | contents |
//! |---|---|
//! | `guard` | the token authority: [`LocalGuard`], and [`AnswersAtOnce`] for a [`Guard`](crate::Guard) |
//! | `engine` | the compiled component: [`LocalEngine`] |
//! | `options` | the settings of an instance: [`LocalOptions`] |
//! | `instance` | a running instance that has one owner: [`LocalInstance`] |
//! | `sessions` | the handle on an instance, for any number of threads: [`LocalSessions`] |
//! | `from_task` | calls from tokio tasks |
//! | `exports`, `imports` | the functions of the component, and those that the host provides |
//! | `readers` | the subscriptions to the events of an instance |

mod engine;
mod exports;
mod from_task;
mod guard;
mod imports;
mod instance;
mod options;
mod readers;
mod sessions;

pub(crate) use from_task::wake_runtimes;

pub use engine::LocalEngine;
pub use guard::{AnswersAtOnce, LocalGuard};
pub use instance::LocalInstance;
pub use options::LocalOptions;
pub use sessions::LocalSessions;
