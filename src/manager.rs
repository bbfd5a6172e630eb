//! The operations: what is checked, asked and done, in which order.
//!
//! Each operation runs to its first wait in one go, and from there to the next. Before a wait it
//! leaves the store in a state that any other call may find; after it, it trusts nothing that it
//! learnt before, but has the store check and change in one step. No borrow of the store lives
//! across a wait.
//!
//! A call may also be cancelled while it waits (its future is dropped). Then a create gives its
//! place up, and revocations that were not confirmed stay pending.

mod held;
mod revoking;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use held::{Place, Room, Watch};
use revoking::MAX_GUARD_REVOCATIONS;

use crate::clock::{Clock, MonotonicClock, Timestamp};
use crate::config::{Config, Limits, within};
use crate::entropy::Entropy;
use crate::error::{Error, GuardError};
use crate::events::{EndReason, EventPage};
use crate::guard::{Guard, IssueRequest};
use crate::id::{AgentId, SessionId};
use crate::session::{CreateRequest, Grant, Revocation, Session, SessionPage};
use crate::store::{Store, Totals};
use crate::table::Seed;
use crate::ticket::{Draft, NewToken};
use crate::token::{FingerprintKey, Token};

/// How many sessions one `prune_expired` ends at most (R20).
const MAX_PRUNE: u32 = 10_000;
/// How many rows a page has at most (R2).
const MAX_ROWS: u32 = 1_000;
/// How long a guard's handle can be, in bytes.
const MAX_HANDLE: usize = 512;

/// The session manager over its three ports.
#[derive(Debug)]
pub struct SessionManager<G, C, E> {
    guard: G,
    clock: MonotonicClock<C>,
    entropy: E,
    store: RefCell<Store>,
    /// Made with the first session: before it there is nothing to recognise.
    key: OnceCell<FingerprintKey>,
    configured: Cell<bool>,
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
    /// What counts against `max-state-bytes`.
    pub state_bytes: u64,
    /// The newest event's sequence number.
    pub last_event: u64,
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
            configured: Cell::new(false),
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
        let created_at = self.clock.now();
        let (lifetime, workspace_id) = {
            let store = self.store.borrow();
            (
                store.limits().lifetime(request.expires_in)?,
                store.limits().workspace_id,
            )
        };
        let key = self.key()?;
        let id = SessionId::random(&self.entropy).map_err(|_| Error::EntropyUnavailable)?;
        let attributes = Rc::new(request.attributes);
        let wanted = created_at.after_seconds(lifetime);
        if wanted <= created_at {
            // The end of time itself: nothing can begin any more.
            return Err(Error::SessionExpired);
        }
        let place = Place::reserve(&self.store, id, request.agent_id, &attributes, created_at)?;
        let issue = IssueRequest {
            session_id: id,
            agent_id: request.agent_id,
            workspace_id,
            attributes: &attributes,
            expires_at: wanted,
        };
        let issued = self.guard.issue_session_token(issue).await?;

