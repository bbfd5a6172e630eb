//! The acceptances of an earlier time, and the time inside according to restored records (R6).

use std::cmp::Ordering;

use crate::domain::timestamp::Timestamp;

/// The acceptances of an earlier time, and what restored records state about the time inside.
#[derive(Debug, Default)]
pub struct ClockHistory {
    /// How often an earlier time was accepted. The time in a record with a lower number is ignored.
    accepted: u64,
    /// The latest time of the restored records since the last acceptance.
    time: Timestamp,
    /// The lowest sequence number of those records.
    first_sequence: Option<u64>,
    /// The latest time of the restored records before the last acceptance.
    time_before: Timestamp,
}

/// The last acceptance of an earlier time, according to restored records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredAcceptance {
    /// The lowest sequence number of a record that was written after the acceptance.
    pub sequence: u64,
    /// The time inside before the acceptance.
    pub before: Timestamp,
}

impl ClockHistory {
    /// Returns how often an earlier time was accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Counts an acceptance.
    pub fn accept(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
    }

    /// Adds the time in a restored record. The time inside is the latest one in the records that
    /// were written since the last acceptance. Records that changed before that acceptance keep the
    /// time before it, even when this instance writes them again.
    pub fn restore(&mut self, sequence: u64, at: Timestamp, accepted: u64) {
        match accepted.cmp(&self.accepted) {
            Ordering::Less => self.time_before = self.time_before.max(at),
            Ordering::Equal => {
                self.time = self.time.max(at);
                let first = self.first_sequence.unwrap_or(sequence);
                self.first_sequence = Some(first.min(sequence));
            }
            Ordering::Greater => {
                *self = Self {
                    accepted,
                    time: at,
                    first_sequence: Some(sequence),
                    time_before: self.time_before.max(self.time),
                };
            }
        }
    }

    /// Returns the time inside according to the restored records.
    #[must_use]
    pub fn restored_time(&self) -> Timestamp {
        self.time
    }

    /// Returns the last acceptance, if the restored records contain one.
    #[must_use]
    pub fn restored_acceptance(&self) -> Option<RestoredAcceptance> {
        let sequence = self.first_sequence.filter(|_| self.accepted > 0)?;
        let before = self.time_before;
        Some(RestoredAcceptance { sequence, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn r6_the_time_is_the_latest_since_the_last_acceptance_in_any_order_of_the_records() {
        let records = [(7, 100, 1), (3, 900, 0), (9, 120, 1), (8, 110, 1)];
        for skip in 0..records.len() {
            let mut history = ClockHistory::default();
            let rotated = records.iter().cycle().skip(skip).take(records.len());
            for (sequence, millis, accepted) in rotated {
                history.restore(*sequence, at(*millis), *accepted);
            }
            assert_eq!(history.restored_time(), at(120));
            let acceptance = RestoredAcceptance {
                sequence: 7,
                before: at(900),
            };
            assert_eq!(history.restored_acceptance(), Some(acceptance));
        }
    }

    #[test]
    fn without_an_acceptance_the_records_contain_only_the_time() {
        let mut history = ClockHistory::default();
        history.restore(1, at(100), 0);
        assert_eq!(history.restored_time(), at(100));
        assert_eq!(history.restored_acceptance(), None);
        history.accept();
        assert_eq!(history.accepted(), 1);
    }
}
