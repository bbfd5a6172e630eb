//! The fixture of tests: an instance of the component, with a guard, a clock and a random source
//! that tests control.

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::iter;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_host::{
    CallError, Claims, Clock, Config, CreateRequest, Denial, EndReason, Event, EventKind, Grant,
    Guard, GuardError, GuardResult, HostOptions, Instant, IssueRequest, IssuedToken, Page,
    Revocation, Session, SessionEngine, SessionError, SessionHost, Statistics,
};
use futures::poll;

use crate::clock::ManualClock;
use crate::control::{ControlledGuard, GuardFunction, GuardMode};
use crate::entropy::ControlledEntropy;
use crate::exec::CONTROLLED_START;

/// The id of an agent.
pub const AGENT: &str = "0a9e0000-0000-4000-8000-000000000001";
/// The id of another agent.
pub const OTHER_AGENT: &str = "0a9e0000-0000-4000-8000-000000000002";
/// The id of a session that never existed.
pub const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Returns the component, which is compiled once for all tests of a process.
pub fn engine() -> &'static SessionEngine {
    static ENGINE: OnceLock<SessionEngine> = OnceLock::new();
    ENGINE.get_or_init(|| SessionEngine::new().expect("the component compiles"))
}

/// An instance of the component with its controls.
pub struct Fixture {
    pub host: SessionHost,
    pub guard: Arc<ControlledGuard>,
    /// The guard that `guard` wraps.
    pub tokens: Arc<PlainGuard>,
    pub clock: Arc<ManualClock>,
    pub entropy: Arc<ControlledEntropy>,
}

