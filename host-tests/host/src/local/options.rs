//! The settings of an instance of the world `session-sync`.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::entropy::{Entropy, SystemEntropy};
use crate::error::InvalidSetting;
use crate::local::guard::LocalGuard;
use crate::options::{DEFAULT_INTERRUPT_AFTER, DEFAULT_MAX_MEMORY};

/// The settings of an instance: its guard, clock and source of random bytes, and its bounds.
///
/// ```
/// use std::time::Duration;
///
/// use clawdb_session_guard_jwt::JwtGuard;
/// use clawdb_session_host::LocalOptions;
///
/// let options = LocalOptions {
///     busy_after: Duration::from_secs(1),
///     ..LocalOptions::new(JwtGuard::from_environment()?)
/// };
/// options.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The component has limits too, such as the number of sessions:
/// [`LocalSessions::configure`](crate::LocalSessions::configure) sets them.
#[derive(Clone)]
pub struct LocalOptions {
    /// The token authority.
    pub guard: Arc<dyn LocalGuard>,
    /// The clock; the machine's by default.
    pub clock: Arc<dyn Clock>,
    /// The source of random bytes; the operating system's by default.
    pub entropy: Arc<dyn Entropy>,
    /// The maximum memory that the instance may take, in bytes; 3.5 GiB by default. A component can
    /// have 4 GiB. An instance that needs more traps, so keep this above 1.75 times
    /// `max-state-bytes` of the component's configuration.
    pub max_memory: usize,
    /// How long a call may compute before it is interrupted, which ends the instance; 10 s by
    /// default. A function of the guard that begins or ends restarts the time. A correct component
    /// computes for far less; this bounds a fault in it. It does not interrupt the guard.
    pub interrupt_after: Duration,
    /// How long a call waits for the calls before it: longer than 0 s; 5 s by default. After this
    /// time it returns [`HostError::Busy`](crate::HostError::Busy), and has not taken effect. Calls
    /// wait for long only if a function of the guard takes long.
    pub busy_after: Duration,
}

impl LocalOptions {
    /// Returns the defaults with this guard.
    pub fn new(guard: impl LocalGuard) -> Self {
        Self::with_shared_guard(Arc::new(guard))
    }

    /// Returns the defaults with a guard that the caller shares.
    pub fn with_shared_guard(guard: Arc<dyn LocalGuard>) -> Self {
        Self {
            guard,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            max_memory: DEFAULT_MAX_MEMORY,
            interrupt_after: DEFAULT_INTERRUPT_AFTER,
            busy_after: Duration::from_secs(5),
        }
    }

    /// Checks that each option is within its bounds. The start of an instance calls this.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first option that is outside its bounds.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        InvalidSetting::nonzero("busy_after", self.busy_after)
    }
}
