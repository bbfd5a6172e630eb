//! The expected behaviour of the component, written to be read and not to be fast: one list has all
//! sessions that were ever created, and each function searches all of it.
//!
//! A call is one `begin`, and one `resume` for each answer of the guard. Other calls can run in
//! between.

use std::collections::BTreeSet;

use clawdb_session_host::{
    Denial, Duplicate, EndReason, EventKind, GuardError, Limit, SessionError,
};

/// The number of a session, in the order of creation.
pub type Number = usize;
/// The number of a token, in the order in which the guard issued them.
pub type TokenNumber = usize;

/// The limits of a run. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Limits {
    pub default_ttl: u64,
    pub max_lifetime: u64,
    pub max_sessions: usize,
    pub max_per_agent: usize,
    pub evict: bool,
    pub max_per_root: usize,
    pub max_depth: usize,
    pub grace: u64,
    pub idle: Option<u64>,
    /// How long a validation by the guard is cached.
    pub recheck_interval: Option<u64>,
    /// The largest lag of the host's clock with which calls set or extend an expiry.
    pub tolerance: u64,
}

/// The request for a session.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    pub agent: u8,
    pub role: u8,
    pub scopes: Vec<&'static str>,
    /// The lifetime in milliseconds, or the default if `None`.
    pub lifetime: Option<u64>,
    pub uses: Option<u32>,
}

/// A call of the component.
#[derive(Clone, Debug)]
pub enum Call {
    Create(SessionSpec, Option<Number>),
    Use(Option<TokenNumber>, Option<&'static str>),
    UseMany(Vec<Option<TokenNumber>>),
    Rotate(Option<TokenNumber>),
    Refresh(Number),
    Touch(Number),
    Get(Number),
    Revoke(Number),
    LogOut(Option<TokenNumber>),
    Invalidate(Number),
    RevokeAll(Filter),
    Flush,
    /// A flush of stored revocations. `records` are those that have not changed after `stored`: the
    /// handles of the revocations in each. Both are `None` if all changes are stored.
    FlushStored {
        stored: Option<u64>,
        records: Option<Vec<Vec<TokenNumber>>>,
    },
    List(u8),
    Prune(u32),
    AcceptClock,
}

#[derive(Clone, Copy, Debug)]
pub enum Filter {
    Everything,
    Agent(u8),
    Role(u8),
    Root(Number),
}

/// The answer of the guard to a request for a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Issue {
    /// A token that expires this many milliseconds after the requested expiry, or before it if
    /// negative.
    Grant(i64),
    /// A token that has expired.
    Expired,
    /// A token with the handle of the token before it.
    SameHandle,
    /// The token before it, with a new handle.
    SameToken,
    Deny,
    Unavailable,
}

/// The answer of the guard to the validation of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// The true state of the token.
    Truth,
    /// The error `revoked`, although the token was not revoked.
    Revoked,
    WrongHandle,
    Deny,
    Unavailable,
}

/// The answer of the guard to a revocation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Confirm {
    /// The token is revoked.
    Done,
    /// These errors count as confirmed: the token was revoked before, or has expired.
    Revoked,
    Expired,
    Deny,
    Unavailable,
}

/// The answer of the guard about many items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Many {
    /// The same answer about each as about a single one.
    Each,
    /// These answers about each item whose number modulo 3 is `rest`, and the truth about the
    /// others.
    Third {
        rest: usize,
        check: Check,
        confirm: Confirm,
    },
    /// The truth about each item, but one result too few.
    Short,
}

/// The answers of the guard to each kind of question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answers {
    pub issue: Issue,
    pub check: Check,
    pub confirm: Confirm,
    pub many: Many,
}

impl Answers {
    /// The guard issues, validates and revokes without errors.
    pub const RIGHT: Self = Self {
        issue: Issue::Grant(0),
        check: Check::Truth,
        confirm: Confirm::Done,
        many: Many::Each,
    };

    pub fn is_short(&self) -> bool {
        matches!(self.many, Many::Short)
    }

    /// Returns the answer about one of many tokens.
    pub fn check_of(&self, token: TokenNumber) -> Check {
        match self.many {
            Many::Each => self.check,
            Many::Third { rest, check, .. } if token % 3 == rest => check,
            _ => Check::Truth,
        }
    }

    /// Returns the answer about the revocation of one of many handles.
    pub fn confirm_of(&self, handle: TokenNumber) -> Confirm {
        match self.many {
            Many::Each => self.confirm,
            Many::Third { rest, confirm, .. } if handle % 3 == rest => confirm,
            _ => Confirm::Done,
        }
    }
}

/// A question to the guard.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// To issue a token.
    Issue,
    /// To validate one token.
    Token(TokenNumber),
    /// To validate many tokens, in this order.
    Tokens(Vec<TokenNumber>),
    /// To revoke the tokens with these handles, in the order of their numbers.
    Revoke(Vec<TokenNumber>),
}

/// The answer of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum CallResult {
    Session(View),
    Many(Vec<Result<View, SessionError>>),
    Grant(View, TokenNumber),
    Nothing,
    Count(u32),
    Revocation {
        number: Number,
        /// The guard's error for the session's own token.
        error: Option<GuardError>,
        descendants: u32,
    },
    Flush {
        settled: u32,
        pending: u32,
    },
    Sessions(Vec<Number>),
    Error(SessionError),
}

/// The fields of a session that a call returns.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub number: Number,
    pub agent: u8,
    pub role: u8,
    pub scopes: Vec<String>,
    pub created_at: u64,
    pub expires_at: u64,
    pub parent: Option<Number>,
    pub root: Number,
    pub generation: u64,
    pub uses_left: Option<u32>,
}

/// An event without its time and sequence number.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelEvent {
    pub number: Number,
    pub agent: u8,
    pub parent: Option<Number>,
    pub root: Number,
    pub generation: u64,
    pub kind: EventKind,
}

/// A call that waits for the guard, with what it needs to continue.
#[derive(Clone, Debug)]
pub enum Waiting {
    /// A create or a delegation waits for the token of the new session.
    Create {
        spec: SessionSpec,
        parent: Option<Number>,
        created_at: u64,
        wanted: u64,
        /// The number of cut-offs when the call began.
        cutoffs_before: usize,
    },
    /// A use waits for the validation of its token.
    Use {
        number: Number,
        token: TokenNumber,
        scope: Option<&'static str>,
        asked_at: u64,
    },
    /// A use of many sessions waits for the validation of some of the tokens.
    UseMany {
        items: Vec<Result<Item, SessionError>>,
        /// The indexes of the items that the guard validates.
        asked: Vec<usize>,
        asked_at: u64,
    },
    Rotate {
        number: Number,
        token: TokenNumber,
        asked_at: u64,
    },
    /// A refresh or a rotation waits for the new token.
    Renew {
        number: Number,
        token: TokenNumber,
        replacement: Replacement,
        wanted: u64,
    },
    /// A call waits for the revocation of tokens, in one call of the guard.
    Revoke {
        tokens: Vec<TokenNumber>,
        then: Then,
    },
}

/// One of many tokens that were presented.
#[derive(Clone, Debug)]
pub struct Item {
    number: Number,
    token: TokenNumber,
    /// When the guard was asked about the token, and its answer, or `None` if it was not asked.
    verdict: Option<(u64, Result<Check, GuardError>)>,
}

