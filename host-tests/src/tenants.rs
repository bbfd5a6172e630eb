//! Many durable hosts: one for each workspace, loaded while it is used.

mod key_check;
mod key_report;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::join_all;

pub use key_report::KeyReport;

use crate::durable::{
    Core, DurableError, DurableHost, DurableOptions, Entered, Figures, Keyring, Plan,
};
use crate::engine::SessionEngine;
use crate::error::InvalidSetting;
use crate::journal::{Journal, JournalError, TenantId};
use key_report::KeyState;

/// How many tenants are loaded, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct TenantLimits {
    /// How many tenants are loaded at a time at most; 1,000 by default. One more takes the place of the
    /// one that is idle for longest. Each needs an instance's memory. At least 1.
    pub max_loaded: usize,
    /// After how long without a call a tenant is unloaded; 5 min by default.
    pub idle_after: Duration,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            max_loaded: 1_000,
            idle_after: Duration::from_mins(5),
        }
    }
}

impl TenantLimits {
    /// Checks the limits. [`Tenants::new`] calls this.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first limit that is outside its bounds.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        InvalidSetting::at_least_one("max_loaded", self.max_loaded)
    }
}

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
pub struct Tenants(Arc<Pool>);

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
        let pool = Arc::new(Pool {
            engine: Mutex::new(options.engine.clone()),
            options,
            journal,
            limits,
            loaded: Mutex::default(),
            making_room: tokio::sync::Mutex::default(),
            keys: Arc::default(),
        });
        tokio::spawn(unload_idle(Arc::downgrade(&pool), limits.idle_after));
        match Keyring::of(&pool.options.config) {
            Some(keyring) => {
                tokio::spawn(key_check::run(Arc::downgrade(&pool), keyring));
            }
            // Each call answers what is wrong with the configuration.
            None => pool.keys.lock().meta_checked(),
        }
        Ok(Self(pool))
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
        self.0.enter(id).await?;
        Ok(DurableHost::of_tenant(Arc::clone(&self.0), id))
    }

    /// How many tenants are loaded, or being so.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.0.loaded().hosts.len()
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
        Ok(self.is_loaded(id) || self.0.journal.has(id).await?)
    }

    /// Those that are loaded, or being so: to look at and to tend. A call on one of these handles does
    /// not keep its tenant loaded, and loads none: when that was unloaded meanwhile, it ends with `Retry`.
    #[must_use]
    pub fn loaded_hosts(&self) -> Vec<(TenantId, DurableHost)> {
        let loaded = self.0.loaded();
        let hosts = loaded.hosts.iter();
        hosts
            .map(|(id, host)| (*id, DurableHost::of_core(Arc::clone(&host.core))))
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
    pub(crate) fn guard_deadline(&self) -> Option<Duration> {
        self.0.options.host.guard_deadline
    }

    /// Says something of a tenant in the log ([`DurableOptions::report`]).
    pub(crate) fn report(&self, id: TenantId, text: &str) {
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
        let hosts: Vec<_> = {
            let mut loaded = self.0.loaded();
            loaded.closed = true;
            loaded.hosts.drain().map(|(_, host)| host.core).collect()
        };
        join_all(hosts.iter().map(|core| core.close())).await;
    }
}

/// What handles on tenants share.
pub(crate) struct Pool {
    options: DurableOptions,
    /// For instances that are loaded from now on.
    engine: Mutex<SessionEngine>,
    journal: Arc<dyn Journal>,
    limits: TenantLimits,
    loaded: Mutex<Loaded>,
    making_room: tokio::sync::Mutex<()>,
    keys: Arc<KeyState>,
}

#[derive(Default)]
struct Loaded {
    hosts: HashMap<TenantId, Host>,
    closed: bool,
}

struct Host {
    core: Arc<Core>,
    called: Instant,
}

impl Pool {
    /// Waits for the tenant's instance.
    pub async fn enter(&self, id: TenantId) -> Result<Entered, DurableError> {
        loop {
            let core = self.core(id).await?;
            let entered = core.enter().await;
            self.keys.note_entering(id, entered.as_ref().err());
            if let Some(entered) = entered? {
                return Ok(entered);
            }
            // It was unloaded meanwhile, and has seen nothing of the call.
            self.forget(id, &core);
        }
    }

    /// Loads a tenant, which reseals its records, and waits for that as long as it takes. Unloads it
    /// where it was not loaded before and nobody uses it.
    async fn reseal(&self, id: TenantId) -> Result<(), DurableError> {
        let was_loaded = self.is_loaded(id);
        let core = self.core(id).await?;
        let settled = core.settled().await;
        if !was_loaded && core.close_if_idle().await {
            self.forget(id, &core);
        }
        settled
    }

    /// Returns whether another host has a tenant, as far as the journal can tell.
    async fn is_held_elsewhere(&self, id: TenantId) -> Result<bool, JournalError> {
        // Before and after: what is loaded here is held by this host.
        Ok(!self.is_loaded(id) && self.journal.is_held(id).await? && !self.is_loaded(id))
    }

