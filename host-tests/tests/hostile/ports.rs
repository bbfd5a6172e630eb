//! A guard, a clock and a random source that misbehave until they are told to stop.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_host::{
    AnySessions, Claims, Clock, Entropy, Guard, GuardError, GuardResult, Instant, IssueRequest,
    IssuedToken, World,
};
use clawdb_session_testkit::{
    CONTROLLED_START, ControlledEntropy, EntropyMode, ManualClock, Random,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::calls::{Answer, Call};

/// Which ports misbehave.
#[derive(Clone, Copy, Default)]
pub struct Hostility {
    pub guard: bool,
    pub clock: bool,
    pub entropy: bool,
}

/// Texts that a guard can give as a token, a handle or a reason.
const ODD_TEXTS: [&str; 8] = [
    "",
    "\0",
    "a b",
    "\"\\",
    "\u{202e}x",
    "\u{1f600}",
    "{}",
    "\r\n",
];
/// Lengths at and beyond the bounds of handles and tokens.
const LENGTHS: [usize; 6] = [1, 512, 513, 8_192, 8_193, 1 << 20];

/// When a port misbehaves: at random, until it is told to stop.
struct Misbehaviour {
    random: Random,
    is_on: AtomicBool,
}

impl Misbehaviour {
    fn new(seed: u64, is_on: bool) -> Self {
        Self {
            random: Random::new(seed),
            is_on: AtomicBool::new(is_on),
        }
    }

    fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
    }

    /// Returns whether the port misbehaves now: once in this many times.
    fn once_in(&self, times: usize) -> bool {
        self.is_on.load(Ordering::Relaxed) && self.random.once_in(times)
    }
}

/// A guard that keeps its tokens, and gives other answers than it should.
pub struct HostileGuard {
    world: World,
    misbehaviour: Misbehaviour,
    clock: Arc<HostileClock>,
    state: Mutex<State>,
    /// The instance, which the guard calls.
    pub instance: OnceLock<AnySessions>,
    /// The guard's own calls of the instance.
    calls: Mutex<JoinSet<Answer>>,
    /// What those of them returned that have ended.
    answers: Mutex<Vec<Answer>>,
}

#[derive(Default)]
struct State {
    issued: Vec<IssuedToken>,
    handles: HashMap<String, String>,
    /// The sessions for which tokens were requested.
    sessions: Vec<String>,
    /// For each token, the sessions that it was issued for, and its handles for each of them:
    /// several, if the token was repeated.
    issued_for: HashMap<String, HashMap<String, HashSet<String>>>,
    /// The validations of each token in the current batch of calls.
    validations: HashMap<String, Vec<Validation>>,
}

/// A success that the guard has returned for a token.
struct Validation {
    claims: Claims,
    /// The component's time is not earlier than this when it receives the claims.
    earliest: u64,
}

