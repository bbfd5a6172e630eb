//! [`DurableHost`]: the reference to a durable host.

use std::sync::Arc;

use clawdb_session_host::{AnyEngine, AnySessions, CallError, SessionError, Subscription};

use crate::backend::{AdmittedCall, Backend};
use crate::error::DurableError;
use crate::journal::{Journal, TenantId};
use crate::metrics::HostMetrics;
use crate::options::DurableOptions;
use crate::recovery::Recovery;
use crate::tenant_host::TenantHost;

/// A reference to a durable host, which stores every acknowledged change in a journal.
///
/// A *tenant* is a workspace in the journal. A host owns a tenant while it holds the tenant's
/// lease.
///
/// ```
/// use std::sync::Arc;
///
/// use clawdb_session_durable::{
///     DurableError, DurableHost, DurableOptions, Journal, MemoryJournal, TenantId,
/// };
/// use clawdb_session_host::CreateRequest;
///
/// async fn serve(options: DurableOptions, tenant: TenantId) -> Result<(), DurableError> {
///     let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
///     let host = DurableHost::start(options.clone(), Arc::clone(&journal), tenant).await?;
///     let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
///     let grant = host.create(CreateRequest::new(agent, "researcher")).await?;
///     host.shutdown().await;
///
///     // Another host on the same journal has the session.
///     let next = DurableHost::start(options, journal, tenant).await?;
///     next.validate(&*grant.token).await?;
///     Ok(())
/// }
/// ```
///
/// # Durability
///
/// The answer to an operation that changes something means that the change is durable. The answer
/// to a read means that the host still owned the tenant. The [crate](crate#durability) has the
/// details.
///
/// # Failed calls
///
/// [`DurableError::Session`] means that the component refused the operation. After `Retry` and
/// `NotOwner` the operation may have taken effect, and the same call may succeed later. All other
/// errors last until an operator acts; see [`DurableError`].
///
/// # End of the instance
///
/// Calls in flight return `Retry`. The host starts another instance and restores it from the
/// journal. A call waits for an instance for at most [`DurableOptions::patience`].
///
/// # End of the host
///
/// Clones refer to the same host. The host ends with [`shutdown`](DurableHost::shutdown), or when
/// the last clone is dropped. In both cases it releases the tenant, but only `shutdown` waits for
/// that. A `DurableHost` from [`Tenants`](crate::Tenants) stays valid when its tenant is unloaded:
/// the next call loads the tenant again.
#[derive(Clone)]
pub struct DurableHost(Arc<dyn Backend>);

impl DurableHost {
    /// Takes over the tenant, restores its sessions and returns when the host serves.
    ///
    /// It waits without a bound while another host has the lease of the tenant; dropping the future
    /// cancels the start. With `standby` of the options it returns at once.
    ///
    /// # Errors
    /// [`DurableError::Settings`] if an option is outside its bounds, the component refuses the
    /// configuration, or the configuration has no `state-key`. Without `standby` also
    /// [`DurableError::StateKeyMissing`], `Journal`, `Retry` or `NotOwner` if the tenant cannot be
    /// taken over and restored.
    ///
    /// # Panics
    /// Panics if it is called outside a tokio runtime.
    pub async fn start(
        options: DurableOptions,
        journal: Arc<dyn Journal>,
        tenant: TenantId,
    ) -> Result<Self, DurableError> {
        match options.check().await {
            // A retryable error does not fail the start: the take-over reports it, or retries.
            Err(error) if !error.is_retryable() => return Err(error),
            _ => {}
        }
        let (instances, standby) = (options.instances.clone(), options.standby);
        let recovery = Recovery {
            options,
            journal,
            tenant,
        };
        let tenant_host = if standby {
            TenantHost::standby(recovery, instances)
        } else {
            TenantHost::start(recovery, instances).await?
        };
        Ok(Self(Arc::new(tenant_host)))
    }

    /// Returns a reference to this host.
    pub(crate) const fn new(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }

    /// Calls the instance with an operation that may change something, and waits until all changes
    /// so far are durable. It also waits if the component refuses the operation, because a refused
    /// call can have ended a session: an expired one, or one whose superseded token was presented
    /// to `rotate` (R27).
    ///
    /// In the world `session-sync`, the guard is not asked to revoke the tokens that the call ends:
    /// they stay pending for the next flush.
    ///
    /// # Errors
    /// [`DurableError::Session`] with the component's error; [`DurableError::Retry`] if no instance
    /// serves within `patience`, the instance ends during the call, or the changes cannot be
    /// appended; the other errors if the host cannot serve.
    pub async fn run<T, E, F, R>(&self, call: F) -> Result<T, DurableError>
    where
        E: Into<CallError>,
        F: FnOnce(AnySessions) -> R,
        R: Future<Output = Result<T, E>>,
    {
        self.call(call, |_| true).await
    }

