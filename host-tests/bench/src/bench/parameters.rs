//! How much a run measures.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// How many callers there are at a time.
pub const CALLERS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// What can be said of a run.
#[derive(Args)]
pub struct BenchArgs {
    /// How many sessions there are, one number after the other, rising
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000])]
    pub sessions: Vec<u32>,
    /// How many rounds there are at each number
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Also writes the data (CSV) and plots (SVG) into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// The program with the other contestants
    #[arg(
        long,
        value_name = "FILE",
        default_value = "host-tests/peers/target/release/peers"
    )]
    pub peers: PathBuf,
    /// Does everything, but for so short a time that the figures say nothing
    #[arg(long, conflicts_with_all = ["sessions", "rounds"])]
    pub quick: bool,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    /// How many sessions there are, rising.
    pub sessions: Vec<u32>,
    /// How many rounds there are at each of these.
    pub rounds: u32,
    /// For how long one contestant does one operation in a round.
    pub time: Duration,
    /// For how long callers call in a round.
    pub calling: Duration,
    /// How many creates are under way at a time, and how many instances there are.
    pub many: u32,
}

impl Extent {
    pub fn new(args: &BenchArgs) -> Self {
        if args.quick {
            return Self {
                sessions: vec![100, 200],
                rounds: 1,
                time: Duration::from_millis(1),
                calling: Duration::from_millis(5),
                many: 50,
            };
        }
        let mut sessions = args.sessions.clone();
        sessions.sort_unstable();
        sessions.dedup();
        Self {
            sessions,
            rounds: args.rounds,
            time: Duration::from_millis(60),
            calling: Duration::from_millis(200),
            many: 10_000,
        }
    }
}