impl HostileGuard {
    pub fn new(world: World, seed: u64, is_hostile: bool, clock: Arc<HostileClock>) -> Self {
        Self {
            world,
            misbehaviour: Misbehaviour::new(seed, is_hostile),
            clock,
            state: Mutex::default(),
            instance: OnceLock::new(),
            calls: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    /// Returns whether the token was issued for the session.
    pub fn has_issued(&self, token: &str, session: &str) -> bool {
        let issued_for = &self.state.lock().unwrap().issued_for;
        let sessions = issued_for.get(token);
        sessions.is_some_and(|sessions| sessions.contains_key(session))
    }

    /// Returns how often the guard has validated the token in the current batch of calls, with a
    /// handle that it was issued with for the session, and an expiry that had not passed.
    pub fn count_validations(&self, token: &str, session: &str) -> usize {
        let state = self.state.lock().unwrap();
        let issued_for = state.issued_for.get(token);
        let handles = issued_for.and_then(|sessions| sessions.get(session));
        let (Some(handles), Some(validations)) = (handles, state.validations.get(token)) else {
            return 0;
        };
        let is_right = |Validation { claims, earliest }: &&Validation| {
            handles.contains(&claims.handle) && claims.expires_at > *earliest
        };
        validations.iter().filter(is_right).count()
    }

    /// Removes the validations of the current batch of calls, after all of its calls have ended.
    pub fn forget_validations(&self) {
        self.state.lock().unwrap().validations.clear();
    }

    /// Ignores the times that the clock has shown so far, because the component has accepted an
    /// earlier time at some point of the current batch of calls.
    pub fn ignore_earlier_times(&self) {
        self.clock.latest.store(0, Ordering::SeqCst);
        let validations = &mut self.state.lock().unwrap().validations;
        for validation in validations.values_mut().flatten() {
            validation.earliest = 0;
        }
    }

    /// Remembers claims that the guard returns for a token.
    fn remember(&self, token: String, claims: Claims) {
        let validation = Validation {
            claims,
            earliest: self.clock.latest_millis(),
        };
        let validations = &mut self.state.lock().unwrap().validations;
        validations.entry(token).or_default().push(validation);
    }

    /// Waits until the guard's own calls have ended, and returns what they have returned.
    pub async fn finish_calls(&self) -> Vec<Answer> {
        loop {
            let calls = std::mem::take(&mut *self.calls.lock().unwrap());
            if calls.is_empty() {
                return std::mem::take(&mut *self.answers.lock().unwrap());
            }
            let answers = calls.join_all().await;
            self.answers.lock().unwrap().extend(answers);
        }
    }

    pub fn behave(&self) {
        self.misbehaviour.stop();
    }

    fn misbehaves(&self) -> bool {
        self.misbehaviour.once_in(2)
    }

    /// Fails in a way that any function can.
    async fn fail<T>(&self) -> GuardResult<T> {
        match self.misbehaviour.random.below(12) {
            0 => panic!("a guard that panics"),
            1 => std::future::pending().await,
            _ => Err(self.error().into()),
        }
    }

    fn error(&self) -> GuardError {
        match self.misbehaviour.random.below(10) {
            0..=3 => GuardError::Unavailable(self.text()),
            4 => GuardError::InvalidToken,
            5 => GuardError::Expired,
            6 => GuardError::Revoked,
            _ => GuardError::Denied(self.text()),
        }
    }

    /// Returns the claims of a token, or others.
    fn claims(&self, token: &str) -> Claims {
        let handle = self.state.lock().unwrap().handles.get(token).cloned();
        let mut claims = Claims {
            handle: handle.unwrap_or_default(),
            expires_at: u64::MAX,
        };
        if self.misbehaviour.once_in(3) {
            match self.misbehaviour.random.below(3) {
                0 => claims.handle = self.text(),
                1 => claims.handle = self.earlier().map(|it| it.handle).unwrap_or_default(),
                _ => claims.expires_at = self.expiry(0),
            }
        }
        claims
    }

    /// Calls the instance, as a function of a guard can.
    async fn call_back(&self) {
        if !self.misbehaviour.once_in(8) {
            return;
        }
        let Some(instance) = self.instance.get().cloned() else {
            return;
        };
        let token = self.earlier().map(|it| it.token);
        let call = Call::pick(
            &self.misbehaviour.random,
            &self.state.lock().unwrap().sessions,
            token.as_slice(),
        );
        if self.world == World::SessionSync {
            // The instance holds this thread until the guard has answered.
            let answer = call.make(instance).await;
            self.answers.lock().unwrap().push(answer);
            return;
        }
        let (ended, has_ended) = oneshot::channel();
        self.calls.lock().unwrap().spawn(async move {
            let answer = call.make(instance).await;
            // The guard no longer waits if its own deadline has passed.
            let _ = ended.send(());
            answer
        });
        let _ = has_ended.await;
    }

    fn text(&self) -> String {
        match self.misbehaviour.random.below(4) {
            0 => "x".repeat(*self.misbehaviour.random.pick(&LENGTHS).unwrap()),
            _ => (*self.misbehaviour.random.pick(&ODD_TEXTS).unwrap()).into(),
        }
    }

    fn earlier(&self) -> Option<IssuedToken> {
        let issued = &self.state.lock().unwrap().issued;
        self.misbehaviour.random.pick(issued).cloned()
    }

    fn expiry(&self, requested: u64) -> u64 {
        let now = self.clock.latest_millis();
        let expiries = [
            0,
            1,
            now.saturating_sub(1),
            now,
            now + 1,
            requested + 1,
            u64::MAX,
        ];
        *self.misbehaviour.random.pick(&expiries).unwrap()
    }

    /// Changes the length or the order of a batch.
    fn disturb<T: Clone>(&self, results: &mut Vec<T>) {
        match self.misbehaviour.random.below(8) {
            0 => drop(results.pop()),
            1 => results.extend(results.first().cloned()),
            2 => results.clear(),
            3 => results.reverse(),
            _ => {}
        }
    }
}

#[async_trait]
impl Guard for HostileGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let session = request.session_id;
        self.state.lock().unwrap().sessions.push(session.clone());
        self.call_back().await;
        let id = uuid::Uuid::new_v4();
        let mut issued = IssuedToken {
            token: format!("token-{id}"),
            handle: format!("handle-{id}"),
            expires_at: request.expires_at,
        };
        if self.misbehaves() {
            match self.misbehaviour.random.below(6) {
                0 => issued.expires_at = self.expiry(request.expires_at),
                1 => issued.token = self.text(),
                2 => issued.handle = self.text(),
                3 => issued = self.earlier().unwrap_or(issued),
                4 => issued.handle = self.earlier().unwrap_or(issued.clone()).handle,
                _ => return self.fail().await,
            }
        }
        let mut state = self.state.lock().unwrap();
        state
            .handles
            .insert(issued.token.clone(), issued.handle.clone());
        state.issued.push(issued.clone());
        let issued_for = state.issued_for.entry(issued.token.clone()).or_default();
        let handles = issued_for.entry(session).or_default();
        handles.insert(issued.handle.clone());
        Ok(issued)
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.call_back().await;
        if self.misbehaviour.once_in(8) {
            return self.fail().await;
        }
        let claims = self.claims(&token);
        self.remember(token, claims.clone());
        Ok(claims)
    }

