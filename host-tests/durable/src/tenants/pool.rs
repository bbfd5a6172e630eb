//! The hosts of the tenants that are loaded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clawdb_session_host::SessionEngine;
use futures::future::join_all;

use super::key_report::{KeyReport, KeyState};
use super::limits::TenantLimits;
use crate::backend::{Backend, Entered};
use crate::core::Core;
use crate::error::DurableError;
use crate::figures::Figures;
use crate::journal::{Journal, JournalError, TenantId};
use crate::options::DurableOptions;
use crate::recovery::Plan;

/// What handles on tenants share.
pub(super) struct Pool {
    pub options: DurableOptions,
    /// For instances that are loaded from now on.
    engine: Mutex<SessionEngine>,
    pub journal: Arc<dyn Journal>,
    limits: TenantLimits,
    loaded: Mutex<Loaded>,
    making_room: tokio::sync::Mutex<()>,
    pub keys: Arc<KeyState>,
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
    pub fn new(options: DurableOptions, journal: Arc<dyn Journal>, limits: TenantLimits) -> Self {
        Self {
            engine: Mutex::new(options.engine.clone()),
            options,
            journal,
            limits,
            loaded: Mutex::default(),
            making_room: tokio::sync::Mutex::default(),
            keys: Arc::default(),
        }
    }

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
    pub async fn reseal(&self, id: TenantId) -> Result<(), DurableError> {
        let was_loaded = self.is_loaded(id);
        let core = self.core(id).await?;
        let settled = core.settled().await;
        if !was_loaded && core.close_if_idle().await {
            self.forget(id, &core);
        }
        settled
    }

    /// Returns whether another host has a tenant, as far as the journal can tell.
    pub async fn is_held_elsewhere(&self, id: TenantId) -> Result<bool, JournalError> {
        // Before and after: what is loaded here is held by this host.
        Ok(!self.is_loaded(id) && self.journal.is_held(id).await? && !self.is_loaded(id))
    }

    pub fn is_loaded(&self, id: TenantId) -> bool {
        self.loaded().hosts.contains_key(&id)
    }

    pub fn keys(&self) -> KeyReport {
        let keys = self.keys.lock();
        let resealing = keys.resealing();
        let resealed = resealing.map_or(0, |id| self.figures(id).changes);
        keys.report(resealed)
    }

    pub fn report(&self, id: TenantId, text: &str) {
        if let Some(report) = &self.options.report {
            report(id, text);
        }
    }

    pub fn is_closed(&self) -> bool {
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

    /// Takes no new calls, and shuts all tenants down.
    pub async fn shutdown(&self) {
        let hosts: Vec<_> = {
            let mut loaded = self.loaded();
            loaded.closed = true;
            loaded.hosts.drain().map(|(_, host)| host.core).collect()
        };
        join_all(hosts.iter().map(|core| core.close())).await;
    }

    /// How many are loaded, or being so.
    pub fn count(&self) -> usize {
        self.loaded().hosts.len()
    }

    /// Those that are loaded, or being so.
    pub fn cores(&self) -> Vec<(TenantId, Arc<Core>)> {
        let loaded = self.loaded();
        let hosts = loaded.hosts.iter();
        hosts
            .map(|(id, host)| (*id, Arc::clone(&host.core)))
            .collect()
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

/// A tenant that is loaded while it is used.
pub(super) struct Tenant {
    pub pool: Arc<Pool>,
    pub id: TenantId,
}

#[async_trait]
impl Backend for Tenant {
    async fn enter(&self) -> Result<Entered, DurableError> {
        self.pool.enter(self.id).await
    }

    async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        self.pool.upgrade(engine).await
    }

    async fn shutdown(&self) {
        self.pool.unload(self.id).await;
    }

    fn figures(&self) -> Figures {
        self.pool.figures(self.id)
    }
}

/// Looks for idle tenants until the pool is dropped.
pub(super) async fn unload_idle(pool: Weak<Pool>, idle_after: Duration) {
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
