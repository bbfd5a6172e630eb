//! The settings of the service and their defaults.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{Guard, InvalidSetting};

use crate::key::AdminKey;

/// The longest time limit. hyper and axum panic if a limit ends after the end of their clock.
const MAX_TIME: Duration = Duration::from_hours(365 * 24);

/// The settings of the service. A time of more than a year counts as a year.
#[derive(Clone)]
pub struct ServeOptions {
    /// The key that admins present.
    pub admin_key: AdminKey,
    /// The tenants' guard. It validates an agent's token before the request loads a tenant.
    pub guard: Arc<dyn Guard>,
    /// The maximum time from the headers of a request to the headers of its answer. Default: 30 s.
    /// It must not be zero.
    pub request_timeout: Duration,
    /// The maximum time for the body of a request to arrive. Default: 10 s. It must not be zero.
    pub body_timeout: Duration,
    /// The maximum time for the headers of the next request to arrive. Default: 30 s. It must not
    /// be zero.
    pub header_timeout: Duration,
    /// The time after which a connection is closed whose client accepts no part of an answer.
    /// Default: 30 s. It must not be zero. The client's kernel accepts data, not the client: with a
    /// large receive buffer it may do so only once for several hundred KiB.
    pub write_timeout: Duration,
    /// The time after which a stream without events sends a comment. Default: 15 s. It must not be
    /// zero. The service notices within this time that a reader has disconnected.
    pub keep_alive: Duration,
    /// The maximum number of open connections; further ones wait. Default: 4,096. It must be at
    /// least 1.
    pub max_connections: usize,
    /// The maximum time that a shutdown waits for requests in flight. Default: 10 s. It does not
    /// wait for incomplete headers, and waits at most 1 s for the rest of a body.
    pub drain: Duration,
    /// The time between two rounds of [`housekeeping`](crate::housekeeping). Default: 10 s. It must
    /// not be zero.
    pub housekeeping: Duration,
}

impl ServeOptions {
    /// Returns the default settings with this key and this guard.
    #[must_use]
    pub fn new(admin_key: AdminKey, guard: Arc<dyn Guard>) -> Self {
        Self {
            admin_key,
            guard,
            request_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            max_connections: 4_096,
            drain: Duration::from_secs(10),
            housekeeping: Duration::from_secs(10),
        }
    }

    /// Returns `header_timeout`, at most a year.
    pub(crate) fn bounded_header_timeout(&self) -> Duration {
        self.header_timeout.min(MAX_TIME)
    }

    /// Returns `keep_alive`, at most a year.
    pub(crate) fn bounded_keep_alive(&self) -> Duration {
        self.keep_alive.min(MAX_TIME)
    }

    /// Checks the settings. [`serve`](crate::serve) calls it; [`router`](crate::router) does not.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first setting outside its bounds.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        InvalidSetting::nonzero("request_timeout", self.request_timeout)?;
        InvalidSetting::nonzero("body_timeout", self.body_timeout)?;
        InvalidSetting::nonzero("header_timeout", self.header_timeout)?;
        InvalidSetting::nonzero("write_timeout", self.write_timeout)?;
        InvalidSetting::nonzero("keep_alive", self.keep_alive)?;
        InvalidSetting::nonzero("housekeeping", self.housekeeping)?;
        InvalidSetting::at_least_one("max_connections", self.max_connections)
    }
}
