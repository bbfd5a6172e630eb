//! The settings of an instance.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::entropy::{Entropy, SystemEntropy};
use crate::error::InvalidSetting;
use crate::guard::Guard;

/// The default of `max_memory`: 3.5 GiB.
pub(crate) const DEFAULT_MAX_MEMORY: usize = 7 << 29;
/// The default of `interrupt_after`.
pub(crate) const DEFAULT_INTERRUPT_AFTER: Duration = Duration::from_secs(10);

/// The settings of an instance: its guard, clock and source of random bytes, and its bounds.
///
/// ```
/// use std::time::Duration;
///
/// use clawdb_session_guard_jwt::JwtGuard;
/// use clawdb_session_host::HostOptions;
///
/// let options = HostOptions {
///     guard_deadline: Some(Duration::from_secs(2)),
///     max_in_flight: 1_000,
///     ..HostOptions::new(JwtGuard::from_environment()?)
/// };
/// options.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The component has limits too, such as the number of sessions:
/// [`SessionHost::configure`](crate::SessionHost::configure) sets them.
#[derive(Clone)]
pub struct HostOptions {
    /// The token authority.
    pub guard: Arc<dyn Guard>,
    /// The clock; the machine's by default.
    pub clock: Arc<dyn Clock>,
    /// The source of random bytes; the operating system's by default.
    pub entropy: Arc<dyn Entropy>,
    /// How long one call of the guard may take: longer than 0 s; 5 s by default. A call that takes
    /// longer is dropped and counts as `unavailable`. `None` sets no deadline.
    ///
    /// A batch is one call if the guard implements `validate_tokens` or `revoke_tokens` itself.
    /// With their default implementations, each item has this deadline.
    pub guard_deadline: Option<Duration>,
    /// The maximum memory that the instance may take, in bytes; 3.5 GiB by default. A component can
    /// have 4 GiB. An instance that needs more traps, so keep this above 1.75 times
    /// `max-state-bytes` of the component's configuration.
    pub max_memory: usize,
    /// How long the instance may compute without progress before it is interrupted, which ends it;
    /// 10 s by default. An operation, or a call of the guard, that begins or ends is progress, so
    /// the number of calls does not matter. A correct component computes for far less; this bounds
    /// a fault in it.
    ///
    /// It does not interrupt the guard. A guard must not block its thread, because all other calls
    /// wait meanwhile.
    pub interrupt_after: Duration,
    /// The maximum number of calls in flight that can ask the guard to issue or validate a token:
    /// at least 1; 10,000 by default. A call with many tokens counts once for each token. Further
    /// calls wait. All other calls, revocations among them, do not count and never wait.
    pub max_in_flight: usize,
}

impl HostOptions {
    /// Returns the defaults with this guard.
    pub fn new(guard: impl Guard) -> Self {
        Self::with_shared_guard(Arc::new(guard))
    }

    /// Returns the defaults with a guard that the caller shares.
    pub fn with_shared_guard(guard: Arc<dyn Guard>) -> Self {
        Self {
            guard,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            guard_deadline: Some(Duration::from_secs(5)),
            max_memory: DEFAULT_MAX_MEMORY,
            interrupt_after: DEFAULT_INTERRUPT_AFTER,
            max_in_flight: 10_000,
        }
    }

    /// Checks that each option is within its bounds. The start of an instance calls this.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first option that is outside its bounds.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        if let Some(deadline) = self.guard_deadline {
            InvalidSetting::nonzero("guard_deadline", deadline)?;
        }
        InvalidSetting::at_least_one("max_in_flight", self.max_in_flight)
    }
}
