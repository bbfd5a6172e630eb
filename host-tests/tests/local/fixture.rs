//! The fixture of the tests: an instance with a guard that tests control.

use std::sync::Arc;

use clawdb_session_host::{LocalEngine, LocalOptions, LocalSessions};
use clawdb_session_testkit::{CONTROLLED_START, LocalTestGuard, ManualClock};

/// An instance with its guard and clock.
pub struct LocalFixture {
    pub sessions: LocalSessions,
    pub guard: Arc<LocalTestGuard>,
    pub clock: Arc<ManualClock>,
}

impl LocalFixture {
    pub fn new() -> Self {
        Self::with(|options| options)
    }

    /// Starts an instance whose options are changed.
    pub fn with(change: impl FnOnce(LocalOptions) -> LocalOptions) -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = Arc::<LocalTestGuard>::default();
        let options = LocalOptions {
            clock: clock.clone(),
            ..LocalOptions::with_shared_guard(guard.clone())
        };
        Self {
            sessions: LocalSessions::start(&engine(), change(options)).unwrap(),
            guard,
            clock,
        }
    }
}

/// Returns the compiled component.
pub fn engine() -> LocalEngine {
    LocalEngine::new().expect("the component compiles")
}
