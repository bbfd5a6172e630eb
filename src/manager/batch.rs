//! Many tokens in one call.
//!
//! What a call costs by itself is paid once: one reading of the clock and one look at each session
//! before the guard is asked, and the same after its last answer.

use super::in_flight::InFlight;
use super::{GuardVerdict, SessionManager};
use crate::domain::error::Error;
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Guard, MAX_BATCH, one_for_each};
use crate::store::plan::SessionVersion;

/// How many tokens one call takes at most: their number is what the call keeps others waiting by
/// (R20), and the guard is asked about all of them in one call.
const MAX_TOKENS: usize = MAX_BATCH;

/// A token that the guard may have to be asked about.
struct Question<'a> {
    /// Until it is asked.
    token: Option<Token>,
    expected: SessionVersion,
    /// None where it need not be asked.
    verdict: Option<GuardVerdict>,
    /// Until its word has been judged.
    _watch: InFlight<'a>,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Tells whose sessions tokens stand for. A token that was refused already keeps its error.
    ///
    /// Uses are taken when the guard has answered for all tokens: in one step, in their order (R29).
    ///
    /// # Errors
    /// As `sessions.validate-many` in the WIT: those of the call, and those of each token.
    pub async fn validate_many(
        &self,
        tokens: Vec<Result<Token, Error>>,
    ) -> Result<Vec<Result<Session, Error>>, Error> {
        if tokens.len() > MAX_TOKENS {
            let reason = format!("must be at most {MAX_TOKENS}");
            return Err(Error::invalid("tokens", reason));
        }
        let mut now = self.begin();
        let mut questions = Vec::with_capacity(tokens.len());
        for token in tokens {
            questions.push(token.and_then(|token| self.question(token, now)));
        }
        // A yes that was remembered may be forgotten while others are waited for. What has been asked
        // about is not asked about again, so this comes to an end.
        loop {
            let unasked = questions.iter_mut().flatten();
            let unasked =
                unasked.filter(|it| it.token.is_some() && self.must_ask(it.expected, now));
            let unasked: Vec<_> = unasked.collect();
            if unasked.is_empty() {
                break;
            }
            self.ask_each(unasked, now).await;
            now = self.clock.now();
        }

        let mut sessions = Vec::with_capacity(questions.len());
        let mut exhausted = Vec::new();
        for question in questions {
            sessions.push(question.and_then(|mut question| {
                let Question {
                    expected, verdict, ..
                } = &mut question;
                let used = self.use_if_good(*expected, verdict.take(), None, now)?;
                exhausted.extend(used.exhausted);
                Ok(used.session)
            }));
        }
        // The uses were taken, whatever happens from here on.
        self.revoke_with_guard(exhausted).await;
        Ok(sessions)
    }

    fn question(&self, token: Token, now: Timestamp) -> Result<Question<'_>, Error> {
        let expected = self.find_current(&token, now)?;
        self.check_end(expected)?;
        Ok(Question {
            token: Some(token),
            expected,
            verdict: None,
            _watch: InFlight::new(&self.store, expected),
        })
    }

    /// Asks the guard about tokens, in one call.
    async fn ask_each(&self, mut questions: Vec<&mut Question<'_>>, asked_at: Timestamp) {
        let tokens = questions.iter_mut().filter_map(|it| it.token.take());
        let tokens: Vec<Token> = tokens.collect();
        let asked = tokens.len();
        let answers = one_for_each(asked, self.guard.validate_tokens(tokens).await);
        for (question, answer) in questions.into_iter().zip(answers) {
            question.verdict = Some(GuardVerdict { asked_at, answer });
        }
    }
}
