//! The parameters of a run.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// The numbers of concurrent callers.
pub const CALLER_COUNTS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The numbers of workspaces that are called at the same time.
pub const WORKSPACE_COUNTS: [u32; 2] = [1, 2];

/// The options of `bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// The numbers of sessions to measure with, at least 10, separated by commas
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_values_t = [1_000, 100_000, 1_000_000]
    )]
    pub sessions: Vec<u32>,
    /// The number of rounds for each number of sessions, 1 to 1000
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub rounds: u32,
    /// Also writes the data (CSV) and the plots (SVG) to this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// The program that runs the peers; host-tests/peers/README.md describes how to build it
    #[arg(
        long,
        value_name = "FILE",
        default_value = "host-tests/peers/target/release/peers"
    )]
    pub peers: PathBuf,
    /// Checks that everything runs, in a few seconds; the figures are useless
    #[arg(long, conflicts_with_all = ["sessions", "rounds"])]
    pub quick: bool,
}

/// The numbers, rounds and times of a run.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The numbers of sessions, in ascending order.
    pub session_counts: Vec<u32>,
    /// The number of rounds for each number of sessions.
    pub rounds: u32,
    /// The time for which an operation of a target is measured in a round.
    pub operation_time: Duration,
    /// The time for which concurrent callers call in a round.
    pub caller_time: Duration,
    /// The number of concurrent creates, and the number of instances in one process.
    pub concurrency: u32,
}

impl Parameters {
    pub fn new(args: &BenchArgs) -> Self {
        if args.quick {
            return Self {
                session_counts: vec![100, 200],
                rounds: 1,
                operation_time: Duration::from_millis(1),
                caller_time: Duration::from_millis(5),
                concurrency: 50,
            };
        }
        let mut session_counts = args.sessions.clone();
        session_counts.sort_unstable();
        session_counts.dedup();
        Self {
            session_counts,
            rounds: args.rounds,
            operation_time: Duration::from_millis(60),
            caller_time: Duration::from_millis(200),
            concurrency: 10_000,
        }
    }
}
