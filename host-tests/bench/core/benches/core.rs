//! How long the core's hot operations take natively, without WebAssembly and its host around them.
//! `benches/instructions.rs` counts what they do; the host's bench (`clawdb-session bench`) has the whole.

mod fixture;

use std::hint::black_box;

use clawdb_session::{SessionId, Token};
use criterion::{Criterion, criterion_group, criterion_main};

use fixture::{Manager, end_of, filled, request};

/// How many sessions there are.
const SIZES: [u64; 2] = [1_000, 100_000];

/// A manager with so many sessions, their ids and their tokens.
fn scene_of(sessions: u64) -> (Manager, Vec<SessionId>, Vec<Token>) {
    let (mut ids, mut tokens) = (Vec::new(), Vec::new());
    let manager = filled(sessions, |_, grant| {
        ids.push(grant.session.id);
        tokens.push(grant.token);
    });
    (manager, ids, tokens)
}

fn operations(criterion: &mut Criterion) {
    for sessions in SIZES {
        let (manager, ids, mut tokens) = scene_of(sessions);
        let name = |operation: &str| format!("{operation}, {sessions} sessions");
        let mut next = 0_usize;
        // In an order without a pattern that a cache could learn.
        let mut pick = move || {
            next = (next + 7_919) % ids.len();
            next
        };

        criterion.bench_function(&name("validate"), |bencher| {
            bencher.iter(|| end_of(manager.validate(tokens[pick()].clone())).expect("it is good"));
        });
        criterion.bench_function(&name("validate-many of 64"), |bencher| {
            bencher.iter(|| {
                let many = (0..64).map(|_| Ok(tokens[pick()].clone())).collect();
                end_of(manager.validate_many(many)).expect("they are few")
            });
        });
        criterion.bench_function(&name("create and revoke"), |bencher| {
            bencher.iter(|| {
                let grant = end_of(manager.create(request(sessions))).expect("there is room");
                end_of(manager.revoke(grant.session.id)).expect("it lives")
            });
        });
        let (manager, ids, _) = scene_of(sessions);
        criterion.bench_function(&name("refresh"), |bencher| {
            bencher.iter(|| {
                let at = pick();
                let grant = end_of(manager.refresh(ids[at])).expect("it lives");
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