        let handle = Rc::from(issued.handle);
        let token_expires_at = issued.expires_at;
        let done = admit(key, issued.token, &handle, token_expires_at).and_then(|(token, kept)| {
            let draft = Draft {
                attributes,
                lifetime,
                created_at,
                expires_at: wanted,
            };
            let now = self.clock.now();
            let session =
                self.store
                    .borrow_mut()
                    .commit_create(&place.reservation, draft, kept, now)?;
            Ok(Grant { session, token })
        });
        drop(place);
        if let Err(error) = &done {
            self.discard(error, handle, token_expires_at).await;
        }
        done
    }

    /// Tells whose session a token stands for.
    ///
    /// # Errors
    /// As `sessions.validate` in the WIT.
    pub async fn validate(&self, token: Token) -> Result<Session, Error> {
        let key = self.key.get().ok_or(Error::InvalidToken)?;
        let fingerprint = key.fingerprint(&token);
        let now = self.clock.now();
        let expected = self.store.borrow_mut().find_by_token(&fingerprint, now)?;
        let _watch = Watch::new(&self.store, expected);
        let answer = self.guard.validate_token(token.expose()).await;

        let now = self.clock.now();
        let mut store = self.store.borrow_mut();
        let (session, handle) = store
            .check(expected, now)
            .map_err(|stale| stale.into_error(Error::InvalidToken))?;
        let claims = answer?;
        if claims.handle != handle {
            return Err(Error::InvalidToken);
        }
        if claims.expires_at <= now {
            return Err(Error::Guard(GuardError::Expired));
        }
        Ok(session.clone())
    }

    /// Gives a session a new token and its own lifetime again.
    ///
    /// # Errors
    /// As `sessions.refresh` in the WIT.
    pub async fn refresh(&self, id: SessionId) -> Result<Grant, Error> {
        // Where no session was ever asked for there is no key.
        let key = self.key.get().ok_or(Error::SessionNotFound)?;
        let now = self.clock.now();
        let plan = self.store.borrow_mut().plan_refresh(id, now)?;
        let _watch = Watch::new(&self.store, plan.expected);
        let _room = Room::set_aside(&self.store, now)?;
        let issue = IssueRequest {
            session_id: id,
            agent_id: plan.session.agent_id,
            workspace_id: plan.session.workspace_id,
            attributes: &plan.session.attributes,
            expires_at: plan.expires_at,
        };
        let answer = self.guard.issue_session_token(issue).await;

        let now = self.clock.now();
        let issued = match answer {
            Ok(issued) => issued,
            Err(error) => {
                // Who lost the session meanwhile shall hear of that, not of the guard.
                let mut store = self.store.borrow_mut();
                store
                    .check(plan.expected, now)
                    .map_err(|stale| stale.into_error(Error::Conflict))?;
                return Err(error.into());
            }
        };
        let handle = Rc::from(issued.handle);
        let token_expires_at = issued.expires_at;
        let done = admit(key, issued.token, &handle, token_expires_at).and_then(|(token, kept)| {
            let (session, superseded) = self.store.borrow_mut().commit_refresh(
                plan.expected,
                plan.expires_at,
                kept,
                now,
            )?;
            Ok((Grant { session, token }, superseded))
        });
        match done {
            Ok((grant, superseded)) => {
                // Dead here already. Where the guard does not confirm, the revocation stays pending.
                let _ = self.revoke_with_guard(superseded).await;
                // That was a wait like any other: the new token may be dead by now as well.
                let now = self.clock.now();
                let mut store = self.store.borrow_mut();
                store
                    .check(plan.expected.refreshed(), now)
                    .map_err(|stale| stale.into_error(Error::Conflict))?;
                Ok(grant)
            }
            Err(error) => {
                self.discard(&error, handle, token_expires_at).await;
                Err(error)
            }
        }
    }

    /// Ends a session, then has the guard revoke its token.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`].
    pub async fn revoke(&self, id: SessionId) -> Result<Revocation, Error> {
        let now = self.clock.now();
        let pending = self
            .store
            .borrow_mut()
            .revoke(id, EndReason::Revoked, now)?;
        Ok(Revocation {
            session_id: id,
            guard: self.revoke_with_guard(pending).await.map(drop),
        })
    }

    /// Ends all sessions of an agent and tells how many were live, then has the guard revoke their
    /// tokens.
    pub async fn revoke_all_for_agent(&self, agent_id: AgentId) -> usize {
        let now = self.clock.now();
        let mut pending = self.store.borrow_mut().revoke_all(agent_id, now);
        let revoked = pending.len();
        // The rest is pending for a flush.
        pending.truncate(MAX_GUARD_REVOCATIONS);
        self.revoke_each_with_guard(pending).await;
        revoked
    }

    /// Asks the guard again for revocations that it has not confirmed.
    pub async fn flush_guard_revocations(&self) -> FlushReport {
        let now = self.clock.now();
        let (expired, batch) = {
            let mut store = self.store.borrow_mut();
            let expired = (0..MAX_GUARD_REVOCATIONS)
                .take_while(|_| store.drop_expired_revocation(now))
                .count();
            (expired, store.next_revocations(MAX_GUARD_REVOCATIONS))
        };
        let confirmed = self.revoke_each_with_guard(batch).await;
        FlushReport {
            settled: expired.saturating_add(confirmed),
            pending: self.store.borrow().pending(),
        }
    }

    /// Ends a session and leaves the guard's part pending.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`].
    pub fn invalidate(&self, id: SessionId) -> Result<(), Error> {
        let now = self.clock.now();
        self.store
            .borrow_mut()
            .revoke(id, EndReason::Invalidated, now)?;
        Ok(())
    }

    /// A live session.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`].
    pub fn get(&self, id: SessionId) -> Result<Session, Error> {
        let now = self.clock.now();
        self.store.borrow_mut().get(id, now)
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
        let (live, _) = self.store.borrow().counts(now);
        live
    }

    /// Ends sessions whose time is over, at most `limit` and at most 10,000, and tells how many.
    pub fn prune_expired(&self, limit: Option<u32>) -> u32 {
        let now = self.clock.now();
        let max = limit.unwrap_or(MAX_PRUNE).min(MAX_PRUNE);
        self.store.borrow_mut().prune(max, now)
    }

    /// Events after `since`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a `max` outside 1-1,000.
    pub fn poll_events(&self, since: u64, max: u32) -> Result<EventPage, Error> {
        let max = within("max", max, 1..=MAX_ROWS)? as usize;
        Ok(self.store.borrow().events().read(since, max))
    }

    /// Figures of this moment.
    pub fn stats(&self) -> Statistics {
        let now = self.clock.now();
        let store = self.store.borrow();
        let (live_sessions, prunable_sessions) = store.counts(now);
        Statistics {
            now,
            live_sessions,
            prunable_sessions,
            creates_in_flight: store.reserved(),
            tracked_agents: store.agents(),
            pending_revocations: store.pending(),
            state_bytes: store.bytes(),
            last_event: store.events().last(),
            totals: store.totals(),
        }
    }

    #[cfg(test)]
    pub(crate) fn fates(&self) -> usize {
        self.store.borrow().fates()
    }

    /// The fingerprint key. It and the seed of the tables are drawn when the first session is asked
    /// for: before that there is nothing to recognise, and an instance starts without asking
    /// its host for anything.
    fn key(&self) -> Result<&FingerprintKey, Error> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let drawn = FingerprintKey::random(&self.entropy)
            .and_then(|key| Ok((key, Seed::random(&self.entropy)?)));
        let (key, seed) = drawn.map_err(|_| Error::EntropyUnavailable)?;
        self.store.borrow_mut().seed(&seed);
        Ok(self.key.get_or_init(|| key))
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

fn is_handle(handle: &str) -> bool {
    (1..=MAX_HANDLE).contains(&handle.len())
}
