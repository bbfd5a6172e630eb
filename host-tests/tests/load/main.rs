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
mod day;
mod memory;
mod process;
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

/// Returns the memory limit of an instance with this many sessions, in bytes. An instance that
/// needs more ends.
fn max_memory(sessions: u64) -> usize {
    usize::try_from((32 << 20) + sessions * 1_024).expect("the limit is below 4 GiB")
}

async fn start(world: World, config: Config) -> (AnySessions, Arc<ManualClock>) {
    start_with_memory(world, config, None).await
}

/// Starts an instance with this memory limit, or that of the host.
async fn start_with_memory(
    world: World,
    config: Config,
    max_memory: Option<usize>,
) -> (AnySessions, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(CONTROLLED_START));
    let guard = JwtGuard::new(&[7; 32]).expect("the key is long enough");
    let guard = Arc::new(guard.with_clock(clock.clone()));
    let engine = AnyEngine::new(world).unwrap();
    let mut options = controlled_instances(engine, guard, clock.clone());
    let limit = match &mut options {
        InstanceOptions::Session(_, options) => &mut options.max_memory,
        InstanceOptions::SessionSync(_, options) => {
            // A call that takes longer fails the test anyway.
            options.busy_after = LONGEST;
            &mut options.max_memory
        }
    };
    *limit = max_memory.unwrap_or(*limit);
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
    // All callers have the same share.
    let sessions_each = sessions().div_ceil(CALLERS);
    let calls_each = calls().div_ceil(2 * CALLERS);
    let (sessions, calls) = (sessions_each * CALLERS, calls_each * CALLERS * 2);
    for world in WORLDS {
        let config = Config {
            max_state_bytes: Some(sessions * BYTES_OF_A_SESSION),
            ..limits(sessions)
        };
        let max_memory = Some(max_memory(sessions));
        let (instance, _clock) = start_with_memory(world, config, max_memory).await;
        let started = Instant::now();
        let mut callers: Vec<_> = (0..CALLERS)
            .map(|number| Caller::new(number, sessions_each, instance.clone()))
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
            callers = callers::all(callers, move |caller| caller.make_calls(calls_each)).await;
            memory.push(instance.memory());
        }
        println!(
            "{world:?}: {calls} calls in {:.1} s, memory {memory:?}, peak of the process {}",
            started.elapsed().as_secs_f64(),
            process::memory().peak
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
        let mut longest = Duration::ZERO;
        // An expired session takes no place, and is refused before it is pruned. The create ends
        // those that expired first.
        let created = timed(&mut longest, instance.create(request(1))).await;
        let grant = created.unwrap();
        let last = last.unwrap();
        let refused = timed(&mut longest, instance.validate(&*last.token)).await;
        let expired = CallError::Session(SessionError::SessionExpired);
        assert_eq!(refused.unwrap_err(), expired);
        loop {
            let pruned = timed(&mut longest, instance.prune_expired(None));
            let pruned = pruned.await.unwrap();
            assert!(pruned <= MAX_ENDED, "{pruned}");
            let validated = timed(&mut longest, instance.validate(&*grant.token)).await;
            assert_eq!(validated.unwrap().id, grant.session.id);
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
