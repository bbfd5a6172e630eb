//! A caller with sessions of its own, of which it knows what each call must answer.

use std::time::{Duration, Instant};

use clawdb_session_host::{AnySessions, CallError, Grant, SessionError};
use clawdb_session_testkit::Random;
use tokio::task::JoinSet;

use crate::{CALLERS, agent, request};

/// How often a caller presses the kill switch of its agent: once in this many calls, or more rarely
/// if it has many sessions, because it creates others afterwards. Callers take turns: if all did so
/// at once, the revocations of all sessions would be pending, which can fill the state.
const KILL_SWITCH: u64 = 2_000;
/// The most revocations that a call asks the guard for (R20).
const MAX_FLUSHED: u32 = 1_000;

/// A caller. Its agent is no other caller's.
pub struct Caller {
    number: u64,
    instance: AnySessions,
    /// The live sessions.
    grants: Vec<Grant>,
    /// A token of a session that has ended.
    refused: Option<String>,
    sessions: u64,
    random: Random,
    /// How long the longest call took.
    pub longest: Duration,
}

/// Lets all callers do something at the same time.
pub async fn all<F>(callers: Vec<Caller>, act: impl Fn(Caller) -> F) -> Vec<Caller>
where
    F: Future<Output = Caller> + Send + 'static,
{
    let mut running = JoinSet::new();
    for caller in callers {
        running.spawn(act(caller));
    }
    running.join_all().await
}

impl Caller {
    pub fn new(number: u64, sessions: u64, instance: AnySessions) -> Self {
        Self {
            number,
            instance,
            grants: Vec::new(),
            refused: None,
            sessions,
            random: Random::new(number),
            longest: Duration::ZERO,
        }
    }

    /// Returns how many sessions are live.
    pub fn live(&self) -> usize {
        self.grants.len()
    }

    /// Creates the caller's sessions.
    pub async fn fill(mut self) -> Self {
        self.create_missing().await;
        self
    }

    /// Makes calls, and checks each answer.
    pub async fn make_calls(mut self, calls: u64) -> Self {
        let interval = KILL_SWITCH.max(4 * self.sessions);
        let turn = self.number * interval / CALLERS;
        for call in 0..calls {
            if (call + turn).is_multiple_of(interval) {
                self.end_all().await;
                continue;
            }
            let place = self.random.below(self.grants.len());
            let choice = self.random.below(100);
            self.call(choice, place).await;
        }
        self
    }

    async fn call(&mut self, choice: usize, place: usize) {
        let (instance, longest) = (&self.instance, &mut self.longest);
        let Grant { session, token } = &self.grants[place];
        match choice {
            0..=79 => {
                let validated = timed(longest, instance.validate(&**token)).await.unwrap();
                assert_eq!(validated.id, session.id);
            }
            80..=84 => {
                let superseded = token.to_string();
                let rotated = timed(longest, instance.rotate(&*superseded)).await;
                self.grants[place] = rotated.unwrap();
                self.refused = Some(superseded);
            }
            85..=89 => {
                let superseded = token.to_string();
                let refreshed = timed(longest, instance.refresh(&*session.id)).await;
                self.grants[place] = refreshed.unwrap();
                self.refused = Some(superseded);
            }
            90..=94 => {
                timed(longest, instance.revoke(&*session.id)).await.unwrap();
                self.refused = Some(self.grants.swap_remove(place).token.to_string());
                self.create().await;
            }
            _ => {
                if let Some(token) = &self.refused {
                    timed(longest, assert_refused(instance, token)).await;
                }
            }
        }
    }

    async fn create_missing(&mut self) {
        while (self.grants.len() as u64) < self.sessions {
            self.create().await;
        }
    }

    async fn create(&mut self) {
        let created = self.instance.create(request(self.number));
        let grant = timed(&mut self.longest, created).await.unwrap();
        self.grants.push(grant);
    }

    /// Ends all sessions of the agent, and creates others.
    async fn end_all(&mut self) {
        let (instance, longest) = (&self.instance, &mut self.longest);
        let ended = instance.revoke_all_for_agent(agent(self.number));
        let ended = timed(longest, ended).await.unwrap();
        assert_eq!(ended as usize, self.grants.len());
        for grant in self.grants.drain(..).take(16) {
            timed(longest, assert_refused(instance, &grant.token)).await;
        }
        // The kill switch has asked the guard for as many revocations as one flush does (R20).
        for _ in 0..ended / MAX_FLUSHED {
            let flushed = instance.flush_guard_revocations();
            timed(longest, flushed).await.unwrap();
        }
        self.create_missing().await;
    }

    /// Checks that the tokens of all sessions are refused.
    pub async fn check_all_refused(&self) {
        for grant in &self.grants {
            assert_refused(&self.instance, &grant.token).await;
        }
    }
}

/// Makes a call. `longest` becomes its time if that is longer.
pub async fn timed<T>(longest: &mut Duration, call: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let answer = call.await;
    *longest = started.elapsed().max(*longest);
    answer
}

async fn assert_refused(instance: &AnySessions, token: &str) {
    let error = instance.validate(token).await.unwrap_err();
    assert_eq!(error, CallError::Session(SessionError::InvalidToken));
}
