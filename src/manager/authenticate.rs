//! Operations with a token: finding its session, validating it with the guard, and using the
//! session.

use super::SessionManager;
use super::in_flight::InFlight;
use crate::domain::error::{Error, GuardError};
use crate::domain::event::Denial;
use crate::domain::id::SessionId;
use crate::domain::scope::Scope;
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Claims, Guard};
use crate::store::Used;
use crate::store::plan::{SessionVersion, TokenMatch};

/// The guard's answer about a token.
pub(super) struct GuardVerdict {
    /// The time at which the guard was asked, or an earlier one.
    pub(super) asked_at: Timestamp,
    pub(super) answer: Result<Claims, GuardError>,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Returns the session that a token stands for, and counts a use of it.
    ///
    /// # Errors
    /// Those of `sessions.validate` in the WIT.
    pub async fn validate(&self, token: Token) -> Result<Session, Error> {
        self.use_token(token, None).await
    }

    /// Returns the session that a token stands for, if it has the scope, and counts a use of it.
    ///
    /// # Errors
    /// Those of `sessions.authorize` in the WIT.
    pub async fn authorize(&self, token: Token, scope: &Scope) -> Result<Session, Error> {
        self.use_token(token, Some(scope)).await
    }

    async fn use_token(&self, token: Token, scope: Option<&Scope>) -> Result<Session, Error> {
        let now = self.begin_operation();
        let expected = self.find_usable(&token, now)?;
        let used = if self.needs_guard(expected, now) {
            let _in_flight = InFlight::new(&self.store, expected);
            let verdict = self.validate_with_guard(token, now).await;
            self.use_session(expected, Some(verdict), scope, self.clock.now())?
        } else {
            self.use_session(expected, None, scope, now)?
        };
        if let Some(pending) = used.exhausted {
            // The use is taken, even if this call is cancelled from here on.
            self.revoke_with_guard(vec![pending]).await;
        }
        Ok(used.session)
    }

    /// Returns the session with this current token, if its expiry can be trusted (R6).
    pub(super) fn find_usable(
        &self,
        token: &Token,
        now: Timestamp,
    ) -> Result<SessionVersion, Error> {
        let expected = self.find_current(token, now)?;
        self.check_end(expected)?;
        Ok(expected)
    }

    /// Returns the session with this current token. Refuses a superseded token, which is recorded
    /// as a denial.
    pub(super) fn find_current(
        &self,
        token: &Token,
        now: Timestamp,
    ) -> Result<SessionVersion, Error> {
        let TokenMatch {
            expected,
            superseded,
        } = self.find_token(token, now)?;
        if superseded.is_none() {
            return Ok(expected);
        }
        Err(self.store.borrow_mut().refuse_superseded(expected, now))
    }

    /// Returns the session that has, or had, this token.
    pub(super) fn find_token(&self, token: &Token, now: Timestamp) -> Result<TokenMatch, Error> {
        let mut store = self.store.borrow_mut();
        match self.key.get() {
            Some(key) => store.find_by_token(&key.fingerprint(token), now),
            // Without a key no session has been requested or restored.
            None => Err(store.refuse_unknown()),
        }
    }

    /// Returns whether the guard has to validate the token of a session: not while a validation is
    /// cached (R34).
    pub(super) fn needs_guard(&self, expected: SessionVersion, now: Timestamp) -> bool {
        let mut store = self.store.borrow_mut();
        if self.clock.take_error() {
            store.drop_cached_validations(now);
        }
        store.needs_guard(expected, now)
    }

    /// Asks the guard to validate a token.
    pub(super) async fn validate_with_guard(
        &self,
        token: Token,
        asked_at: Timestamp,
    ) -> GuardVerdict {
        GuardVerdict {
            asked_at,
            answer: self.guard.validate_token(token).await,
        }
    }

    /// Uses a session, if the guard validated its token and the token is still the current one of a
    /// live session. `verdict` is `None` if the validation is cached.
    pub(super) fn use_session(
        &self,
        expected: SessionVersion,
        verdict: Option<GuardVerdict>,
        scope: Option<&Scope>,
        now: Timestamp,
    ) -> Result<Used, Error> {
        let validated = self.check_validated(expected, verdict, now);
        let mut store = self.store.borrow_mut();
        match validated {
            Ok(()) => store.take_use(expected, scope, now),
            Err(Error::Conflict) => Err(store.refuse_superseded(expected, now)),
            Err(error) => Err(error),
        }
    }

    /// Checks that the session is live, that the token is its current one, and that the guard
    /// validated it (R9).
    ///
    /// # Errors
    /// [`Error::Conflict`] if the session has a newer token; otherwise the error for the caller.
    pub(super) fn check_validated(
        &self,
        expected: SessionVersion,
        verdict: Option<GuardVerdict>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.record_verdict(expected, verdict, now)?;
        self.check_end(expected)
    }

    /// Caches a success of the guard and records a refusal as a denial.
    fn record_verdict(
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
            // An unavailable guard is not recorded as a denial.
            Err(error @ GuardError::Unavailable(_)) => return Err(error.into()),
            Err(error) => (Denial::Guard, error.into()),
        };
        store.drop_cached_validation(expected);
        store.refuse(expected, denial, now);
        Err(error)
    }

    /// Restarts the idle time of a session (R28).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] or [`Error::SessionExpired`] if it is not live,
    /// [`Error::ClockBehind`] if its expiry is from a wrong clock.
    pub fn touch(&self, id: SessionId) -> Result<(), Error> {
        let now = self.begin_operation();
        let expected = self.find_live(id, now)?;
        self.store.borrow_mut().touch(expected, now);
        Ok(())
    }
}
