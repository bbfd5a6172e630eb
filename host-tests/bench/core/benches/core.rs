//! The time of the core's hot operations as native code, without WebAssembly and a host.
//! `benches/instructions.rs` counts their instructions. `clawdb-session bench` measures the
//! component in its host.

mod fixture;

use std::hint::black_box;

use clawdb_session::{SessionId, Token};
use criterion::{Criterion, criterion_group, criterion_main};

use fixture::{Manager, complete, manager_with_sessions, request};

/// The numbers of sessions.
const SESSION_COUNTS: [u64; 2] = [1_000, 100_000];

/// Returns a manager with this many sessions, their ids and their tokens.
fn set_up(sessions: u64) -> (Manager, Vec<SessionId>, Vec<Token>) {
    let (mut ids, mut tokens) = (Vec::new(), Vec::new());
    let manager = manager_with_sessions(sessions, |_, grant| {
        ids.push(grant.session.id);
        tokens.push(grant.token);
    });
    (manager, ids, tokens)
}

fn operations(criterion: &mut Criterion) {
    for sessions in SESSION_COUNTS {
        let (manager, ids, mut tokens) = set_up(sessions);
        let name = |operation: &str| format!("{operation}, {sessions} sessions");
        let mut next = 0_usize;
        // The order has no pattern that a cache could predict.
        let mut pick = move || {
            next = (next + 7_919) % ids.len();
            next
        };

        criterion.bench_function(&name("validate"), |bencher| {
            bencher.iter(|| {
                complete(manager.validate(tokens[pick()].clone())).expect("the token is valid")
            });
        });
        criterion.bench_function(&name("validate-many of 64"), |bencher| {
            bencher.iter(|| {
                let many = (0..64).map(|_| Ok(tokens[pick()].clone())).collect();
                complete(manager.validate_many(many)).expect("64 tokens are allowed")
            });
        });
        criterion.bench_function(&name("create and revoke"), |bencher| {
            bencher.iter(|| {
                let grant =
                    complete(manager.create(request(sessions))).expect("no limit is reached");
                complete(manager.revoke(grant.session.id)).expect("the session is live")
            });
        });
        let (manager, ids, _) = set_up(sessions);
        criterion.bench_function(&name("refresh"), |bencher| {
            bencher.iter(|| {
                let at = pick();
                let grant = complete(manager.refresh(ids[at])).expect("the session is live");
                tokens[at] = grant.token;
            });
        });
        criterion.bench_function(&name("prune with nothing due"), |bencher| {
            bencher.iter(|| black_box(manager.prune_expired(None)));
        });
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
