//! A guard, a clock and random bytes that do what the script says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use clawdb_session::{
    Claims, Clock, Entropy, EntropyUnavailable, Guard, GuardError, IssueRequest, IssuedToken,
    Timestamp, Token,
};

/// 2030-01-01T00:00:00Z.
const START: u64 = 1_893_456_000_000;

/// The ports of a manager. They share one state.
#[derive(Clone)]
pub struct Ports(Rc<State>);

struct State {
    /// The reading of the clock in milliseconds; `None` if the clock fails.
    clock: Cell<Option<u64>>,
    entropy: Cell<Randomness>,
    /// How many blocks of random bytes were drawn.
    drawn: Cell<u64>,
    /// The verdict on each question that is asked from now on; `None` if they wait.
    at_once: Cell<Option<Verdict>>,
    /// The questions that wait, and the verdicts of those that are answered.
    questions: RefCell<BTreeMap<u64, Option<Verdict>>>,
    asked: Cell<u64>,
    issued: RefCell<Vec<Issued>>,
    revoked: RefCell<Vec<Rc<str>>>,
}

/// What the random source does.
#[derive(Clone, Copy, Debug)]
pub enum Randomness {
    /// Each block of bytes is another one.
    Fresh,
    /// The last block is given again.
    Repeated,
    /// There are no bytes.
    Fails,
}

/// A byte of the script that decides about an answer of the guard. 0 is the best answer.
#[derive(Clone, Copy, Debug)]
pub struct Verdict(pub u8);

/// A token that the guard has issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// Its handle.
    pub handle: String,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Whether the token and the handle are new, and within their bounds.
    pub is_usable: bool,
}

impl Ports {
    /// Returns ports whose guard answers at once.
    pub fn new() -> Self {
        Self(Rc::new(State {
            clock: Cell::new(Some(START)),
            entropy: Cell::new(Randomness::Fresh),
            drawn: Cell::new(0),
            at_once: Cell::new(Some(Verdict(0))),
            questions: RefCell::default(),
            asked: Cell::new(0),
            issued: RefCell::default(),
            revoked: RefCell::default(),
        }))
    }

    /// Sets the reading of the clock in milliseconds; `None` if it fails.
    pub fn set_clock(&self, reading: Option<u64>) {
        self.0.clock.set(reading);
    }

    /// Returns the last reading of the clock in milliseconds.
    pub fn clock(&self) -> u64 {
        self.0.clock.get().unwrap_or(START)
    }

    /// Sets what the random source does.
    pub fn set_randomness(&self, randomness: Randomness) {
        self.0.entropy.set(randomness);
    }

    /// Sets the verdict on each question from now on; `None` lets them wait.
    pub fn answer_at_once(&self, verdict: Option<Verdict>) {
        self.0.at_once.set(verdict);
    }

    /// Returns the questions that wait for an answer, oldest first.
    pub fn questions(&self) -> Vec<u64> {
        let questions = self.0.questions.borrow();
        let waiting = questions.iter().filter(|(_, verdict)| verdict.is_none());
        waiting.map(|(question, _)| *question).collect()
    }

    /// Answers a question.
    pub fn answer(&self, question: u64, verdict: Verdict) {
        self.0
            .questions
            .borrow_mut()
            .insert(question, Some(verdict));
    }

    /// Returns the tokens that the guard has issued.
    pub fn issued(&self) -> Vec<Issued> {
        self.0.issued.borrow().clone()
    }

    /// Returns the texts of the tokens that the guard has issued.
    pub fn tokens(&self) -> Vec<String> {
        let issued = self.0.issued.borrow();
        issued.iter().map(|issued| issued.token.clone()).collect()
    }

    /// Returns whether the guard has issued this token more than once.
    pub fn is_repeated(&self, token: &str) -> bool {
        let issued = self.0.issued.borrow();
        issued.iter().filter(|issued| issued.token == token).count() > 1
    }

    /// Returns whether the guard has confirmed that it revoked the token with this handle.
    pub fn is_revoked(&self, handle: &str) -> bool {
        self.0.revoked.borrow().iter().any(|it| **it == *handle)
    }

    /// Forgets what was asked and answered.
    pub fn forget(&self) {
        self.0.questions.take();
        self.0.issued.take();
        self.0.revoked.take();
    }

    async fn ask(&self) -> Verdict {
        if let Some(verdict) = self.0.at_once.get() {
            return verdict;
        }
        let number = self.0.asked.get();
        self.0.asked.set(number + 1);
        self.0.questions.borrow_mut().insert(number, None);
        let question = Question {
            ports: self,
            number,
        };
        poll_fn(|_| match question.verdict() {
            Some(verdict) => Poll::Ready(verdict),
            None => Poll::Pending,
        })
        .await
    }

    fn claims(&self, token: &Token, verdict: Verdict) -> Result<Claims, GuardError> {
        let issued = self.0.issued.borrow();
        let known = issued.iter().rev().find(|it| it.token == token.expose());
        let Some(known) = known else {
            return Err(GuardError::InvalidToken);
        };
        let expires_at = Timestamp::from_millis(self.clock());
        match verdict.0 % 8 {
            0..=2 => Ok(Claims {
                handle: known.handle.clone(),
                expires_at: Timestamp::MAX,
            }),
            3 => Ok(Claims {
                handle: known.handle.clone(),
                expires_at: expires_at.after_seconds(2),
            }),
            4 => Ok(Claims {
                handle: known.handle.clone(),
                expires_at,
            }),
            5 => Ok(Claims {
                handle: issued.first().map_or(String::new(), |it| it.handle.clone()),
                expires_at: Timestamp::MAX,
            }),
            _ => Err(failure(verdict)),
        }
    }

