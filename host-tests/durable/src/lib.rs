//! A host of the component that stores every acknowledged change in a journal.
//!
//! [`DurableHost`] serves the sessions of one workspace, its *tenant*. It owns the tenant while it
//! holds the tenant's *lease* in the journal, so only one host at a time serves it. A call that
//! changes something is answered after the change is durable. If the instance ends, the next one is
//! restored from the journal. [`Tenants`] serves many workspaces, with one durable host for each.
//!
//! ```
//! use std::sync::Arc;
//!
//! use clawdb_session_durable::{DurableHost, DurableOptions, Journal, TenantId};
//! use clawdb_session_host::{
//!     Config, CreateRequest, InstanceOptions, LocalEngine, LocalGuard, LocalOptions,
//! };
//!
//! async fn serve(
//!     guard: Arc<dyn LocalGuard>,
//!     journal: Arc<dyn Journal>,
//!     state_key: [u8; 32],
//!     workspace: uuid::Uuid,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let options = LocalOptions::with_shared_guard(guard);
//!     let instances = InstanceOptions::SessionSync(LocalEngine::new()?, options);
//!     let options = DurableOptions::new(instances, Config::with_state_key(state_key));
//!     let host = DurableHost::start(options, journal, TenantId::new(workspace)).await?;
//!
//!     let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
//!     let grant = host.create(CreateRequest::new(agent, "researcher")).await?;
//!     // The session is in the journal now.
//!     host.validate(&*grant.token).await?;
//!
//!     host.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # Failures
//!
//! | failure | calls in flight | later calls |
//! |---|---|---|
//! | the instance traps, is out of memory or is interrupted | `Retry` | wait for the next instance |
//! | the journal is unavailable | `Retry` if they changed something | the same; the instance keeps the changes, and the host appends them as soon as it can |
//! | another host takes the tenant over | `NotOwner` | `NotOwner`, until this host owns the tenant again; it keeps trying |
//! | the journal is damaged | `Journal` | `Journal` |
//! | the tenant's records cannot be verified with any given state key | | `StateKeyMissing` |
//! | the component is [upgraded](DurableHost::upgrade) | end in the old instance | wait for the new instance |
//!
//! A call that ended with `Retry`, `NotOwner` or `Journal` may have taken effect, as with any
//! service whose connection fails before it answers. A rotation that ended with `Retry` can be
//! repeated with the same token: see [`DurableHost::rotate`].
//!
//! # Durability
//!
//! - **The answer to a change:** the change is durable.
//! - **The answer to a read:** the host still owned the tenant when the read ended. The answer can
//!   include changes that are not durable yet, whose callers have no answer yet.
//! - **The answer with a session that has `max-uses`:** the number of uses left is durable before
//!   the answer, so no use is granted twice. This applies to `validate`, `validate_many` and
//!   `authorize`, and to `get` and `get_session`, which take no use.
//! - **An answer that a session has expired:** the end is durable. The next instance does not
//!   restore the session as live, whatever the clock shows. Only the call that ends the session
//!   waits for this. A later call for the same session can return before the end is durable, with
//!   the error for an unknown session.
//!
//! [Events](DurableHost::subscribe) are not stored, but their numbers continue: in the same run
//! after a [shutdown](DurableHost::shutdown) or an [upgrade](DurableHost::upgrade), in another run
//! if the instance was lost (see `events` in the WIT).
//!
//! # Revocations
//!
//! The guard is asked to revoke a token when the end of the token is durable and this host still
//! owns the tenant. Suppose that the guard were asked earlier, and the instance were lost after a
//! refresh: the guard would have revoked the old token, which the restored session still uses.
//! Until the guard is asked, the revocation stays pending, as if the guard had not confirmed it,
//! and `flush_guard_revocations` asks again.
//!
//! In the world `session`, the guard's function waits until the end is durable. In the world
//! `session-sync` no function waits: during the call the guard answers `unavailable`, and when the
//! end is durable, the host asks it, and flushes other revocations whose changes are stored
//! (`flush-stored-revocations`).
//!
//! # Structure
//!
//! One task, the supervisor, owns the journal's writer. A call runs in the instance and then waits
//! for the supervisor. The supervisor reads the changes from the instance, appends them, and
//! replies to all calls that waited by then. So calls that overlap share an append. The supervisor
//! also renews the lease, appends in each tick the changes that no call waits for, and replaces the
//! instance when it has ended.
//!
//! | module | contents |
//! |---|---|
//! | `host`, `calls` | the reference to a host and its operations: [`DurableHost`] |
//! | `options`, `check`, `callback` | the options of a durable host, their bounds, and calls of their callbacks: [`DurableOptions`] |
//! | `backend` | the trait of the host to which a [`DurableHost`] refers |
//! | `tenant_host`, `supervisor` | admits calls; owns the journal's writer |
//! | `term`, `recovery`, `upgrade` | a *term*, the time for which a host owns its tenant: `recovery` begins it, `upgrade` replaces the component during it |
//! | `active_instance`, `term_handle`, `attached_term`, `instance` | the instance that serves, and how its calls wait for durability |
//! | `rotation` | rotations whose caller got no answer |
//! | `deferred_revocations` | the revocations that wait for the journal, in the world `session-sync` |
//! | `journal`, `lease` | the port: [`Journal`], [`Writer`], [`Scan`], [`Lease`]; the journal in memory: [`MemoryJournal`] |
//! | `tenants` | many hosts, one for each workspace, loaded while they are used: [`Tenants`] |
//! | `keyring`, `key_report` | which key seals which record: [`KeyReport`] |
//! | `json` | [`DurableError`] as JSON (feature `json`) |
//! | `metrics`, `error`, `reason` | counters and errors: [`HostMetrics`], [`DurableError`], [`Reason`] |

mod active_instance;
mod attached_term;
mod backend;
mod callback;
mod calls;
mod check;
mod deferred_revocations;
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
mod reply;
mod rotation;
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
