//! The operations: what is checked, asked and done, in which order.
//!
//! Each operation runs to its first wait in one go, and from there to the next. Before a wait it
//! leaves the store in a state that any other call may find; after it, it trusts nothing that it
//! learnt before, but has the store check and change in one step. No borrow of the store lives
//! across a wait.
//!
//! A call may also be cancelled while it waits (its future is dropped). Then a create that has made
//! nothing gives its place up, a kill switch ends at once what it has not ended yet, and revocations
//! that were not confirmed stay pending.

mod batch;
mod in_flight;
mod revoke;
mod subscription;
mod waiting;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use in_flight::{ByteReservation, Clearing, InFlight, ReservationGuard, UnacknowledgedRenewal};
pub use subscription::{Notice, Subscription};
use waiting::yield_now;

use crate::collections::table::Seed;
use crate::domain::config::{Config, Limits, within};
use crate::domain::error::{Error, GuardError};
use crate::domain::event::{Denial, EndReason, EventPage, Run};
use crate::domain::id::{AgentId, SessionId};
use crate::domain::scope::Scope;
use crate::domain::session::{
    CreateRequest, Grant, Revocation, RevokeFilter, Session, SessionPage,
};
use crate::domain::superseded::{Renewal, ReplayVerdict};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{FingerprintKey, Token};
use crate::persistence::record::{Change, ChangePage};
use crate::persistence::seal::SALT_BYTES;
use crate::ports::clock::{Clock, MonotonicClock};
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Claims, Guard, IssueRequest, is_handle};
use crate::store::plan::{NewSession, NewToken, RenewalPlan, SessionVersion, TokenMatch};
use crate::store::{Cleared, MAX_REVOCATIONS, Store, Totals, Used};

/// How many sessions one `prune_expired` ends at most (R20).
const MAX_PRUNE: u32 = 10_000;
/// How many sessions one call looks at most that may have been idle for too long (R20).
const MAX_SORTED_OUT: u32 = 10_000;
/// How many rows a page has at most (R2).
const MAX_ROWS: u32 = 1_000;

/// The session manager over its three ports.
#[derive(Debug)]
pub struct SessionManager<G, C, E> {
    guard: G,
    clock: MonotonicClock<C>,
    entropy: E,
    store: RefCell<Store>,
    /// Made with the first session: before it there is nothing to recognise.
    key: OnceCell<Rc<FingerprintKey>>,
    /// The tables have their seed, and the events their run.
    seeded: Cell<bool>,
    configured: Cell<bool>,
    /// There was an operation on sessions: nothing is restored any more.
    started: Cell<bool>,
    /// How many subscribe to the events.
    readers: Cell<usize>,
    /// How often they were asked whether they are still there.
    liveness_checks: Cell<u64>,
}

/// What the guard said of a token.
struct GuardVerdict {
    /// Not after it was asked.
    asked_at: Timestamp,
    answer: Result<Claims, GuardError>,
}

/// What a flush of revocations achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushReport {
    /// Revocations that need no more asking.
    pub settled: usize,
    /// Revocations that the guard has still not confirmed.
    pub pending: usize,
}

