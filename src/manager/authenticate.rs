//! Tokens that are presented: which session each stands for, what the guard says of it, and the use
//! of the session.

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
    /// A time that is not after the guard was asked.
    pub(super) asked_at: Timestamp,
    pub(super) answer: Result<Claims, GuardError>,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Returns the session that a token stands for.
    ///
    /// # Errors
    /// As `sessions.validate` in the WIT.
    pub async fn validate(&self, token: Token) -> Result<Session, Error> {
        self.use_token(token, None).await
    }

    /// Returns the session that a token stands for, if it has a scope.
    ///
    /// # Errors
    /// As `sessions.authorize` in the WIT.
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
            // The use was taken, whatever happens from here on.
            self.revoke_with_guard(vec![pending]).await;
        }
        Ok(used.session)
    }

    /// Returns the session whose current token this is, if its end can be trusted (R6).
    pub(super) fn find_usable(
        &self,
        token: &Token,
        now: Timestamp,
    ) -> Result<SessionVersion, Error> {
        let expected = self.find_current(token, now)?;
        self.check_end(expected)?;
        Ok(expected)
    }

    /// Returns the session whose current token this is.
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

    /// Returns the session whose current token this is, or was.
    pub(super) fn find_token(&self, token: &Token, now: Timestamp) -> Result<TokenMatch, Error> {
        let mut store = self.store.borrow_mut();
        match self.key.get() {
            Some(key) => store.find_by_token(&key.fingerprint(token), now),
            // There is no key before the first session is asked for.
            None => Err(store.refuse_unknown()),
        }
    }

    /// Returns whether the guard has to be asked about the token of a session: it has not, while a
    /// validation is cached (R34).
    pub(super) fn needs_guard(&self, expected: SessionVersion, now: Timestamp) -> bool {
        let mut store = self.store.borrow_mut();
        if self.clock.take_error() {
            store.drop_cached_validations(now);
        }
        store.needs_guard(expected, now)
    }

    /// Asks the guard about a token.
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

    /// Uses a session, unless the guard refused its token, or the session or the token has changed.
    /// `verdict` is none where a validation is cached.
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

    /// Checks that the session is live and its token the current one, and that the guard has
    /// validated it (R9).
    ///
    /// # Errors
    /// [`Error::Conflict`] when the session has another token by now.
    pub(super) fn check_validated(
        &self,
        expected: SessionVersion,
        verdict: Option<GuardVerdict>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.record_verdict(expected, verdict, now)?;
        self.check_end(expected)
    }

    /// Caches a validation, and records a refusal.
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

    /// Begins a session's idle time anew (R28).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`], [`Error::ClockBehind`].
    pub fn touch(&self, id: SessionId) -> Result<(), Error> {
        let now = self.begin_operation();
        let expected = self.find_live(id, now)?;
        self.store.borrow_mut().touch(expected, now);
        Ok(())
    }
}
