//! How many instructions the core's hot operations take natively, counted by callgrind: the same on
//! a busy machine as on an idle one.
//!
//! `.ci/instructions` runs this, and it fails where an operation takes more than was recorded in
//! `instructions.txt` and a few per cent. `.ci/instructions --record` records anew.
//!
//! The guard answers at once, the clock stands still, and the random bytes are the same each time,
//! so only the compiler and the code change a figure. What is not the operation itself, the
//! sessions that there are before it above all, is not counted.

mod fixture;

use clawdb_session::{
    CreateRequest, Error, Grant, Revocation, RevokeFilter, Session, SessionId, Token,
};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

use fixture::{Manager, SESSIONS_PER_AGENT, agent, complete, manager_with_sessions, request};

/// By how many per cent an operation may exceed its recorded count: another version of the compiler
/// generates other code.
const TOLERANCE_PERCENT: u64 = 3;

type Tokens = Vec<Result<Token, Error>>;
type Results = Vec<Result<Session, Error>>;

/// The input of a benchmark: a manager with sessions, and the argument of the operation.
struct Input<T> {
    manager: Manager,
    argument: T,
}

/// Returns a manager with this many sessions, and `of` each grant whose number is `selected`.
fn input_of<T>(
    sessions: u64,
    selected: impl Fn(u64) -> bool,
    of: impl Fn(Grant) -> T,
) -> Input<Vec<T>> {
    let mut argument = Vec::new();
    let manager = manager_with_sessions(sessions, |number, grant| {
        if selected(number) {
            argument.push(of(grant));
        }
    });
    Input { manager, argument }
}

/// Returns a manager with this many sessions, and `of` the grant in the middle.
fn one<T>(sessions: u64, of: impl Fn(Grant) -> T) -> Input<T> {
    let Input {
        manager,
        mut argument,
    } = input_of(sessions, |number| number == sessions / 2, of);
    let argument = argument.pop().expect("it was selected");
    Input { manager, argument }
}

fn token(sessions: u64) -> Input<Token> {
    one(sessions, |grant| grant.token)
}

fn session_id(sessions: u64) -> Input<SessionId> {
    one(sessions, |grant| grant.session.id)
}

/// Returns 64 tokens of sessions that are far apart.
fn tokens_64(sessions: u64) -> Input<Tokens> {
    let apart = sessions / 64;
    let selected = |number| number % apart == 0 && number / apart < 64;
    input_of(sessions, selected, |grant| Ok(grant.token))
}

fn create_request(sessions: u64) -> Input<CreateRequest> {
    let Input { manager, .. } = session_id(sessions);
    Input {
        manager,
        argument: request(sessions / 2),
    }
}

fn agent_filter(sessions: u64) -> Input<RevokeFilter> {
    let Input { manager, .. } = session_id(sessions);
    Input {
        manager,
        argument: RevokeFilter::Agent(agent(sessions / 2 / SESSIONS_PER_AGENT)),
    }
}

fn no_argument(sessions: u64) -> Input<()> {
    one(sessions, |_| ())
}

/// Returns a configuration with the limit that `instructions.txt` sets for this operation.
fn limit_of(operation: &str) -> LibraryBenchmarkConfig {
    let mut lines = include_str!("instructions.txt").lines();
    let figure = lines.find_map(|line| {
        let figure = line.strip_prefix(operation)?.strip_prefix(' ')?;
        figure.parse::<u64>().ok()
    });
    // An operation that was never recorded fails.
    let limit = figure.unwrap_or(0) * (100 + TOLERANCE_PERCENT) / 100;
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

// The operations, each in a small instance and in a large one. They return their result and the
// manager, so that neither is dropped while instructions are counted.

#[library_benchmark(setup = token)]
#[bench::of_1k(args = (1_000), config = limit_of("validate of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("validate of_100k"))]
fn validate(Input { manager, argument }: Input<Token>) -> (Manager, Session) {
    let result = complete(manager.validate(argument)).expect("it is good");
    (manager, result)
}

#[library_benchmark(setup = tokens_64)]
#[bench::of_1k(args = (1_000), config = limit_of("validate_many_64 of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("validate_many_64 of_100k"))]
fn validate_many_64(Input { manager, argument }: Input<Tokens>) -> (Manager, Results) {
    let result = complete(manager.validate_many(argument)).expect("they are few");
    (manager, result)
}

#[library_benchmark(setup = create_request)]
#[bench::of_1k(args = (1_000), config = limit_of("create of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("create of_100k"))]
fn create(Input { manager, argument }: Input<CreateRequest>) -> (Manager, Grant) {
    let result = complete(manager.create(argument)).expect("there is room");
    (manager, result)
}

#[library_benchmark(setup = session_id)]
#[bench::of_1k(args = (1_000), config = limit_of("refresh of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("refresh of_100k"))]
fn refresh(Input { manager, argument }: Input<SessionId>) -> (Manager, Grant) {
    let result = complete(manager.refresh(argument)).expect("it lives");
    (manager, result)
}

#[library_benchmark(setup = session_id)]
#[bench::of_1k(args = (1_000), config = limit_of("revoke of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("revoke of_100k"))]
fn revoke(Input { manager, argument }: Input<SessionId>) -> (Manager, Revocation) {
    let result = complete(manager.revoke(argument)).expect("it lives");
    (manager, result)
}

#[library_benchmark(setup = agent_filter)]
#[bench::of_1k(args = (1_000), config = limit_of("revoke_all_of_10 of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("revoke_all_of_10 of_100k"))]
fn revoke_all_of_10(Input { manager, argument }: Input<RevokeFilter>) -> (Manager, usize) {
    let result = complete(manager.revoke_all(argument));
    (manager, result)
}

#[library_benchmark(setup = no_argument)]
#[bench::of_1k(args = (1_000), config = limit_of("prune_with_nothing_due of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("prune_with_nothing_due of_100k"))]
fn prune_with_nothing_due(Input { manager, .. }: Input<()>) -> (Manager, u32) {
    let result = manager.prune_expired(None);
    (manager, result)
}

library_benchmark_group!(
    name = operations;
    benchmarks = validate, validate_many_64, create, refresh, revoke, revoke_all_of_10,
        prune_with_nothing_due
);

main!(library_benchmark_groups = operations);
