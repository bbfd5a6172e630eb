//! The acknowledged state of sessions, and random choices.

use clawdb_session_testkit::number_in_environment;
use std::fmt;
use std::ops::AddAssign;

/// A session whose create was acknowledged.
pub struct AcknowledgedSession {
    pub id: String,
    /// The current token, or `None` if it is unknown because a refresh was in flight when the host
    /// was killed.
    pub token: Option<String>,
    /// Superseded tokens.
    pub superseded: Vec<String>,
    /// The expiry as the host formatted it, or `None` if it is unknown.
    pub expires_at: Option<String>,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Live,
    Revoked,
    /// A revoke or a logout was in flight when the host was killed.
    MaybeRevoked,
}

impl AcknowledgedSession {
    /// Returns a session whose create was acknowledged.
    pub fn created(id: String, token: String, expires_at: String) -> Self {
        Self {
            id,
            token: Some(token),
            superseded: Vec::new(),
            expires_at: Some(expires_at),
            state: State::Live,
        }
    }

    /// Begins a refresh. Returns the token that the refresh supersedes if it succeeds.
    pub fn begin_refresh(&mut self) -> Option<String> {
        self.expires_at = None;
        self.token.take()
    }

    /// Records an acknowledged refresh.
    pub fn refreshed(&mut self, before: Option<String>, token: String, expires_at: String) {
        self.superseded.extend(before);
        self.token = Some(token);
        self.expires_at = Some(expires_at);
    }

    /// Checks whether the session is live against the acknowledged state. Records whether a revoke
    /// that was in flight took effect.
    pub fn observe(&mut self, is_live: bool) {
        if self.state == State::MaybeRevoked {
            self.state = if is_live { State::Live } else { State::Revoked };
        }
        let lives = self.state == State::Live;
        assert_eq!(is_live, lives, "{} was {:?}", self.id, self.state);
    }

    /// Returns each known token, and whether it is valid.
    pub fn tokens(&self) -> Vec<(String, bool)> {
        let lives = self.state == State::Live;
        let current = self.token.iter().map(|token| (token.clone(), lives));
        let superseded = self.superseded.iter().map(|token| (token.clone(), false));
        current.chain(superseded).collect()
    }
}

/// The numbers of acknowledged changes and of checks.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkCounts {
    pub created: u64,
    pub refreshed: u64,
    pub revoked: u64,
    pub logged_out: u64,
    pub checked: u64,
}

impl WorkCounts {
    pub fn acknowledged(&self) -> u64 {
        self.created + self.refreshed + self.revoked + self.logged_out
    }
}

impl AddAssign for WorkCounts {
    fn add_assign(&mut self, other: Self) {
        self.created += other.created;
        self.refreshed += other.refreshed;
        self.revoked += other.revoked;
        self.logged_out += other.logged_out;
        self.checked += other.checked;
    }
}

impl fmt::Display for WorkCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} changes acknowledged ({} creates, {} refreshes, {} revokes, {} logouts), \
             {} checks, 0 lost",
            self.acknowledged(),
            self.created,
            self.refreshed,
            self.revoked,
            self.logged_out,
            self.checked
        )
    }
}

/// Random choices that can be repeated with the same seed.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let seed = number_in_environment("SESSION_CRASH_SEED");
        let seed = seed.unwrap_or_else(|| getrandom::u64().expect("the system has random bytes"));
        println!("SESSION_CRASH_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Returns a generator of other choices.
    pub fn fork(&mut self) -> Self {
        Self(self.below(1 << 31) << 31 | self.below(1 << 31))
    }

    pub fn agent(&mut self) -> String {
        format!("0a9e0000-0000-4000-8000-{:012x}", self.below(1 << 31))
    }

    /// Returns a random index below `count`, or `None` if `count` is 0.
    pub fn pick(&mut self, count: usize) -> Option<usize> {
        let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
        usize::try_from(self.below(count)).ok()
    }

    /// Returns whether to choose an item, so that about 40 of `count` items are chosen.
    pub fn some(&mut self, count: usize) -> bool {
        self.pick(count).is_some_and(|at| at < 40)
    }
}
