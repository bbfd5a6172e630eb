//! A guard of the world `session-sync` that does something before its answers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use clawdb_session_host::{
    AnswersAtOnce, Claims, GuardResult, IssueRequest, IssuedToken, LocalGuard,
};

use crate::fixture::PlainGuard;

/// What the guard does before an answer.
type Interlude = Box<dyn FnOnce() -> GuardResult<()> + Send>;

/// A guard that can do something before each of its next answers, such as fail or wait.
pub struct LocalTestGuard {
    tokens: AnswersAtOnce<PlainGuard>,
    interludes: Mutex<VecDeque<Interlude>>,
}

impl Default for LocalTestGuard {
    fn default() -> Self {
        Self {
            tokens: AnswersAtOnce::new(PlainGuard::default().into()),
            interludes: Mutex::default(),
        }
    }
}

impl LocalTestGuard {
    /// Sets what the guard does before the next answer for which nothing is set yet. After an error
    /// it answers with that.
    pub fn before(&self, interlude: impl FnOnce() -> GuardResult<()> + Send + 'static) {
        let mut interludes = self
            .interludes
            .lock()
            .expect("no interlude panics under it");
        interludes.push_back(Box::new(interlude));
    }

    /// Makes the guard wait before that answer.
    pub fn hold(&self) -> HeldGuard {
        let (waits, waiting) = channel();
        let (release, released) = channel();
        self.before(move || {
            // The test may have ended.
            let _ = waits.send(());
            let _ = released.recv();
            Ok(())
        });
        HeldGuard { waiting, release }
    }

    fn enter(&self) -> GuardResult<()> {
        // The lock is not held while the guard waits.
        let interlude = self
            .interludes
            .lock()
            .expect("no interlude panics under it")
            .pop_front();
        interlude.map_or(Ok(()), |interlude| interlude())
    }
}

impl LocalGuard for LocalTestGuard {
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

/// A guard that waits before an answer, until this is released or dropped.
pub struct HeldGuard {
    waiting: Receiver<()>,
    release: Sender<()>,
}

impl HeldGuard {
    /// Waits until a call waits for the guard.
    pub fn wait(&self) {
        let waits = self.waiting.recv_timeout(Duration::from_secs(30));
        waits.expect("a call waits for the guard");
    }

    /// Ends the wait of the call.
    pub fn release(self) {
        self.release.send(()).expect("the call waits");
    }
}
