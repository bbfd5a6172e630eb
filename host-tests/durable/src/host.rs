//! The handle on a durable host.

use std::sync::Arc;

use clawdb_session_host::{CallError, SessionEngine, SessionHost, Subscription};

use crate::backend::Backend;
use crate::error::DurableError;
use crate::journal::{Journal, TenantId};
use crate::metrics::HostMetrics;
use crate::options::DurableOptions;
use crate::recovery::Recovery;
use crate::tenant_host::TenantHost;

/// A handle on a durable host. Clones are handles on the same.
///
/// The host ends when it is [shut down](DurableHost::shutdown), or when the last handle is dropped; then
/// it gives the tenant back too, but does not report when.
///
/// A handle that [`Tenants`](crate::Tenants) gave stays good when the tenant is unloaded: the
/// next call loads it again.
#[derive(Clone)]
pub struct DurableHost(Arc<dyn Backend>);

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
        let recovery = Recovery {
            options,
            journal,
            tenant,
        };
        let tenant_host = if standby {
            TenantHost::standby(recovery, engine)
        } else {
            TenantHost::start(recovery, engine).await?
        };
        Ok(Self(Arc::new(tenant_host)))
    }

    /// Returns a handle on what is behind it.
    pub(crate) const fn new(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
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

    pub(crate) async fn call<T, E, F, R>(
        &self,
        call: F,
        changes: impl FnOnce(&Result<T, CallError>) -> bool,
    ) -> Result<T, DurableError>
    where
        E: Into<CallError>,
        F: FnOnce(SessionHost) -> R,
        R: Future<Output = Result<T, E>>,
    {
        let admitted = self.0.admit().await?;
        let active = &admitted.active;
        active
            .answer(call(active.instance.host.clone()), changes)
            .await
    }

    /// `events.subscribe`. The stream ends with the instance, also when that is replaced, upgraded or
    /// lost; subscribe again with the sequence of the last event then. Where the new subscription is of
    /// the same [run](Subscription::run), the next event's `missed` tells what was lost in between;
    /// where it is of another one, any number of events may have been.
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn subscribe(&self, since: u64) -> Result<Subscription, DurableError> {
        let admitted = self.0.admit().await?;
        let subscribing = admitted.active.instance.host.subscribe(since);
        let subscription = admitted.active.answer(subscribing, |_| false).await?;
        // A reader of events needs the instance, even if nobody calls it.
        Ok(subscription.holding(admitted.keep_loaded))
    }

    /// Replaces the component by another build of it, while the old one serves. Calls wait only while
    /// the last changes are handed over; no session is lost, and none that ended returns.
    ///
    /// The new build has to read the old one's records: it is of the same or a newer format. Instances
    /// that come later are of it, too. Streams of events end, as [`subscribe`](Self::subscribe) says.
    ///
    /// With a handle of [`Tenants`](crate::Tenants) this upgrades all of them.
    ///
    /// # Errors
    /// [`DurableError`], and the old instance goes on. One upgrade goes on at a time; others are refused
    /// meanwhile.
    pub async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        self.0.upgrade(engine).await
    }

    /// Takes no new calls, lets those that are under way end, makes durable what has changed, and gives
    /// the tenant back, so that another host can have it at once. If all calls have ended, the next host
    /// continues the run of events.
    ///
    /// With a handle of [`Tenants`](crate::Tenants) this unloads the tenant; the next call loads
    /// it again.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }

    /// What the host has done so far. A tenant that is not loaded has none; each load begins anew.
    #[must_use]
    pub fn metrics(&self) -> HostMetrics {
        self.0.metrics()
    }
}