/// Figures of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The time as the manager sees it (R6).
    pub now: Timestamp,
    /// Sessions that are live.
    pub live_sessions: usize,
    /// Sessions whose time is over and that no call has ended yet.
    pub prunable_sessions: usize,
    /// Creates that wait for the guard.
    pub creates_in_flight: usize,
    /// Agents of which anything is kept.
    pub tracked_agents: usize,
    /// Revocations that the guard has not confirmed.
    pub pending_revocations: usize,
    /// Readers of the events.
    pub subscribers: usize,
    /// Records that outlive what they are about.
    pub tombstones: usize,
    /// The newest change's sequence number.
    pub last_change: u64,
    /// What counts against `max-state-bytes`.
    pub state_bytes: u64,
    /// The newest event's sequence number.
    pub last_event: u64,
    /// How many milliseconds the host's clock is before the time inside (R6).
    pub clock_lag: u64,
    /// Whether that is above the tolerance.
    pub clock_behind: bool,
    /// The run that it is of; none before there is one.
    pub event_run: Option<Run>,
    /// Counts since the start.
    pub totals: Totals,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// A manager without sessions, with the default limits.
    pub fn new(guard: G, clock: C, entropy: E) -> Self {
        Self {
            guard,
            clock: MonotonicClock::new(clock),
            entropy,
            store: RefCell::new(Store::new(Limits::default())),
            key: OnceCell::new(),
            seeded: Cell::new(false),
            configured: Cell::new(false),
            started: Cell::new(false),
            readers: Cell::new(0),
            liveness_checks: Cell::new(0),
        }
    }

    /// Sets the limits, once, before there has been a session or one is being made.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::AlreadyConfigured`].
    pub fn configure(&self, config: &Config) -> Result<(), Error> {
        let limits = Limits::new(config)?;
        if self.configured.get() {
            return Err(Error::AlreadyConfigured);
        }
        self.store.borrow_mut().configure(limits)?;
        self.configured.set(true);
        Ok(())
    }

    /// Makes a session and has the guard issue a token for it.
    ///
    /// # Errors
    /// As `sessions.create` in the WIT.
    pub async fn create(&self, request: CreateRequest) -> Result<Grant, Error> {
        self.make(None, request).await
    }

    /// Makes a session out of another one, with less (R25).
    ///
    /// # Errors
    /// As `sessions.delegate` in the WIT.
    pub async fn delegate(
        &self,
        parent: SessionId,
        request: CreateRequest,
    ) -> Result<Grant, Error> {
        self.make(Some(parent), request).await
    }

    async fn make(
        &self,
        parent: Option<SessionId>,
        request: CreateRequest,
    ) -> Result<Grant, Error> {
        let created_at = self.begin();
        let (lifetime, workspace_id) = {
            let store = self.store.borrow();
            (
                store.limits().lifetime(request.expires_in)?,
                store.limits().workspace_id,
            )
        };
        self.check_lag()?;
        let attributes = Rc::new(request.attributes);
        let mut expires_at = created_at.after_seconds(lifetime);
        let parent = match parent {
            Some(id) => {
                let mut store = self.store.borrow_mut();
                let (parent, its_end) = store.plan_delegation(id, &attributes, created_at)?;
                expires_at = expires_at.min(its_end);
                Some(parent)
            }
            None => None,
        };
        if expires_at <= created_at {
            // The end of time itself: nothing can begin any more.
            return Err(Error::SessionExpired);
        }
        let key = self.key()?;
        let id = SessionId::random(&self.entropy).map_err(|_| Error::EntropyUnavailable)?;
        let agent_id = request.agent_id;
        let reservation =
            ReservationGuard::reserve(&self.store, id, agent_id, &attributes, parent, created_at)?;
        let _watch = parent.map(|parent| InFlight::new(&self.store, parent));
        let issue = IssueRequest {
            session_id: id,
            agent_id,
            workspace_id,
            attributes: &attributes,
            expires_at,
        };
        let issued = self.guard.issue_session_token(issue).await?;

        let handle = Rc::from(issued.handle);
        let token_expires_at = issued.expires_at;
        let draft = NewSession {
            lifetime,
            max_uses: request.max_uses,
            created_at,
            expires_at,
        };
        let done = admit(key, issued.token, &handle, token_expires_at).and_then(|(token, kept)| {
            let now = self.clock.now();
            self.check_lag()?;
            let mut store = self.store.borrow_mut();
            let created = store.commit_create(&reservation.reservation, draft, kept, now)?;
            Ok((created, token))
        });
        drop(reservation);
        let (created, token) = match done {
            Ok(done) => done,
            Err(error) => {
                self.discard(&error, handle, token_expires_at).await;
                return Err(error);
            }
        };
        if !created.evicted.is_empty() {
            let _watch = InFlight::new(&self.store, created.expected);
            self.revoke_with_guard(created.evicted).await;
            self.still_current(created.expected)?;
        }
        Ok(Grant {
            session: created.session,
            token,
        })
    }

    /// Tells whose session a token stands for.
    ///
    /// # Errors
    /// As `sessions.validate` in the WIT.
    pub async fn validate(&self, token: Token) -> Result<Session, Error> {
        self.use_token(token, None).await
    }

    /// Tells whose session a token stands for, if that has a scope.
    ///
    /// # Errors
    /// As `sessions.authorize` in the WIT.
    pub async fn authorize(&self, token: Token, scope: &Scope) -> Result<Session, Error> {
        self.use_token(token, Some(scope)).await
    }

    async fn use_token(&self, token: Token, scope: Option<&Scope>) -> Result<Session, Error> {
        let now = self.begin();
        let expected = self.find_current(&token, now)?;
        self.check_end(expected)?;
        let used = if self.must_ask(expected, now) {
            let _watch = InFlight::new(&self.store, expected);
            let verdict = self.ask(token, now).await;
            self.use_if_good(expected, Some(verdict), scope, self.clock.now())?
        } else {
            self.use_if_good(expected, None, scope, now)?
        };
        if let Some(pending) = used.exhausted {
            // The use was taken, whatever happens from here on.
            self.revoke_with_guard(vec![pending]).await;
        }
        Ok(used.session)
    }

    /// The session that a token stands for now.
    fn find_current(&self, token: &Token, now: Timestamp) -> Result<SessionVersion, Error> {
        let TokenMatch {
            expected,
            superseded,
        } = self.find(token, now)?;
        if superseded.is_none() {
            return Ok(expected);
        }
        Err(self.store.borrow_mut().refuse_superseded(expected, now))
    }

    /// The session that a token stands for, or stood for.
    fn find(&self, token: &Token, now: Timestamp) -> Result<TokenMatch, Error> {
        let mut store = self.store.borrow_mut();
        match self.key.get() {
            Some(key) => store.find_by_token(&key.fingerprint(token), now),
            // Where no session was ever asked for there is no key.
            None => Err(store.refuse_unknown()),
        }
    }

    /// Whether the guard has to be asked about the token of a session (R34).
    fn must_ask(&self, expected: SessionVersion, now: Timestamp) -> bool {
        let mut store = self.store.borrow_mut();
        if self.clock.take_error() {
            store.drop_cached_validations(now);
        }
        store.must_ask(expected, now)
    }

    /// Asks the guard about a token.
    async fn ask(&self, token: Token, asked_at: Timestamp) -> GuardVerdict {
        GuardVerdict {
            asked_at,
            answer: self.guard.validate_token(token).await,
        }
    }

    /// Uses a session, if the guard's word about its token, or its yes that is remembered, is good and
    /// all else holds still.
    fn use_if_good(
        &self,
        expected: SessionVersion,
        verdict: Option<GuardVerdict>,
        scope: Option<&Scope>,
        now: Timestamp,
    ) -> Result<Used, Error> {
        let judged = self.judge(expected, verdict, now);
        let mut store = self.store.borrow_mut();
        match judged {
            Ok(()) => store.take_use(expected, scope, now),
            Err(Error::Conflict) => Err(store.refuse_superseded(expected, now)),
            Err(error) => Err(error),
        }
    }

    /// What the guard's word about the token of a session comes to (R9). The session is live and the
    /// token its current one if that is a yes; [`Error::Conflict`] if it is that no more.
    fn judge(
        &self,
        expected: SessionVersion,
        verdict: Option<GuardVerdict>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.check_verdict(expected, verdict, now)?;
        self.check_end(expected)
    }

    fn check_verdict(
        &self,
        expected: SessionVersion,
        verdict: Option<GuardVerdict>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut store = self.store.borrow_mut();
        let handle = store
            .check(expected, now)
            .map_err(|stale| stale.into_error(Error::Conflict))?;
        let Some(GuardVerdict { asked_at, answer }) = verdict else {
            return Ok(());
        };
        let (denial, error) = match answer {
            Ok(claims) if claims.handle != handle => (Denial::Handle, Error::InvalidToken),
            Ok(claims) if claims.expires_at <= now => (Denial::Guard, GuardError::Expired.into()),
            Ok(claims) => {
                store.cache_success(expected, asked_at, claims.expires_at, now);
                return Ok(());
            }
            // An authority that does not answer has refused nobody.
            Err(error @ GuardError::Unavailable(_)) => return Err(error.into()),
            Err(error) => (Denial::Guard, error.into()),
        };
        store.drop_cached_validation(expected);
        store.refuse(expected, denial, now);
        Err(error)
    }

    /// Gives a session a new token and its own lifetime again.
    ///
    /// # Errors
    /// As `sessions.refresh` in the WIT.
    pub async fn refresh(&self, id: SessionId) -> Result<Grant, Error> {
        let now = self.begin();
        self.check_lag()?;
        let plan = self.store.borrow_mut().plan_refresh(id, now)?;
        self.renew(plan, now).await
    }

    /// Replaces the token that a bearer holds (R27).
    ///
    /// # Errors
    /// As `sessions.rotate` in the WIT.
    pub async fn rotate(&self, token: Token) -> Result<Grant, Error> {
        let now = self.begin();
        let TokenMatch {
            expected,
            superseded,
        } = self.find(&token, now)?;
        let (renewal, now) = match superseded {
            None => {
                self.check_end(expected)?;
                let _watch = InFlight::new(&self.store, expected);
                let verdict = self.ask(token, now).await;
                let now = self.clock.now();
                self.judge(expected, Some(verdict), now)?;
                (Renewal::Rotation, now)
            }
            Some(ReplayVerdict::WithinGrace) => {
                self.check_end(expected)?;
                self.check_grace(expected)?;
                (Renewal::Retry, now)
            }
            Some(ReplayVerdict::RotationInFlight) => return Err(Error::Conflict),
            Some(ReplayVerdict::Revoked) => {
                return Err(self.store.borrow_mut().refuse_superseded(expected, now));
            }
            Some(ReplayVerdict::ReuseDetected) => {
                let pending = self.store.borrow_mut().end_stolen(expected, now);
                self.revoke_with_guard(pending).await;
                return Err(Error::InvalidToken);
            }
        };
        let plan = self
            .store
            .borrow_mut()
            .plan_rotation(expected, renewal, now)?;
        self.renew(plan, now).await
    }

    /// Has the guard issue a new token for a session, which supersedes its current one. `now` is when
    /// that was planned, without a wait since.
    async fn renew(&self, plan: RenewalPlan, now: Timestamp) -> Result<Grant, Error> {
        let key = self.key()?;
        let _watch = InFlight::new(&self.store, plan.expected);
        let _room = ByteReservation::reserve_bytes(&self.store, now)?;
        let issue = IssueRequest {
            session_id: plan.session.id,
            agent_id: plan.session.agent_id,
            workspace_id: plan.session.workspace_id,
            attributes: &plan.session.attributes,
            expires_at: plan.expires_at,
        };
        let answer = self.guard.issue_session_token(issue).await;

        let issued = match answer {
            Ok(issued) => issued,
            Err(error) => {
                // Who lost the session meanwhile shall hear of that, not of the guard.
                self.still_current(plan.expected)?;
                return Err(error.into());
            }
        };
        let handle = Rc::from(issued.handle);
        let token_expires_at = issued.expires_at;
        let done = admit(key, issued.token, &handle, token_expires_at).and_then(|(token, kept)| {
            let now = self.clock.now();
            match plan.renewal {
                Renewal::Refresh => self.check_lag()?,
                Renewal::Rotation | Renewal::Retry => self.check_end(plan.expected)?,
            }
            let mut store = self.store.borrow_mut();
            let (session, superseded) =
                store.commit_renewal(&plan, kept, self.clock.reading(), now)?;
            Ok((Grant { session, token }, superseded))
        });
        match done {
            Ok((grant, superseded)) => {
                let renewed = plan.expected.renewed();
                let _answer = UnacknowledgedRenewal::new(&self.store, renewed);
                // Dead here already. Where the guard does not confirm, the revocation stays pending.
                self.revoke_with_guard(vec![superseded]).await;
                // That was a wait like any other: the new token may be dead by now as well.
                let now = self.clock.now();
                let answered = {
                    let mut store = self.store.borrow_mut();
                    store.acknowledge_renewal(renewed, self.clock.reading(), now)
                };
                answered.map_err(|stale| stale.into_error(Error::Conflict))?;
                Ok(grant)
            }
            Err(error) => {
                self.discard(&error, handle, token_expires_at).await;
                Err(error)
            }
        }
    }

    /// Refuses to grant time by a clock that lags too far.
    fn check_lag(&self) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_lag(self.clock.reading(), self.clock.latest())
    }

    /// Refuses to repeat a rotation that was made by a clock that was ahead.
    fn check_grace(&self, expected: SessionVersion) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_grace(expected, self.clock.reading(), self.clock.latest())
    }

    /// Refuses a session whose end is from a clock that was ahead.
    fn check_end(&self, expected: SessionVersion) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_end(expected, self.clock.reading(), self.clock.latest())
    }

    /// What an operation answers that waited and finds its session over, or at another token.
    fn still_current(&self, expected: SessionVersion) -> Result<(), Error> {
        let now = self.clock.now();
        let mut store = self.store.borrow_mut();
        match store.check(expected, now) {
            Ok(_) => Ok(()),
            Err(stale) => Err(stale.into_error(Error::Conflict)),
        }
    }

    /// Begins a session's idle time anew (R28).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`], [`Error::ClockBehind`].
    pub fn touch(&self, id: SessionId) -> Result<(), Error> {
        let now = self.begin();
        let expected = self.store.borrow_mut().find(id, now)?;
        self.check_end(expected)?;
        self.store.borrow_mut().touch(expected, now);
        Ok(())
    }

    /// Ends a session and all below it, then has the guard revoke their tokens.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`].
    pub async fn revoke(&self, id: SessionId) -> Result<Revocation, Error> {
        let now = self.begin();
        self.revoke_at(id, now).await
    }

    /// Ends the session whose current token this is, and all below it, then has the guard revoke
    /// their tokens (R35).
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for every other token; nothing ends for it, unless its session has
    /// expired.
    pub async fn revoke_by_token(&self, token: Token) -> Result<Revocation, Error> {
        let now = self.begin();
        let current = self.find_current(&token, now).ok();
        let id = current.and_then(|current| self.store.borrow().id_of(current));
        // The bearer of a token that is not current learns no more of its session.
        self.revoke_at(id.ok_or(Error::InvalidToken)?, now).await
    }

    async fn revoke_at(&self, id: SessionId, now: Timestamp) -> Result<Revocation, Error> {
        let ended = self
            .store
            .borrow_mut()
            .revoke(id, EndReason::Revoked, now)?;
        let descendants = ended.live.saturating_sub(1);
        let has_own = ended.own.is_some();
        let asked = self.revoke_with_guard(ended.revocations().collect()).await;
        // The session's own token comes first, unless it has expired by itself.
        let own_error = asked.first_error.filter(|_| has_own);
        Ok(Revocation {
            session_id: id,
            guard: own_error.map_or(Ok(()), Err),
            descendants,
        })
    }

    /// Ends all sessions that the filter names and tells how many were live, then has the guard
    /// revoke their tokens.
    pub async fn revoke_all(&self, filter: RevokeFilter) -> usize {
        let cleared = match filter {
            RevokeFilter::Root(id) => {
                let now = self.begin();
                self.store.borrow_mut().revoke_root(id, now)
            }
            filter => self.clear_away(filter).await,
        };
        self.revoke_with_guard(cleared.revocations).await;
        cleared.live
    }

    async fn clear_away(&self, filter: RevokeFilter) -> Cleared {
        let mut now = self.begin();
        let mut clearing = Clearing::begin(&self.store, filter, now);
        loop {
            if let Some(cleared) = clearing.go_on(now) {
                return cleared;
            }
            yield_now().await;
            now = self.clock.now();
        }
    }

    /// Ends all sessions and goes on from the host's time, which is before the time inside. Returns
    /// how many live sessions it ended.
    ///
    /// # Errors
    /// [`Error::ClockNotBehind`] when the lag is within the tolerance; nothing has changed then.
    pub async fn accept_clock(&self) -> Result<usize, Error> {
        self.begin();
        if self.check_lag().is_ok() {
            return Err(Error::ClockNotBehind);
        }
        let mut ended = Cleared::default();
        loop {
            ended.merge(self.clear_away(RevokeFilter::Everything).await);
            let before = self.clock.now();
            // The host's clock may have caught up while other calls had their turn, and they may
            // have made sessions.
            if self.check_lag().is_ok() {
                break;
            }
            let mut store = self.store.borrow_mut();
            if store.is_empty() {
                store.accept_clock(before, self.clock.accept());
                break;
            }
        }
        self.revoke_with_guard(ended.revocations).await;
        Ok(ended.live)
    }

    /// Asks the guard again for revocations that it has not confirmed.
    pub async fn flush_guard_revocations(&self) -> FlushReport {
        let now = self.begin();
        let (expired, batch) = {
            let mut store = self.store.borrow_mut();
            let expired = (0..MAX_REVOCATIONS)
                .take_while(|_| store.drop_expired_revocation(now))
                .count();
            (expired, store.next_revocations(MAX_REVOCATIONS))
        };
        let asked = self.revoke_with_guard(batch).await;
        FlushReport {
            settled: expired.saturating_add(asked.settled),
            pending: self.store.borrow().pending(),
        }
    }

    /// Ends a session and all below it, and leaves the guard's part pending.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`].
    pub fn invalidate(&self, id: SessionId) -> Result<(), Error> {
        let now = self.begin();
        self.store
            .borrow_mut()
            .revoke(id, EndReason::Invalidated, now)?;
        Ok(())
    }

    /// A live session.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`], [`Error::ClockBehind`].
    pub fn get(&self, id: SessionId) -> Result<Session, Error> {
        let now = self.begin();
        let expected = self.store.borrow_mut().find(id, now)?;
        self.check_end(expected)?;
        self.store.borrow().session(expected)
    }

    /// A page of an agent's live sessions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a limit outside 1-1,000.
    pub fn list_for_agent(
        &self,
        agent_id: AgentId,
        cursor: Option<u64>,
        limit: Option<u32>,
    ) -> Result<SessionPage, Error> {
        let limit = within("limit", limit.unwrap_or(100), 1..=MAX_ROWS)? as usize;
        let now = self.clock.now();
        Ok(self
            .store
            .borrow()
            .list(agent_id, cursor.unwrap_or(0), limit, now))
    }

    /// How many sessions are live.
    pub fn active_count(&self) -> usize {
        let now = self.clock.now();
        let (live, _) = self.store.borrow_mut().counts(MAX_SORTED_OUT, now);
        live
    }

    /// Ends sessions whose time is over, at most `limit` and at most 10,000, and tells how many.
    pub fn prune_expired(&self, limit: Option<u32>) -> u32 {
        let now = self.begin();
        let max = limit.unwrap_or(MAX_PRUNE).min(MAX_PRUNE);
        let mut store = self.store.borrow_mut();
        store.clear_restored_revoked(now);
        store.prune(max, MAX_SORTED_OUT, now)
    }

    /// Events after `since`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a `limit` outside 1-1,000.
    pub fn poll_events(&self, since: u64, limit: u32) -> Result<EventPage, Error> {
        let limit = within("limit", limit, 1..=MAX_ROWS)? as usize;
        Ok(self.store.borrow().events().read(since, limit))
    }

    /// Records that changed after `since`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a `limit` outside 1-1,000, [`Error::NoStateKey`].
    pub fn changes(&self, since: u64, limit: u32) -> Result<ChangePage, Error> {
        let limit = within("limit", limit, 1..=MAX_ROWS)? as usize;
        let now = self.clock.now_unless_restoring();
        let is_behind = self.clock.lag() > 0;
        let mut store = self.store.borrow_mut();
        store.changes(since, limit, now, is_behind)
    }

    /// Takes records back, before the first operation on sessions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 1,000 records, [`Error::NoStateKey`],
    /// [`Error::AlreadyStarted`], [`Error::RefusedRecord`], [`Error::LimitReached`],
    /// [`Error::EntropyUnavailable`].
    pub fn restore(&self, changes: &[Change]) -> Result<(), Error> {
        if changes.len() > MAX_ROWS as usize {
            return Err(Error::invalid("changes", "must be at most 1000"));
        }
        if self.started.get() {
            return Err(Error::AlreadyStarted);
        }
        self.seed()?;
        let (time, key) = self.store.borrow_mut().restore(changes)?;
        self.clock.restore(time);
        if let Some(key) = key {
            self.key.get_or_init(|| key);
        }
        Ok(())
    }

    /// Closes the run of events, so that the next instance continues it: the record says how far the
    /// events have got. The next event of this instance begins another run.
    ///
    /// # Errors
    /// [`Error::NoStateKey`], [`Error::EntropyUnavailable`].
    pub fn close_event_run(&self) -> Result<(), Error> {
        let next = Run::random(&self.entropy).map_err(|_| Error::EntropyUnavailable)?;
        self.store.borrow_mut().close_event_run(next)
    }

    /// Figures of this moment.
    pub fn stats(&self) -> Statistics {
        let now = self.clock.now_unless_restoring();
        let mut store = self.store.borrow_mut();
        let (live_sessions, prunable_sessions) = store.counts(MAX_SORTED_OUT, now);
        Statistics {
            now,
            live_sessions,
            prunable_sessions,
            creates_in_flight: store.reserved(),
            tracked_agents: store.agents(),
            pending_revocations: store.pending(),
            subscribers: self.readers.get(),
            tombstones: store.tombstones(),
            last_change: store.last_change(),
            state_bytes: store.bytes(),
            last_event: store.events().last(),
            clock_lag: self.clock.lag(),
            clock_behind: store.check_lag(self.clock.reading(), now).is_err(),
            event_run: store.events().run(),
            totals: store.totals(),
        }
    }

    #[cfg(test)]
    pub(crate) fn end_outcomes(&self) -> usize {
        self.store.borrow().end_outcomes()
    }

    /// An operation on sessions begins now.
    fn begin(&self) -> Timestamp {
        if !self.started.replace(true) {
            self.store.borrow_mut().end_restoring();
        }
        self.clock.now()
    }

    /// The fingerprint key. It, the seed of the tables and the run of the events are drawn when the first session is asked
    /// for: before that there is nothing to recognise, and an instance starts without asking
    /// its host for anything.
    fn key(&self) -> Result<&FingerprintKey, Error> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        self.seed()?;
        let mut salt = [0; SALT_BYTES];
        let drawn = FingerprintKey::random(&self.entropy)
            .and_then(|key| self.entropy.fill(&mut salt).map(|()| Rc::new(key)));
        let key = drawn.map_err(|_| Error::EntropyUnavailable)?;
        let mut store = self.store.borrow_mut();
        store.set_fingerprint_key(Rc::clone(&key), salt);
        Ok(self.key.get_or_init(|| key))
    }

    /// Sees to it that the tables have their seed and the events their run, before there is anything in
    /// them.
    fn seed(&self) -> Result<(), Error> {
        if !self.seeded.get() {
            let drawn = Seed::random(&self.entropy)
                .and_then(|seed| Ok((seed, Run::random(&self.entropy)?)));
            let (seed, run) = drawn.map_err(|_| Error::EntropyUnavailable)?;
            let mut store = self.store.borrow_mut();
            store.seed(&seed);
            store.events_mut().begin_run(run);
            self.seeded.set(true);
        }
        Ok(())
    }
}

/// Checks what the guard issued against its bounds: a token that could not be presented, or a
/// handle that could not be kept, is of no use.
fn admit(
    key: &FingerprintKey,
    token: String,
    handle: &Rc<str>,
    expires_at: Timestamp,
) -> Result<(Token, NewToken), Error> {
    let unusable =
        |what: &str| Error::Guard(GuardError::Unavailable(format!("the guard issued {what}")));
    if token.is_empty() {
        return Err(unusable("an empty token"));
    }
    let token = Token::parse(token).map_err(|_| unusable("a token of more than 8192 bytes"))?;
    if !is_handle(handle) {
        return Err(unusable("a handle that does not have 1 to 512 bytes"));
    }
    let kept = NewToken {
        fingerprint: key.fingerprint(&token),
        handle: handle.clone(),
        expires_at,
    };
    Ok((token, kept))
}
