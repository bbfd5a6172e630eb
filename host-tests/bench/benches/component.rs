//! The time of calls of the component of the world `session-sync` with the embedded guard, which
//! signs and verifies JSON Web Tokens. `clawdb-session bench`, which compares the component with
//! others, uses a guard that takes almost no time.

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{CreateRequest, Grant, LocalEngine, LocalInstance, LocalOptions};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// The number of sessions.
const SESSIONS: u64 = 1_000;

fn request(number: u64) -> CreateRequest {
    let agent_id = format!("7b8d4f6e-3c1a-4f52-9e0d-{:012x}", number / 10);
    CreateRequest::new(agent_id, "researcher")
        .with_scopes(["memory:read", "memory:write", "web:search", "tool:*"])
        .with_task_type("literature-review")
        .with_metadata(format!(r#"{{"note":"{number:0>87}"}}"#))
}

fn create(instance: &mut LocalInstance, number: u64) -> Grant {
    let grant = instance.create(request(number));
    grant.expect("no limit is reached")
}

fn calls(criterion: &mut Criterion) {
    let engine = LocalEngine::new().expect("the component compiles");
    let guard = JwtGuard::from_environment().expect("a guard");
    let instance = LocalInstance::start(&engine, LocalOptions::new(guard));
    let mut instance = instance.expect("the component starts");
    let grants = (0..SESSIONS).map(|number| create(&mut instance, number));
    let grants: Vec<Grant> = grants.collect();

    criterion.bench_function("a call that reads a number", |bencher| {
        bencher.iter(|| instance.active_count().expect("no call traps"));
    });
    let mut tokens = grants.iter().map(|grant| grant.token.to_string()).cycle();
    criterion.bench_function("validate", |bencher| {
        bencher.iter_batched(
            || tokens.next().expect("there are sessions"),
            |token| instance.validate(token).expect("the token is valid"),
            BatchSize::SmallInput,
        );
    });
    let mut numbers = (0..100).cycle().map(|number| SESSIONS + number);
    criterion.bench_function("create and revoke", |bencher| {
        bencher.iter(|| {
            let number = numbers.next().expect("the numbers do not end");
            let grant = create(&mut instance, number);
            let ended = instance.revoke(grant.session.id);
            ended.expect("the session is live")
        });
    });
}

criterion_group!(benches, calls);
criterion_main!(benches);
