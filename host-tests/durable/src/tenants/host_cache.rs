//! The hosts of the tenants that are loaded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clawdb_session_host::SessionEngine;
use futures::future::join_all;

use super::limits::TenantLimits;
use crate::backend::{AdmittedCall, Backend};
use crate::error::DurableError;
use crate::journal::{Journal, JournalError, TenantId};
use crate::key_report::{KeyReport, KeyState};
use crate::metrics::HostMetrics;
use crate::options::DurableOptions;
use crate::recovery::Recovery;
use crate::tenant_host::TenantHost;

/// What handles on tenants share.
pub(super) struct HostCache {
    pub options: DurableOptions,
    /// For instances that are loaded from now on.
    engine: Mutex<SessionEngine>,
    pub journal: Arc<dyn Journal>,
    limits: TenantLimits,
    table: Mutex<HostTable>,
    eviction: tokio::sync::Mutex<()>,
    pub keys: Arc<KeyState>,
}

#[derive(Default)]
struct HostTable {
    hosts: HashMap<TenantId, LoadedHost>,
    closed: bool,
}

struct LoadedHost {
    tenant_host: Arc<TenantHost>,
    last_call: Instant,
}

impl HostCache {
    pub fn new(options: DurableOptions, journal: Arc<dyn Journal>, limits: TenantLimits) -> Self {
        Self {
            engine: Mutex::new(options.engine.clone()),
            options,
            journal,
            limits,
            table: Mutex::default(),
            eviction: tokio::sync::Mutex::default(),
            keys: Arc::default(),
        }
    }

    /// Waits for the tenant's instance.
    pub async fn admit(&self, id: TenantId) -> Result<AdmittedCall, DurableError> {
        loop {
            let tenant_host = self.get_or_load(id).await?;
            let admitted = tenant_host.admit().await;
            self.keys.note_admission(id, admitted.as_ref().err());
            if let Some(admitted) = admitted? {
                return Ok(admitted);
            }
            // It was unloaded meanwhile, and has seen nothing of the call.
            self.remove(id, &tenant_host);
        }
    }

    /// Loads a tenant, which reseals its records, and waits for that as long as it takes. Unloads it
    /// where it was not loaded before and nobody uses it.
    pub async fn reseal(&self, id: TenantId) -> Result<(), DurableError> {
        let was_loaded = self.is_loaded(id);
        let tenant_host = self.get_or_load(id).await?;
        let ready = tenant_host.wait_until_ready().await;
        if !was_loaded && tenant_host.close_if_idle().await {
            self.remove(id, &tenant_host);
        }
        ready
    }

    /// Returns whether another host has a tenant, as far as the journal can tell.
    pub async fn is_held_elsewhere(&self, id: TenantId) -> Result<bool, JournalError> {
        // Before and after: what is loaded here is held by this host.
        Ok(!self.is_loaded(id) && self.journal.is_held(id).await? && !self.is_loaded(id))
    }

    pub fn is_loaded(&self, id: TenantId) -> bool {
        self.table().hosts.contains_key(&id)
    }

    pub fn keys(&self) -> KeyReport {
        let keys = self.keys.lock();
        let resealing = keys.resealing();
        let resealed = resealing.map_or(0, |id| self.metrics(id).changes);
        keys.report(resealed)
    }

    pub fn report(&self, id: TenantId, text: &str) {
        if let Some(report) = &self.options.report {
            report(id, text);
        }
    }

    pub fn is_closed(&self) -> bool {
        self.table().closed
    }

    pub fn metrics(&self, id: TenantId) -> HostMetrics {
        let table = self.table();
        let host = table.hosts.get(&id);
        host.map_or_else(HostMetrics::default, |host| host.tenant_host.metrics())
    }

