//! Load: many sessions and calls, a day of a busy platform, many sessions that expire at once,
//! sessions that fill the state, and more workspaces than may be loaded. Nothing is lost, no call
//! takes longer than it may, and the memory stays flat.
//!
//! ```text
//! cargo test --test load
//! SESSION_LOAD_SESSIONS=1000000 SESSION_LOAD_CALLS=10000000 \
//!     cargo test --release --test load -- --nocapture --test-threads 1
//! SESSION_LOAD_STATE_BYTES=2147483648 \
//!     cargo test --release --test load r03_ -- --nocapture --test-threads 1
//! SESSION_LOAD_WORKSPACES=10000 \
//!     cargo test --release --test load workspaces -- --nocapture --test-threads 1
//! ```
//!
//! `--nocapture` shows the figures.

mod callers;
mod memory;
mod workspaces;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{
    AnyEngine, AnySessions, CallError, Config, CreateRequest, InstanceOptions, Limit, RevokeFilter,
    SessionError, World,
};
use clawdb_session_testkit::{
    CONTROLLED_START, ManualClock, controlled_instances, number_in_environment,
};

use callers::{Caller, timed};

const WORLDS: [World; 2] = [World::Session, World::SessionSync];
/// The number of callers.
const CALLERS: u64 = 256;
/// The bytes that a session with its superseded tokens and pending revocations can take.
const BYTES_OF_A_SESSION: u64 = 2_048;
/// The longest time that a call may take on a busy machine: as long as a call of the world
/// `session-sync` waits by default. Without optimizations it takes longer.
const LONGEST: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 5 });
/// The most sessions that a call ends (R20).
const MAX_ENDED: u32 = 10_000;

/// Returns the number of sessions. The default is that of the short version.
fn sessions() -> u64 {
    number_in_environment("SESSION_LOAD_SESSIONS").unwrap_or(2_000)
}

/// Returns the number of calls.
fn calls() -> u64 {
    number_in_environment("SESSION_LOAD_CALLS").unwrap_or(10_000)
}

async fn start(world: World, config: Config) -> (AnySessions, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(CONTROLLED_START));
    let guard = JwtGuard::new(&[7; 32]).expect("the key is long enough");
    let guard = Arc::new(guard.with_clock(clock.clone()));
    let engine = AnyEngine::new(world).unwrap();
    let mut options = controlled_instances(engine, guard, clock.clone());
    if let InstanceOptions::SessionSync(_, options) = &mut options {
        // A call that takes longer fails the test anyway.
        options.busy_after = LONGEST;
    }
    let instance = AnySessions::start(options).await.unwrap();
    instance.configure(config).await.unwrap();
    (instance, clock)
}

fn limits(sessions: u64) -> Config {
    let sessions = u32::try_from(sessions).expect("a u32 is enough");
    Config {
        max_sessions: Some(sessions),
        max_sessions_per_agent: Some(sessions.min(100_000)),
        ..Config::default()
    }
}

fn agent(number: u64) -> String {
    format!("0a9e0000-0000-4000-8000-{number:012}")
}

