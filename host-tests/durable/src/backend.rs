//! The trait of a host behind a handle.

use std::sync::Arc;

use async_trait::async_trait;
use clawdb_session_host::AnyEngine;
use tokio::sync::OwnedRwLockReadGuard;

use crate::active_instance::ActiveInstance;
use crate::error::DurableError;
use crate::metrics::HostMetrics;

/// A durable host, or a tenant that is loaded while it is used.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Waits for an instance, for at most `patience`.
    async fn admit(&self) -> Result<AdmittedCall, DurableError>;
    /// Replaces the component with another build.
    async fn upgrade(&self, engine: AnyEngine) -> Result<(), DurableError>;
    /// Appends the last changes and gives the tenant back.
    async fn shutdown(&self);
    /// Returns what the host has done so far.
    fn metrics(&self) -> HostMetrics;
}

/// A call that was admitted to an instance.
pub(crate) struct AdmittedCall {
    pub active: Arc<ActiveInstance>,
    /// While it is held, the host does not count as idle.
    pub keep_loaded: Arc<()>,
    /// While it is held, the instance is not replaced by an upgrade and the host is not drained.
    pub call: OwnedRwLockReadGuard<()>,
}
