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
//! One task, the keeper, owns the journal's writer. Calls go to the instance by themselves and then
//! wait for the keeper, which reads what has changed from the instance, appends it, and lets all go on
//! that waited by then. The keeper also renews the lease, appends once in a tick what no call waits
//! for, and replaces the instance when it has ended.

mod calls;
mod check;
mod core;
mod durability;
mod error;
mod figures;
mod instance;
mod keeper;
mod keyring;
mod recovery;
mod serving;
mod tenure;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::core::{Core, Entered};
pub use error::DurableError;
pub use figures::Figures;
pub use keyring::MissingStateKey;
pub(crate) use keyring::{Keyring, SealCount};
pub(crate) use recovery::Plan;

use crate::bindings::exports::clawdb::session::settings::Config;
use crate::engine::SessionEngine;
use crate::error::CallError;
use crate::host::{HostOptions, SessionHost};
use crate::journal::{Journal, TenantId};
use crate::subscription::Subscription;
use crate::tenants::{KeyReport, Pool};

/// Is told how far a restore is.
pub type ReportProgress = Arc<dyn Fn(Progress) + Send + Sync>;
/// Is told, in a line, what happens to a tenant's host.
pub type Report = Arc<dyn Fn(TenantId, &str) + Send + Sync>;
/// Is told how far the check of the state keys is.
pub type ReportKeys = Arc<dyn Fn(&KeyReport) + Send + Sync>;

/// What a durable host is given, and its bounds.
#[derive(Clone)]
pub struct DurableOptions {
    /// The component.
    pub engine: SessionEngine,
    /// What each instance is given.
    pub host: HostOptions,
    /// How each instance is configured. It needs a `state-key`; `workspace-id` is set to the tenant's.
    ///
    /// To rotate the key, start with the new one as `state-key` and the old one among
    /// `previous-state-keys`. A [`DurableHost`] has all records of its tenant under the new key as soon
    /// as it serves. [`Tenants`](crate::tenants::Tenants) reseal every tenant of the journal in the
    /// background, and [tell](crate::tenants::Tenants::keys) when the old key may be dropped. Where
    /// several hosts share a journal, give each of them the new key among its `previous-state-keys`
    /// before the first one has it as its `state-key`: they read each other's records.
    pub config: Config,
    /// Is told how far a restore is, after each page of it.
    pub progress: Option<ReportProgress>,
    /// Is told, in a line, when the host restores, serves no more, waits or is upgraded: for a log.
    pub report: Option<Report>,
    /// Is told how far [`Tenants`](crate::tenants::Tenants) are with the check of the state keys: when
    /// all `meta` records were looked at, when all records were, every 10 s while records are resealed,
    /// and when a round is over. Only where there is a previous key, or something is wrong.
    pub key_progress: Option<ReportKeys>,
    /// How long a call waits for an instance; 10 s by default, and not zero.
    pub patience: Duration,
    /// How long an upgrade and a shutdown wait for the calls that are under way; 8 s by default. Keep it
    /// above the guard's deadline, and below `patience`: calls wait as long for an upgrade that is given
    /// up.
    pub drain: Duration,
    /// How often changes that no call waits for are appended, and what failed is tried again; 1 s by
    /// default, and not zero.
    pub tick: Duration,
    /// Starts at once, and serves as soon as no other host has the tenant. Without it, the start waits
    /// until the host serves.
    pub standby: bool,
}

impl DurableOptions {
    /// The defaults with these. The configuration needs a `state-key`.
    #[must_use]
    pub const fn new(engine: SessionEngine, host: HostOptions, config: Config) -> Self {
        Self {
            engine,
            host,
            config,
            progress: None,
            report: None,
            key_progress: None,
            patience: Duration::from_secs(10),
            drain: Duration::from_secs(8),
            tick: Duration::from_secs(1),
            standby: false,
        }
    }
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whose sessions.
    pub tenant: TenantId,
    /// How many records the instance has taken.
    pub restored: u64,
    /// How many there are; it may be a little too many.
    pub total: u64,
}

/// A handle on a durable host. Clones are handles on the same.
///
/// The host ends when it is [shut down](DurableHost::shutdown), or when the last handle is dropped; then
/// it gives the tenant back too, but nobody is told when.
///
/// A handle that [`Tenants`](crate::tenants::Tenants) gave stays good when the tenant is unloaded: the
/// next call loads it again.
#[derive(Clone)]
pub struct DurableHost(Target);

#[derive(Clone)]
enum Target {
    Host(Arc<Core>),
    Tenant(Arc<Pool>, TenantId),
}

