//! The limits of loaded tenants.

use std::time::Duration;

use clawdb_session_host::InvalidSetting;

/// The limits of loaded tenants.
#[derive(Clone, Copy, Debug)]
pub struct TenantLimits {
    /// The maximum number of tenants that are loaded at a time. 1,000 by default, at least 1. A
    /// further tenant replaces the one that has been idle for the longest time. Each loaded tenant
    /// needs the memory of an instance.
    pub max_loaded: usize,
    /// The time without a call after which a tenant is unloaded. 5 min by default.
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
    /// Checks that the limits are within their bounds. [`Tenants::new`](crate::Tenants::new) calls
    /// this.
    ///
    /// # Errors
    /// [`InvalidSetting`] if `max_loaded` is 0.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        InvalidSetting::at_least_one("max_loaded", self.max_loaded)
    }
}
