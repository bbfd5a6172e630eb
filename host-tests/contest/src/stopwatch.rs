//! Time that has passed, on the wall and of this thread.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The time of one of many calls, in microseconds.
#[must_use]
pub fn micros_each(time: Duration, calls: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let calls = calls as f64;
    time.as_secs_f64() * 1e6 / calls
}

/// Does something so many times and gives the time of each in microseconds.
///
/// # Errors
/// The first one's.
pub fn each<E>(calls: usize, mut call: impl FnMut(usize) -> Result<(), E>) -> Result<f64, E> {
    let begin = Instant::now();
    for number in 0..calls {
        call(number)?;
    }
    Ok(micros_each(begin.elapsed(), calls))
}

/// For how long this thread has computed. What others do on the machine is not in it.
#[must_use]
pub fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}

/// The longest that this thread computed for one thing.
#[derive(Debug, Default)]
pub struct Longest(Duration);

impl Longest {
    /// Times one thing more.
    pub fn time<T>(&mut self, thing: impl FnOnce() -> T) -> T {
        let begin = of_this_thread();
        let done = thing();
        self.note(of_this_thread().saturating_sub(begin));
        done
    }

    /// One thing more took so long.
    pub fn note(&mut self, time: Duration) {
        self.0 = self.0.max(time);
    }

    /// It, in microseconds; from here on anew.
    pub fn take(&mut self) -> f64 {
        micros_each(std::mem::take(&mut self.0), 1)
    }
}
