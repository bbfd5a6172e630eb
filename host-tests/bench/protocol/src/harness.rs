//! Runs operations on a target. Only the operation is timed, and it does not change the number of
//! sessions.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::client_state::ClientState;
use crate::memory;
use crate::message::FillReport;
use crate::statistics::median;
use crate::target::{CreatedSession, Metric, Operation, Target, TargetError};
use crate::workload::{self, SESSIONS_PER_AGENT, SeededRng};

/// The minimum number of batches.
const MIN_BATCHES: u32 = 9;
/// The number of the first temporary session. It is higher than all others, and the first one of
/// its agent.
const FIRST_TEMPORARY: u32 = 200_000_000 * SESSIONS_PER_AGENT;
/// The maximum number of calls in a batch.
const MAX_BATCH: u32 = 1_000;
/// The number of tokens in a call of `validate-many`.
const TOKENS_PER_CALL: u32 = 64;

/// A target, the client's state, and the order in which sessions are used.
pub struct Harness<T> {
    target: T,
    client: ClientState,
    random: SeededRng,
    /// The number of the next temporary session, which an operation creates and ends.
    next_temporary: u32,
    /// The memory of the process before the first session.
    initial_memory: u64,
}

impl<T: Target> Harness<T> {
    /// Returns a harness for a target that has no sessions yet.
    pub fn new(target: T) -> Self {
        Self {
            target,
            client: ClientState::default(),
            random: SeededRng::default(),
            next_temporary: FIRST_TEMPORARY,
            initial_memory: memory::resident_bytes().unwrap_or(0),
        }
    }

