//! The measured values.

use std::collections::BTreeMap;

use clawdb_session_bench_protocol::statistics::median;
use clawdb_session_bench_protocol::target::{Metric, Operation};

/// A measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// The time of a call, in nanoseconds.
    Time(Operation),
    /// The longest time of a create while filling, in nanoseconds.
    LongestCreate,
    /// The longest CPU time of a create's thread while filling, in nanoseconds.
    LongestCreateCpu,
    /// Another metric, in its unit.
    Metric(Metric),
}

/// A target, its number of sessions, and the quantity.
type Key = (String, u32, Quantity);

/// All measured values by round.
#[derive(Debug, Default)]
pub struct Results {
    /// The numbers of sessions, in ascending order.
    pub session_counts: Vec<u32>,
    /// The targets, in the order of the tables.
    pub targets: Vec<String>,
    /// The number of concurrent creates, and the number of instances in one process.
    pub concurrency: u32,
    /// The time for which concurrent callers called, in milliseconds.
    pub caller_milliseconds: u32,
    /// Notes that are written before the tables.
    pub notes: Vec<String>,
    values: BTreeMap<Key, BTreeMap<u32, f64>>,
}

impl Results {
    /// Adds a value of a round.
    pub fn add(&mut self, name: &str, sessions: u32, quantity: Quantity, round: u32, value: f64) {
        let key = (name.to_owned(), sessions, quantity);
        self.values.entry(key).or_default().insert(round, value);
    }

    /// Returns the median of the rounds.
    pub fn median(&self, name: &str, sessions: u32, quantity: Quantity) -> Option<f64> {
        let values = self.rounds(name, sessions, quantity)?;
        median(values.values().copied().collect())
    }

    /// Returns the median of the rounds' ratios of `numerator` to `denominator`.
    pub fn ratio(
        &self,
        numerator: (&str, u32, Quantity),
        denominator: (&str, u32, Quantity),
    ) -> Option<f64> {
        let (numerators, denominators) = (
            self.rounds(numerator.0, numerator.1, numerator.2)?,
            self.rounds(denominator.0, denominator.1, denominator.2)?,
        );
        let ratios = numerators
            .iter()
            .filter_map(|(round, value)| Some(value / denominators.get(round)?));
        median(ratios.collect())
    }

    /// Returns every value: target, sessions, quantity, round, value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32, Quantity, u32, f64)> {
        self.values
            .iter()
            .flat_map(|((name, sessions, quantity), rounds)| {
                let rounds = rounds.iter();
                rounds.map(|(&round, &value)| (name.as_str(), *sessions, *quantity, round, value))
            })
    }

    /// Returns the lowest and the highest number of sessions.
    pub fn session_range(&self) -> (u32, u32) {
        let first = self.session_counts.first().copied().unwrap_or(0);
        (first, self.session_counts.last().copied().unwrap_or(first))
    }

    fn rounds(&self, name: &str, sessions: u32, quantity: Quantity) -> Option<&BTreeMap<u32, f64>> {
        self.values.get(&(name.to_owned(), sessions, quantity))
    }
}

/// Formats a number as 1000, 100 k, 1 M.
pub fn short_count(number: u32) -> String {
    match number {
        1_000_000.. if number.is_multiple_of(1_000_000) => format!("{} M", number / 1_000_000),
        1_000.. if number.is_multiple_of(1_000) => format!("{} k", number / 1_000),
        _ => number.to_string(),
    }
}
