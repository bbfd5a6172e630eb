//! What the service is given, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{Guard, InvalidSetting};

use crate::key::AdminKey;

/// What the service is given, and its bounds.
#[derive(Clone)]
pub struct ServeOptions {
    /// What an admin presents.
    pub admin_key: AdminKey,
    /// The tenants' guard, which is asked before an agent's request loads a tenant.
    pub guard: Arc<dyn Guard>,
    /// How long a request may take, from its headers to the headers of its answer; 30 s by default,
    /// not zero.
    pub request_timeout: Duration,
    /// How long the body of a request may take to come; 10 s by default, and not zero.
    pub body_timeout: Duration,
    /// How long a connection waits for the headers of the next request; 30 s by default, not zero.
    pub header_timeout: Duration,
    /// How long a client may take nothing of an answer before its connection is closed; 30 s by
    /// default, not zero. A client that reads slowly has taken something when its kernel says so,
    /// which with a large receive buffer is once for several hundred KiB.
    pub write_timeout: Duration,
    /// How often a comment is sent on a stream of events where nothing happens; 15 s by default, not
    /// zero. The connection of a reader that has left is freed within that time.
    pub keep_alive: Duration,
    /// How many connections there are at a time at most; 4,096 by default, at least 1. Further ones
    /// wait.
    pub max_connections: usize,
    /// How long requests under way get when the service ends; 10 s by default. Half a request is not
    /// waited for, and the rest of a body for 1 s.
    pub drain: Duration,
    /// How often [`housekeeping`](crate::housekeeping) goes round; 10 s by default, and not zero.
    pub housekeeping: Duration,
}

impl ServeOptions {
    /// The defaults with these.
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

    /// Checks the options. [`serve`](crate::serve) does it by itself; [`router`](crate::router) does not.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first option that is outside its bounds.
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