    fn issue(&self, request: &IssueRequest<'_>, verdict: Verdict) -> Result<Issued, GuardError> {
        let issued = self.0.issued.borrow();
        let number = issued.len();
        let mut new = Issued {
            token: format!("token-{number}"),
            handle: format!("handle-{number}"),
            expires_at: request.expires_at,
            is_usable: true,
        };
        let earlier = issued.get(usize::from(verdict.0 >> 4));
        let seconds = u64::from(verdict.0 >> 4);
        match verdict.0 % 16 {
            0..=5 => {}
            6 => new.expires_at = Timestamp::from_millis(self.clock()).after_seconds(seconds),
            7 => new.expires_at = request.expires_at.after_seconds(seconds << 20),
            8 => new.expires_at = Timestamp::default(),
            9 => new.expires_at = Timestamp::MAX,
            10 => {
                if let Some(earlier) = earlier {
                    new.handle.clone_from(&earlier.handle);
                    new.is_usable = false;
                }
            }
            11 => {
                if let Some(earlier) = earlier {
                    new.token.clone_from(&earlier.token);
                    new.is_usable = false;
                }
            }
            12 => {
                new.token = "t".repeat([0, 8_192, 8_193][usize::from(verdict.0 >> 4) % 3]);
                new.is_usable = false;
            }
            13 => {
                let len = [0, 512, 513][usize::from(verdict.0 >> 4) % 3];
                new.handle = "h".repeat(len);
                new.is_usable = false;
            }
            _ => return Err(failure(verdict)),
        }
        Ok(new)
    }
}

/// Returns an error of the guard.
fn failure(verdict: Verdict) -> GuardError {
    match verdict.0 >> 4 {
        0..=3 => GuardError::Unavailable("unavailable".into()),
        4..=6 => GuardError::Denied("denied".into()),
        7..=9 => GuardError::InvalidToken,
        10..=12 => GuardError::Expired,
        _ => GuardError::Revoked,
    }
}

/// Returns one result for each item, or too few or too many of them.
fn batch<I, T>(
    items: &[I],
    verdict: Verdict,
    mut result: impl FnMut(&I, Verdict) -> Result<T, GuardError>,
) -> Vec<Result<T, GuardError>> {
    let of_item =
        |number: usize| Verdict(verdict.0.rotate_left(u32::try_from(number % 8).unwrap()));
    let mut results: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(number, item)| result(item, of_item(number)))
        .collect();
    match verdict.0 {
        250..=252 => drop(results.pop()),
        253..=254 => results.push(Err(GuardError::InvalidToken)),
        255 => results.clear(),
        _ => {}
    }
    results
}

/// A question that a call of the guard asks. It is withdrawn when the call ends or is dropped.
struct Question<'a> {
    ports: &'a Ports,
    number: u64,
}

impl Question<'_> {
    fn verdict(&self) -> Option<Verdict> {
        let questions = self.ports.0.questions.borrow();
        questions.get(&self.number).copied().flatten()
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.ports.0.questions.borrow_mut().remove(&self.number);
    }
}

impl Guard for Ports {
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError> {
        let verdict = self.ask().await;
        let issued = self.issue(&request, verdict)?;
        self.0.issued.borrow_mut().push(issued.clone());
        Ok(IssuedToken {
            token: issued.token,
            handle: issued.handle,
            expires_at: issued.expires_at,
        })
    }

    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError> {
        let verdict = self.ask().await;
        self.claims(&token, verdict)
    }

    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>> {
        let verdict = self.ask().await;
        batch(&tokens, verdict, |token, verdict| {
            self.claims(token, verdict)
        })
    }

    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>> {
        let verdict = self.ask().await;
        let results = batch(handles, verdict, |_, verdict| match verdict.0 % 4 {
            0..=2 => Ok(()),
            _ => Err(failure(verdict)),
        });
        if results.len() == handles.len() {
            let confirmed = handles.iter().zip(&results).filter(|(_, result)| {
                matches!(
                    result,
                    Ok(()) | Err(GuardError::Expired | GuardError::Revoked)
                )
            });
            let handles = confirmed.map(|(handle, _)| Rc::clone(handle));
            self.0.revoked.borrow_mut().extend(handles);
        }
        results
    }
}

impl Clock for Ports {
    fn now(&self) -> Option<Timestamp> {
        self.0.clock.get().map(Timestamp::from_millis)
    }
}

impl Entropy for Ports {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable> {
        match self.0.entropy.get() {
            Randomness::Fresh => self.0.drawn.set(self.0.drawn.get() + 1),
            Randomness::Repeated => {}
            Randomness::Fails => return Err(EntropyUnavailable),
        }
        // The steps of a generator (SplitMix64), so that the bytes of each block differ.
        let mut state = self.0.drawn.get().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for chunk in bytes.chunks_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