fn request(agent_number: u64) -> CreateRequest {
    CreateRequest::new(agent(agent_number), "worker").with_scopes(["tool:*"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_many_callers_lose_no_session_and_the_memory_stays_flat() {
    // As many as the callers can share.
    let (sessions, calls) = (sessions() / CALLERS * CALLERS, calls());
    for world in WORLDS {
        let config = Config {
            max_state_bytes: Some(sessions * BYTES_OF_A_SESSION),
            ..limits(sessions)
        };
        let (instance, _clock) = start(world, config).await;
        let started = Instant::now();
        let mut callers: Vec<_> = (0..CALLERS)
            .map(|number| Caller::new(number, sessions / CALLERS, instance.clone()))
            .collect();
        callers = callers::all(callers, Caller::fill).await;
        println!(
            "{world:?}: {sessions} sessions in {:.1} s",
            started.elapsed().as_secs_f64()
        );

        let error = instance.create(request(CALLERS)).await.unwrap_err();
        let limit = SessionError::LimitReached(Limit::MaxSessions);
        assert_eq!(error, CallError::Session(limit));

        let mut memory = Vec::new();
        let started = Instant::now();
        for _ in 0..2 {
            let each = calls / CALLERS / 2;
            callers = callers::all(callers, move |caller| caller.make_calls(each)).await;
            memory.push(instance.memory());
        }
        println!(
            "{world:?}: {calls} calls in {:.1} s, memory {memory:?}",
            started.elapsed().as_secs_f64()
        );
        // A session remembers its last 8 superseded tokens, so it grows with its first renewals.
        assert!(memory[1] <= memory[0] + memory[0] / 10, "{memory:?}");

        let bytes = instance.stats().await.unwrap().state_bytes;
        assert!(bytes <= sessions * BYTES_OF_A_SESSION, "{bytes}");
        let live: usize = callers.iter().map(Caller::live).sum();
        assert_eq!(instance.active_count().await.unwrap() as usize, live);
        let longest = callers.iter().map(|it| it.longest).max();
        let mut longest = longest.unwrap_or_default();
        let ended = timed(&mut longest, instance.revoke_all(RevokeFilter::Everything)).await;
        assert!(ended.unwrap() as usize <= live);
        while timed(&mut longest, instance.prune_expired(None))
            .await
            .unwrap()
            > 0
        {}
        println!("{world:?}: the longest call took {longest:?}");
        assert!(longest < LONGEST, "{longest:?}");
        for caller in &callers {
            caller.check_all_refused().await;
        }
        assert_eq!(instance.active_count().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn r21_after_a_day_the_memory_is_that_of_the_second_hour() {
    let each_step = 1 + sessions() / 5_000;
    for world in WORLDS {
        let (instance, clock) = start(world, limits(1_000_000)).await;
        let (mut created, mut revoked, mut after_two_hours) = (0, 0, 0);
        // A day in steps of 10 s.
        for step in 0..8_640_u64 {
            clock.advance(Duration::from_secs(10));
            for number in 0..each_step {
                let lifetime = 60 + (step * 7 + number * 13) % 1_740;
                let request = request(number).with_lifetime(Duration::from_secs(lifetime));
                let mut grant = instance.create(request).await.unwrap();
                created += 1;
                match (step + number) % 4 {
                    0 => grant = instance.rotate(grant.token.to_string()).await.unwrap(),
                    1 => grant = instance.refresh(&*grant.session.id).await.unwrap(),
                    _ => {}
                }
                instance.validate(&*grant.token).await.unwrap();
                if (step + number) % 4 == 2 {
                    instance.revoke(&*grant.session.id).await.unwrap();
                    revoked += 1;
                }
            }
            if step % 6 == 0 {
                instance.prune_expired(None).await.unwrap();
            }
            if step % 60 == 0 {
                let agent = agent(step / 60 % each_step);
                revoked += u64::from(instance.revoke_all_for_agent(agent).await.unwrap());
            }
            if step == 720 {
                after_two_hours = instance.memory();
            }
        }
        let stats = instance.stats().await.unwrap();
        let live = u64::from(stats.live_sessions) + u64::from(stats.prunable_sessions);
        println!(
            "{world:?}: {created} sessions, {revoked} revoked, {live} kept, memory {}",
            instance.memory()
        );
        assert_eq!(created, stats.ended + live);
        assert!(stats.ended > revoked, "{stats:?}");
        assert!(live <= 180 * each_step, "{live}");
        let memory = instance.memory();
        assert!(memory <= after_two_hours + after_two_hours / 20, "{memory}");
    }
}

#[tokio::test]
async fn r20_sessions_that_expire_in_the_same_second_are_ended_in_bounded_calls() {
    let count = 2 * u64::from(MAX_ENDED) + sessions();
    for world in WORLDS {
        let (instance, clock) = start(world, limits(count)).await;
        let mut last = None;
        for number in 0..count {
            let grant = instance.create(request(number % 100)).await.unwrap();
            last = Some(grant);
        }
        clock.advance(Duration::from_hours(1));
        // An expired session takes no place, and is refused before it is pruned. The create ends
        // those that expired first.
        let grant = instance.create(request(1)).await.unwrap();
        let refused = instance.validate(&*last.unwrap().token).await.unwrap_err();
        assert_eq!(refused, CallError::Session(SessionError::SessionExpired));
        let mut longest = Duration::ZERO;
        loop {
            let pruned = timed(&mut longest, instance.prune_expired(None));
            let pruned = pruned.await.unwrap();
            assert!(pruned <= MAX_ENDED, "{pruned}");
            instance.validate(&*grant.token).await.unwrap();
            if pruned == 0 {
                break;
            }
        }
        println!("{world:?}: {count} expired at once, the longest call took {longest:?}");
        assert!(longest < LONGEST, "{longest:?}");
        let stats = instance.stats().await.unwrap();
        assert_eq!((stats.ended, stats.live_sessions), (count, 1));
    }
}
