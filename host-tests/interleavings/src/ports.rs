//! A guard whose answers arrive when the schedule says so, a clock, and random bytes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use clawdb_session::{
    Claims, Clock, Entropy, EntropyUnavailable, Guard, GuardError, IssueRequest, IssuedToken,
    SessionId, Timestamp, Token,
};

/// 2030-01-01T00:00:00Z.
const START: u64 = 1_893_456_000_000;

/// When the guard does what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timing {
    /// Before its answer waits, so that the answer can be out of date.
    AtRequest,
    /// Just before its answer arrives. If it is unavailable, it does nothing.
    AtAnswer,
}

/// The ports of a manager. Clones share one state.
#[derive(Clone)]
pub struct Ports(Rc<State>);

struct State {
    timing: Timing,
    now: Cell<u64>,
    /// How many blocks of random bytes were drawn.
    drawn: Cell<u64>,
    /// Whose call is polled. `None` outside the calls of a case: then the guard answers at once.
    caller: Cell<Option<usize>>,
    /// The request of each call, while it waits.
    requests: RefCell<Vec<Option<Request>>>,
    issued: RefCell<Vec<Issued>>,
    revoked: RefCell<BTreeSet<String>>,
    /// Whether the guard is unavailable for all calls.
    is_down: Cell<bool>,
    /// What all later tokens have in common with the last one.
    repeated: Cell<Option<Repeated>>,
}

/// What the guard repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The token, with another handle.
    Token,
    /// The handle, with another token.
    Handle,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A token that is to be issued or validated.
    Token,
    /// The confirmation of a revocation.
    Revocation,
}

/// A request of a call.
#[derive(Clone, PartialEq, Eq)]
enum Request {
    Waits(Wait),
    Answered,
    /// The answer is this error, whatever the guard has done.
    Failed(GuardError),
}

/// A token that the guard has issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The session that it was issued for.
    pub session: SessionId,
    /// The role of the session, which is its name here.
    pub name: Rc<str>,
    /// The token.
    pub token: String,
    /// The handle.
    pub handle: String,
    /// Whether the component has got it.
    pub is_delivered: bool,
}

impl Ports {
    /// Returns ports for this many calls.
    pub fn new(calls: usize, timing: Timing) -> Self {
        Self(Rc::new(State {
            timing,
            now: Cell::new(START),
            drawn: Cell::new(0),
            caller: Cell::new(None),
            requests: RefCell::new(vec![None; calls]),
            issued: RefCell::default(),
            revoked: RefCell::default(),
            is_down: Cell::new(false),
            repeated: Cell::new(None),
        }))
    }

    /// Moves the clock by this many seconds.
    pub fn move_clock(&self, seconds: i64) {
        let now = self.0.now.get();
        self.0.now.set(now.saturating_add_signed(seconds * 1_000));
    }

    /// Sets whether the guard is unavailable.
    pub fn set_down(&self, is_down: bool) {
        self.0.is_down.set(is_down);
    }

    /// Lets the guard repeat the last token, or its handle, for all later ones.
    pub fn repeat(&self, repeated: Repeated) {
        self.0.repeated.set(Some(repeated));
    }

    /// Sets whose call is polled.
    pub fn set_caller(&self, call: Option<usize>) {
        self.0.caller.set(call);
    }

    /// Returns what a call waits for, if it waits for the guard.
    pub fn wait(&self, call: usize) -> Option<Wait> {
        match self.0.requests.borrow()[call] {
            Some(Request::Waits(wait)) => Some(wait),
            _ => None,
        }
    }

    /// Lets the answer to a call arrive.
    pub fn answer(&self, call: usize) {
        self.0.requests.borrow_mut()[call] = Some(Request::Answered);
    }

    /// Lets an error arrive as the answer to a call.
    pub fn fail(&self, call: usize, error: GuardError) {
        self.0.requests.borrow_mut()[call] = Some(Request::Failed(error));
    }

    /// Returns the tokens that the guard has issued.
    pub fn issued(&self) -> Vec<Issued> {
        self.0.issued.borrow().clone()
    }

    /// Returns the name of a session, if a token was issued for it.
    pub fn name(&self, session: SessionId) -> Option<Rc<str>> {
        let issued = self.0.issued.borrow();
        let issued = issued.iter().find(|issued| issued.session == session)?;
        Some(Rc::clone(&issued.name))
    }

    /// Returns whether the guard has revoked the token with this handle.
    pub fn is_revoked(&self, handle: &str) -> bool {
        self.0.revoked.borrow().contains(handle)
    }