    /// Creates sessions, one in each call, until there are `count`. Returns `None` if the target
    /// creates no sessions.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    pub fn fill(&mut self, count: u32) -> Result<Option<FillReport>, TargetError> {
        self.client.reserve(count);
        let mut report = FillReport::default();
        for number in self.client.len()..count {
            let requests = vec![workload::request(number)];
            let cpu_before = thread_cpu_time();
            let Some((created, took)) = self.target.create(requests)? else {
                return Ok(None);
            };
            let cpu = thread_cpu_time().saturating_sub(cpu_before);
            report.longest_create = report.longest_create.max(nanoseconds(took));
            report.longest_create_cpu = report.longest_create_cpu.max(nanoseconds(cpu));
            for session in &created {
                self.client.add(session)?;
            }
        }
        Ok(Some(report))
    }

    /// Returns the time of a call of an operation, in nanoseconds, or `None` if the target does not
    /// support the operation. The calls are made in batches, and the result is from the median
    /// batch, so that a batch that another program interrupts has no effect. The number of sessions
    /// does not change.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    pub fn time(&mut self, operation: Operation, calls: u32) -> Result<Option<f64>, TargetError> {
        let batch = self.batch_size(operation, calls);
        let mut times = Vec::new();
        let mut left = calls.max(1);
        while left > 0 {
            let calls = left.min(batch);
            let Some(took) = self.time_batch(operation, calls)? else {
                return Ok(None);
            };
            times.push(took.as_secs_f64() * 1e9 / f64::from(calls));
            left -= calls;
        }
        Ok(median(times))
    }

    /// Returns the number of calls in a batch.
    fn batch_size(&self, operation: Operation, calls: u32) -> u32 {
        let size = (calls / MIN_BATCHES).clamp(1, MAX_BATCH);
        match operation {
            // No session is refreshed twice in a batch.
            Operation::Refresh => size.min(self.client.len()).max(1),
            // Only the last call of a batch has fewer tokens.
            Operation::ValidateMany => size.next_multiple_of(TOKENS_PER_CALL),
            _ => size,
        }
    }

    /// Measures something other than the time of a call.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    pub fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        let measured = self.target.metric(metric)?;
        if measured.is_some() || metric != Metric::Memory || self.client.is_empty() {
            return Ok(measured);
        }
        let client = u64::try_from(self.client.bytes()).unwrap_or(u64::MAX);
        let memory = memory::resident_bytes().map(|now| {
            let growth = now
                .saturating_sub(self.initial_memory)
                .saturating_sub(client);
            #[expect(clippy::cast_precision_loss, reason = "a measurement")]
            let growth = growth as f64;
            growth
        });
        Ok(memory)
    }

    /// Returns the time of a batch of calls.
    fn time_batch(
        &mut self,
        operation: Operation,
        calls: u32,
    ) -> Result<Option<Duration>, TargetError> {
        let took = match operation {
            Operation::Validate => {
                let tokens = self.tokens(calls);
                self.target.validate(tokens)?.map(|((), took)| took)
            }
            Operation::ValidateMany => {
                let tokens = self.tokens(calls);
                let per_call = usize::try_from(TOKENS_PER_CALL).unwrap_or(usize::MAX);
                let tokens = tokens.chunks(per_call).map(<[_]>::to_vec).collect();
                self.target.validate_many(tokens)?.map(|((), took)| took)
            }
            Operation::Create => {
                let Some((created, took)) = self.create_temporary(calls)? else {
                    return Ok(None);
                };
                self.revoke(&created)?.map(|_| took)
            }
            Operation::Revoke => {
                let Some((created, _)) = self.create_temporary(calls)? else {
                    return Ok(None);
                };
                self.revoke(&created)?
            }
            Operation::Refresh => self.refresh(calls)?,
            Operation::RevokeAllForAgent => {
                let first = self.next_temporary / SESSIONS_PER_AGENT;
                if self.create_temporary(calls * SESSIONS_PER_AGENT)?.is_none() {
                    return Ok(None);
                }
                let agents = (first..first + calls).map(workload::agent).collect();
                let Some(((), took)) = self.target.revoke_all_for_agent(agents)? else {
                    return Ok(None);
                };
                Some(took)
            }
            Operation::Prune => self.target.prune(calls)?.map(|((), took)| took),
            Operation::ActiveCount => self.target.active_count(calls)?.map(|((), took)| took),
            Operation::NoOp => self.target.no_op(calls)?.map(|((), took)| took),
            Operation::NoOpAsync => self.target.no_op_async(calls)?.map(|((), took)| took),
        };
        Ok(took)
    }

    /// Returns the tokens of random sessions, or tokens of the usual length if the target creates
    /// no sessions.
    fn tokens(&mut self, calls: u32) -> Vec<String> {
        let count = self.client.len();
        (0..calls)
            .map(|number| match count {
                0 => workload::token(number),
                _ => self.client.token(self.random.below(count)),
            })
            .collect()
    }

    /// Creates sessions of new agents.
    fn create_temporary(
        &mut self,
        count: u32,
    ) -> Result<Option<(Vec<CreatedSession>, Duration)>, TargetError> {
        let first = self.next_temporary;
        self.next_temporary = (first + count).next_multiple_of(SESSIONS_PER_AGENT);
        let requests = (first..first + count).map(workload::request).collect();
        self.target.create(requests)
    }

    fn revoke(&mut self, sessions: &[CreatedSession]) -> Result<Option<Duration>, TargetError> {
        let ids = sessions.iter().map(|session| session.id).collect();
        Ok(self.target.revoke(ids)?.map(|((), took)| took))
    }

    fn refresh(&mut self, calls: u32) -> Result<Option<Duration>, TargetError> {
        let count = usize::try_from(calls).unwrap_or(usize::MAX);
        let numbers = self.random.distinct(count, self.client.len());
        let ids = numbers
            .iter()
            .map(|&number| self.client.id(number))
            .collect();
        let Some((tokens, took)) = self.target.refresh(ids)? else {
            return Ok(None);
        };
        for (number, token) in numbers.into_iter().zip(tokens) {
            self.client.replace_token(number, &token)?;
        }
        Ok(Some(took))
    }
}

/// Returns the CPU time of this thread. Unlike wall-clock time, it does not include the time of
/// other programs.
fn thread_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
