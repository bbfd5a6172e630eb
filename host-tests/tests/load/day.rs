//! A day of a busy platform, on a virtual clock.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{AnySessions, CallError, Clock, Grant, SessionError, World};
use clawdb_session_testkit::ManualClock;
use tokio::task::JoinSet;

use crate::callers::timed;
use crate::{LONGEST, WORLDS, agent, limits, process, request, sessions, start};

/// The time between two steps, in seconds.
const STEP: u64 = 10;
/// The steps of a day.
const STEPS: u64 = 24 * 60 * 60 / STEP;
/// The steps of a minute.
const MINUTE: u64 = 60 / STEP;
/// The longest lifetime of a session, in seconds.
const LONGEST_LIFETIME: u64 = 1_800;

/// What the memory may grow by after two hours, besides 5 %: fewer than 16 bytes for each session
/// of the short version.
const GROWTH: usize = 256 << 10;

/// A session as its caller has left it.
struct Used {
    grant: Grant,
    agent: u64,
    is_revoked: bool,
    /// How long the longest call took.
    longest: Duration,
}

/// The platform.
struct Platform {
    world: World,
    instance: AnySessions,
    clock: Arc<ManualClock>,
    /// How many sessions begin in each step. Their callers run at the same time.
    each_step: u64,
    created: u64,
    revoked: u64,
    /// Sessions that are looked at later.
    kept: Vec<Used>,
    longest: Duration,
}

/// Creates a session, renews it or not, uses it, and revokes it or not.
async fn use_session(instance: AnySessions, step: u64, agent: u64) -> Used {
    let choice = (step + agent) % 4;
    let mut longest = Duration::ZERO;
    let shortest = 60;
    let lifetime = shortest + (step * 7 + agent * 13) % (LONGEST_LIFETIME - shortest);
    let request = request(agent).with_lifetime(Duration::from_secs(lifetime));
    let created = timed(&mut longest, instance.create(request)).await;
    let mut grant = created.unwrap();
    if choice == 0 {
        let rotated = timed(&mut longest, instance.rotate(&*grant.token)).await;
        grant = rotated.unwrap();
    } else if choice == 1 {
        let refreshed = timed(&mut longest, instance.refresh(&*grant.session.id)).await;
        grant = refreshed.unwrap();
    }
    let validated = timed(&mut longest, instance.validate(&*grant.token)).await;
    assert_eq!(validated.unwrap().id, grant.session.id);
    let is_revoked = choice == 2;
    if is_revoked {
        let revoked = timed(&mut longest, instance.revoke(&*grant.session.id)).await;
        revoked.unwrap();
    }
    Used {
        grant,
        agent,
        is_revoked,
        longest,
    }
}

impl Platform {
    async fn new(world: World) -> Self {
        let (instance, clock) = start(world, limits(1_000_000)).await;
        Self {
            world,
            instance,
            clock,
            each_step: 2 + sessions() / 5_000,
            created: 0,
            revoked: 0,
            kept: Vec::new(),
            longest: Duration::ZERO,
        }
    }

    /// Lets each caller use a session. Those of a step of each minute are kept.
    async fn use_sessions(&mut self, step: u64) {
        let mut running = JoinSet::new();
        for agent in 0..self.each_step {
            running.spawn(use_session(self.instance.clone(), step, agent));
        }
        while let Some(used) = running.join_next().await {
            let used = used.unwrap();
            self.created += 1;
            self.revoked += u64::from(used.is_revoked);
            self.longest = self.longest.max(used.longest);
            if step.is_multiple_of(MINUTE) {
                self.kept.push(used);
            }
        }
    }

    /// Ends the sessions that have expired.
    async fn prune(&mut self) {
        let pruned = self.instance.prune_expired(None);
        timed(&mut self.longest, pruned).await.unwrap();
    }

    /// Ends all sessions of an agent.
    async fn end_all(&mut self, number: u64) {
        let ended = self.instance.revoke_all_for_agent(agent(number));
        let ended = timed(&mut self.longest, ended).await;
        self.revoked += u64::from(ended.unwrap());
        for used in &mut self.kept {
            used.is_revoked |= used.agent == number;
        }
    }

    /// Checks the tokens of the sessions that were kept. Returns how many were accepted, and how
    /// many were refused. Those are dropped.
    async fn check_kept(&mut self) -> (u64, u64) {
        let (mut accepted, mut refused) = (0, 0);
        for used in mem::take(&mut self.kept) {
            let validated = self.instance.validate(&*used.grant.token);
            let answer = timed(&mut self.longest, validated).await;
            let has_expired = used.grant.session.expires_at <= self.clock.now_millis();
            match answer {
                Ok(session) if !used.is_revoked && !has_expired => {
                    assert_eq!(session.id, used.grant.session.id);
                    accepted += 1;
                    self.kept.push(used);
                }
                Err(CallError::Session(SessionError::InvalidToken))
                    if used.is_revoked || has_expired =>
                {
                    refused += 1;
                }
                Err(CallError::Session(SessionError::SessionExpired)) if has_expired => {
                    refused += 1;
                }
                answer => panic!(
                    "revoked: {}, expired: {has_expired}, {:?}: {answer:?}",
                    used.is_revoked, used.grant.session
                ),
            }
        }
        (accepted, refused)
    }

    /// Runs for a day.
    async fn run(mut self) {
        let (mut after_two_hours, mut accepted, mut refused) = (0, 0, 0);
        for step in 0..STEPS {
            self.clock.advance(Duration::from_secs(STEP));
            self.use_sessions(step).await;
            if step.is_multiple_of(MINUTE) {
                self.prune().await;
            }
            if step.is_multiple_of(10 * MINUTE) {
                let (more_accepted, more_refused) = self.check_kept().await;
                accepted += more_accepted;
                refused += more_refused;
                self.end_all(step / (10 * MINUTE) % self.each_step).await;
            }
            if step == 120 * MINUTE {
                after_two_hours = self.instance.memory();
            }
        }
        let stats = self.instance.stats().await.unwrap();
        let live = u64::from(stats.live_sessions) + u64::from(stats.prunable_sessions);
        let memory = self.instance.memory();
        println!(
            "{:?}: {} sessions, {} revoked, {live} left, {accepted} accepted and {refused} \
             refused later, memory {memory}, peak of the process {}, the longest call took {:?}",
            self.world,
            self.created,
            self.revoked,
            process::memory().peak,
            self.longest
        );
        assert_eq!(self.created, stats.ended + live);
        assert!(stats.ended > self.revoked, "{stats:?}");
        assert!(live <= LONGEST_LIFETIME / STEP * self.each_step, "{live}");
        assert!(accepted > 100 * self.each_step, "{accepted}");
        assert!(refused > 1_000 * self.each_step, "{refused}");
        let allowed = after_two_hours + after_two_hours / 20 + GROWTH;
        assert!(memory <= allowed, "{memory} is more than {allowed}");
        assert!(self.longest < LONGEST, "{:?}", self.longest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_after_a_day_the_memory_is_that_of_the_second_hour() {
    for world in WORLDS {
        Platform::new(world).await.run().await;
    }
}
