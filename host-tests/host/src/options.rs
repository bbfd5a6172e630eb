//! What an instance is given, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::entropy::{Entropy, SystemEntropy};
use crate::error::InvalidSetting;
use crate::guard::Guard;

/// What an instance is given, and its bounds.
#[derive(Clone)]
pub struct HostOptions {
    /// The token authority.
    pub guard: Arc<dyn Guard>,
    /// The clock; the machine's by default.
    pub clock: Arc<dyn Clock>,
    /// The source of random bytes; the operating system's by default.
    pub entropy: Arc<dyn Entropy>,
    /// How long one call of the guard may take before it counts as `unavailable`; 5 s by default,
    /// not zero. None: for ever. A batch is one call, for a guard that has batches of its own.
    pub guard_deadline: Option<Duration>,
    /// How much memory the instance may take, in bytes; 3.5 GiB by default, of the 4 GiB that there
    /// can be. Beyond it traps, so keep it well above the component's own `max-state-bytes`.
    pub max_memory: usize,
    /// How long one call may compute without progress before the instance is stopped; 10 s by
    /// default. A call that begins or ends is progress, and so is a call of the guard; how many
    /// calls there are does not matter. No call takes anywhere near that long; a fault of the
    /// component might. A guard must not block its thread: nothing interrupts it, and all other
    /// calls wait for it.
    pub interrupt_after: Duration,
    /// How many calls that ask the guard to issue or check a token are under way at most; 10,000 by
    /// default; a call about many tokens counts once for each. Further ones wait for their turn. What is
    /// there to end sessions never waits. At least 1.
    pub max_in_flight: usize,
}

impl HostOptions {
    /// The defaults with this guard.
    pub fn new(guard: impl Guard) -> Self {
        Self::with_shared_guard(Arc::new(guard))
    }

    /// The defaults with a guard that others hold too.
    pub fn with_shared_guard(guard: Arc<dyn Guard>) -> Self {
        Self {
            guard,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            guard_deadline: Some(Duration::from_secs(5)),
            max_memory: 7 << 29,
            interrupt_after: Duration::from_secs(10),
            max_in_flight: 10_000,
        }
    }

    /// Checks the options. The start of an instance calls this.
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