    async fn revoke_token(&self, _handle: String) -> GuardResult<()> {
        self.call_back().await;
        if self.misbehaves() {
            return self.fail().await;
        }
        Ok(())
    }

    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        self.call_back().await;
        if self.misbehaviour.once_in(4) {
            return self.fail().await;
        }
        let result = |token: &String| {
            if self.misbehaviour.once_in(8) {
                Err(self.error())
            } else {
                Ok(self.claims(token))
            }
        };
        let mut results: Vec<_> = tokens.iter().map(result).collect();
        if self.misbehaves() {
            self.disturb(&mut results);
        }
        // An answer of another length validates no token.
        if results.len() == tokens.len() {
            for (token, result) in tokens.into_iter().zip(&results) {
                if let Ok(claims) = result {
                    self.remember(token, claims.clone());
                }
            }
        }
        Ok(results)
    }

    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        self.call_back().await;
        if self.misbehaviour.once_in(4) {
            return self.fail().await;
        }
        let mut results = vec![Ok(()); handles.len()];
        if self.misbehaves() {
            for result in &mut results {
                if self.misbehaviour.random.once_in(3) {
                    *result = Err(GuardError::Unavailable(self.text()));
                }
            }
            self.disturb(&mut results);
        }
        Ok(results)
    }
}

/// The seconds of a year.
const YEAR: i64 = 31_556_952;
/// 2020-01-01T00:00:00Z. The component ignores earlier readings.
const EARLIEST: i64 = 1_577_836_800;
/// The last second of the year 9999, the latest time that the component knows.
const LATEST: i64 = 253_402_300_799;

