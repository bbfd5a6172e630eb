//! A durable host: an instance whose every acknowledged change is in a journal, so that nothing that
//! was acknowledged is lost with it.
//!
//! [`DurableHost`] has the component's operations. A call that changes something is answered when the
//! change is durable; calls that come together share an append. Whatever happens to the instance, the
//! next one is restored from the journal, and calls go on:
//!
//! | what happens | calls in flight | calls after |
//! |---|---|---|
//! | the instance traps, is out of memory or interrupted | `Retry` | wait for the next instance |
//! | the journal cannot be reached | `Retry`, where they changed something | the same; the instance keeps the changes and appends them as soon as it can |
//! | another host takes the tenant over | `NotOwner` | `NotOwner`, until this host has it again, which it tries all the time |
//! | the journal is damaged | `Journal` | `Journal` |
//! | no state key that was given opens the tenant's records | | `StateKeyMissing` |
//! | the component is [upgraded](DurableHost::upgrade) | end in the old instance | wait for the new one |
//!
//! A call that ended with `Retry` or `NotOwner` may have been done all the same, as with any service
//! that was cut off while it answered.
//!
//! # Reading
//!
//! A read is answered from the instance, if the host still has the tenant when the answer is there. It
//! can tell what is not durable yet (and whoever did that has no answer yet). The uses of a session
//! with `max-uses` are made durable before `validate`, `validate-many` and `authorize` answer: none is granted twice.
//! So is the end of a session before an answer says that the session has expired: it does not live
//! again in the next instance, whatever the clock shows then. (A second answer about the same session
//! does not wait for that.)
//! The [events](DurableHost::subscribe) are not kept, but their numbers go on: in the same run after a
//! [shutdown](DurableHost::shutdown) or an [upgrade](DurableHost::upgrade), in another one after a loss
//! (see `events` in the WIT).
//!
//! # The guard
//!
//! The guard is asked to revoke a token only when the end of that token is durable, and this host still
//! has the tenant: so a refresh that was lost with its instance leaves the session's old token good.
//! What could not be made durable is kept as pending, as if the guard had not confirmed it, and
//! `flush_guard_revocations` asks again.
//!
//! # How it is built
//!
//! One task, the supervisor, owns the journal's writer. Calls go to the instance by themselves and then
//! wait for the supervisor, which reads what has changed from the instance, appends it, and lets all go on
//! that waited by then. The supervisor also renews the lease, appends once in a tick what no call waits
//! for, and replaces the instance when it has ended.
//!
//! | module | what is in it |
//! |---|---|
//! | `host`, `calls` | the handle: [`DurableHost`], and its operations |
//! | `options`, `check` | what a durable host is given, and its bounds: [`DurableOptions`] |
//! | `backend` | what a handle needs of the host that it is a handle on |
//! | `tenant_host`, `supervisor` | the way in for calls, and the task that owns the journal's writer |
//! | `term`, `recovery`, `upgrade` | a time of having the tenant, how it begins, how the component is replaced in it |
//! | `active_instance`, `term_handle`, `instance` | the instance that serves, and what is durable of its changes |
//! | `journal`, `lease` | the port: [`Journal`], [`Writer`], [`Scan`], [`Lease`]; the journal in memory: [`MemoryJournal`] |
//! | `tenants` | many hosts, one for each workspace, loaded while it is used: [`Tenants`] |
//! | `keyring`, `key_report` | which key a record is sealed with, and what is known of that: [`KeyReport`] |
//! | `metrics`, `error`, `reason` | what a host has done, and what a call can end with: [`HostMetrics`], [`DurableError`], [`Reason`] |

mod active_instance;
mod backend;
mod calls;
mod check;
mod error;
mod host;
mod instance;
mod journal;
#[cfg(feature = "json")]
mod json;
mod key_report;
mod keyring;
mod lease;
mod metrics;
mod options;
mod reason;
mod recovery;
mod supervisor;
mod tenant_host;
mod tenants;
mod term;
mod term_handle;
mod upgrade;

pub use error::DurableError;
pub use host::DurableHost;
pub use journal::memory::MemoryJournal;
pub use journal::{Journal, JournalError, Scan, TenantId, Writer};
pub use key_report::KeyReport;
pub use keyring::MissingStateKey;
pub use lease::Lease;
pub use metrics::HostMetrics;
pub use options::{
    DurableOptions, KeyProgressCallback, LogCallback, ProgressCallback, RestoreProgress,
};
pub use reason::Reason;
pub use tenants::{TenantLimits, Tenants};
