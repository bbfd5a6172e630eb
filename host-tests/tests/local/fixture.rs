//! The fixture of the tests: an instance with a guard that tests control.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawdb_session_host::{
    AnswersAtOnce, Claims, GuardFailure, GuardResult, IssueRequest, IssuedToken, LocalEngine,
    LocalGuard, LocalOptions, LocalSessions,
};
use clawdb_session_testkit::fixture::PlainGuard;
use clawdb_session_testkit::{CONTROLLED_START, ManualClock};

/// What a function of a [`TestGuard`] does before it answers.
type Interlude = Box<dyn Fn() -> Result<(), GuardFailure> + Send>;

/// A guard that does something before it answers.
pub struct TestGuard {
    tokens: AnswersAtOnce<PlainGuard>,
    before: Mutex<Option<Interlude>>,
}

impl TestGuard {
    /// Sets what the next call does before it answers. Later calls answer at once.
    pub fn before(&self, interlude: impl Fn() -> Result<(), GuardFailure> + Send + 'static) {
        *self.before.lock().unwrap() = Some(Box::new(interlude));
    }

    /// Makes the next call wait. Later calls answer at once.
    pub fn hold(&self) -> HeldGuard {
        let (waits, waiting) = channel();
        let (release, released) = channel();
        let released = Mutex::new(released);
        self.before(move || {
            // The test may have ended.
            let _ = waits.send(());
            let _ = released.lock().unwrap().recv();
            Ok(())
        });
        HeldGuard { waiting, release }
    }

    fn enter(&self) -> GuardResult<()> {
        // The interlude is taken, so that the lock is not held while a call waits.
        let Some(interlude) = self.before.lock().unwrap().take() else {
            return Ok(());
        };
        interlude()
    }
}

/// A guard that holds the next call. The call ends when this is released or dropped.
pub struct HeldGuard {
    waiting: Receiver<()>,
    release: Sender<()>,
}

impl HeldGuard {
    /// Waits until a call waits.
    pub fn wait(&self) {
        let waits = self.waiting.recv_timeout(Duration::from_secs(30));
        waits.expect("a call waits for the guard");
    }

    /// Ends the wait of the call.
    pub fn release(self) {
        self.release.send(()).expect("the call waits");
    }
}

impl LocalGuard for TestGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.enter()?;
        LocalGuard::issue_session_token(&self.tokens, request)
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.enter()?;
        LocalGuard::validate_token(&self.tokens, token)
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.enter()?;
        LocalGuard::revoke_token(&self.tokens, handle)
    }
}

/// An instance with its guard and clock.
pub struct LocalFixture {
    pub sessions: LocalSessions,
    pub guard: Arc<TestGuard>,
    pub clock: Arc<ManualClock>,
}

impl LocalFixture {
    pub fn new() -> Self {
        Self::with(|options| options)
    }

    /// Starts an instance whose options are changed.
    pub fn with(change: impl FnOnce(LocalOptions) -> LocalOptions) -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = Arc::new(TestGuard {
            tokens: AnswersAtOnce::new(Arc::new(PlainGuard::default())),
            before: Mutex::default(),
        });
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
