//! Validating many tokens in one call.
//!
//! The fixed costs of a call are paid once for all tokens: the call itself, the call of the guard,
//! and one reading of the clock before and after that.

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

/// The maximum number of tokens in one call. It bounds for how long the call delays others (R20),
/// and it is the maximum for one call of the guard.
const MAX_TOKENS: usize = MAX_BATCH;

/// A token whose session was found and not used yet.
struct FoundToken<'a> {
    /// The token; `None` once the guard is asked about it.
    token: Option<Token>,
    expected: SessionVersion,
    /// The guard's answer; `None` if the validation is cached.
    verdict: Option<GuardVerdict>,
    _in_flight: InFlight<'a>,
}

type Found<'a> = Vec<Result<FoundToken<'a>, Error>>;

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Returns one result for each token: its session or the error. A token that is refused already
    /// keeps its error. When the guard has answered for all tokens, uses are taken in one step, in
    /// the order of the tokens (R29).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 256 tokens. The errors of a token are those of
    /// `sessions.validate` in the WIT.
    pub async fn validate_many(
        &self,
        tokens: Vec<Result<Token, Error>>,
    ) -> Result<Vec<Result<Session, Error>>, Error> {
        if tokens.len() > MAX_TOKENS {
            let given = tokens.len();
            return Err(Error::invalid(
                "tokens",
                format!("must be at most {MAX_TOKENS}, not {given}"),
            ));
        }
        let mut now = self.begin_operation();
        let mut found = self.find_each(tokens, now);
        // Cached validations can be dropped while the guard validates other tokens, so this is
        // repeated. It ends, because the guard is asked about each token at most once.
        loop {
            let (asked, tokens) = self.take_uncached(&mut found, now);
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
        // The uses are taken, even if this call is cancelled from here on.
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

    /// Takes the tokens that the guard has to validate now. Returns their indexes in `found`, and
    /// the tokens.
    fn take_uncached(&self, found: &mut Found<'_>, now: Timestamp) -> (Vec<usize>, Vec<Token>) {
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

    /// Uses the sessions in the order of the tokens. Also returns the pending revocations of the
    /// sessions that a last use ended.
    fn use_each(
        &self,
        found: Found<'_>,
        now: Timestamp,
    ) -> (Vec<Result<Session, Error>>, Vec<PendingKey>) {
        let mut exhausted = Vec::new();
        let used = found.into_iter().map(|found| {
            // `_in_flight` is dropped after the use is taken.
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