/// A clock that shows other times than it should.
pub struct HostileClock {
    misbehaviour: Misbehaviour,
    right: ManualClock,
    /// The latest time that it has shown of those that the component does not ignore, in
    /// milliseconds since 1970.
    latest: AtomicU64,
}

impl HostileClock {
    pub fn new(seed: u64, is_hostile: bool) -> Self {
        Self {
            misbehaviour: Misbehaviour::new(seed, is_hostile),
            right: ManualClock::new(CONTROLLED_START),
            latest: AtomicU64::new(0),
        }
    }

    pub fn behave(&self) {
        self.misbehaviour.stop();
    }

    pub fn advance(&self, by: Duration) {
        self.right.advance(by);
    }

    /// Returns the latest time that the component has read, or 0 if it has accepted an earlier time
    /// and has read none since then. The component's time is not earlier.
    fn latest_millis(&self) -> u64 {
        self.latest.load(Ordering::SeqCst)
    }

    /// Returns a reading that is wrong, or is no time.
    fn wrong(&self, right: Instant) -> Instant {
        let random = &self.misbehaviour.random;
        let years = |bound| i64::try_from(random.below(bound)).unwrap() * YEAR;
        let odd = [
            0,
            1,
            -1,
            i64::MIN,
            EARLIEST - 1,
            EARLIEST,
            right.seconds - 1,
            right.seconds + 1,
        ];
        let mut seconds = match random.below(4) {
            0 => *random.pick(&odd).unwrap(),
            // Most of these times are after 2020.
            1 => right.seconds - years(12),
            2 => right.seconds,
            _ => right.seconds - 600,
        };
        // A jump ahead is rare, because it ends all sessions.
        if random.once_in(50) {
            seconds = match random.below(6) {
                0 => i64::MAX,
                1 => LATEST + 1,
                2 => LATEST,
                _ => right.seconds + YEAR + years(40),
            };
        }
        let nanoseconds = match random.below(8) {
            0 => *random.pick(&[1_000_000_000, u32::MAX]).unwrap(),
            1 => *random.pick(&[0, 999_999, 1_000_000, 999_999_999]).unwrap(),
            _ => right.nanoseconds,
        };
        Instant {
            seconds,
            nanoseconds,
        }
    }
}

impl Clock for HostileClock {
    fn now(&self) -> Instant {
        let mut now = self.right.now();
        if self.misbehaviour.once_in(6) {
            now = self.wrong(now);
        }
        if (EARLIEST..=LATEST).contains(&now.seconds) && now.nanoseconds < 1_000_000_000 {
            let millis =
                now.seconds.unsigned_abs() * 1_000 + u64::from(now.nanoseconds / 1_000_000);
            self.latest.fetch_max(millis, Ordering::SeqCst);
        }
        now
    }
}

/// A random source whose mode changes.
pub struct HostileEntropy {
    misbehaviour: Misbehaviour,
    source: ControlledEntropy,
}

impl HostileEntropy {
    pub fn new(seed: u64, is_hostile: bool) -> Self {
        Self {
            misbehaviour: Misbehaviour::new(seed, is_hostile),
            source: ControlledEntropy::default(),
        }
    }

    pub fn behave(&self) {
        self.misbehaviour.stop();
    }
}

impl Entropy for HostileEntropy {
    fn bytes(&self, max: u64) -> Vec<u8> {
        let modes = [
            EntropyMode::Random,
            EntropyMode::Repeat,
            EntropyMode::Short(1),
            EntropyMode::Empty,
        ];
        let mode = if self.misbehaviour.once_in(1) {
            *self.misbehaviour.random.pick(&modes).unwrap()
        } else {
            EntropyMode::Random
        };
        self.source.set(mode);
        self.source.bytes(max)
    }
}
