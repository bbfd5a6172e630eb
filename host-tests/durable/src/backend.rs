//! What a handle needs of the host that it is a handle on.

use std::sync::Arc;

use async_trait::async_trait;
use clawdb_session_host::SessionEngine;
use tokio::sync::OwnedRwLockReadGuard;

use crate::active_instance::ActiveInstance;
use crate::error::DurableError;
use crate::metrics::HostMetrics;

/// A durable host, or one of many that is loaded while it is used.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Waits for an instance.
    async fn admit(&self) -> Result<AdmittedCall, DurableError>;
    /// Replaces the component by another build of it.
    async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError>;
    /// Makes durable what has changed, and gives the tenant back.
    async fn shutdown(&self);
    /// Returns what the host has done so far.
    fn metrics(&self) -> HostMetrics;
}

/// A call that has an instance to go to.
pub(crate) struct AdmittedCall {
    pub active: Arc<ActiveInstance>,
    /// Keeps the host from being taken for idle.
    pub keep_loaded: Arc<()>,
    /// Keeps the instance from being replaced.
    pub _call: OwnedRwLockReadGuard<()>,
}
