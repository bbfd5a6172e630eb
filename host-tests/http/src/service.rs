//! What the routes share.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_durable::Tenants;
use clawdb_session_host::Guard;
use tokio::sync::watch;

use crate::key::AdminKey;
use crate::request_metrics::RequestMetrics;

/// How many bytes a body has at most. Metadata, the largest part of one, has at most 16 KiB.
pub(crate) const MAX_BODY: usize = 64 << 10;

/// What the routes share.
pub(crate) struct Service {
    pub tenants: Tenants,
    pub admin_key: AdminKey,
    pub guard: Arc<dyn Guard>,
    pub body_timeout: Duration,
    pub keep_alive: Duration,
    pub metrics: RequestMetrics,
    pub closing: ShutdownSignal,
}

/// Whether the service comes to its end. Clones tell the same.
#[derive(Clone)]
pub(crate) struct ShutdownSignal(pub watch::Receiver<bool>);

impl ShutdownSignal {
    /// Waits until it does.
    pub async fn started(mut self) {
        // Where nobody can say it any more, it has.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}