impl Fixture {
    /// Starts an instance with the default configuration.
    pub async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let tokens = Arc::new(PlainGuard::default());
        let guard = Arc::new(ControlledGuard::new(tokens.clone()));
        let entropy = Arc::new(ControlledEntropy::default());
        Self::over(clock, tokens, guard, entropy).await
    }

    /// Starts another instance, without sessions, with the same guard, clock and random source.
    pub async fn another(&self, config: Config) -> Self {
        let (clock, tokens) = (self.clock.clone(), self.tokens.clone());
        let fixture = Self::over(clock, tokens, self.guard.clone(), self.entropy.clone()).await;
        let configured = fixture.host.configure(config).await;
        configured.expect("the configuration is accepted");
        fixture
    }

    async fn over(
        clock: Arc<ManualClock>,
        tokens: Arc<PlainGuard>,
        guard: Arc<ControlledGuard>,
        entropy: Arc<ControlledEntropy>,
    ) -> Self {
        let options = HostOptions {
            clock: clock.clone(),
            entropy: entropy.clone(),
            guard_deadline: None,
            ..HostOptions::with_shared_guard(guard.clone())
        };
        let host = SessionHost::start(engine(), options)
            .await
            .expect("the component starts");
        Self {
            host,
            guard,
            tokens,
            clock,
            entropy,
        }
    }

    /// Starts an instance with this configuration.
    pub async fn configured(config: Config) -> Self {
        let fixture = Self::new().await;
        fixture
            .host
            .configure(config)
            .await
            .expect("the configuration is accepted");
        fixture
    }

    /// Creates a session of [`AGENT`] with a lifetime of 60 s.
    pub async fn session(&self) -> Grant {
        self.session_of(AGENT).await
    }

    /// Creates a session of an agent with a lifetime of 60 s.
    pub async fn session_of(&self, agent: &str) -> Grant {
        self.host
            .create(request(agent))
            .await
            .expect("a session is created")
    }

    /// Creates a session of [`OTHER_AGENT`] below another one, with the scopes and lifetime of
    /// [`request`].
    pub async fn child(&self, parent: &Grant) -> Grant {
        self.delegated(parent, request(OTHER_AGENT)).await
    }

    /// Creates a session below another one.
    pub async fn delegated(&self, parent: &Grant, request: CreateRequest) -> Grant {
        let child = self.host.delegate(&*parent.session.id, request).await;
        child.expect("a session is delegated")
    }

    /// Begins a call and waits until it waits for the guard, which must be held. Later calls
    /// overlap it.
    pub async fn start<T>(&self, call: impl Future<Output = T> + Send + 'static) -> InFlight<T> {
        let mut call: InFlight<T> = Box::pin(call);
        assert!(
            poll!(&mut call).is_pending(),
            "the call ended before it was sent"
        );
        self.host
            .wait_until_idle()
            .await
            .expect("the instance runs");
        assert!(
            poll!(&mut call).is_pending(),
            "the call ended without waiting for the guard"
        );
        call
    }

    /// Begins a create that waits for the guard.
    pub async fn start_create(&self, request: CreateRequest) -> InFlight<Result<Grant, CallError>> {
        let host = self.host.clone();
        self.start(async move { host.create(request).await }).await
    }

    /// Begins a delegation that waits for the guard.
    pub async fn start_delegate(
        &self,
        parent: &Grant,
        request: CreateRequest,
    ) -> InFlight<Result<Grant, CallError>> {
        let (host, id) = (self.host.clone(), parent.session.id.clone());
        self.start(async move { host.delegate(id, request).await })
            .await
    }

    /// Begins a rotation that waits for the guard.
    pub async fn start_rotate(&self, grant: &Grant) -> InFlight<Result<Grant, CallError>> {
        let (host, token) = (self.host.clone(), grant.token.clone());
        self.start(async move { host.rotate(token).await }).await
    }

    /// Begins a refresh that waits for the guard.
    pub async fn start_refresh(&self, grant: &Grant) -> InFlight<Result<Grant, CallError>> {
        let (host, id) = (self.host.clone(), grant.session.id.clone());
        self.start(async move { host.refresh(id).await }).await
    }

    /// Begins a validation that waits for the guard.
    pub async fn start_validate(&self, grant: &Grant) -> InFlight<Result<Session, CallError>> {
        let (host, token) = (self.host.clone(), grant.token.clone());
        self.start(async move { host.validate(token).await }).await
    }

    /// Begins a revocation that waits for the guard.
    pub async fn start_revoke(&self, grant: &Grant) -> InFlight<Result<Revocation, CallError>> {
        let (host, id) = (self.host.clone(), grant.session.id.clone());
        self.start(async move { host.revoke(id).await }).await
    }

    /// Makes the calls of a function of the guard wait.
    pub fn hold(&self, function: GuardFunction) {
        self.guard.set(function, GuardMode::Hold);
    }

    /// Ends the wait of all calls of the guard.
    pub fn release(&self) {
        self.guard.set_all(GuardMode::Ok);
    }

    /// Moves the clock by this many seconds, backwards if they are negative.
    pub fn advance(&self, seconds: f64) {
        if seconds < 0.0 {
            self.clock.rewind(Duration::from_secs_f64(-seconds));
        } else {
            self.clock.advance(Duration::from_secs_f64(seconds));
        }
    }

    /// Returns the time of the clock, in milliseconds since 1970.
    pub fn now(&self) -> u64 {
        self.clock.now_millis()
    }

    pub async fn stats(&self) -> Statistics {
        self.host.stats().await.expect("the instance runs")
    }

    /// Returns all events, at most 1,000.
    pub async fn events(&self) -> Vec<Event> {
        self.host
            .poll_events(0, 1_000)
            .await
            .expect("the events are returned")
            .events
    }

    /// Returns the reasons of the `ended` events of a session, in order.
    pub async fn ends_of(&self, session_id: &str) -> Vec<EndReason> {
        let events = self
            .events()
            .await
            .into_iter()
            .filter(|event| event.session_id == session_id);
        events
            .filter_map(|event| match event.kind {
                EventKind::Ended(reason) => Some(reason),
                _ => None,
            })
            .collect()
    }

    /// Returns the reasons of the `denied` events of a session, in order.
    pub async fn denials_of(&self, session_id: &str) -> Vec<Denial> {
        let events = self.events().await.into_iter();
        let of_session = events.filter(|event| event.session_id == session_id);
        of_session
            .filter_map(|event| match event.kind {
                EventKind::Denied(denial) => Some(denial),
                _ => None,
            })
            .collect()
    }

    /// Rotates the token of a session.
    ///
    /// # Panics
    /// Panics if the instance has ended.
    pub async fn rotate(&self, grant: &Grant) -> Result<Grant, SessionError> {
        match self.host.rotate(&*grant.token).await {
            Ok(rotated) => Ok(rotated),
            Err(CallError::Session(error)) => Err(error),
            Err(CallError::Host(error)) => panic!("{error}"),
        }
    }

    /// Validates the token of a session, and checks that it is the token of that session.
    ///
    /// # Panics
    /// Panics if the instance has ended.
    pub async fn validate(&self, grant: &Grant) -> Result<(), SessionError> {
        match self.host.validate(&*grant.token).await {
            Ok(session) => {
                assert_eq!(session.id, grant.session.id);
                Ok(())
            }
            Err(CallError::Session(error)) => Err(error),
            Err(CallError::Host(error)) => panic!("{error}"),
        }
    }

    /// Returns the ids of the live sessions of an agent, at most 100.
    pub async fn ids_of(&self, agent: &str) -> Vec<String> {
        let page = self
            .host
            .list_for_agent(agent, Page::default())
            .await
            .expect("the page is returned");
        page.sessions
            .into_iter()
            .map(|session| session.id)
            .collect()
    }
}

/// A call in flight.
pub type InFlight<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Returns a request for a session of an agent with two scopes and a lifetime of 60 s.
pub fn request(agent: &str) -> CreateRequest {
    CreateRequest::new(agent, "worker")
        .with_scopes(["memory:read", "tool:search"])
        .with_lifetime(Duration::from_mins(1))
}

