//! The errors for operations in flight whose session has ended. Each is kept until the last of them
//! has returned (R21).

#[cfg(any(test, feature = "checks"))]
use crate::checks::{Checked, ensure, equal};
use crate::collections::slab::Slab;
use crate::collections::table::{Table, number_key};
use crate::domain::error::Error;
use crate::store::slots::OutcomeSlot;

/// The outcomes by the serial numbers of the sessions.
#[derive(Debug, Default)]
pub struct EndOutcomes {
    by_serial: Table<OutcomeSlot>,
    outcomes: Slab<OutcomeSlot, EndOutcome>,
}

#[derive(Debug)]
struct EndOutcome {
    error: Error,
    /// How many operations in flight need the error.
    watchers: u32,
}

impl EndOutcomes {
    /// Keeps the error of an ended session for this many operations in flight.
    pub fn add(&mut self, serial: u64, error: Error, watchers: u32) {
        if watchers > 0 {
            let slot = self.outcomes.insert(EndOutcome { error, watchers });
            self.by_serial.insert(number_key(serial), slot);
        }
    }

    /// Returns the error for an operation in flight whose session has ended.
    #[must_use]
    pub fn error(&self, serial: u64) -> Error {
        let slot = self.by_serial.get(number_key(serial));
        let outcome = slot.and_then(|slot| self.outcomes.get(slot));
        outcome.map_or(Error::SessionRevoked, |outcome| outcome.error.clone())
    }

    /// Unregisters one operation. With the last one the outcome is dropped.
    pub fn unwatch(&mut self, serial: u64) {
        let key = number_key(serial);
        if let Some(slot) = self.by_serial.get(key)
            && let Some(outcome) = self.outcomes.get_mut(slot)
        {
            outcome.watchers = outcome.watchers.saturating_sub(1);
            if outcome.watchers == 0 {
                self.outcomes.remove(slot);
                self.by_serial.remove(key);
            }
        }
    }

    /// Returns how many outcomes are kept.
    #[cfg(any(test, feature = "checks"))]
    pub fn count(&self) -> usize {
        self.outcomes.len()
    }

    /// Checks that each outcome is found by its serial number and is still needed.
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Checked {
        self.outcomes.check()?;
        self.by_serial.check()?;
        let found = self.by_serial.iter();
        let found = found.filter(|(_, slot)| self.outcomes.get(*slot).is_some());
        equal("outcomes by serial number", found.count(), self.count())?;
        let mut outcomes = self.outcomes.iter();
        ensure(outcomes.all(|(_, outcome)| outcome.watchers > 0), || {
            "an outcome has no watchers".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r21_an_outcome_is_kept_until_its_last_watcher_is_unregistered() {
        let mut outcomes = EndOutcomes::default();
        outcomes.add(1, Error::SessionExpired, 2);
        outcomes.add(2, Error::SessionExpired, 0);
        assert_eq!(outcomes.count(), 1);
        outcomes.unwatch(1);
        assert_eq!(outcomes.error(1), Error::SessionExpired);
        outcomes.unwatch(1);
        outcomes.unwatch(1);
        assert_eq!(outcomes.count(), 0);
    }
}
