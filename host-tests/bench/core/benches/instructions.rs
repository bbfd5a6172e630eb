//! How many instructions the core's hot operations take natively, counted by callgrind: the same on a
//! busy machine as on an idle one.
//!
//! `.ci/instructions` runs this, and it fails where an operation takes more than was recorded in
//! `instructions.txt` and a few per cent. `.ci/instructions --record` records anew.
//!
//! The guard answers at once, the clock stands still, and the random bytes are the same each time, so
//! only the compiler and the code change a figure. What is not the operation itself, the sessions
//! that there are before it above all, is not counted.

mod fixture;

use clawdb_session::{
    CreateRequest, Error, Grant, Revocation, RevokeFilter, Session, SessionId, Token,
};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

use fixture::{Manager, PER_AGENT, agent, end_of, filled, request};

/// How much more an operation may take than was recorded, in per cent: a compiler of another version
/// makes other code.
const SLACK: u64 = 3;

type Tokens = Vec<Result<Token, Error>>;
type Answers = Vec<Result<Session, Error>>;

/// A manager with sessions, and what an operation is called with.
struct Scene<T> {
    manager: Manager,
    argument: T,
}

/// This many sessions; of those in `picked`, which are numbers of sessions, what is to be called.
fn scene<T>(sessions: u64, picked: impl Fn(u64) -> bool, of: impl Fn(Grant) -> T) -> Scene<Vec<T>> {
    let mut argument = Vec::new();
    let manager = filled(sessions, |number, grant| {
        if picked(number) {
            argument.push(of(grant));
        }
    });
    Scene { manager, argument }
}

/// One in the middle.
fn one<T>(sessions: u64, of: impl Fn(Grant) -> T) -> Scene<T> {
    let Scene {
        manager,
        mut argument,
    } = scene(sessions, |number| number == sessions / 2, of);
    let argument = argument.pop().expect("it was picked");
    Scene { manager, argument }
}

fn one_token(sessions: u64) -> Scene<Token> {
    one(sessions, |grant| grant.token)
}

fn one_id(sessions: u64) -> Scene<SessionId> {
    one(sessions, |grant| grant.session.id)
}

/// 64 that lie apart.
fn many_tokens(sessions: u64) -> Scene<Tokens> {
    let apart = sessions / 64;
    let picked = |number| number % apart == 0 && number / apart < 64;
    scene(sessions, picked, |grant| Ok(grant.token))
}

fn one_more(sessions: u64) -> Scene<CreateRequest> {
    let Scene { manager, .. } = one_id(sessions);
    Scene {
        manager,
        argument: request(sessions / 2),
    }
}

fn one_agent(sessions: u64) -> Scene<RevokeFilter> {
    let Scene { manager, .. } = one_id(sessions);
    Scene {
        manager,
        argument: RevokeFilter::Agent(agent(sessions / 2 / PER_AGENT)),
    }
}

fn nothing(sessions: u64) -> Scene<()> {
    one(sessions, |_| ())
}

/// What `instructions.txt` allows to this operation.
fn recorded(operation: &str) -> LibraryBenchmarkConfig {
    let mut lines = include_str!("instructions.txt").lines();
    let figure = lines.find_map(|line| {
        let figure = line.strip_prefix(operation)?.strip_prefix(' ')?;
        figure.parse::<u64>().ok()
    });
    // What was never recorded is too much.
    let limit = figure.unwrap_or(0) * (100 + SLACK) / 100;
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

// The operations, each in a small instance and in a large one. What they give is dropped when the
// counting is over, and the manager with it.

#[library_benchmark(setup = one_token)]
#[bench::of_1k(args = (1_000), config = recorded("validate of_1k"))]
#[bench::of_100k(args = (100_000), config = recorded("validate of_100k"))]
fn validate(Scene { manager, argument }: Scene<Token>) -> (Manager, Session) {
    let answer = end_of(manager.validate(argument)).expect("it is good");
    (manager, answer)
}

#[library_benchmark(setup = many_tokens)]
#[bench::of_1k(args = (1_000), config = recorded("validate_many_64 of_1k"))]
#[bench::of_100k(args = (100_000), config = recorded("validate_many_64 of_100k"))]
fn validate_many_64(Scene { manager, argument }: Scene<Tokens>) -> (Manager, Answers) {
    let answer = end_of(manager.validate_many(argument)).expect("they are few");
    (manager, answer)
}

#[library_benchmark(setup = one_more)]
#[bench::of_1k(args = (1_000), config = recorded("create of_1k"))]
#[bench::of_100k(args = (100_000), config = recorded("create of_100k"))]
fn create(Scene { manager, argument }: Scene<CreateRequest>) -> (Manager, Grant) {
    let answer = end_of(manager.create(argument)).expect("there is room");
    (manager, answer)
}

#[library_benchmark(setup = one_id)]
#[bench::of_1k(args = (1_000), config = recorded("refresh of_1k"))]
#[bench::of_100k(args = (100_000), config = recorded("refresh of_100k"))]
fn refresh(Scene { manager, argument }: Scene<SessionId>) -> (Manager, Grant) {
    let answer = end_of(manager.refresh(argument)).expect("it lives");
    (manager, answer)
}

#[library_benchmark(setup = one_id)]
#[bench::of_1k(args = (1_000), config = recorded("revoke of_1k"))]
#[bench::of_100k(args = (100_000), config = recorded("revoke of_100k"))]
fn revoke(Scene { manager, argument }: Scene<SessionId>) -> (Manager, Revocation) {
    let answer = end_of(manager.revoke(argument)).expect("it lives");
    (manager, answer)
}

#[library_benchmark(setup = one_agent)]
#[bench::of_1k(args = (1_000), config = recorded("revoke_all_of_10 of_1k"))]
#[bench::of_100k(args = (100_000), config = recorded("revoke_all_of_10 of_100k"))]
fn revoke_all_of_10(Scene { manager, argument }: Scene<RevokeFilter>) -> (Manager, usize) {
    let answer = end_of(manager.revoke_all(argument));
    (manager, answer)
}

#[library_benchmark(setup = nothing)]
#[bench::of_1k(args = (1_000), config = recorded("prune_with_nothing_due of_1k"))]
#[bench::of_100k(args = (100_000), config = recorded("prune_with_nothing_due of_100k"))]
fn prune_with_nothing_due(Scene { manager, .. }: Scene<()>) -> (Manager, u32) {
    let answer = manager.prune_expired(None);
    (manager, answer)
}

library_benchmark_group!(
    name = operations;
    benchmarks = validate, validate_many_64, create, refresh, revoke, revoke_all_of_10,
        prune_with_nothing_due
);

main!(library_benchmark_groups = operations);
