//! The host of the `clawdb:session` component, on wasmtime, for platforms to embed.
//!
//! ```
//! use clawdb_session_guard_jwt::JwtGuard;
//! use clawdb_session_host::{CreateRequest, LocalEngine, LocalOptions, LocalSessions};
//!
//! let engine = LocalEngine::new()?;
//! let guard = JwtGuard::from_environment()?;
//! let sessions = LocalSessions::start(&engine, LocalOptions::new(guard))?;
//!
//! let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
//! let request = CreateRequest::new(agent, "researcher").with_scopes(["memory:read"]);
//! let grant = sessions.create(request)?;
//!
//! let session = sessions.validate(grant.token)?;
//! assert_eq!(session.scopes, ["memory:read"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Use
//!
//! Choose a world by the guard, the authority that issues, validates and revokes tokens:
//!
//! | | the guard answers at once | the guard waits, for a network or a disk |
//! |---|---|---|
//! | world | `session-sync`: one call runs at a time | `session`: calls overlap |
//! | implement for the guard | [`LocalGuard`], with plain functions | [`Guard`], with async functions |
//! | compile the component, once | [`LocalEngine`] | [`SessionEngine`] |
//! | set the guard, the clock and the bounds | [`LocalOptions`] | [`HostOptions`] |
//! | start an instance | [`LocalSessions::start`] | [`SessionHost::start`], in a tokio runtime, or [`SessionHost::start_on_own_thread`] |
//! | call it | from any thread | from any task; with a thread of its own, also from any thread: [`BlockingCalls`] |
//! | time of a call | that of the component, and a lock | twice the time, and a message to the task that drives the instance |
//!
//! [`AnySessions`] is a handle on an instance of either world, with async methods.
//!
//! An instance keeps its sessions in memory and loses them when it ends. The crate
//! `clawdb-session-durable` keeps them in a journal.
//!
//! # Modules
//!
//! All items are exported at the root of the crate, except those of [`names`] and `json`.
//!
//! | module | contents |
//! |---|---|
//! | `engine` | the compiled component of the world `session`: [`SessionEngine`] |
//! | `compiled`, `code_cache` | compiling a component, and keeping its code in a directory |
//! | `options` | the settings of an instance: [`HostOptions`] |
//! | `handle` | the reference to a running instance: [`SessionHost`] |
//! | `own_thread`, `blocking_calls` | instances with a thread of their own, for code that is not async: [`BlockingCalls`] |
//! | `local` | the host of the world `session-sync`: [`LocalSessions`] |
//! | `any` | instances of either world: [`AnySessions`], [`InstanceOptions`] |
//! | `operations`, `calls` | the table of the operations, and the methods that are made from it |
//! | `argument`, `answer` | the types that operations take and return |
//! | `requests` | defaults and constructors: [`Config`], [`CreateRequest`] |
//! | `instance` | a running instance without a task and handles: [`Instance`] |
//! | `command`, `driver` | the commands of handles, and the task that runs them |
//! | `imports` | the component's imports and its memory limit |
//! | `poll_monitor` | the progress of an instance, its queued replies and whether it is idle |
//! | `stall_timer` | how long an instance computes without progress |
//! | `error` | errors of calls: [`CallError`], [`SessionError`], [`HostError`] |
//! | `guard`, `guard_failure` | the token authority: [`Guard`], [`GuardError`] |
//! | `deadline`, `batch_deadline` | deadlines for the guard's functions |
//! | `clock`, `entropy` | time and random bytes for the component: [`Clock`], [`Entropy`] |
//! | `subscription` | a stream of events: [`Subscription`] |
//! | `token` | a bearer token that `Debug` does not show: [`Token`] |
//! | `wiping_allocator` | overwrites memory when it is freed: [`WipingAllocator`] |
//! | [`names`] | the WIT's names of members and cases: [`Name`] |
//! | `json` (feature) | the records as JSON |
//! | `bindings` | the types that wasmtime generates from the WIT |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `json` | the module `json`: writes records as JSON and reads JSON objects field by field |

mod answer;
mod any;
mod argument;
mod batch_deadline;
mod bindings;
mod blocking_calls;
mod calls;
mod clock;
mod code_cache;
mod command;
mod compiled;
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
mod local;
pub mod names;
mod operations;
mod options;
mod own_thread;
mod poll_monitor;
mod requests;
mod stall_timer;
mod subscription;
mod token;
mod wiping_allocator;

pub use answer::{Grant, Revocation, Validated};
pub use any::{AnyEngine, AnySessions, InstanceOptions, OtherWorld, UnknownWorld, World};
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
pub use blocking_calls::BlockingCalls;
pub use clawdb_session_component::{COMPONENT, SYNC_COMPONENT};
pub use clock::{Clock, Instant, SystemClock};
pub use compiled::Allocation;
pub use deadline::with_guard_deadline;
pub use engine::{SessionEngine, config as engine_config};
pub use entropy::{Entropy, SystemEntropy};
pub use error::{
    CallError, HostError, InvalidSetting, SessionError, StartError, TrapKind, full_text,
};
pub use guard::{Claims, Guard, GuardError, GuardFailure, GuardResult, IssueRequest, IssuedToken};
pub use handle::SessionHost;
pub use instance::{Instance, State};
pub use local::{
    AnswersAtOnce, LocalEngine, LocalGuard, LocalInstance, LocalOptions, LocalSessions,
};
pub use names::{Name, event_run};
pub use options::HostOptions;
pub use subscription::Subscription;
pub use token::Token;
pub use wiping_allocator::WipingAllocator;
