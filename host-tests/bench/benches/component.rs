//! The time of calls of the component with the embedded guard, which signs and verifies JSON Web
//! Tokens. `clawdb-session bench`, which compares the component with others, uses a guard that
//! takes almost no time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{CreateRequest, Grant, HostOptions, Instance, SessionEngine};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Builder;

/// The number of sessions.
const SESSIONS: u64 = 1_000;

fn request(number: u64) -> CreateRequest {
    let agent_id = format!("7b8d4f6e-3c1a-4f52-9e0d-{:012x}", number / 10);
    CreateRequest::new(agent_id, "researcher")
        .with_scopes(["memory:read", "memory:write", "web:search", "tool:*"])
        .with_task_type("literature-review")
        .with_metadata(format!(r#"{{"note":"{number:0>87}"}}"#))
}

fn calls(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let engine = SessionEngine::new().expect("the component compiles");
    let guard = JwtGuard::from_environment().expect("a guard");
    let options = HostOptions::with_shared_guard(Arc::new(guard));
    let instance = runtime.block_on(Instance::start(&engine, options));
    let mut instance = instance.expect("the component starts");
    let filled = instance.run(async |accessor, component| {
        let mut grants = Vec::new();
        for number in 0..SESSIONS {
            let made = component
                .clawdb_session_sessions()
                .call_create(accessor, request(number));
            grants.push(Grant::from(made.await?.expect("no limit is reached")));
        }
        Ok(grants)
    });
    let grants: Vec<Grant> = runtime.block_on(filled).expect("no call traps");

    criterion.bench_function("a call that reads a number", |bencher| {
        bencher.iter_custom(|calls| {
            let timed = instance.run(async |accessor, component| {
                let begun = Instant::now();
                for _ in 0..calls {
                    component
                        .clawdb_session_sessions()
                        .call_active_count(accessor)
                        .await?;
                }
                Ok(begun.elapsed())
            });
            runtime.block_on(timed).expect("no call traps")
        });
    });
    criterion.bench_function("validate", |bencher| {
        bencher.iter_custom(|calls| {
            let tokens: Vec<String> = grants.iter().map(|grant| grant.token.to_string()).collect();
            let timed = instance.run(async |accessor, component| {
                let mut took = Duration::ZERO;
                for token in tokens
                    .iter()
                    .cycle()
                    .take(usize::try_from(calls).unwrap_or(usize::MAX))
                {
                    let token = token.clone();
                    let begun = Instant::now();
                    let validated = component
                        .clawdb_session_sessions()
                        .call_validate(accessor, token);
                    validated.await?.expect("the token is valid");
                    took += begun.elapsed();
                }
                Ok(took)
            });
            runtime.block_on(timed).expect("no call traps")
        });
    });
    criterion.bench_function("create and revoke", |bencher| {
        bencher.iter_custom(|calls| {
            let timed = instance.run(async |accessor, component| {
                let sessions = component.clawdb_session_sessions();
                let begun = Instant::now();
                for number in 0..calls {
                    let made = sessions.call_create(accessor, request(SESSIONS + number % 100));
                    let grant = made.await?.expect("no limit is reached");
                    let ended = sessions.call_revoke(accessor, grant.session.id);
                    ended.await?.expect("the session is live");
                }
                Ok(begun.elapsed())
            });
            runtime.block_on(timed).expect("no call traps")
        });
    });
}

criterion_group!(benches, calls);
criterion_main!(benches);