impl DurableHost {
    /// Takes the tenant over, waiting as long as another host holds its lease, restores its sessions and
    /// serves. Dropping the future gives up.
    ///
    /// # Errors
    /// [`DurableError`]: `Settings` when an option is outside its bounds, the component refuses the
    /// configuration, or that has no `state-key`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(
        options: DurableOptions,
        journal: Arc<dyn Journal>,
        tenant: TenantId,
    ) -> Result<Self, DurableError> {
        match options.check().await {
            // What may be otherwise soon is tried again as everything else is.
            Err(error) if !error.is_retryable() => return Err(error),
            _ => {}
        }
        let (engine, standby) = (options.engine.clone(), options.standby);
        let plan = Plan {
            options,
            journal,
            tenant,
        };
        let core = if standby {
            Core::standby(plan, engine)
        } else {
            Core::start(plan, engine).await?
        };
        Ok(Self(Target::Host(Arc::new(core))))
    }

    pub(crate) const fn of_core(core: Arc<Core>) -> Self {
        Self(Target::Host(core))
    }

    pub(crate) const fn of_tenant(pool: Arc<Pool>, tenant: TenantId) -> Self {
        Self(Target::Tenant(pool, tenant))
    }

    /// Calls the instance in a way that may change something, and waits until what has changed is
    /// durable, whatever the answer is: an error can have changed something too.
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn run<T, E, F, R>(&self, call: F) -> Result<T, DurableError>
    where
        E: Into<CallError>,
        F: FnOnce(SessionHost) -> R,
        R: Future<Output = Result<T, E>>,
    {
        self.call(call, |_| true).await
    }

    /// Calls the instance in a way that changes nothing that anybody relies on.
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn read<T, E, F, R>(&self, call: F) -> Result<T, DurableError>
    where
        E: Into<CallError>,
        F: FnOnce(SessionHost) -> R,
        R: Future<Output = Result<T, E>>,
    {
        self.call(call, |_| false).await
    }

    async fn call<T, E, F, R>(
        &self,
        call: F,
        changes: impl FnOnce(&Result<T, CallError>) -> bool,
    ) -> Result<T, DurableError>
    where
        E: Into<CallError>,
        F: FnOnce(SessionHost) -> R,
        R: Future<Output = Result<T, E>>,
    {
        let entered = self.enter().await?;
        let serving = &entered.serving;
        serving
            .answer(call(serving.instance.host.clone()), changes)
            .await
    }

    async fn enter(&self) -> Result<Entered, DurableError> {
        match &self.0 {
            Target::Host(core) => core.enter().await?.ok_or_else(DurableError::closed),
            Target::Tenant(pool, tenant) => pool.enter(*tenant).await,
        }
    }

    /// `events.subscribe`. The stream ends with the instance, also when that is replaced, upgraded or
    /// lost; subscribe again with the sequence of the last event then. Where the new subscription is of
    /// the same [run](Subscription::run), the next event's `missed` tells what was lost in between;
    /// where it is of another one, any number of events may have been.
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn subscribe(&self, since: u64) -> Result<Subscription, DurableError> {
        let entered = self.enter().await?;
        let subscribing = entered.serving.instance.host.subscribe(since);
        let subscription = entered.serving.answer(subscribing, |_| false).await?;
        // Whoever reads events needs the instance, even if nobody calls it.
        Ok(subscription.holding(entered.uses))
    }

    /// Replaces the component by another build of it, while the old one serves. Calls wait only while
    /// the last changes are handed over; no session is lost, and none that ended returns.
    ///
    /// The new build has to read the old one's records: it is of the same or a newer format. Instances
    /// that come later are of it, too. Streams of events end, as [`subscribe`](Self::subscribe) says.
    ///
    /// With a handle of [`Tenants`](crate::tenants::Tenants) this upgrades all of them.
    ///
    /// # Errors
    /// [`DurableError`], and the old instance goes on. One upgrade goes on at a time; others are refused
    /// meanwhile.
    pub async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        match &self.0 {
            Target::Host(core) => core.upgrade(engine).await,
            Target::Tenant(pool, _) => pool.upgrade(engine).await,
        }
    }

    /// Takes no new calls, lets those that are under way end, makes durable what has changed, and gives
    /// the tenant back, so that another host can have it at once. If all calls have ended, the next host
    /// continues the run of events.
    ///
    /// With a handle of [`Tenants`](crate::tenants::Tenants) this unloads the tenant; the next call loads
    /// it again.
    pub async fn shutdown(&self) {
        match &self.0 {
            Target::Host(core) => core.close().await,
            Target::Tenant(pool, tenant) => pool.unload(*tenant).await,
        }
    }

    /// What the host has done so far. A tenant that is not loaded has none; each load begins anew.
    #[must_use]
    pub fn figures(&self) -> Figures {
        match &self.0 {
            Target::Host(core) => core.figures(),
            Target::Tenant(pool, tenant) => pool.figures(*tenant),
        }
    }
}
