//! Many durable hosts, one for each workspace, loaded while they are used.

mod host_cache;
mod key_check;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{AnyEngine, InvalidSetting};

pub use limits::TenantLimits;

use crate::error::DurableError;
use crate::host::DurableHost;
use crate::journal::{Journal, TenantId};
use crate::key_report::KeyReport;
use crate::keyring::Keyring;
use crate::options::DurableOptions;
use host_cache::{HostCache, TenantBackend, unload_idle};

/// The tenants of a journal: one durable host for each workspace. Clones are handles of the same
/// tenants.
///
/// ```
/// use std::sync::Arc;
///
/// use clawdb_session_durable::{DurableOptions, Journal, TenantId, TenantLimits, Tenants};
///
/// async fn serve(
///     options: DurableOptions,
///     journal: Arc<dyn Journal>,
///     workspace: uuid::Uuid,
///     token: String,
/// ) -> Result<(), Box<dyn std::error::Error>> {
///     options.check().await?;
///     let tenants = Tenants::new(options, journal, TenantLimits::default())?;
///     let host = tenants.tenant(TenantId::new(workspace)).await?;
///     host.validate(token).await?;
///     tenants.shutdown().await;
///     Ok(())
/// }
/// ```
///
/// # Loading
///
/// The first call for a tenant loads it: its sessions are restored from the journal. After
/// `idle_after` of [`TenantLimits`] without use it is unloaded and given back, so that its memory
/// is free and another host can take it over. A tenant with a call in flight or a reader of its
/// events is not idle.
///
/// # Tenants of other hosts
///
/// While another host owns a tenant, calls return `NotOwner`, until that host has released the
/// tenant or its lease has expired. The host of a tenant is always a standby, whatever the options
/// say.
///
/// # Records under a previous state key
///
/// A background task checks all records of the journal against the keys of the configuration:
/// first the `meta` record of each tenant, then all others. It loads each tenant with records under
/// a previous key, which reseals them, and unloads it again, one tenant at a time. If another host
/// has a tenant, that host has to reseal it. The task retries such tenants and those that failed.
///
/// A tenant with records that no key opens refuses its calls with
/// [`DurableError::StateKeyMissing`]. Other tenants are not affected. [`Tenants::keys`] reports the
/// result.
#[derive(Clone)]
pub struct Tenants(Arc<HostCache>);

impl Tenants {
    /// Returns the tenants of a journal, none of them loaded, and starts the check of the state
    /// keys.
    ///
    /// Call [`DurableOptions::check`] first. Without it, every call fails with
    /// [`DurableError::Settings`] if an option is outside its bounds.
    ///
    /// # Errors
    /// [`InvalidSetting`] if `max_loaded` is 0.
    ///
    /// # Panics
    /// Panics if it is called outside a tokio runtime.
    pub fn new(
        options: DurableOptions,
        journal: Arc<dyn Journal>,
        limits: TenantLimits,
    ) -> Result<Self, InvalidSetting> {
        limits.check()?;
        let cache = Arc::new(HostCache::new(options, journal, limits));
        tokio::spawn(unload_idle(Arc::downgrade(&cache), limits.idle_after));
        match Keyring::of(&cache.options.config) {
            Some(keyring) => {
                tokio::spawn(key_check::run(Arc::downgrade(&cache), keyring));
            }
            // Each call fails with what is wrong with the configuration.
            None => cache.keys.lock().meta_checked(),
        }
        Ok(Self(cache))
    }

    /// Returns what the check has found so far: which keys the records of the journal are sealed
    /// with.
    #[must_use]
    pub fn keys(&self) -> KeyReport {
        self.0.keys()
    }

    /// Waits until the `meta` record of each tenant was checked against the keys. It does not
    /// return while the journal cannot be read.
    pub async fn keys_checked(&self) {
        self.0.keys.checked().await;
    }

    /// Returns a tenant's host when it serves. Loads the tenant if it is not loaded; calls that
    /// overlap load it once.
    ///
    /// The handle stays valid: each call on it loads the tenant again if it was unloaded.
    ///
    /// # Errors
    /// [`DurableError::Retry`] if `max_loaded` tenants are loaded and none of them is idle or can
    /// be unloaded within `patience` of the options, or the tenant does not serve within
    /// `patience`; otherwise the [`DurableError`] with which the tenant's calls fail.
    pub async fn tenant(&self, id: TenantId) -> Result<DurableHost, DurableError> {
        self.0.admit(id).await?;
        Ok(DurableHost::new(Arc::new(TenantBackend {
            cache: Arc::clone(&self.0),
            id,
        })))
    }

    /// Returns the number of tenants that are loaded or being loaded.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.0.count()
    }

    /// Returns whether a tenant is loaded or being loaded.
    #[must_use]
    pub fn is_loaded(&self, id: TenantId) -> bool {
        self.0.is_loaded(id)
    }

    /// Returns whether a tenant was ever loaded, by this host or another one of the same journal.
    /// The first load creates a tenant.
    ///
    /// # Errors
    /// [`DurableError::Retry`] or [`DurableError::Journal`] if the journal cannot be read.
    pub async fn exists(&self, id: TenantId) -> Result<bool, DurableError> {
        Ok(self.is_loaded(id) || self.0.journal.exists(id).await?)
    }

    /// Returns the hosts of the tenants that are loaded or being loaded, for metrics and
    /// housekeeping.
    ///
    /// Calls on these handles do not load a tenant and do not restart its idle time. If the tenant
    /// was unloaded, they fail with [`DurableError::Retry`].
    #[must_use]
    pub fn loaded_hosts(&self) -> Vec<(TenantId, DurableHost)> {
        let hosts = self.0.loaded_hosts().into_iter();
        hosts
            .map(|(id, tenant_host)| (id, DurableHost::new(tenant_host)))
            .collect()
    }

    /// Returns all tenants of the journal, loaded or not, ordered by id.
    ///
    /// # Errors
    /// [`DurableError::Retry`] or [`DurableError::Journal`] if the journal cannot be read.
    pub async fn all(&self) -> Result<Vec<TenantId>, DurableError> {
        Ok(self.0.journal.tenants().await?)
    }

    /// Returns the longest time that the guard may take for an answer, if the host bounds it.
    #[must_use]
    pub fn guard_deadline(&self) -> Option<Duration> {
        self.0.options.instances.guard_deadline()
    }

    /// Passes a line about a tenant to the log ([`DurableOptions::report`]).
    pub fn report(&self, id: TenantId, text: &str) {
        self.0.report(id, text);
    }

    /// Upgrades all loaded tenants, one after the other, as [`DurableHost::upgrade`] does. Tenants
    /// that are loaded later use the new build.
    ///
    /// # Errors
    /// The [`DurableError`] of the first tenant whose upgrade failed. Earlier tenants use the new
    /// build, and tenants that are loaded later the old one. Call it again when the cause is
    /// removed.
    pub async fn upgrade(&self, engine: impl Into<AnyEngine>) -> Result<(), DurableError> {
        self.0.upgrade(engine.into()).await
    }

    /// Refuses new calls and shuts all tenants down, as [`DurableHost::shutdown`] does.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}