    /// Does what the guard is asked for, and returns the result when its answer arrives.
    async fn ask<T>(&self, wait: Wait, act: impl FnOnce() -> T) -> Result<T, GuardError> {
        if self.0.is_down.get() {
            return Err(unavailable());
        }
        let Some(call) = self.0.caller.get() else {
            return Ok(act());
        };
        let mut act = Some(act);
        let mut early = None;
        if self.0.timing == Timing::AtRequest {
            early = act.take().map(|act| act());
        }
        self.0.requests.borrow_mut()[call] = Some(Request::Waits(wait));
        let withdraw = Withdraw { ports: self, call };
        let answer = poll_fn(|_| match &self.0.requests.borrow()[call] {
            Some(Request::Waits(_)) => Poll::Pending,
            answer => Poll::Ready(answer.clone()),
        })
        .await;
        drop(withdraw);
        let is_down = matches!(answer, Some(Request::Failed(GuardError::Unavailable(_))));
        let act = act.filter(|_| !is_down);
        let result = early.or_else(|| act.map(|act| act()));
        match (answer, result) {
            (Some(Request::Answered), Some(result)) => Ok(result),
            (Some(Request::Failed(error)), _) => Err(error),
            _ => Err(unavailable()),
        }
    }

    fn claims(&self, token: &str) -> Result<Claims, GuardError> {
        let issued = self.0.issued.borrow();
        let issued = issued.iter().find(|issued| issued.token == token);
        match issued {
            None => Err(GuardError::InvalidToken),
            Some(issued) if self.is_revoked(&issued.handle) => Err(GuardError::Revoked),
            Some(issued) => Ok(Claims {
                handle: issued.handle.clone(),
                expires_at: Timestamp::MAX,
            }),
        }
    }
}

/// Returns the error of a guard that is unavailable.
pub fn unavailable() -> GuardError {
    GuardError::Unavailable("unavailable".into())
}

/// Withdraws the request of a call when its future has its answer or is dropped.
struct Withdraw<'a> {
    ports: &'a Ports,
    call: usize,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        self.ports.0.requests.borrow_mut()[self.call] = None;
    }
}

impl Guard for Ports {
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError> {
        let issue = || {
            let mut issued = self.0.issued.borrow_mut();
            let number = issued.len();
            let repeated = self.0.repeated.get().zip(issued.last());
            let (token, handle) = match repeated {
                Some((Repeated::Token, last)) => (last.token.clone(), format!("handle-{number}")),
                Some((Repeated::Handle, last)) => (format!("token-{number}"), last.handle.clone()),
                None => (format!("token-{number}"), format!("handle-{number}")),
            };
            issued.push(Issued {
                session: request.session_id,
                name: request.attributes.role.as_str().into(),
                token,
                handle,
                is_delivered: false,
            });
            number
        };
        let number = self.ask(Wait::Token, issue).await?;
        let issued = &mut self.0.issued.borrow_mut()[number];
        issued.is_delivered = true;
        Ok(IssuedToken {
            token: issued.token.clone(),
            handle: issued.handle.clone(),
            expires_at: request.expires_at,
        })
    }

    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError> {
        self.ask(Wait::Token, || self.claims(token.expose()))
            .await?
    }

    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>> {
        let claims = || {
            tokens
                .iter()
                .map(|token| self.claims(token.expose()))
                .collect()
        };
        let answer = self.ask(Wait::Token, claims).await;
        answer.unwrap_or_else(|error| vec![Err(error); tokens.len()])
    }

    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>> {
        let revoke = || {
            let mut revoked = self.0.revoked.borrow_mut();
            revoked.extend(handles.iter().map(ToString::to_string));
        };
        let answer = self.ask(Wait::Revocation, revoke).await;
        vec![answer; handles.len()]
    }
}

impl Clock for Ports {
    fn now(&self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(self.0.now.get()))
    }
}

impl Entropy for Ports {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable> {
        let block = self.0.drawn.get() + 1;
        self.0.drawn.set(block);
        for (byte, number) in bytes.iter_mut().zip(1_u64..) {
            *byte = (block.wrapping_mul(0x9e37_79b9).wrapping_add(number) & 0xff) as u8;
        }
        // Blocks of the first 65,536 differ by their first two bytes.
        for (byte, part) in bytes.iter_mut().zip(block.to_le_bytes()).take(2) {
            *byte = part;
        }
        Ok(())
    }
}