    /// Calls the instance with an operation whose changes, if any, need not be durable when it is
    /// answered.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), except for failed appends.
    pub async fn read<T, E, F, R>(&self, call: F) -> Result<T, DurableError>
    where
        E: Into<CallError>,
        F: FnOnce(AnySessions) -> R,
        R: Future<Output = Result<T, E>>,
    {
        self.call(call, |_| false).await
    }

    /// Ends all sessions and accepts the host's clock (R6): calls
    /// [`accept_clock`](Self::accept_clock) as often as that takes, and returns how many live
    /// sessions ended. Other calls run in between. If the host's clock catches up meanwhile, the
    /// component's time stays.
    ///
    /// After an error, call it again: `ClockNotBehind` then means that nothing is left to do.
    ///
    /// # Errors
    /// Those of `accept_clock`; `ClockNotBehind` only if no call has ended or accepted anything.
    pub async fn accept_clock_fully(&self) -> Result<u32, DurableError> {
        let mut ended = self.accept_clock().await?;
        loop {
            match self.accept_clock().await {
                Ok(more) => ended = ended.saturating_add(more),
                Err(DurableError::Session(SessionError::ClockNotBehind)) => return Ok(ended),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn call<T, E, F, R>(
        &self,
        call: F,
        changes: impl FnOnce(&Result<T, CallError>) -> bool,
    ) -> Result<T, DurableError>
    where
        E: Into<CallError>,
        F: FnOnce(AnySessions) -> R,
        R: Future<Output = Result<T, E>>,
    {
        let admitted = self.admit().await?;
        let active = &admitted.active;
        active
            .answer(call(active.instance.sessions.clone()), changes)
            .await
    }

    /// Waits for an instance, for at most `patience`.
    pub(crate) async fn admit(&self) -> Result<AdmittedCall, DurableError> {
        self.0.admit().await
    }

    /// Returns a stream of the events after the sequence number `since` (0: from the first), and of
    /// each later one as it happens (R32).
    ///
    /// The stream ends with the instance: when the instance is lost, replaced or upgraded. Then
    /// subscribe again with the sequence number of the last event. If the new subscription has the
    /// same [run](Subscription::run), `missed` of the next event is the number of lost events. If
    /// it has another run, any number of events may be lost.
    ///
    /// # Errors
    /// [`DurableError::Session`] with `LimitReached` for more than 64 readers; otherwise those of
    /// [`read`](Self::read).
    pub async fn subscribe(&self, since: u64) -> Result<Subscription, DurableError> {
        let admitted = self.admit().await?;
        let subscribing = admitted.active.instance.sessions.subscribe(since);
        let subscription = admitted.active.answer(subscribing, |_| false).await?;
        // A reader of events needs the instance even while no call is in flight.
        Ok(subscription.holding(admitted.keep_loaded))
    }

    /// Replaces the component with another build while the old instance serves.
    ///
    /// The sessions are copied into an instance of the new build. Calls wait only for the last part
    /// of the copy. No session is lost, and no ended session returns. Later instances are of the
    /// new build too. Streams of events end; see [`subscribe`](Self::subscribe).
    ///
    /// The new build must be able to read the records of the old build: a build reads its own
    /// format and older ones. With a `DurableHost` from [`Tenants`](crate::Tenants), this upgrades
    /// all loaded tenants.
    ///
    /// # Errors
    /// [`DurableError::Upgrade`] if another upgrade is in progress, the new instance does not start
    /// or refuses the state, or calls in flight do not end within [`DurableOptions::drain`]. The
    /// old instance then continues to serve. The errors of [`run`](Self::run) if the host cannot
    /// serve.
    pub async fn upgrade(&self, engine: impl Into<AnyEngine>) -> Result<(), DurableError> {
        self.0.upgrade(engine.into()).await
    }

    /// Ends the host and releases the tenant, so that another host can take it over at once.
    ///
    /// New calls are refused. Calls in flight have the time [`DurableOptions::drain`] to end. Then
    /// the last changes are appended. If all calls have ended, the next host continues the run of
    /// events.
    ///
    /// With a `DurableHost` from [`Tenants`](crate::Tenants), this unloads the tenant; the next
    /// call loads it again.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }

    /// Returns the metrics of the host since its start. With a `DurableHost` from
    /// [`Tenants`](crate::Tenants), they begin when the tenant is loaded, and they are zero while
    /// it is not loaded.
    #[must_use]
    pub fn metrics(&self) -> HostMetrics {
        self.0.metrics()
    }
}