/// The rest of a call after the guard has answered about revocations.
#[derive(Clone, Debug)]
pub enum Then {
    /// The call returns this answer, whatever the guard has answered.
    CallResult(CallResult),
    /// The call returns whether the first token is revoked, which is the session's own.
    Revocation { number: Number, descendants: u32 },
    /// The flush asks for the other tokens too, and returns how many revocations are settled,
    /// including those whose tokens had expired.
    Flush {
        settled: u32,
        size: usize,
        others: Vec<TokenNumber>,
    },
    /// The call returns the new session, if it is live and has this token.
    Create { token: TokenNumber, view: View },
    /// The call returns the new token, if it is still the current one.
    Renewal {
        number: Number,
        old: TokenNumber,
        new: TokenNumber,
        view: View,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Replacement {
    Refresh,
    Rotate,
    Retry,
}

/// The progress of a call: its answer, or that it waits for the guard.
#[derive(Debug)]
pub enum Step {
    Done(CallResult),
    Waits(Waiting),
}

#[derive(Clone, Debug)]
struct Session {
    spec: SessionSpec,
    parent: Option<Number>,
    created_at: u64,
    expires_at: u64,
    lifetime: u64,
    used_at: u64,
    uses_left: Option<u32>,
    token: TokenNumber,
    /// When the guard was asked for the cached validation, and when that expires.
    cached_until: Option<(u64, u64)>,
    /// The superseded tokens, and how each was superseded.
    old: Vec<(TokenNumber, Replacement)>,
    grace: Option<(TokenNumber, u64, u64)>,
    /// The superseded tokens whose renewal has not answered yet.
    unanswered: Vec<TokenNumber>,
    /// The superseded tokens whose renewal returned `conflict` after it had taken effect.
    lost: Vec<TokenNumber>,
    /// The error of a call that was in flight when the session ended.
    ended: Option<SessionError>,
    denials: (u64, Vec<Denial>),
}

impl Session {
    /// Returns the token that the bearer's last renewal replaced, if this token was presented for
    /// it.
    fn replaced_for(&self, token: TokenNumber) -> Option<TokenNumber> {
        let by_bearer = |(_, by): &&(TokenNumber, Replacement)| *by != Replacement::Refresh;
        let rotated = |(_, by): &&(TokenNumber, Replacement)| *by == Replacement::Rotate;
        let (presented_last, _) = self.old.iter().rev().find(rotated)?;
        let (replaced_last, _) = self.old.iter().rev().find(by_bearer)?;
        (*presented_last == token).then_some(*replaced_last)
    }

    /// Returns whether the bearer of a superseded token cannot know yet that it is superseded: the
    /// renewal that replaced it, or the one that it was presented for again, has not answered.
    fn is_unanswered(&self, token: TokenNumber) -> bool {
        let replaced = self.replaced_for(token).unwrap_or(token);
        self.unanswered.contains(&replaced)
    }

    /// Returns whether the bearer got no token for a superseded one, because the host refreshed the
    /// session before its rotation answered.
    fn is_lost(&self, token: TokenNumber) -> bool {
        let replaced = self.replaced_for(token);
        replaced.is_some_and(|replaced| self.lost.contains(&replaced))
    }
}

/// A token in the guard.
#[derive(Clone, Debug)]
pub struct Token {
    /// The number of the token that was first issued with this handle.
    pub handle: TokenNumber,
    pub expires_at: u64,
    pub revoked: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    limits: Limits,
    /// The time inside.
    pub now: u64,
    /// The latest time inside so far.
    pub peak: u64,
    /// The host's time, which may be invalid.
    host: u64,
    /// The last valid reading of the host's clock.
    reading: u64,
    /// Whether a reading has failed or lagged since the last check of the validation cache.
    reading_failed: bool,
    sessions: Vec<Session>,
    pub tokens: Vec<Token>,
    /// The tokens whose revocation the guard has not confirmed.
    pending: BTreeSet<TokenNumber>,
    /// Whether the guard was unavailable for the whole last batch of a flush.
    flush_failed: bool,
    /// When all cached validations were dropped.
    cache_cleared_at: Option<u64>,
    cutoffs: Vec<Filter>,
    /// The kill switch that is ending sessions.
    current_cutoff: Option<Filter>,
    /// The creates and delegations that wait for a token.
    pending_creates: Vec<Waiting>,
    /// The events of this step.
    pub events: Vec<ModelEvent>,
    /// Whether a call can have ended expired sessions in this step, because it needed their slots.
    pub may_end: bool,
    pub totals: Totals,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub created: u64,
    pub refreshed: u64,
    pub rotated: u64,
    pub ended: u64,
    pub denied: u64,
}

const REMEMBERED: usize = 8;
/// 2020-01-01T00:00:00Z, the earliest valid reading.
const EARLIEST: u64 = 1_577_836_800_000;

impl Model {
    pub fn new(limits: Limits, now: u64) -> Self {
        Self {
            limits,
            now,
            peak: now,
            host: now,
            reading: now,
            reading_failed: false,
            sessions: Vec::new(),
            tokens: Vec::new(),
            pending: BTreeSet::new(),
            flush_failed: false,
            cache_cleared_at: None,
            cutoffs: Vec::new(),
            current_cutoff: None,
            pending_creates: Vec::new(),
            events: Vec::new(),
            may_end: false,
            totals: Totals::default(),
        }
    }

    /// Reads the host's clock, which shows this time.
    pub fn read_clock(&mut self, host: u64) {
        self.host = host;
        if host >= EARLIEST {
            self.reading = host;
            self.now = self.now.max(host);
            self.peak = self.peak.max(self.now);
        }
        self.reading_failed |= self.clock_is_off();
    }

    /// Returns whether the host's clock fails, or shows a time before the time inside.
    fn clock_is_off(&self) -> bool {
        self.host < EARLIEST || self.lag() > 0
    }

    pub fn lag(&self) -> u64 {
        self.now - self.reading
    }

    fn behind(&self) -> SessionError {
        SessionError::ClockBehind(self.lag())
    }

    /// Checks that the lag allows a call to set or extend an expiry.
    fn check_lag(&self) -> Result<(), SessionError> {
        if self.lag() > self.limits.tolerance {
            return Err(self.behind());
        }
        Ok(())
    }

    /// Checks that neither the session nor one above it has more time left than it was granted.
    fn check_end(&self, number: Number) -> Result<(), SessionError> {
        let is_wrong = |number: &Number| {
            let session = &self.sessions[*number];
            let latest = self.reading + self.limits.tolerance;
            session.expires_at > latest + session.lifetime || session.created_at > latest
        };
        if self.is_kept(number) && self.chain(number).iter().any(is_wrong) {
            return Err(self.behind());
        }
        Ok(())
    }

    /// Checks that, during a lag, the host's clock too is within the grace of the last rotation.
    fn check_grace(&self, number: Number) -> Result<(), SessionError> {
        let latest = self.reading + self.limits.grace + self.limits.tolerance;
        match self.sessions[number].grace {
            Some((_, _, by_host))
                if self.lag() > 0 && (self.reading >= by_host || by_host > latest) =>
            {
                Err(self.behind())
            }
            _ => Ok(()),
        }
    }

    /// Returns the end of the grace of a rotation made now, by the time inside and by the host's
    /// clock.
    fn grace_ends(&self) -> (u64, u64) {
        (
            self.now + self.limits.grace,
            self.reading + self.limits.grace,
        )
    }

    fn accept_clock(&mut self) -> Result<Step, SessionError> {
        if self.check_lag().is_ok() {
            return Err(SessionError::ClockNotBehind);
        }
        let (live, tokens) = self.end_all_of(Filter::Everything);
        self.now = self.reading;
        self.cache_cleared_at = Some(self.now);
        // The component reads the clock again, which can still fail.
        self.reading_failed = self.clock_is_off();
        Ok(self.ask_to_revoke(tokens, Then::CallResult(CallResult::Count(live))))
    }

    /// Restores the model as another instance with this time inside. Its totals are 0, and it has
    /// no recorded denials, no cached validations, and no reading of the host's clock.
    pub fn restart(&mut self, time: u64) {
        self.now = time;
        self.reading = time;
        self.reading_failed = false;
        self.read_clock(self.host);
        self.totals = Totals::default();
        self.flush_failed = false;
        self.cache_cleared_at = None;
        for session in &mut self.sessions {
            session.denials = (0, Vec::new());
            session.cached_until = None;
        }
    }

    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Returns the numbers of sessions that have not ended: the live ones and the expired ones.
    pub fn live_and_expired(&self) -> (u32, u32) {
        let kept = (0..self.sessions.len()).filter(|number| self.is_kept(*number));
        let (live, expired): (Vec<_>, Vec<_>) =
            kept.partition(|number| self.first_expired(*number).is_none());
        (count(live.len()), count(expired.len()))
    }

    /// Returns the greatest number of sessions, including those being created.
    pub fn max_sessions(&self) -> u32 {
        count(self.limits.max_sessions)
    }

    pub fn pending(&self) -> u32 {
        count(self.pending.len())
    }

    pub fn creates_in_flight(&self) -> u32 {
        count(self.pending_creates.len())
    }

    // The state of a session.

    fn is_kept(&self, number: Number) -> bool {
        self.sessions[number].ended.is_none()
    }

    fn chain(&self, number: Number) -> Vec<Number> {
        let mut chain = vec![number];
        while let Some(parent) = self.sessions[*chain.last().unwrap()].parent {
            chain.push(parent);
        }
        chain
    }

    fn root(&self, number: Number) -> Number {
        *self.chain(number).last().unwrap()
    }

    fn is_below(&self, number: Number, above: Number) -> bool {
        number != above && self.chain(number).contains(&above)
    }

    /// Returns why the session has expired, apart from the sessions above it.
    fn own_end(&self, number: Number) -> Option<EndReason> {
        let session = &self.sessions[number];
        let idle_at = self.limits.idle.map(|idle| session.used_at + idle);
        if idle_at.is_some_and(|at| at <= self.now && at < session.expires_at) {
            Some(EndReason::Idle)
        } else if session.expires_at > self.now {
            None
        } else if session.expires_at == session.created_at + self.limits.max_lifetime {
            Some(EndReason::MaxLifetime)
        } else {
            Some(EndReason::Expired)
        }
    }

    /// Returns whether the session with this current token has expired, apart from the sessions
    /// above it.
    fn has_expired_by_itself(&self, token: TokenNumber) -> bool {
        let mut numbers = 0..self.sessions.len();
        let session = numbers.find(|number| self.sessions[*number].token == token);
        session.is_some_and(|number| self.own_end(number).is_some())
    }

    /// Returns the first session from this one up to its root that has expired, and why.
    fn first_expired(&self, number: Number) -> Option<(Number, EndReason)> {
        let mut chain = self.chain(number).into_iter();
        chain.find_map(|number| Some((number, self.own_end(number)?)))
    }

    fn is_live(&self, number: Number) -> bool {
        self.is_kept(number) && self.first_expired(number).is_none()
    }

    fn view(&self, number: Number) -> View {
        let session = &self.sessions[number];
        View {
            number,
            agent: session.spec.agent,
            role: session.spec.role,
            scopes: session
                .spec
                .scopes
                .iter()
                .map(ToString::to_string)
                .collect(),
            created_at: session.created_at,
            expires_at: session.expires_at,
            parent: session.parent,
            root: self.root(number),
            generation: session.old.len() as u64,
            uses_left: session.uses_left,
        }
    }

    // Changes of a session.

    fn record_event(&mut self, number: Number, kind: EventKind) {
        let View {
            agent,
            parent,
            root,
            generation,
            ..
        } = self.view(number);
        self.events.push(ModelEvent {
            number,
            agent,
            parent,
            root,
            generation,
            kind,
        });
    }

    fn deny(&mut self, number: Number, denial: Denial) {
        self.totals.denied += 1;
        let now = self.now;
        let (since, recorded) = &mut self.sessions[number].denials;
        if now >= *since + 1_000 {
            (*since, *recorded) = (now, Vec::new());
        }
        if !recorded.contains(&denial) {
            recorded.push(denial);
            self.record_event(number, EventKind::Denied(denial));
        }
    }

    /// Ends a session and all below it. Returns how many were live, and the tokens to revoke.
    fn end(&mut self, top: Number, reason: EndReason) -> (u32, Vec<TokenNumber>) {
        let below = (0..self.sessions.len()).filter(|number| self.is_below(*number, top));
        let tree: Vec<Number> = std::iter::once(top).chain(below).collect();
        let error = match reason {
            EndReason::Expired
            | EndReason::Idle
            | EndReason::MaxLifetime
            | EndReason::Exhausted => SessionError::SessionExpired,
            _ => SessionError::SessionRevoked,
        };
        let (mut live, mut revoke) = (0, Vec::new());
        for number in tree {
            if !self.is_kept(number) {
                continue;
            }
            let own = self.own_end(number);
            let was_live = self.first_expired(number).is_none();
            let reason = own.unwrap_or(if number == top {
                reason
            } else if was_live && self.is_cut_off(number) {
                EndReason::RevokedAll
            } else {
                EndReason::Cascade
            });
            live += u32::from(was_live);
            self.record_event(number, EventKind::Ended(reason));
            self.totals.ended += 1;
            let session = &mut self.sessions[number];
            session.ended = Some(own.map_or(error.clone(), |_| SessionError::SessionExpired));
            let token = session.token;
            if self.tokens[token].expires_at > self.now {
                self.pending.insert(token);
                revoke.push(token);
            }
        }
        (live, revoke)
    }

    /// Returns whether the current kill switch is for the session.
    fn is_cut_off(&self, number: Number) -> bool {
        let spec = &self.sessions[number].spec;
        self.current_cutoff
            .is_some_and(|filter| Self::applies_to(filter, spec))
    }

    fn applies_to(filter: Filter, spec: &SessionSpec) -> bool {
        match filter {
            Filter::Everything => true,
            Filter::Agent(agent) => spec.agent == agent,
            Filter::Role(role) => spec.role == role,
            Filter::Root(_) => false,
        }
    }

    /// Asks the guard to revoke tokens, in one call, and then continues. Without tokens the guard
    /// is not asked.
    fn ask_to_revoke(&mut self, tokens: Vec<TokenNumber>, then: Then) -> Step {
        if tokens.is_empty() {
            return Step::Done(self.finish(then, &[]));
        }
        Step::Waits(Waiting::Revoke { tokens, then })
    }

    /// Begins a flush of all pending revocations, or of those in these records.
    fn begin_flush(&mut self, records: Option<&Vec<Vec<TokenNumber>>>) -> Step {
        let before = self.pending();
        self.drop_expired_revocations(usize::MAX);
        let expired = before - self.pending();
        let handle_of = |token: &TokenNumber| self.tokens[*token].handle;
        let handles: BTreeSet<_> = self.pending.iter().map(handle_of).collect();
        let mut asked: Vec<_> = self.pending.iter().copied().collect();
        if let Some(records) = records {
            // A record changes when a revocation in it is dropped, because its token has expired.
            let unchanged = records.iter();
            let unchanged = unchanged.filter(|record| record.iter().all(|it| handles.contains(it)));
            let stored: BTreeSet<_> = unchanged.flatten().copied().collect();
            asked.retain(|token| stored.contains(&handle_of(token)));
        }
        let size = if self.flush_failed { 1 } else { 256 };
        self.flush(asked, size, expired)
    }

    /// Asks for at most `size` of these revocations. The component chooses which: see
    /// `Waiting::choose`.
    fn flush(&mut self, tokens: Vec<TokenNumber>, size: usize, settled: u32) -> Step {
        let others = Vec::new();
        let then = Then::Flush {
            settled,
            size,
            others,
        };
        self.ask_to_revoke(tokens, then)
    }

    /// Continues a flush after the guard's answer about a batch, unless the guard was unavailable
    /// for one of its tokens. Returns `None` for other calls.
    fn resume_flush(&mut self, waiting: &Waiting, answers: Answers) -> Option<Step> {
        let Waiting::Revoke {
            tokens,
            then:
                Then::Flush {
                    settled,
                    size,
                    others,
                },
        } = waiting
        else {
            return None;
        };
        let is_unavailable = |token: &&TokenNumber| {
            let handle = self.tokens[**token].handle;
            answers.is_short() || answers.confirm_of(handle) == Confirm::Unavailable
        };
        let unavailable = tokens.iter().filter(is_unavailable).count();
        self.flush_failed = unavailable == tokens.len();
        let outcomes = self.confirmed(tokens, answers);
        let confirmed = outcomes.iter().filter(|it| **it == Ok(true)).count();
        let mut others = others.clone();
        others.retain(|token| unavailable == 0 && self.pending.contains(token));
        Some(self.flush(others, (size * 4).min(256), settled + count(confirmed)))
    }

    /// Applies the guard's answers about revocations. Returns for each token whether a pending
    /// revocation was settled, or the guard's error if the revocation is still pending.
    fn confirmed(
        &mut self,
        tokens: &[TokenNumber],
        answers: Answers,
    ) -> Vec<Result<bool, GuardError>> {
        let short = answers.is_short().then(|| too_few(tokens.len()));
        let each = tokens.iter().map(|token| {
            let known = &mut self.tokens[*token];
            let confirm = answers.confirm_of(known.handle);
            known.revoked |= confirm == Confirm::Done;
            let error = match confirm {
                Confirm::Done | Confirm::Revoked | Confirm::Expired => None,
                Confirm::Deny => Some(denied()),
                Confirm::Unavailable => Some(unavailable()),
            };
            match short.clone().or(error) {
                None => Ok(self.pending.remove(token)),
                Some(error) if self.pending.contains(token) => Err(error),
                Some(_) => Ok(false),
            }
        });
        each.collect()
    }

    fn finish(&mut self, then: Then, outcomes: &[Result<bool, GuardError>]) -> CallResult {
        match then {
            Then::CallResult(answer) => answer,
            Then::Revocation {
                number,
                descendants,
            } => CallResult::Revocation {
                number,
                error: outcomes[0].clone().err(),
                descendants,
            },
            Then::Flush { settled, .. } => CallResult::Flush {
                settled,
                pending: self.pending(),
            },
            Then::Create { token, view } => match self.unchanged(view.number, token) {
                Ok(()) => CallResult::Grant(view, token),
                Err(error) => CallResult::Error(error),
            },
            Then::Renewal {
                number,
                old,
                new,
                view,
            } => {
                let ends = self.grace_ends();
                let unchanged = self.unchanged(number, new);
                let session = &mut self.sessions[number];
                session.unanswered.retain(|token| *token != old);
                if let Err(error) = unchanged {
                    session.lost.push(old);
                    return CallResult::Error(error);
                }
                if let Some((_, until, by_host)) = &mut session.grace {
                    (*until, *by_host) = ends;
                }
                CallResult::Grant(view, new)
            }
        }
    }

    /// Checks that the session is live. Ends it if it has expired.
    fn find(&mut self, number: Number) -> Result<(), SessionError> {
        if number >= self.sessions.len() || !self.is_kept(number) {
            return Err(SessionError::SessionNotFound);
        }
        match self.first_expired(number) {
            Some((expired, reason)) => {
                self.end(expired, reason);
                Err(SessionError::SessionExpired)
            }
            None => Ok(()),
        }
    }

    /// Checks that the session of a call that has waited is live. Ends it if it has expired.
    fn check_live(&mut self, number: Number) -> Result<(), SessionError> {
        self.end_if_expired(number);
        match &self.sessions[number].ended {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    // Calls.

    pub fn begin(&mut self, call: &Call) -> Step {
        match self.try_begin(call) {
            Ok(step) => step,
            Err(error) => Step::Done(CallResult::Error(error)),
        }
    }

    fn try_begin(&mut self, call: &Call) -> Result<Step, SessionError> {
        let answer = match call {
            Call::Create(spec, parent) => return self.begin_create(spec, *parent),
            Call::Use(token, scope) => {
                let (number, token) = self.find_current_token(*token)?;
                self.check_end(number)?;
                self.clear_cache_after_error();
                if !self.is_cached(number) {
                    return Ok(Step::Waits(Waiting::Use {
                        number,
                        token,
                        scope: *scope,
                        asked_at: self.now,
                    }));
                }
                let (view, revoke) = self.take_use(number, *scope)?;
                let then = Then::CallResult(CallResult::Session(view));
                return Ok(self.ask_to_revoke(revoke, then));
            }
            Call::UseMany(tokens) => {
                let mut find_token = |token: &Option<_>| {
                    let (number, token) = self.find_current_token(*token)?;
                    self.check_end(number)?;
                    Ok(Item {
                        number,
                        token,
                        verdict: None,
                    })
                };
                let items = tokens.iter().map(&mut find_token).collect();
                return Ok(self.use_many(items));
            }
            Call::Rotate(token) => return self.begin_rotate(*token),
            Call::Refresh(number) => {
                self.check_lag()?;
                self.find(*number)?;
                let session = &self.sessions[*number];
                let wanted = (self.now + session.lifetime)
                    .min(session.created_at + self.limits.max_lifetime)
                    .min(self.parents_end(session.parent));
                return Ok(self.renew(*number, Replacement::Refresh, wanted));
            }
            Call::Touch(number) => {
                self.find(*number)?;
                self.check_end(*number)?;
                self.sessions[*number].used_at = self.now;
                CallResult::Nothing
            }
            Call::Get(number) => {
                self.find(*number)?;
                self.check_end(*number)?;
                CallResult::Session(self.view(*number))
            }
            Call::Revoke(number) => {
                self.must_be_live(*number)?;
                return Ok(self.revoke(*number));
            }
            Call::LogOut(token) => {
                // Every error is `invalid-token`, so the bearer of another token learns nothing
                // about its session.
                let current = self.find_current_token(*token);
                let (number, _) = current.map_err(|_| SessionError::InvalidToken)?;
                return Ok(self.revoke(number));
            }
            Call::Invalidate(number) => {
                self.must_be_live(*number)?;
                self.cache_cleared_at = Some(self.now);
                self.end(*number, EndReason::Invalidated);
                CallResult::Nothing
            }
            Call::RevokeAll(filter) => {
                let (live, tokens) = self.end_all_of(*filter);
                return Ok(self.ask_to_revoke(tokens, Then::CallResult(CallResult::Count(live))));
            }
            Call::AcceptClock => return self.accept_clock(),
            Call::Flush => return Ok(self.begin_flush(None)),
            Call::FlushStored { records, .. } => return Ok(self.begin_flush(records.as_ref())),
            Call::List(agent) => {
                let of_agent = |number: &Number| self.sessions[*number].spec.agent == *agent;
                let live = (0..self.sessions.len()).filter(|number| self.is_live(*number));
                CallResult::Sessions(live.filter(of_agent).collect())
            }
            Call::Prune(limit) => {
                // If the limit is lower than the number of expired sessions, the component chooses.
                let (_, expired) = self.live_and_expired();
                self.may_end = expired > *limit;
                if !self.may_end {
                    self.end_all_expired(|_| true);
                }
                self.drop_expired_revocations(*limit as usize);
                CallResult::Count(expired.min(*limit))
            }
        };
        Ok(Step::Done(answer))
    }

    fn must_be_live(&self, number: Number) -> Result<(), SessionError> {
        if number < self.sessions.len() && self.is_live(number) {
            Ok(())
        } else {
            Err(SessionError::SessionNotFound)
        }
    }

    fn end_all_expired(&mut self, which: impl Fn(&Session) -> bool) {
        for number in 0..self.sessions.len() {
            if which(&self.sessions[number]) {
                self.end_if_expired(number);
            }
        }
    }

    fn drop_expired_revocations(&mut self, max: usize) {
        for token in self.expired_revocations().into_iter().take(max) {
            self.pending.remove(&token);
        }
    }

    /// Returns the pending revocations whose tokens have expired, in the order of expiry.
    fn expired_revocations(&self) -> Vec<TokenNumber> {
        let mut expired: Vec<_> = self.pending.iter().copied().collect();
        expired.retain(|token| self.tokens[*token].expires_at <= self.now);
        expired.sort_by_key(|token| self.tokens[*token].expires_at);
        expired
    }

    /// Returns the smallest limit of a prune, at least this one, that leaves the component no
    /// choice between revocations whose tokens expired in the same millisecond.
    pub fn limit_without_choice(&self, limit: u32) -> u32 {
        let expired = self.expired_revocations();
        let ends: Vec<_> = expired
            .iter()
            .map(|it| self.tokens[*it].expires_at)
            .collect();
        let mut limit = limit as usize;
        while (1..ends.len()).contains(&limit) && ends[limit - 1] == ends[limit] {
            limit += 1;
        }
        count(limit)
    }

    fn revoke(&mut self, number: Number) -> Step {
        self.cache_cleared_at = Some(self.now);
        let (live, tokens) = self.end(number, EndReason::Revoked);
        let descendants = live - 1;
        let then = Then::Revocation {
            number,
            descendants,
        };
        self.ask_to_revoke(tokens, then)
    }

    /// Ends all sessions that a kill switch is for. Returns how many were live, and the tokens to
    /// revoke.
    fn end_all_of(&mut self, filter: Filter) -> (u32, Vec<TokenNumber>) {
        self.cache_cleared_at = Some(self.now);
        self.cutoffs.push(filter);
        self.current_cutoff = Some(filter);
        let (mut live, mut revoke) = (0, Vec::new());
        for number in 0..self.sessions.len() {
            if !self.is_kept(number) {
                continue;
            }
            let session = &self.sessions[number];
            match filter {
                Filter::Root(root) if number != root || session.parent.is_some() => continue,
                Filter::Root(_) => {}
                filter if !Self::applies_to(filter, &session.spec) => continue,
                // A session that had expired before the switch does not count.
                _ if self.first_expired(number).is_some() => {
                    self.end_if_expired(number);
                    continue;
                }
                _ => {}
            }
            let (more, tokens) = self.end(number, EndReason::RevokedAll);
            live += more;
            revoke.extend(tokens);
        }
        self.current_cutoff = None;
        (live, revoke)
    }

    fn parents_end(&self, parent: Option<Number>) -> u64 {
        parent.map_or(u64::MAX, |parent| self.sessions[parent].expires_at)
    }

    // Tokens.

    /// Returns the session of a token, and how the token was superseded, if it was.
    fn find_token(
        &mut self,
        token: Option<TokenNumber>,
    ) -> Result<(Number, TokenNumber, Option<Replacement>), SessionError> {
        let found = token.and_then(|token| {
            (0..self.sessions.len()).find_map(|number| {
                let session = &self.sessions[number];
                if session.ended.is_some() {
                    None
                } else if session.token == token {
                    Some((number, token, None))
                } else {
                    let remembered = session.old.iter().rev().take(REMEMBERED);
                    let found = remembered.clone().find(|(old, _)| *old == token);
                    found.map(|(_, replacement)| (number, token, Some(*replacement)))
                }
            })
        });
        let Some((number, token, old)) = found else {
            self.totals.denied += 1;
            return Err(SessionError::InvalidToken);
        };
        match (self.find(number), old) {
            (Ok(()), old) => Ok((number, token, old)),
            (Err(error), None) => Err(error),
            (Err(_), Some(_)) => {
                self.totals.denied += 1;
                Err(SessionError::InvalidToken)
            }
        }
    }

    /// Returns the session with this current token.
    fn find_current_token(
        &mut self,
        token: Option<TokenNumber>,
    ) -> Result<(Number, TokenNumber), SessionError> {
        let (number, token, old) = self.find_token(token)?;
        if old.is_some() {
            self.deny(number, Denial::Superseded);
            return Err(SessionError::InvalidToken);
        }
        Ok((number, token))
    }

    fn begin_rotate(&mut self, token: Option<TokenNumber>) -> Result<Step, SessionError> {
        let (number, token, old) = self.find_token(token)?;
        let session = &self.sessions[number];
        let in_grace = session
            .grace
            .is_some_and(|(newest, until, _)| newest == token && self.now < until);
        match old {
            None => {
                self.check_end(number)?;
                Ok(Step::Waits(Waiting::Rotate {
                    number,
                    token,
                    asked_at: self.now,
                }))
            }
            Some(_) if session.is_unanswered(token) => Err(SessionError::Conflict),
            Some(_) if in_grace => {
                self.check_end(number)?;
                self.check_grace(number)?;
                Ok(self.renew(number, Replacement::Retry, session.expires_at))
            }
            Some(by) if by == Replacement::Refresh || session.is_lost(token) => {
                self.deny(number, Denial::Superseded);
                Err(SessionError::InvalidToken)
            }
            Some(_) => {
                self.cache_cleared_at = Some(self.now);
                let (_, revoke) = self.end(number, EndReason::Theft);
                let then = Then::CallResult(CallResult::Error(SessionError::InvalidToken));
                Ok(self.ask_to_revoke(revoke, then))
            }
        }
    }

    fn renew(&self, number: Number, replacement: Replacement, wanted: u64) -> Step {
        Step::Waits(Waiting::Renew {
            number,
            token: self.sessions[number].token,
            replacement,
            wanted,
        })
    }

    /// Continues a call with the guard's answer.
    pub fn resume(&mut self, waiting: &Waiting, answers: Answers) -> Step {
        match waiting {
            Waiting::Create { .. } | Waiting::Renew { .. } => {
                self.resume_issued(waiting, answers.issue)
            }
            Waiting::Use { .. } | Waiting::Rotate { .. } => {
                let step = self.resume_checked(waiting, answers.check);
                step.unwrap_or_else(|error| Step::Done(CallResult::Error(error)))
            }
            Waiting::UseMany {
                items,
                asked,
                asked_at,
            } => {
                let mut items = items.clone();
                for at in asked {
                    let item = items[*at]
                        .as_mut()
                        .expect("the guard was asked about the item");
                    let answer = if answers.is_short() {
                        Err(too_few(asked.len()))
                    } else {
                        Ok(answers.check_of(item.token))
                    };
                    item.verdict = Some((*asked_at, answer));
                }
                self.use_many(items)
            }
            Waiting::Revoke { tokens, then } => {
                if let Some(step) = self.resume_flush(waiting, answers) {
                    return step;
                }
                let outcomes = self.confirmed(tokens, answers);
                Step::Done(self.finish(then.clone(), &outcomes))
            }
        }
    }

    /// Continues a call with the guard's answer about a token.
    fn resume_checked(&mut self, waiting: &Waiting, check: Check) -> Result<Step, SessionError> {
        match *waiting {
            Waiting::Use {
                number,
                token,
                scope,
                asked_at,
            } => {
                self.checked_for_use(number, token, Some((asked_at, Ok(check))))?;
                let (view, revoke) = self.take_use(number, scope)?;
                let then = Then::CallResult(CallResult::Session(view));
                Ok(self.ask_to_revoke(revoke, then))
            }
            Waiting::Rotate {
                number,
                token,
                asked_at,
            } => {
                self.unchanged(number, token)?;
                self.checked(number, check, asked_at)?;
                self.check_end(number)?;
                let wanted = self.sessions[number].expires_at;
                Ok(self.renew(number, Replacement::Rotate, wanted))
            }
            ref other => unreachable!("{other:?} does not wait for a validation"),
        }
    }

    /// Asks the guard to validate the tokens that it must validate and has not validated yet. If
    /// there are none, uses the sessions.
    fn use_many(&mut self, items: Vec<Result<Item, SessionError>>) -> Step {
        let is_unasked = |item: &Item| item.verdict.is_none();
        if items.iter().flatten().any(is_unasked) {
            self.clear_cache_after_error();
        }
        let must_ask = |item: &Item| {
            let session = &self.sessions[item.number];
            let is_current = session.ended.is_none() && session.token == item.token;
            is_unasked(item) && is_current && !self.is_cached(item.number)
        };
        let asked = items.iter().enumerate();
        let asked = asked.filter(|(_, item)| item.as_ref().is_ok_and(must_ask));
        let asked: Vec<usize> = asked.map(|(at, _)| at).collect();
        if !asked.is_empty() {
            return Step::Waits(Waiting::UseMany {
                items,
                asked,
                asked_at: self.now,
            });
        }
        let mut revoke = Vec::new();
        let mut used = |item: Item| {
            self.checked_for_use(item.number, item.token, item.verdict)?;
            let (view, more) = self.take_use(item.number, None)?;
            revoke.extend(more);
            Ok(view)
        };
        let answers = items.into_iter();
        let answers = answers.map(|it| it.and_then(&mut used)).collect();
        self.ask_to_revoke(revoke, Then::CallResult(CallResult::Many(answers)))
    }

    /// Checks the guard's answer about a token that is used. `None` means that its validation is
    /// cached.
    fn checked_for_use(
        &mut self,
        number: Number,
        token: TokenNumber,
        verdict: Option<(u64, Result<Check, GuardError>)>,
    ) -> Result<(), SessionError> {
        if let Err(error) = self.unchanged(number, token) {
            if error != SessionError::Conflict {
                return Err(error);
            }
            self.deny(number, Denial::Superseded);
            return Err(SessionError::InvalidToken);
        }
        match verdict {
            None => {}
            Some((asked_at, Ok(check))) => self.checked(number, check, asked_at)?,
            Some((_, Err(error))) => return Err(SessionError::Guard(error)),
        }
        self.check_end(number)
    }

    /// Drops all cached validations if a reading has failed or lagged since the last check.
    fn clear_cache_after_error(&mut self) {
        if self.reading_failed {
            self.cache_cleared_at = Some(self.now);
        }
        // The component reads the clock now, and again with each answer.
        self.reading_failed = self.clock_is_off();
    }

    /// Caches a validation of the guard, unless the cache was cleared since it was asked.
    fn cache_success(&mut self, number: Number, asked_at: u64) {
        let asked_at = asked_at.min(self.now);
        if self.cache_cleared_at.is_none_or(|since| since < asked_at) {
            let session = &mut self.sessions[number];
            let until = asked_at + self.limits.recheck_interval.unwrap_or(0);
            let until = until.min(self.tokens[session.token].expires_at);
            session.cached_until = Some((asked_at, until));
        }
    }

    /// Returns whether the validation of the session's token is cached.
    fn is_cached(&self, number: Number) -> bool {
        let (Some(interval), Some((asked_at, until))) = (
            self.limits.recheck_interval,
            self.sessions[number].cached_until,
        ) else {
            return false;
        };
        // The component computes the time of a validation from its expiry. If the token expires
        // earlier, that time is too early, and the validation is dropped.
        let from_before = |since: u64| since >= asked_at || since + interval >= until;
        self.now < until && !self.cache_cleared_at.is_some_and(from_before)
    }

    /// Uses a session. Returns its token to revoke if that was its last use.
    fn take_use(
        &mut self,
        number: Number,
        scope: Option<&str>,
    ) -> Result<(View, Vec<TokenNumber>), SessionError> {
        let granted = &self.sessions[number].spec.scopes;
        if let Some(scope) = scope
            && !granted.iter().any(|granted| covers(granted, scope))
        {
            self.deny(number, Denial::Scope);
            return Err(SessionError::ScopeDenied(scope.into()));
        }
        let session = &mut self.sessions[number];
        session.used_at = self.now;
        session.uses_left = session.uses_left.map(|uses| uses - 1);
        let view = self.view(number);
        let revoke = if view.uses_left == Some(0) {
            self.end(number, EndReason::Exhausted).1
        } else {
            Vec::new()
        };
        Ok((view, revoke))
    }

    /// Checks that the session of a call that has waited is live and has this token.
    fn unchanged(&mut self, number: Number, token: TokenNumber) -> Result<(), SessionError> {
        self.check_live(number)?;
        if self.sessions[number].token != token {
            return Err(SessionError::Conflict);
        }
        Ok(())
    }

    /// Checks the guard's answer about the token of a session.
    fn checked(&mut self, number: Number, check: Check, asked_at: u64) -> Result<(), SessionError> {
        let known = &self.tokens[self.sessions[number].token];
        let (denial, error) = match check {
            Check::Unavailable => return Err(SessionError::Guard(unavailable())),
            Check::Deny => (Denial::Guard, SessionError::Guard(denied())),
            _ if known.revoked => unreachable!("a current token is not revoked"),
            Check::Revoked => (Denial::Guard, SessionError::Guard(GuardError::Revoked)),
            Check::WrongHandle => (Denial::Handle, SessionError::InvalidToken),
            Check::Truth if known.expires_at <= self.now => {
                (Denial::Guard, SessionError::Guard(GuardError::Expired))
            }
            Check::Truth => {
                self.cache_success(number, asked_at);
                return Ok(());
            }
        };
        self.sessions[number].cached_until = None;
        self.deny(number, denial);
        Err(error)
    }

    // New sessions and new tokens.

    fn begin_create(
        &mut self,
        spec: &SessionSpec,
        parent: Option<Number>,
    ) -> Result<Step, SessionError> {
        self.check_lag()?;
        let lifetime = spec.lifetime.unwrap_or(self.limits.default_ttl);
        let mut wanted = self.now + lifetime;
        if let Some(parent) = parent {
            self.find(parent)?;
            let above = &self.sessions[parent];
            wanted = wanted.min(above.expires_at);
            let mut scopes = spec.scopes.iter();
            let missing = scopes.find(|scope| {
                !above
                    .spec
                    .scopes
                    .iter()
                    .any(|granted| covers(granted, scope))
            });
            let refusal = if let Some(scope) = missing {
                Some(SessionError::ScopeDenied((*scope).into()))
            } else if above.uses_left.is_some() {
                Some(SessionError::LimitReached(Limit::MaxUses))
            } else if self.chain(parent).len() > self.limits.max_depth {
                Some(SessionError::LimitReached(Limit::MaxDepth))
            } else {
                None
            };
            if let Some(refusal) = refusal {
                self.deny(parent, Denial::Delegation);
                return Err(refusal);
            }
        }
        self.reserve(spec, parent)?;
        let waiting = Waiting::Create {
            spec: spec.clone(),
            parent,
            created_at: self.now,
            wanted,
            cutoffs_before: self.cutoffs.len(),
        };
        self.pending_creates.push(waiting.clone());
        Ok(Step::Waits(waiting))
    }

    fn reserve(&mut self, spec: &SessionSpec, parent: Option<Number>) -> Result<(), SessionError> {
        let agent = spec.agent;
        let pending_creates = self.pending_creates.iter();
        let in_flight_of_agent = pending_creates
            .filter(|waiting| waiting.spec().agent == agent)
            .count();
        if self.not_ended_of(agent).len() + in_flight_of_agent >= self.limits.max_per_agent {
            self.end_all_expired(|session| session.spec.agent == agent);
            let not_evictable = if self.limits.evict {
                let chain = parent.map_or(Vec::new(), |parent| self.chain(parent));
                let above = chain
                    .iter()
                    .filter(|above| self.sessions[**above].spec.agent == agent);
                above.count()
            } else {
                self.not_ended_of(agent).len()
            };
            if not_evictable + in_flight_of_agent >= self.limits.max_per_agent {
                return Err(SessionError::LimitReached(Limit::MaxSessionsPerAgent));
            }
        }
        let (live, expired) = self.live_and_expired();
        let max_sessions = self.max_sessions();
        let pending_creates = self.creates_in_flight();
        if live + pending_creates >= max_sessions {
            self.end_all_expired(|_| true);
            return Err(SessionError::LimitReached(Limit::MaxSessions));
        }
        // The component chooses which expired sessions it ends to free a slot.
        self.may_end = live + expired + pending_creates >= max_sessions;
        if let Some(parent) = parent {
            let root = self.root(parent);
            let is_below = |number: &Number| self.is_kept(*number) && self.is_below(*number, root);
            let below = (0..self.sessions.len()).filter(is_below);
            let (live, expired): (Vec<_>, Vec<_>) = below.partition(|number| self.is_live(*number));
            let pending_creates = self.pending_creates.iter().filter_map(Waiting::parent);
            let pending_creates = pending_creates
                .filter(|above| self.root(*above) == root)
                .count();
            if live.len() + pending_creates >= self.limits.max_per_root {
                for number in expired {
                    self.end_if_expired(number);
                }
                return Err(SessionError::LimitReached(Limit::MaxSessionsPerRoot));
            }
            self.may_end |=
                live.len() + expired.len() + pending_creates >= self.limits.max_per_root;
        }
        Ok(())
    }

    fn end_if_expired(&mut self, number: Number) {
        if self.is_kept(number)
            && let Some((expired, reason)) = self.first_expired(number)
        {
            self.end(expired, reason);
        }
    }

    fn not_ended_of(&self, agent: u8) -> Vec<Number> {
        let kept = (0..self.sessions.len()).filter(|number| self.is_kept(*number));
        kept.filter(|number| self.sessions[*number].spec.agent == agent)
            .collect()
    }

    /// Replaces an answer that repeats a handle or a token, unless that belongs to a live session.
    /// Only then must the component detect it, because an expired session may have been ended to
    /// free its slot.
    pub fn possible_issue(&self, issue: Issue) -> Issue {
        let repeats = match (issue, self.tokens.len().checked_sub(1)) {
            (Issue::SameHandle | Issue::SameToken, Some(last)) => {
                let mut numbers = 0..self.sessions.len();
                numbers.any(|number| self.is_live(number) && self.sessions[number].token == last)
            }
            (Issue::SameHandle | Issue::SameToken, None) => false,
            _ => true,
        };
        if repeats { issue } else { Issue::Grant(0) }
    }

    /// Continues a call with the guard's answer to a request for a token.
    fn resume_issued(&mut self, waiting: &Waiting, issue: Issue) -> Step {
        if matches!(waiting, Waiting::Create { .. }) {
            let position = self
                .pending_creates
                .iter()
                .position(|other| other.is(waiting));
            self.pending_creates
                .remove(position.expect("the create was begun"));
        }
        match issue {
            Issue::Deny => self.issue_refused(waiting, denied()),
            Issue::Unavailable => self.issue_refused(waiting, unavailable()),
            _ => self.issued(waiting, issue),
        }
    }

    fn issue_refused(&mut self, waiting: &Waiting, error: GuardError) -> Step {
        let unchanged = match *waiting {
            Waiting::Renew { number, token, .. } => self.unchanged(number, token),
            _ => Ok(()),
        };
        let error = unchanged.err().unwrap_or(SessionError::Guard(error));
        Step::Done(CallResult::Error(error))
    }

    fn issued(&mut self, waiting: &Waiting, issue: Issue) -> Step {
        let number = self.tokens.len();
        let wanted = waiting.wanted();
        let (expires_at, handle) = match issue {
            Issue::Grant(more) => (wanted.saturating_add_signed(more), number),
            Issue::Expired => (self.host, number),
            Issue::SameHandle => (wanted, number.saturating_sub(1)),
            _ => (wanted, number),
        };
        self.tokens.push(Token {
            handle,
            expires_at,
            revoked: false,
        });
        let step = match waiting {
            Waiting::Create { .. } => self.create(waiting, number, issue),
            _ => self.replace(waiting, number, issue),
        };
        let error = match step {
            Ok(step) => return step,
            Err(error) => error,
        };
        // The call failed, so the guard is asked to revoke the token, unless another session has
        // its handle.
        let is_of_another =
            matches!(error, SessionError::Collision(_)) || self.handle_is_used(number);
        let mut unused = Vec::new();
        if !is_of_another {
            self.pending.insert(number);
            unused.push(number);
        }
        self.ask_to_revoke(unused, Then::CallResult(CallResult::Error(error)))
    }

    /// Returns whether a session or a pending revocation has the handle of this token.
    fn handle_is_used(&self, number: TokenNumber) -> bool {
        let handle = self.tokens[number].handle;
        self.is_used(|token| token != number && self.tokens[token].handle == handle)
    }

    /// Returns whether a session has a matching current token, or a matching token is to be
    /// revoked.
    fn is_used(&self, matches_token: impl Fn(TokenNumber) -> bool) -> bool {
        let mut kept = self
            .sessions
            .iter()
            .filter(|session| session.ended.is_none());
        kept.any(|session| matches_token(session.token))
            || self.pending.iter().any(|token| matches_token(*token))
    }

    /// Returns whether a session recognises the token before this one, which is the one that the
    /// guard repeats.
    fn token_is_used(&self, number: TokenNumber) -> bool {
        let Some(repeated) = number.checked_sub(1) else {
            return false;
        };
        self.sessions.iter().any(|session| {
            session.ended.is_none()
                && (session.token == repeated
                    || session
                        .old
                        .iter()
                        .rev()
                        .take(REMEMBERED)
                        .any(|(old, _)| *old == repeated))
        })
    }

    fn check_new(
        &self,
        number: TokenNumber,
        wanted: u64,
        issue: Issue,
    ) -> Result<u64, SessionError> {
        let token = &self.tokens[number];
        if wanted <= self.now {
            return Err(SessionError::SessionExpired);
        }
        if token.expires_at <= self.now {
            return Err(SessionError::Guard(GuardError::Expired));
        }
        if self.handle_is_used(number) {
            return Err(SessionError::Collision(Duplicate::Handle));
        }
        if matches!(issue, Issue::SameToken) && self.token_is_used(number) {
            return Err(SessionError::Collision(Duplicate::Token));
        }
        Ok(wanted.min(token.expires_at))
    }

    fn create(
        &mut self,
        waiting: &Waiting,
        token: TokenNumber,
        issue: Issue,
    ) -> Result<Step, SessionError> {
        let Waiting::Create {
            spec,
            parent,
            created_at,
            wanted,
            cutoffs_before,
        } = waiting
        else {
            unreachable!("the call creates a session")
        };
        self.check_lag()?;
        let mut since = self.cutoffs[*cutoffs_before..].iter();
        if since.any(|filter| Self::applies_to(*filter, spec)) {
            return Err(SessionError::SessionRevoked);
        }
        if let Some(parent) = parent {
            self.check_live(*parent)?;
        }
        let wanted = (*wanted).min(self.parents_end(*parent));
        let expires_at = self.check_new(token, wanted, issue)?;
        let mut evicted = Vec::new();
        if self.not_ended_of(spec.agent).len() >= self.limits.max_per_agent {
            self.end_all_expired(|session| session.spec.agent == spec.agent);
        }
        if self.not_ended_of(spec.agent).len() >= self.limits.max_per_agent {
            let chain = parent.map_or(Vec::new(), |parent| self.chain(parent));
            let kept = self.not_ended_of(spec.agent);
            let oldest = kept.into_iter().find(|number| !chain.contains(number));
            let oldest = oldest.ok_or(SessionError::LimitReached(Limit::MaxSessionsPerAgent))?;
            evicted = self.end(oldest, EndReason::Limit).1;
        }
        let number = self.sessions.len();
        self.sessions.push(Session {
            spec: spec.clone(),
            parent: *parent,
            created_at: *created_at,
            expires_at,
            lifetime: spec.lifetime.unwrap_or(self.limits.default_ttl),
            used_at: self.now,
            uses_left: spec.uses,
            token,
            cached_until: None,
            old: Vec::new(),
            grace: None,
            unanswered: Vec::new(),
            lost: Vec::new(),
            ended: None,
            denials: (0, Vec::new()),
        });
        self.totals.created += 1;
        self.record_event(number, EventKind::Created);
        let view = self.view(number);
        Ok(self.ask_to_revoke(evicted, Then::Create { token, view }))
    }

    fn replace(
        &mut self,
        waiting: &Waiting,
        new: TokenNumber,
        issue: Issue,
    ) -> Result<Step, SessionError> {
        let Waiting::Renew {
            number,
            token,
            replacement,
            wanted,
        } = *waiting
        else {
            unreachable!("the call replaces a token")
        };
        match replacement {
            Replacement::Refresh => self.check_lag()?,
            Replacement::Rotate | Replacement::Retry => self.check_end(number)?,
        }
        self.unchanged(number, token)?;
        let session = &self.sessions[number];
        let mut wanted = wanted.min(self.parents_end(session.parent));
        if replacement != Replacement::Refresh {
            wanted = wanted.min(session.expires_at);
        }
        let expires_at = self.check_new(new, wanted, issue)?;
        let (now, (until, by_host)) = (self.now, self.grace_ends());
        let session = &mut self.sessions[number];
        session.old.push((token, replacement));
        let has_grace = replacement == Replacement::Rotate && self.limits.grace > 0;
        session.grace = has_grace.then_some((token, until, by_host));
        session.token = new;
        session.cached_until = None;
        session.expires_at = expires_at;
        session.used_at = now;
        for below in 0..self.sessions.len() {
            if self.is_below(below, number) {
                let below = &mut self.sessions[below];
                below.expires_at = below.expires_at.min(expires_at);
            }
        }
        if replacement == Replacement::Refresh {
            self.totals.refreshed += 1;
            self.record_event(number, EventKind::Refreshed);
        } else {
            self.totals.rotated += 1;
            self.record_event(number, EventKind::Rotated);
        }
        self.pending.insert(token);
        self.sessions[number].unanswered.push(token);
        let then = Then::Renewal {
            number,
            old: token,
            new,
            view: self.view(number),
        };
        Ok(self.ask_to_revoke(vec![token], then))
    }

    /// Ends an expired session that the component has ended because it needed its slot. Returns
    /// whether the session had expired.
    pub fn end_as_observed(&mut self, events: &ModelEvent) -> bool {
        let number = events.number;
        if number >= self.sessions.len() || !self.is_kept(number) {
            return false;
        }
        let expired = self.first_expired(number);
        if let Some((expired, reason)) = expired {
            self.end(expired, reason);
        }
        expired.is_some()
    }
}

impl SessionSpec {
    /// Returns whether `legacy.create-session` can make this request.
    pub fn is_legacy(&self) -> bool {
        self.lifetime.is_none() && self.uses.is_none()
    }
}

impl Waiting {
    fn is(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }

    fn spec(&self) -> &SessionSpec {
        match self {
            Self::Create { spec, .. } => spec,
            other => unreachable!("{other:?} creates no session"),
        }
    }

    fn parent(&self) -> Option<Number> {
        match self {
            Self::Create { parent, .. } => *parent,
            other => unreachable!("{other:?} creates no session"),
        }
    }

    /// Returns the question to the guard.
    pub fn asked(&self, model: &Model) -> Asked {
        match self {
            Self::Create { .. } | Self::Renew { .. } => Asked::Issue,
            Self::Use { token, .. } | Self::Rotate { token, .. } => Asked::Token(*token),
            Self::UseMany { items, asked, .. } => {
                let tokens = asked.iter().filter_map(|at| items[*at].as_ref().ok());
                Asked::Tokens(tokens.map(|item| item.token).collect())
            }
            Self::Revoke { tokens, .. } => {
                let mut handles: Vec<_> = tokens
                    .iter()
                    .map(|token| model.tokens[*token].handle)
                    .collect();
                handles.sort_unstable();
                Asked::Revoke(handles)
            }
        }
    }

    /// Takes the tokens that the component chose, if a flush asks for fewer than are pending.
    /// Returns whether it does.
    pub fn choose(&mut self, asked: &Asked, model: &Model) -> bool {
        let Self::Revoke {
            tokens,
            then: Then::Flush { size, others, .. },
        } = self
        else {
            return false;
        };
        let is_part = *size < tokens.len();
        if let Asked::Revoke(handles) = asked
            && handles.len() == *size
            && is_part
        {
            let is_asked = |token: &TokenNumber| handles.contains(&model.tokens[*token].handle);
            (*tokens, *others) = tokens.iter().partition(|token| is_asked(token));
        }
        is_part
    }

    /// Removes the tokens of expired sessions for which the component does not ask. A kill switch
    /// asks for such a token if it ends a live session above first, and otherwise leaves it to a
    /// flush. Which it ends first depends on the order of the restored records.
    pub fn leave_expired(&mut self, asked: &Asked, model: &Model) {
        let (Self::Revoke { tokens, .. }, Asked::Revoke(handles)) = (self, asked) else {
            return;
        };
        tokens.retain(|token| {
            let is_asked_for = handles.contains(&model.tokens[*token].handle);
            is_asked_for || !model.has_expired_by_itself(*token)
        });
    }

    fn wanted(&self) -> u64 {
        match self {
            Self::Create { wanted, .. } | Self::Renew { wanted, .. } => *wanted,
            other => unreachable!("{other:?} requests no token"),
        }
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).expect("the number is small")
}

pub fn denied() -> GuardError {
    GuardError::Denied("denied".into())
}

pub fn unavailable() -> GuardError {
    GuardError::Unavailable("unavailable".into())
}

/// Returns the error of each item if the guard returns one result too few.
fn too_few(items: usize) -> GuardError {
    let given = items - 1;
    GuardError::Unavailable(format!("the guard gave {given} results for {items} items"))
}

/// Returns whether `granted` covers `wanted`.
fn covers(granted: &str, wanted: &str) -> bool {
    match granted.split_once('*') {
        _ if granted == wanted => true,
        Some(("", "")) => true,
        Some((prefix, "")) if prefix.ends_with(':') => {
            wanted.len() > prefix.len() && wanted.starts_with(prefix)
        }
        _ => false,
    }
}
