//! What was measured.

use std::collections::BTreeMap;

use clawdb_session_bench_protocol::harness::median;
use clawdb_session_bench_protocol::target::{Figure, Operation};

/// What a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// The time of a call, in nanoseconds.
    Time(Operation),
    /// The longest create while filling, in nanoseconds.
    Longest,
    /// The longest that its thread computed for one, in nanoseconds.
    LongestComputed,
    /// Another figure, in its unit.
    Figure(Figure),
}

/// A contestant with so many sessions.
type Key = (String, u32, Quantity);

/// All values, by the round that they are of.
#[derive(Debug, Default)]
pub struct Results {
    /// How many sessions there were, rising.
    pub sessions: Vec<u32>,
    /// Who was measured, in the order of the tables.
    pub contestants: Vec<String>,
    /// How many creates were under way at a time, and how many instances there were.
    pub many: u32,
    /// For how many milliseconds callers called.
    pub calling: u32,
    /// What to say before the tables.
    pub notes: Vec<String>,
    values: BTreeMap<Key, BTreeMap<u32, f64>>,
}

impl Results {
    /// Keeps a value of a round.
    pub fn add(&mut self, name: &str, sessions: u32, quantity: Quantity, round: u32, value: f64) {
        let key = (name.to_owned(), sessions, quantity);
        self.values.entry(key).or_default().insert(round, value);
    }

    /// The median of the rounds.
    pub fn median(&self, name: &str, sessions: u32, quantity: Quantity) -> Option<f64> {
        let values = self.of(name, sessions, quantity)?;
        median(values.values().copied().collect())
    }

    /// The median of the rounds' ratios: what `one` takes in parts of what `other` takes.
    pub fn ratio(&self, one: (&str, u32, Quantity), other: (&str, u32, Quantity)) -> Option<f64> {
        let (ones, others) = (
            self.of(one.0, one.1, one.2)?,
            self.of(other.0, other.1, other.2)?,
        );
        let ratios = ones
            .iter()
            .filter_map(|(round, value)| Some(value / others.get(round)?));
        median(ratios.collect())
    }

    /// Every value: contestant, sessions, quantity, round, value.
    pub fn all(&self) -> impl Iterator<Item = (&str, u32, Quantity, u32, f64)> {
        self.values
            .iter()
            .flat_map(|((name, sessions, quantity), rounds)| {
                let rounds = rounds.iter();
                rounds.map(|(&round, &value)| (name.as_str(), *sessions, *quantity, round, value))
            })
    }

    /// The lowest and the highest number of sessions.
    pub fn ends(&self) -> (u32, u32) {
        let first = self.sessions.first().copied().unwrap_or(0);
        (first, self.sessions.last().copied().unwrap_or(first))
    }

    fn of(&self, name: &str, sessions: u32, quantity: Quantity) -> Option<&BTreeMap<u32, f64>> {
        self.values.get(&(name.to_owned(), sessions, quantity))
    }
}

/// 1000, 100 k, 1 M.
pub fn short(number: u32) -> String {
    match number {
        1_000_000.. if number.is_multiple_of(1_000_000) => format!("{} M", number / 1_000_000),
        1_000.. if number.is_multiple_of(1_000) => format!("{} k", number / 1_000),
        _ => number.to_string(),
    }
}