/// Returns the time that is this many seconds after 1970-01-01T00:00:00Z.
pub fn at(seconds: i64) -> Instant {
    Instant {
        seconds,
        nanoseconds: 0,
    }
}

/// Returns the component's error of a call that it refused.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, CallError>) -> SessionError {
    match answer {
        Err(CallError::Session(error)) => error,
        answer => panic!("a refusal was expected, not {answer:?}"),
    }
}

/// Returns the field of an `invalid-argument`.
pub fn invalid_field<T: std::fmt::Debug>(answer: Result<T, CallError>) -> String {
    match refusal(answer) {
        SessionError::InvalidArgument(argument) => {
            assert!(!argument.reason.is_empty());
            argument.field
        }
        error => panic!("an invalid argument was expected, not {error:?}"),
    }
}

/// A change of a token that the guard issues.
type TokenChange = Box<dyn FnOnce(IssuedToken) -> IssuedToken + Send>;

/// A guard with numbered tokens. It records its requests and revocations, and tests can change its
/// answers.
#[derive(Default)]
pub struct PlainGuard(Mutex<PlainGuardState>);

#[derive(Default)]
struct PlainGuardState {
    requests: Vec<IssueRequest>,
    claims: HashMap<String, Claims>,
    revoked: Vec<String>,
    token_changes: VecDeque<TokenChange>,
    unrevocable: HashSet<String>,
    claims_expire: Option<u64>,
}

impl PlainGuard {
    /// Returns the requests for tokens, in order.
    pub fn requests(&self) -> Vec<IssueRequest> {
        self.lock().requests.clone()
    }

    /// Returns the handle that a token was issued with.
    pub fn handle_of(&self, token: &str) -> String {
        self.lock().claims[token].handle.clone()
    }

    /// Returns the handles that were revoked, in order.
    pub fn revoked(&self) -> Vec<String> {
        self.lock().revoked.clone()
    }

    /// Makes each later revocation of one of these handles `unavailable`.
    pub fn refuse_to_revoke(&self, handles: impl Iterator<Item = String>) {
        self.lock().unrevocable.extend(handles);
    }

    /// Changes the next token that is issued. A second call changes the token after it.
    pub fn alter_next_token(
        &self,
        change: impl FnOnce(IssuedToken) -> IssuedToken + Send + 'static,
    ) {
        self.lock().token_changes.push_back(Box::new(change));
    }

    /// Makes the claims of every token name this expiry, in milliseconds since 1970.
    pub fn let_claims_expire(&self, at: u64) {
        self.lock().claims_expire = Some(at);
    }

    fn lock(&self) -> MutexGuard<'_, PlainGuardState> {
        self.0.lock().expect("no thread panicked with the lock")
    }

    /// Returns the claims of a token, or the error of its validation.
    pub fn claims_of(&self, token: &str) -> Result<Claims, GuardError> {
        let plain = self.lock();
        let claims = plain.claims.get(token).cloned();
        let mut claims = claims.ok_or(GuardError::InvalidToken)?;
        if plain.revoked.contains(&claims.handle) {
            return Err(GuardError::Revoked);
        }
        claims.expires_at = plain.claims_expire.unwrap_or(claims.expires_at);
        Ok(claims)
    }
}

#[async_trait]
impl Guard for PlainGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let mut plain = self.lock();
        let number = plain.requests.len();
        let expires_at = request.expires_at;
        plain.requests.push(request);
        let issued = IssuedToken {
            token: format!("token-number-{number}"),
            handle: format!("handle-{number}"),
            expires_at,
        };
        let issued = match plain.token_changes.pop_front() {
            Some(change) => change(issued),
            None => issued,
        };
        let claims = Claims {
            handle: issued.handle.clone(),
            expires_at: issued.expires_at,
        };
        plain.claims.entry(issued.token.clone()).or_insert(claims);
        Ok(issued)
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        Ok(self.claims_of(&token)?)
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        let mut plain = self.lock();
        if plain.unrevocable.contains(&handle) {
            return Err(GuardError::Unavailable("this token cannot be revoked".into()).into());
        }
        plain.revoked.push(handle);
        Ok(())
    }
}

/// Returns the texts of an error and of its sources.
///
/// # Panics
///
/// Panics if one of the texts contains that of a later source.
#[must_use]
pub fn chain_texts(error: &(dyn Error + 'static)) -> Vec<String> {
    let chain = iter::successors(Some(error), |error| (*error).source());
    let texts: Vec<String> = chain.map(ToString::to_string).collect();
    for (at, text) in texts.iter().enumerate() {
        for source in &texts[at + 1..] {
            assert!(
                !text.contains(source),
                "{text:?} repeats its source {source:?}"
            );
        }
    }
    texts
}
