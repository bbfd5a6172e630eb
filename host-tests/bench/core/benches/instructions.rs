//! Counts the instructions of the core's hot operations as native code, with callgrind. The counts
//! do not depend on the load of the machine.
//!
//! `.ci/instructions` runs this. It fails if an operation takes more instructions than
//! `instructions.txt` records, plus a tolerance of 3 %. `.ci/instructions --record` records new
//! counts.
//!
//! The guard answers at once, the clock stands still, and the random bytes are seeded, so only the
//! compiler and the code change a count. The setup, such as the creation of the sessions, is not
//! counted.

mod fixture;

use clawdb_session::{
    CreateRequest, Error, Grant, Revocation, RevokeFilter, Session, SessionId, Token,
};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

use fixture::{Manager, SESSIONS_PER_AGENT, agent, complete, manager_with_sessions, request};

/// The percentage by which an operation may exceed its recorded count, because versions of the
/// compiler generate different code.
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
    let argument = argument
        .pop()
        .expect("the grant in the middle was selected");
    Input { manager, argument }
}

fn token(sessions: u64) -> Input<Token> {
    one(sessions, |grant| grant.token)
}

fn session_id(sessions: u64) -> Input<SessionId> {
    one(sessions, |grant| grant.session.id)
}

/// Returns a manager with this many sessions, and 64 tokens of sessions that are far apart.
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
    // An operation without a recorded count fails.
    let limit = figure.unwrap_or(0) * (100 + TOLERANCE_PERCENT) / 100;
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

// The operations, each with few and with many sessions. They return their result and the manager,
// so that the counts do not include dropping these.

#[library_benchmark(setup = token)]
#[bench::of_1k(args = (1_000), config = limit_of("validate of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("validate of_100k"))]
fn validate(Input { manager, argument }: Input<Token>) -> (Manager, Session) {
    let result = complete(manager.validate(argument)).expect("the token is valid");
    (manager, result)
}

#[library_benchmark(setup = tokens_64)]
#[bench::of_1k(args = (1_000), config = limit_of("validate_many_64 of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("validate_many_64 of_100k"))]
fn validate_many_64(Input { manager, argument }: Input<Tokens>) -> (Manager, Results) {
    let result = complete(manager.validate_many(argument)).expect("64 tokens are allowed");
    (manager, result)
}

#[library_benchmark(setup = create_request)]
#[bench::of_1k(args = (1_000), config = limit_of("create of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("create of_100k"))]
fn create(Input { manager, argument }: Input<CreateRequest>) -> (Manager, Grant) {
    let result = complete(manager.create(argument)).expect("no limit is reached");
    (manager, result)
}

#[library_benchmark(setup = session_id)]
#[bench::of_1k(args = (1_000), config = limit_of("refresh of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("refresh of_100k"))]
fn refresh(Input { manager, argument }: Input<SessionId>) -> (Manager, Grant) {
    let result = complete(manager.refresh(argument)).expect("the session is live");
    (manager, result)
}

#[library_benchmark(setup = session_id)]
#[bench::of_1k(args = (1_000), config = limit_of("revoke of_1k"))]
#[bench::of_100k(args = (100_000), config = limit_of("revoke of_100k"))]
fn revoke(Input { manager, argument }: Input<SessionId>) -> (Manager, Revocation) {
    let result = complete(manager.revoke(argument)).expect("the session is live");
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