    pub async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        // First, so that what is loaded from here on is not missed.
        let before = std::mem::replace(&mut *lock(&self.engine), engine.clone());
        for (id, tenant_host) in self.by_idle_time() {
            match tenant_host.upgrade(engine.clone()).await {
                // Its next instance will be of the new build.
                Err(_) if tenant_host.is_closed() => self.remove(id, &tenant_host),
                Err(DurableError::NotOwner(_)) => {
                    tenant_host.close().await;
                    self.remove(id, &tenant_host);
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
        let tenant_host = {
            let table = self.table();
            table
                .hosts
                .get(&id)
                .map(|host| Arc::clone(&host.tenant_host))
        };
        if let Some(tenant_host) = tenant_host {
            tenant_host.close().await;
            self.remove(id, &tenant_host);
        }
    }

    /// Takes no new calls, and shuts all tenants down.
    pub async fn shutdown(&self) {
        let hosts: Vec<_> = {
            let mut table = self.table();
            table.closed = true;
            table
                .hosts
                .drain()
                .map(|(_, host)| host.tenant_host)
                .collect()
        };
        join_all(hosts.iter().map(|tenant_host| tenant_host.close())).await;
    }

    /// How many are loaded, or being so.
    pub fn count(&self) -> usize {
        self.table().hosts.len()
    }

    /// Those that are loaded, or being so.
    pub fn loaded_hosts(&self) -> Vec<(TenantId, Arc<TenantHost>)> {
        let table = self.table();
        let hosts = table.hosts.iter();
        hosts
            .map(|(id, host)| (*id, Arc::clone(&host.tenant_host)))
            .collect()
    }

    async fn get_or_load(&self, id: TenantId) -> Result<Arc<TenantHost>, DurableError> {
        if let Some(tenant_host) = self.try_get_or_load(id)? {
            return Ok(tenant_host);
        }
        // One at a time, so that each place that is made is taken by who made it.
        let _alone = self.eviction.lock().await;
        loop {
            match self.try_get_or_load(id)? {
                Some(tenant_host) => return Ok(tenant_host),
                None => self.evict_idlest().await?,
            }
        }
    }

    /// None: there is no room for it.
    fn try_get_or_load(&self, id: TenantId) -> Result<Option<Arc<TenantHost>>, DurableError> {
        let mut table = self.table();
        if table.closed {
            return Err(DurableError::closed());
        }
        if let Some(host) = table.hosts.get_mut(&id) {
            host.last_call = Instant::now();
            return Ok(Some(Arc::clone(&host.tenant_host)));
        }
        if table.hosts.len() >= self.limits.max_loaded {
            return Ok(None);
        }
        let recovery = Recovery {
            options: self.options.clone(),
            journal: Arc::clone(&self.journal),
            tenant: id,
        };
        let tenant_host = Arc::new(TenantHost::standby(recovery, lock(&self.engine).clone()));
        let host = LoadedHost {
            tenant_host: Arc::clone(&tenant_host),
            last_call: Instant::now(),
        };
        table.hosts.insert(id, host);
        Ok(Some(tenant_host))
    }

    /// Unloads the tenant that is idle for longest.
    async fn evict_idlest(&self) -> Result<(), DurableError> {
        for (id, tenant_host) in self.by_idle_time() {
            if tenant_host.close_if_idle().await {
                self.remove(id, &tenant_host);
                return Ok(());
            }
        }
        let reason = "as many tenants as there may be are loaded, and all are busy";
        Err(DurableError::Retry(reason.into()))
    }

    async fn unload_idle(&self) {
        let idle_after = self.limits.idle_after;
        let idle: Vec<_> = {
            let table = self.table();
            let idle = table
                .hosts
                .iter()
                .filter(|(_, host)| host.last_call.elapsed() >= idle_after);
            idle.map(|(id, host)| (*id, Arc::clone(&host.tenant_host)))
                .collect()
        };
        let unloading = idle.into_iter().map(async |(id, tenant_host)| {
            if tenant_host.close_if_idle().await {
                self.remove(id, &tenant_host);
            }
        });
        join_all(unloading).await;
    }

    /// All that are loaded; first who was not called for longest.
    fn by_idle_time(&self) -> Vec<(TenantId, Arc<TenantHost>)> {
        let table = self.table();
        let mut hosts: Vec<_> = table.hosts.iter().collect();
        hosts.sort_by_key(|(_, host)| host.last_call);
        hosts
            .into_iter()
            .map(|(id, host)| (*id, Arc::clone(&host.tenant_host)))
            .collect()
    }

    /// Drops a host that is closed; not the next one of the same tenant.
    fn remove(&self, id: TenantId, tenant_host: &Arc<TenantHost>) {
        let mut table = self.table();
        if let Some(host) = table.hosts.get(&id)
            && Arc::ptr_eq(&host.tenant_host, tenant_host)
        {
            table.hosts.remove(&id);
        }
    }

    fn table(&self) -> MutexGuard<'_, HostTable> {
        lock(&self.table)
    }
}

/// A tenant that is loaded while it is used.
pub(super) struct TenantBackend {
    pub cache: Arc<HostCache>,
    pub id: TenantId,
}

#[async_trait]
impl Backend for TenantBackend {
    async fn admit(&self) -> Result<AdmittedCall, DurableError> {
        self.cache.admit(self.id).await
    }

    async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        self.cache.upgrade(engine).await
    }

    async fn shutdown(&self) {
        self.cache.unload(self.id).await;
    }

    fn metrics(&self) -> HostMetrics {
        self.cache.metrics(self.id)
    }
}

/// Looks for idle tenants until the cache is dropped.
pub(super) async fn unload_idle(cache: Weak<HostCache>, idle_after: Duration) {
    let pause = (idle_after / 4).max(Duration::from_millis(1));
    loop {
        tokio::time::sleep(pause).await;
        match cache.upgrade() {
            Some(cache) => cache.unload_idle().await,
            None => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
