//! The bound on attempts of a request.

/// How many attempts of a request may still fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts {
    left: u32,
}

impl Attempts {
    /// Allows this many attempts, at least one.
    pub(super) fn new(attempts: u32) -> Self {
        Self { left: attempts }
    }

    /// Counts an attempt that failed.
    ///
    /// # Errors
    /// `error` if it was the last attempt.
    pub(super) fn count<E>(&mut self, error: E) -> Result<(), E> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { Err(error) } else { Ok(()) }
    }
}

impl Default for Attempts {
    /// Allows as many attempts as a request may need while the servers elect a leader.
    fn default() -> Self {
        Self::new(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_returns_its_error() {
        for (mut attempts, count) in [(Attempts::new(3), 3), (Attempts::default(), 8)] {
            for attempt in 1..count {
                assert_eq!(attempts.count(attempt), Ok(()));
            }
            assert_eq!(attempts.count(count), Err(count));
            assert_eq!(attempts.count(0), Err(0));
        }
    }
}
