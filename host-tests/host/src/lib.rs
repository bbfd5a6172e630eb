//! The host of the `clawdb:session` component, on wasmtime and tokio: what a platform embeds.
//!
//! [`SessionEngine`] compiles the component once; [`SessionHost`] runs an instance of it and gives a
//! handle that many tasks can call at once. The README has a whole host in 40 lines.
//!
//! Everything is exported here:
//!
//! | module | what is in it |
//! |---|---|
//! | `engine` | the compiled component: [`SessionEngine`] |
//! | `options` | what an instance is given, and its bounds: [`HostOptions`] |
//! | `handle` | a running instance and its handle: [`SessionHost`] |
//! | `operations`, `calls` | the table of the operations, and the handle's methods that are made from it |
//! | `argument`, `answer` | what operations take and how large it may be, and what they answer |
//! | `instance` | a running instance in the hands of one, without a handle: [`Instance`] |
//! | `command`, `driver`, `imports`, `poll_monitor` | calls on their way, the task that drives them, what the component imports, what happens before and after each poll |
//! | `error` | what a call can end with besides its result: [`CallError`], [`SessionError`] |
//! | `guard`, `guard_failure`, `deadline`, `batch_deadline` | the token authority: [`Guard`], and how long it may take |
//! | `clock`, `entropy` | time and random bytes for the component: [`Clock`], [`Entropy`] |
//! | `requests` | defaults and constructors: [`Config`], [`CreateRequest`] |
//! | `subscription` | the events, pushed: [`Subscription`] |
//! | `token` | a bearer token that `Debug` does not show: [`Token`] |
//! | [`names`] | the WIT's names of members and cases: [`Name`] |
//! | `json` (feature) | the records as JSON |
//! | `bindings` | the types that wasmtime makes of the WIT |
//!
//! | feature | what it adds |
//! |---|---|
//! | `json` | the module `json`: records as JSON, objects read field by field |

mod answer;
mod argument;
mod batch_deadline;
mod bindings;
mod calls;
mod clock;
mod command;
mod deadline;
mod driver;
mod engine;
mod entropy;
mod error;
mod guard;
mod guard_failure;
mod handle;
mod imports;
mod instance;
#[cfg(feature = "json")]
pub mod json;
pub mod names;
mod operations;
mod options;
mod poll_monitor;
mod requests;
mod subscription;
mod token;

pub use answer::{Grant, Revocation, Validated};
#[doc(hidden)]
pub use argument::{Argument, Tokens};
pub use bindings::Session as Component;
pub use bindings::exports::clawdb::session::events::{
    Denial, EndReason, Event, EventKind, EventPage,
};
pub use bindings::exports::clawdb::session::persistence::{Change, ChangePage};
pub use bindings::exports::clawdb::session::sessions::{
    CreateRequest, Duplicate, FlushReport, InvalidArgument, Limit, Page, RefusedRecord,
    RevokeFilter, Session, SessionPage,
};
pub use bindings::exports::clawdb::session::sessions::{
    Error as ComponentError, Guest as SessionsInterface,
};
pub use bindings::exports::clawdb::session::settings::{Config, Overflow, Statistics};
pub use clawdb_session_component::COMPONENT;
pub use clock::{Clock, Instant, SystemClock};
pub use deadline::with_guard_deadline;
pub use engine::{Allocation, SessionEngine, config as engine_config};
pub use entropy::{Entropy, SystemEntropy};
pub use error::{
    CallError, HostError, InvalidSetting, SessionError, StartError, TrapKind, full_text,
};
pub use guard::{Claims, Guard, GuardError, GuardFailure, GuardResult, IssueRequest, IssuedToken};
pub use handle::SessionHost;
pub use instance::{Instance, State};
pub use names::{Name, event_run};
pub use options::HostOptions;
pub use subscription::Subscription;
pub use token::Token;
