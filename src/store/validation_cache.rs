//! The cache of the guard's validations (R34).
//!
//! Each session has the time until which the validation of its token is cached. Dropping all cached
//! validations is one step: none of them is cached for longer than the interval from now, so all
//! validations that are cached until that time or an earlier one are ignored from then on.

use crate::domain::timestamp::Timestamp;

/// The rules of the cache.
#[derive(Debug)]
pub struct ValidationCache {
    /// How long a validation is cached, in seconds; `None` if validations are not cached.
    interval: Option<u64>,
    /// Validations that are cached until this time or an earlier one are ignored.
    ignored_until: Timestamp,
}

impl ValidationCache {
    /// Returns an empty cache.
    #[must_use]
    pub fn new(interval: Option<u64>) -> Self {
        Self {
            interval,
            ignored_until: Timestamp::default(),
        }
    }

    /// Returns whether a validation that is cached until `cached_until` is valid now.
    #[must_use]
    pub fn is_valid(&self, cached_until: Timestamp, now: Timestamp) -> bool {
        now < cached_until && cached_until > self.ignored_until
    }

    /// Returns until when a validation is cached: for the interval from `asked_at`, the time at
    /// which the guard was asked or an earlier one; from now if the time went back meanwhile. The
    /// result is `None` if nothing is cached, or if all validations were dropped at that time or
    /// later.
    #[must_use]
    pub fn cached_until(
        &self,
        asked_at: Timestamp,
        token_expires_at: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let until = asked_at.min(now).after_seconds(self.interval?);
        (until > self.ignored_until).then(|| until.min(token_expires_at))
    }

    /// Drops all cached validations, and those that the guard was asked for before now.
    pub fn clear(&mut self, now: Timestamp) {
        if let Some(interval) = self.interval {
            self.ignored_until = now.after_seconds(interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().after_seconds(seconds)
    }

    #[test]
    fn r34_a_validation_is_cached_for_the_interval_and_not_past_its_token() {
        let cache = ValidationCache::new(Some(10));
        let until = cache.cached_until(at(100), at(1_000), at(103)).unwrap();
        assert!(cache.is_valid(until, at(109)) && !cache.is_valid(until, at(110)));
        let until = cache.cached_until(at(100), at(105), at(100));
        assert_eq!(until, Some(at(105)));
        let time_went_back = cache.cached_until(at(100), at(1_000), at(50));
        assert_eq!(time_went_back, Some(at(60)));
    }

    #[test]
    fn r34_clearing_drops_cached_validations_and_those_in_flight() {
        let mut cache = ValidationCache::new(Some(10));
        let before = cache.cached_until(at(100), at(1_000), at(100)).unwrap();
        let at_once = cache.cached_until(at(102), at(1_000), at(102)).unwrap();
        cache.clear(at(102));
        assert!(!cache.is_valid(before, at(102)) && !cache.is_valid(at_once, at(102)));
        assert_eq!(cache.cached_until(at(102), at(1_000), at(102)), None);
        let after = cache.cached_until(at(103), at(1_000), at(103)).unwrap();
        assert!(cache.is_valid(after, at(104)));
    }

    #[test]
    fn nothing_is_cached_without_an_interval() {
        let mut cache = ValidationCache::new(None);
        cache.clear(at(1));
        assert_eq!(cache.cached_until(at(2), at(9), at(2)), None);
        assert!(!cache.is_valid(Timestamp::default(), at(2)));
    }
}
