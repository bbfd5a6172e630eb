//! Many durable hosts: one for each workspace, loaded while it is used.

mod host_cache;
mod key_check;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{InvalidSetting, SessionEngine};

pub use limits::TenantLimits;

use crate::error::DurableError;
use crate::host::DurableHost;
use crate::journal::{Journal, TenantId};
use crate::key_report::KeyReport;
use crate::keyring::Keyring;
use crate::options::DurableOptions;
use host_cache::{HostCache, TenantBackend, unload_idle};

/// The tenants of a journal, behind one handle. Clones are handles on the same.
///
/// A tenant is loaded by its first call: its sessions are restored from the journal. When it has been
/// idle for some time, it is unloaded and given back, so that its memory is free and another host can
/// have it. A tenant with a call under way or a reader of its events is not idle.
///
/// Each is a standby until it has its tenant, whatever the options say: a call on a tenant that another
/// host has ends with `NotOwner`.
///
/// # State keys
///
/// In the background, all records of the journal are held against the keys of the configuration, once:
/// first each tenant's `meta` record, then the others. A tenant with records under a previous key is
/// loaded, which reseals them, and unloaded again, one tenant at a time. One that another host has is
/// that host's to reseal; it is tried again later, when that host has given it back or has died, as
/// is what fails. A tenant with records that no key
/// opens refuses its calls with [`DurableError::StateKeyMissing`], and the others are not affected.
/// [`Tenants::keys`] tells all of this.
#[derive(Clone)]
pub struct Tenants(Arc<HostCache>);

impl Tenants {
    /// Makes the tenants; none are loaded yet. Check the options first with
    /// [`DurableOptions::check`]. Otherwise every call answers `Settings` if an option is outside
    /// its bounds.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a limit that is outside its bounds.
    ///
    /// # Panics
    /// Outside a tokio runtime.
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
            // Each call answers what is wrong with the configuration.
            None => cache.keys.lock().meta_checked(),
        }
        Ok(Self(cache))
    }

    /// What is known of the keys that the records of the journal are sealed with.
    #[must_use]
    pub fn keys(&self) -> KeyReport {
        self.0.keys()
    }

    /// Waits until the `meta` record of each tenant was held against the keys. It does not end while
    /// the journal cannot be read.
    pub async fn keys_checked(&self) {
        self.0.keys.checked().await;
    }

    /// A tenant's host. Loads it where it is not loaded; calls that come first together load it once.
    ///
    /// The handle stays good: each call on it loads the tenant again where it was unloaded.
    ///
    /// # Errors
    /// [`DurableError`]: `Retry` also when as many tenants as there may be are busy.
    pub async fn tenant(&self, id: TenantId) -> Result<DurableHost, DurableError> {
        self.0.admit(id).await?;
        Ok(DurableHost::new(Arc::new(TenantBackend {
            cache: Arc::clone(&self.0),
            id,
        })))
    }

    /// How many tenants are loaded, or being so.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.0.count()
    }

    /// Whether a tenant is loaded, or being so.
    #[must_use]
    pub fn is_loaded(&self, id: TenantId) -> bool {
        self.0.is_loaded(id)
    }

    /// Whether a tenant was ever loaded, here or on another host of the same journal. To load one makes it.
    ///
    /// # Errors
    /// [`DurableError`] when the journal cannot say.
    pub async fn exists(&self, id: TenantId) -> Result<bool, DurableError> {
        Ok(self.is_loaded(id) || self.0.journal.exists(id).await?)
    }

    /// Those that are loaded, or being so: to look at and to tend. A call on one of these handles does
    /// not keep its tenant loaded, and loads none: when that was unloaded meanwhile, it ends with `Retry`.
    #[must_use]
    pub fn loaded_hosts(&self) -> Vec<(TenantId, DurableHost)> {
        let hosts = self.0.loaded_hosts().into_iter();
        hosts
            .map(|(id, tenant_host)| (id, DurableHost::new(tenant_host)))
            .collect()
    }

    /// The tenants that the journal has, loaded or not.
    ///
    /// # Errors
    /// [`DurableError`] when the journal cannot say.
    pub async fn all(&self) -> Result<Vec<TenantId>, DurableError> {
        Ok(self.0.journal.tenants().await?)
    }

    /// Returns how long the guard has for an answer, if that is bounded.
    #[must_use]
    pub fn guard_deadline(&self) -> Option<Duration> {
        self.0.options.host.guard_deadline
    }

    /// Says something of a tenant in the log ([`DurableOptions::report`]).
    pub fn report(&self, id: TenantId, text: &str) {
        self.0.report(id, text);
    }

    /// Upgrades all tenants, one by one, as [`DurableHost::upgrade`] does. Those that are loaded later are
    /// of the new build, too.
    ///
    /// # Errors
    /// [`DurableError`] of the first that was not upgraded. Those before are, and those that are loaded
    /// later are of the old build; upgrade again when the cause is dealt with.
    pub async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        self.0.upgrade(engine).await
    }

    /// Takes no new calls, and shuts all tenants down.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}
