//! Many tokens in one call.
//!
//! What a call costs by itself is paid once: one reading of the clock and one look at each session
//! before the guard is asked, one call of the guard, and the same after its answer.

use super::SessionManager;
use super::authenticate::GuardVerdict;
use super::in_flight::InFlight;
use crate::domain::error::Error;
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Guard, MAX_BATCH, one_for_each};
use crate::store::plan::SessionVersion;
use crate::store::revocations::PendingKey;

/// How many tokens one call takes at most: their number is what the call keeps others waiting by
/// (R20), and the guard is asked about all of them in one call.
const MAX_TOKENS: usize = MAX_BATCH;

/// A token that was found, until it is used.
struct FoundToken<'a> {
    /// Until the guard is asked about it.
    token: Option<Token>,
    expected: SessionVersion,
    /// None where the guard need not be asked.
    verdict: Option<GuardVerdict>,
    _in_flight: InFlight<'a>,
}

type Found<'a> = Vec<Result<FoundToken<'a>, Error>>;

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Returns the sessions that tokens stand for. A token that was refused already keeps its
    /// error. Uses are taken when the guard has answered for all tokens: in one step, in their
    /// order (R29).
    ///
    /// # Errors
    /// As `sessions.validate-many` in the WIT: those of the call, and those of each token.
    pub async fn validate_many(
        &self,
        tokens: Vec<Result<Token, Error>>,
    ) -> Result<Vec<Result<Session, Error>>, Error> {
        if tokens.len() > MAX_TOKENS {
            return Err(Error::invalid("tokens", "must be at most 256"));
        }
        let mut now = self.begin_operation();
        let mut found = self.find_each(tokens, now);
        // Cached validations may be dropped while the guard is asked about other tokens. It is
        // asked about each token once at most, so this comes to an end.
        loop {
            let (asked, tokens) = self.to_validate(&mut found, now);
            if asked.is_empty() {
                break;
            }
            let results = self.guard.validate_tokens(tokens).await;
            for (at, answer) in asked.iter().zip(one_for_each(asked.len(), results)) {
                if let Some(Ok(found)) = found.get_mut(*at) {
                    found.verdict = Some(GuardVerdict {
                        asked_at: now,
                        answer,
                    });
                }
            }
            now = self.clock.now();
        }
        let (sessions, exhausted) = self.use_each(found, now);
        // The uses were taken, whatever happens from here on.
        self.revoke_with_guard(exhausted).await;
        Ok(sessions)
    }

    fn find_each(&self, tokens: Vec<Result<Token, Error>>, now: Timestamp) -> Found<'_> {
        let find = |token| {
            let expected = self.find_usable(&token, now)?;
            Ok(FoundToken {
                token: Some(token),
                expected,
                verdict: None,
                _in_flight: InFlight::new(&self.store, expected),
            })
        };
        let tokens = tokens.into_iter();
        tokens.map(|token| token.and_then(find)).collect()
    }

    /// Takes the tokens that the guard has to be asked about now, and tells where they were.
    fn to_validate(&self, found: &mut Found<'_>, now: Timestamp) -> (Vec<usize>, Vec<Token>) {
        let (mut asked, mut tokens) = (Vec::new(), Vec::new());
        for (at, found) in found.iter_mut().enumerate() {
            if let Ok(found) = found
                && found.token.is_some()
                && self.needs_guard(found.expected, now)
            {
                asked.push(at);
                tokens.extend(found.token.take());
            }
        }
        (asked, tokens)
    }

    /// Uses the sessions in the order of the tokens. Also returns the pending revocations of those
    /// that this was the last use of.
    fn use_each(
        &self,
        found: Found<'_>,
        now: Timestamp,
    ) -> (Vec<Result<Session, Error>>, Vec<PendingKey>) {
        let mut exhausted = Vec::new();
        let used = found.into_iter().map(|found| {
            // In flight until its use is taken.
            let FoundToken {
                expected,
                verdict,
                _in_flight,
                ..
            } = found?;
            let used = self.use_session(expected, verdict, None, now)?;
            exhausted.extend(used.exhausted);
            Ok(used.session)
        });
        let used = used.collect();
        (used, exhausted)
    }
}
