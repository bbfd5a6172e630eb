//! Random calls of the component over a guard, a clock and a random source that misbehave, in both
//! worlds.
//!
//! The guard gives wrong, repeated, empty, huge and odd answers, expiries of all times, batches of
//! wrong lengths and orders; it accepts every token, panics, does not answer, and calls the
//! instance (`calls.rs`) while the instance waits for it. The clock goes back, stands still, jumps
//! by years and to the last second of the year 9999, and shows times that do not exist. The random
//! source repeats itself, gives few bytes or none.
//!
//! Throughout, the instance must not end, a session that has ended must stay ended, and a token
//! must stand for the session that it was issued for, or for none. Each time that a token is
//! accepted, the guard must have validated it with its own handle and an expiry that has not
//! passed. When all three behave again, everything can be ended, the instance keeps nothing, and
//! new sessions can be created. With a state key, another instance restores the records: no session
//! that has ended is live there, and a token stands for its session only.
//!
//! # Commands
//!
//! ```text
//! cargo test --test hostile
//! SESSION_HOSTILE_CALLS=100000 cargo test --test hostile   # makes more calls
//! SESSION_HOSTILE_SEED=<seed> cargo test --test hostile    # repeats a run, which prints its seed
//! ```
//!
//! A seed repeats the calls and the answers. It does not repeat random bytes.

mod caller;
mod calls;
mod ports;

use clawdb_session_host::World;
use clawdb_session_testkit::number_in_environment;

use caller::Caller;
use ports::Hostility;

/// The number of calls in each world, unless `SESSION_HOSTILE_CALLS` is set.
const CALLS: u64 = 4_000;

async fn run(hostility: Hostility) {
    let seed = number_in_environment("SESSION_HOSTILE_SEED");
    let seed = seed.unwrap_or_else(|| getrandom::u64().expect("the system has random bytes"));
    println!("SESSION_HOSTILE_SEED={seed}");
    let calls = number_in_environment("SESSION_HOSTILE_CALLS").unwrap_or(CALLS);
    for world in [World::Session, World::SessionSync] {
        let mut caller = Caller::start(world, hostility, seed, None).await;
        caller.make_calls(calls).await;
        caller.end_everything().await;

        let state_key = Some(vec![1; 32]);
        let mut caller = Caller::start(world, hostility, seed, state_key).await;
        caller.make_calls(calls / 2).await;
        caller.restore_elsewhere().await;
    }
}

// Time is paused: the guard's deadline passes at once when all tasks wait.

#[tokio::test(start_paused = true)]
async fn r12_a_hostile_guard_brings_back_no_session() {
    run(Hostility {
        guard: true,
        ..Hostility::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r06_a_hostile_clock_brings_back_no_session() {
    run(Hostility {
        clock: true,
        ..Hostility::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r16_a_hostile_random_source_overwrites_no_session() {
    run(Hostility {
        entropy: true,
        ..Hostility::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r03_all_ports_can_be_hostile_at_once() {
    run(Hostility {
        guard: true,
        clock: true,
        entropy: true,
    })
    .await;
}
