//! How many tenants are loaded, and for how long.

use std::time::Duration;

use clawdb_session_host::InvalidSetting;

/// How many tenants are loaded, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct TenantLimits {
    /// How many tenants are loaded at a time at most; 1,000 by default. One more takes the place of the
    /// one that is idle for longest. Each needs an instance's memory. At least 1.
    pub max_loaded: usize,
    /// After how long without a call a tenant is unloaded; 5 min by default.
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
    /// Checks the limits. [`Tenants::new`](crate::Tenants::new) calls this.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first limit that is outside its bounds.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        InvalidSetting::at_least_one("max_loaded", self.max_loaded)
    }
}
