//! What is done with a contestant so that it is afterwards as it was before, and only what is asked
//! for is timed.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::client_state::Book;
use crate::memory;
use crate::message::Filled;
use crate::target::{Contestant, Failure, Figure, Granted, Operation};
use crate::workload::{self, Picks, SESSIONS_OF_AN_AGENT};

/// How many batches there are, or more.
const BATCHES: u32 = 9;
/// The first of the sessions that are made to be ended again: behind all others, and the first of its agent.
const FIRST_PASSING: u32 = 200_000_000 * SESSIONS_OF_AN_AGENT;
/// How many calls are prepared and made at a time, at most.
const BATCH: u32 = 1_000;
/// How many tokens one call of `validate-many` gets.
const TOKENS_AT_ONCE: u32 = 64;

/// A contestant and what its callers know.
pub struct Rounds<C> {
    contestant: C,
    book: Book,
    picks: Picks,
    /// The number of the next session that is made to be ended again.
    passing: u32,
    /// The memory of the process before the first session.
    at_first: u64,
}

impl<C: Contestant> Rounds<C> {
    /// Rounds with a contestant that has no sessions yet.
    pub fn new(contestant: C) -> Self {
        Self {
            contestant,
            book: Book::default(),
            picks: Picks::default(),
            passing: FIRST_PASSING,
            at_first: memory::this_process().unwrap_or(0),
        }
    }

    /// Makes sessions, each in a call by itself, until there are so many. None where it makes none.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    pub fn fill(&mut self, count: u32) -> Result<Option<Filled>, Failure> {
        self.book.reserve(count);
        let mut filled = Filled::default();
        for number in self.book.len()..count {
            let requests = vec![workload::request(number)];
            let before = computed();
            let Some((granted, took)) = self.contestant.create(requests)? else {
                return Ok(None);
            };
            let computed = computed().saturating_sub(before);
            filled.longest = filled.longest.max(nanoseconds(took));
            filled.longest_computed = filled.longest_computed.max(nanoseconds(computed));
            for granted in &granted {
                self.book.add(granted)?;
            }
        }
        Ok(Some(filled))
    }

    /// The time of a call of an operation, in nanoseconds; none where there is no such operation. Of the
    /// batches that the calls are made in it is the median one's, so that one in which another program had
    /// the core does not count. There are as many sessions after it as before.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    pub fn time(&mut self, operation: Operation, calls: u32) -> Result<Option<f64>, Failure> {
        let batch = self.batch_size(operation, calls);
        let mut times = Vec::new();
        let mut left = calls.max(1);
        while left > 0 {
            let calls = left.min(batch);
            let Some(took) = self.batch(operation, calls)? else {
                return Ok(None);
            };
            times.push(took.as_secs_f64() * 1e9 / f64::from(calls));
            left -= calls;
        }
        Ok(median(times))
    }

    /// How many calls are made at a time.
    fn batch_size(&self, operation: Operation, calls: u32) -> u32 {
        let size = (calls / BATCHES).clamp(1, BATCH);
        match operation {
            // No session is refreshed twice in a batch.
            Operation::Refresh => size.min(self.book.len()).max(1),
            // Only the last call has fewer tokens than it can.
            Operation::ValidateMany => size.next_multiple_of(TOKENS_AT_ONCE),
            _ => size,
        }
    }

    /// A figure that is no time of a call.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    pub fn figure(&mut self, figure: Figure) -> Result<Option<f64>, Failure> {
        let own = self.contestant.figure(figure)?;
        if own.is_some() || figure != Figure::Memory || self.book.is_empty() {
            return Ok(own);
        }
        let book = u64::try_from(self.book.bytes()).unwrap_or(u64::MAX);
        let memory = memory::this_process().map(|now| {
            let grown = now.saturating_sub(self.at_first).saturating_sub(book);
            #[expect(clippy::cast_precision_loss, reason = "a measurement")]
            let grown = grown as f64;
            grown
        });
        Ok(memory)
    }

    fn batch(&mut self, operation: Operation, calls: u32) -> Result<Option<Duration>, Failure> {
        let took = match operation {
            Operation::Validate => {
                let tokens = self.tokens(calls);
                self.contestant.validate(tokens)?.map(|((), took)| took)
            }
            Operation::ValidateMany => {
                let tokens = self.tokens(calls);
                let at_once = usize::try_from(TOKENS_AT_ONCE).unwrap_or(usize::MAX);
                let tokens = tokens.chunks(at_once).map(<[_]>::to_vec).collect();
                self.contestant
                    .validate_many(tokens)?
                    .map(|((), took)| took)
            }
            Operation::Create => {
                let Some((granted, took)) = self.create_passing(calls)? else {
                    return Ok(None);
                };
                self.revoke(&granted)?.map(|_| took)
            }
            Operation::Revoke => {
                let Some((granted, _)) = self.create_passing(calls)? else {
                    return Ok(None);
                };
                self.revoke(&granted)?
            }
            Operation::Refresh => self.refresh(calls)?,
            Operation::RevokeAgent => {
                let first = self.passing / SESSIONS_OF_AN_AGENT;
                if self.create_passing(calls * SESSIONS_OF_AN_AGENT)?.is_none() {
                    return Ok(None);
                }
                let agents = (first..first + calls).map(workload::agent).collect();
                let Some(((), took)) = self.contestant.revoke_agents(agents)? else {
                    return Ok(None);
                };
                Some(took)
            }
            Operation::Prune => self.contestant.prune(calls)?.map(|((), took)| took),
            Operation::Nothing => self.contestant.nothing(calls)?.map(|((), took)| took),
            Operation::NothingAsync => self.contestant.nothing_async(calls)?.map(|((), took)| took),
        };
        Ok(took)
    }

    /// Random tokens; some of the usual length where the contestant makes no sessions.
    fn tokens(&mut self, calls: u32) -> Vec<String> {
        let count = self.book.len();
        (0..calls)
            .map(|number| match count {
                0 => workload::token(number),
                _ => self.book.token(self.picks.below(count)),
            })
            .collect()
    }

    /// Sessions of agents that have no others.
    fn create_passing(&mut self, count: u32) -> Result<Option<(Vec<Granted>, Duration)>, Failure> {
        let first = self.passing;
        self.passing = (first + count).next_multiple_of(SESSIONS_OF_AN_AGENT);
        let requests = (first..first + count).map(workload::request).collect();
        self.contestant.create(requests)
    }

    fn revoke(&mut self, granted: &[Granted]) -> Result<Option<Duration>, Failure> {
        let ids = granted.iter().map(|granted| granted.id).collect();
        Ok(self.contestant.revoke(ids)?.map(|((), took)| took))
    }

    fn refresh(&mut self, calls: u32) -> Result<Option<Duration>, Failure> {
        let count = usize::try_from(calls).unwrap_or(usize::MAX);
        let picks = self.picks.distinct(count, self.book.len());
        let ids = picks.iter().map(|&number| self.book.id(number)).collect();
        let Some((tokens, took)) = self.contestant.refresh(ids)? else {
            return Ok(None);
        };
        for (number, token) in picks.into_iter().zip(tokens) {
            self.book.replace(number, &token)?;
        }
        Ok(Some(took))
    }
}

/// How long this thread has computed. Unlike the time of the clock on the wall it does not pass while
/// others compute.
fn computed() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into)
}

/// The one in the middle, or the mean of the two.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
