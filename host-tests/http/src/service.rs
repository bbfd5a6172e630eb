//! The state that the routes share.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_durable::Tenants;
use clawdb_session_host::Guard;
use tokio::sync::watch;

use crate::figures::Figures;
use crate::key::AdminKey;
use crate::request_metrics::RequestMetrics;

/// The maximum size of a body, in bytes. Metadata, its largest part, has at most 16 KiB.
pub(crate) const MAX_BODY: usize = 64 << 10;

/// The state that the routes share.
pub(crate) struct Service {
    pub tenants: Tenants,
    pub admin_key: AdminKey,
    pub guard: Arc<dyn Guard>,
    pub body_timeout: Duration,
    pub keep_alive: Duration,
    pub metrics: RequestMetrics,
    pub figures: Figures,
    pub closing: ShutdownSignal,
}

/// The signal that the shutdown has begun.
#[derive(Clone)]
pub(crate) struct ShutdownSignal(pub watch::Receiver<bool>);

impl ShutdownSignal {
    /// Waits until the shutdown begins.
    pub async fn started(mut self) {
        // An error means that the sender was dropped, which also begins the shutdown.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}