    fn is_loaded(&self, id: TenantId) -> bool {
        self.loaded().hosts.contains_key(&id)
    }

    fn keys(&self) -> KeyReport {
        let keys = self.keys.lock();
        let resealing = keys.resealing();
        let resealed = resealing.map_or(0, |id| self.figures(id).changes);
        keys.report(resealed)
    }

    fn report(&self, id: TenantId, text: &str) {
        if let Some(report) = &self.options.report {
            report(id, text);
        }
    }

    fn is_closed(&self) -> bool {
        self.loaded().closed
    }

    pub fn figures(&self, id: TenantId) -> Figures {
        let loaded = self.loaded();
        let host = loaded.hosts.get(&id);
        host.map_or_else(Figures::default, |host| host.core.figures())
    }

    pub async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        // First, so that what is loaded from here on is not missed.
        let before = std::mem::replace(&mut *lock(&self.engine), engine.clone());
        for (id, core) in self.idlest() {
            match core.upgrade(engine.clone()).await {
                // Its next instance will be of the new build.
                Err(_) if core.is_closed() => self.forget(id, &core),
                Err(DurableError::NotOwner(_)) => {
                    core.close().await;
                    self.forget(id, &core);
                }
                Err(error) => {
                    *lock(&self.engine) = before;
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    pub async fn unload(&self, id: TenantId) {
        let core = {
            let loaded = self.loaded();
            loaded.hosts.get(&id).map(|host| Arc::clone(&host.core))
        };
        if let Some(core) = core {
            core.close().await;
            self.forget(id, &core);
        }
    }

    async fn core(&self, id: TenantId) -> Result<Arc<Core>, DurableError> {
        if let Some(core) = self.find_or_load(id)? {
            return Ok(core);
        }
        // One at a time, so that each place that is made is taken by who made it.
        let _alone = self.making_room.lock().await;
        loop {
            match self.find_or_load(id)? {
                Some(core) => return Ok(core),
                None => self.make_room().await?,
            }
        }
    }

    /// None: there is no room for it.
    fn find_or_load(&self, id: TenantId) -> Result<Option<Arc<Core>>, DurableError> {
        let mut loaded = self.loaded();
        if loaded.closed {
            return Err(DurableError::closed());
        }
        if let Some(host) = loaded.hosts.get_mut(&id) {
            host.called = Instant::now();
            return Ok(Some(Arc::clone(&host.core)));
        }
        if loaded.hosts.len() >= self.limits.max_loaded {
            return Ok(None);
        }
        let plan = Plan {
            options: self.options.clone(),
            journal: Arc::clone(&self.journal),
            tenant: id,
        };
        let core = Arc::new(Core::standby(plan, lock(&self.engine).clone()));
        let host = Host {
            core: Arc::clone(&core),
            called: Instant::now(),
        };
        loaded.hosts.insert(id, host);
        Ok(Some(core))
    }

    /// Unloads the tenant that is idle for longest.
    async fn make_room(&self) -> Result<(), DurableError> {
        for (id, core) in self.idlest() {
            if core.close_if_idle().await {
                self.forget(id, &core);
                return Ok(());
            }
        }
        let reason = "as many tenants as there may be are loaded, and all are busy";
        Err(DurableError::Retry(reason.into()))
    }

    async fn unload_idle(&self) {
        let idle_after = self.limits.idle_after;
        let idle: Vec<_> = {
            let loaded = self.loaded();
            let idle = loaded
                .hosts
                .iter()
                .filter(|(_, host)| host.called.elapsed() >= idle_after);
            idle.map(|(id, host)| (*id, Arc::clone(&host.core)))
                .collect()
        };
        let unloading = idle.into_iter().map(async |(id, core)| {
            if core.close_if_idle().await {
                self.forget(id, &core);
            }
        });
        join_all(unloading).await;
    }

    /// All that are loaded; first who was not called for longest.
    fn idlest(&self) -> Vec<(TenantId, Arc<Core>)> {
        let loaded = self.loaded();
        let mut hosts: Vec<_> = loaded.hosts.iter().collect();
        hosts.sort_by_key(|(_, host)| host.called);
        hosts
            .into_iter()
            .map(|(id, host)| (*id, Arc::clone(&host.core)))
            .collect()
    }

    /// Drops a host that is closed; not the next one of the same tenant.
    fn forget(&self, id: TenantId, core: &Arc<Core>) {
        let mut loaded = self.loaded();
        if let Some(host) = loaded.hosts.get(&id)
            && Arc::ptr_eq(&host.core, core)
        {
            loaded.hosts.remove(&id);
        }
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        lock(&self.loaded)
    }
}

/// Looks for idle tenants until the pool is dropped.
async fn unload_idle(pool: Weak<Pool>, idle_after: Duration) {
    let pause = (idle_after / 4).max(Duration::from_millis(1));
    loop {
        tokio::time::sleep(pause).await;
        match pool.upgrade() {
            Some(pool) => pool.unload_idle().await,
            None => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
