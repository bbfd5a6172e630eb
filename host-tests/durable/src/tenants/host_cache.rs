//! The hosts of the tenants that are loaded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clawdb_session_host::{AnyEngine, InstanceOptions};
use futures::future::join_all;
use tokio::time::timeout;

use super::limits::TenantLimits;
use crate::backend::{AdmittedCall, Backend};
use crate::callback;
use crate::error::DurableError;
use crate::journal::{Journal, JournalError, TenantId};
use crate::key_report::{KeyReport, KeyState};
use crate::metrics::HostMetrics;
use crate::options::DurableOptions;
use crate::reason::Reason;
use crate::recovery::Recovery;
use crate::tenant_host::TenantHost;

/// How often a call loads a tenant that is unloaded before the call reaches the instance.
const MAX_LOADS: usize = 8;

/// The state that the handles of tenants share.
pub(super) struct HostCache {
    pub options: DurableOptions,
    /// The component of tenants that are loaded from now on, and the options of their instances.
    instances: Mutex<InstanceOptions>,
    pub journal: Arc<dyn Journal>,
    limits: TenantLimits,
    table: Mutex<HostTable>,
    /// Held by a load that evicts other tenants.
    eviction: tokio::sync::Mutex<()>,
    /// Held by the upgrade in progress.
    upgrading: tokio::sync::Mutex<()>,
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
            instances: Mutex::new(options.instances.clone()),
            options,
            journal,
            limits,
            table: Mutex::default(),
            eviction: tokio::sync::Mutex::default(),
            upgrading: tokio::sync::Mutex::default(),
            keys: Arc::default(),
        }
    }

    /// Loads the tenant if necessary and waits for its instance. Each of the two takes at most
    /// `patience` of the options. They are repeated if the tenant is unloaded meanwhile, a few
    /// times.
    pub async fn admit(&self, id: TenantId) -> Result<AdmittedCall, DurableError> {
        for _ in 0..MAX_LOADS {
            let tenant_host = self.get_or_load(id).await?;
            let admitted = tenant_host.admit().await;
            self.keys.note_admission(id, admitted.as_ref().err());
            if let Some(admitted) = admitted? {
                return Ok(admitted);
            }
            // The tenant was unloaded before the call reached its instance.
            self.remove(id, &tenant_host);
        }
        let reason = "the tenant was unloaded each time before the call reached its instance";
        Err(DurableError::Retry(reason.into()))
    }

    /// Loads a tenant, which reseals its records, and waits without a bound until that is done or
    /// has failed once. Unloads the tenant if it was not loaded before and is idle.
    pub async fn reseal(&self, id: TenantId) -> Result<(), DurableError> {
        let was_loaded = self.is_loaded(id);
        let tenant_host = self.get_or_load(id).await?;
        let ready = tenant_host.wait_until_ready().await;
        if !was_loaded && tenant_host.close_if_idle().await {
            self.remove(id, &tenant_host);
        }
        ready
    }

    /// Returns whether another host has a tenant, according to the journal.
    pub async fn is_held_elsewhere(&self, id: TenantId) -> Result<bool, JournalError> {
        // A loaded tenant can be held by this host. It is checked twice, because the tenant can be
        // loaded during the wait.
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
            callback::call(|| report(id, text));
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

    pub async fn upgrade(&self, engine: AnyEngine) -> Result<(), DurableError> {
        let Ok(_alone) = self.upgrading.try_lock() else {
            let reason = "another upgrade is in progress";
            return Err(DurableError::Upgrade(reason.into()));
        };
        // This is first, so that tenants that are loaded from here on use the new build.
        let before = {
            let mut instances = lock(&self.instances);
            let new = instances.with_engine(engine.clone());
            let new = new.map_err(|error| DurableError::Upgrade(Reason::from_error(error)))?;
            std::mem::replace(&mut *instances, new)
        };
        for (id, tenant_host) in self.by_idle_time() {
            match tenant_host.upgrade(engine.clone()).await {
                // The tenant was unloaded. Its next instance uses the new build.
                Err(_) if tenant_host.is_closed() => self.remove(id, &tenant_host),
                Err(DurableError::NotOwner(_)) => {
                    tenant_host.close().await;
                    self.remove(id, &tenant_host);
                }
                Err(error) => {
                    *lock(&self.instances) = before;
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

    /// Refuses new calls and shuts all tenants down.
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
        self.keys.wake.notify_one();
        join_all(hosts.iter().map(|tenant_host| tenant_host.close())).await;
    }

    /// Returns the number of tenants that are loaded or being loaded.
    pub fn count(&self) -> usize {
        self.table().hosts.len()
    }

    /// Returns the hosts of the tenants that are loaded or being loaded.
    pub fn loaded_hosts(&self) -> Vec<(TenantId, Arc<TenantHost>)> {
        let table = self.table();
        let hosts = table.hosts.iter();
        hosts
            .map(|(id, host)| (*id, Arc::clone(&host.tenant_host)))
            .collect()
    }

    /// Returns the host of a tenant and loads it if necessary. If another tenant has to be unloaded
    /// first, it waits for that, for at most `patience` of the options.
    async fn get_or_load(&self, id: TenantId) -> Result<Arc<TenantHost>, DurableError> {
        if let Some(tenant_host) = self.try_get_or_load(id)? {
            return Ok(tenant_host);
        }
        let evicting = async {
            // Only one load evicts at a time, so that no other load takes the slot that it frees.
            let _alone = self.eviction.lock().await;
            loop {
                match self.try_get_or_load(id)? {
                    Some(tenant_host) => return Ok(tenant_host),
                    None => self.evict_idlest().await?,
                }
            }
        };
        let loaded = timeout(self.options.patience, evicting).await;
        loaded.unwrap_or_else(|_| {
            let reason = "the tenants that are loaded are not unloaded in time";
            Err(DurableError::Retry(reason.into()))
        })
    }

    /// Returns the host of a tenant and loads it if necessary. Returns `None` if `max_loaded`
    /// tenants are loaded.
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
        let tenant_host = Arc::new(TenantHost::standby(recovery, lock(&self.instances).clone()));
        let host = LoadedHost {
            tenant_host: Arc::clone(&tenant_host),
            last_call: Instant::now(),
        };
        table.hosts.insert(id, host);
        Ok(Some(tenant_host))
    }

    /// Unloads the idle tenant whose last call is the longest time ago.
    async fn evict_idlest(&self) -> Result<(), DurableError> {
        for (id, tenant_host) in self.by_idle_time() {
            if tenant_host.close_if_idle().await {
                self.remove(id, &tenant_host);
                return Ok(());
            }
        }
        let max = self.limits.max_loaded;
        let reason = format!("{max} tenants are loaded, which is the limit, and all are busy");
        Err(DurableError::Retry(reason.into()))
    }

    /// Unloads the idle tenants that were not called for `idle_after`.
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

    /// Returns the loaded tenants, ordered by the time of their last call, the earliest first.
    fn by_idle_time(&self) -> Vec<(TenantId, Arc<TenantHost>)> {
        let table = self.table();
        let mut hosts: Vec<_> = table.hosts.iter().collect();
        hosts.sort_by_key(|(_, host)| host.last_call);
        hosts
            .into_iter()
            .map(|(id, host)| (*id, Arc::clone(&host.tenant_host)))
            .collect()
    }

    /// Removes a closed host from the table, unless the tenant has another host by now.
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

impl Drop for HostCache {
    /// Ends the check of the state keys, which waits without the cache when it is done.
    fn drop(&mut self) {
        self.keys.wake.notify_one();
    }
}

/// The host to which a `DurableHost` of a tenant refers. It is loaded while it is used.
pub(super) struct TenantBackend {
    pub cache: Arc<HostCache>,
    pub id: TenantId,
}

#[async_trait]
impl Backend for TenantBackend {
    async fn admit(&self) -> Result<AdmittedCall, DurableError> {
        self.cache.admit(self.id).await
    }

    async fn upgrade(&self, engine: AnyEngine) -> Result<(), DurableError> {
        self.cache.upgrade(engine).await
    }

    async fn shutdown(&self) {
        self.cache.unload(self.id).await;
    }

    fn metrics(&self) -> HostMetrics {
        self.cache.metrics(self.id)
    }
}

/// Unloads idle tenants until the cache is dropped. It looks for them four times in `idle_after`.
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
