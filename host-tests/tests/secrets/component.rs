//! The component: what its operations return, and its linear memory.

use clawdb_session_host::World;
use clawdb_session_testkit::{ProcessMemory, Secrets, number_in_environment};

use crate::caller::{CALLS_IN_ROUND, Caller};

/// The number of calls in each world, unless `SESSION_SECRETS_CALLS` is set.
const CALLS: u64 = 1_000;

/// Makes calls, and then searches the linear memories of this process.
async fn search_after_calls(world: World) {
    let calls = number_in_environment("SESSION_SECRETS_CALLS").unwrap_or(CALLS);
    let mut caller = Caller::start(world).await;
    for _ in 0..calls.div_ceil(CALLS_IN_ROUND) {
        Box::pin(caller.make_round()).await;
    }
    caller.end_everything().await;

    let memories = ProcessMemory::of("self").linear_memories();
    // Only the instance of this test has it. Other tests have instances in this process, too.
    let role = Secrets::of("role", &caller.live_role);
    let with_role = memories
        .iter()
        .map(|it| role.found_in(it).len())
        .sum::<usize>();
    assert!(
        with_role > 0,
        "no linear memory has the live session of this test"
    );
    for memory in &memories {
        caller.secrets.assert_absent("a linear memory", memory);
    }
}

#[tokio::test]
async fn r22_after_all_calls_no_output_and_no_linear_memory_contains_a_token_or_key() {
    search_after_calls(World::Session).await;
}

#[tokio::test]
async fn r22_after_all_calls_of_the_sync_world_no_output_or_linear_memory_contains_a_secret() {
    search_after_calls(World::SessionSync).await;
}
