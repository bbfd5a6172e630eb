//! Concurrent callers.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::target::TargetError;

/// Returns the calls per second of concurrent callers. Each caller has a thread, and makes one call
/// after the other for this time, at least one. The time begins when all threads run.
///
/// # Errors
/// [`TargetError`] of a call.
pub fn rate<C>(time: Duration, callers: impl IntoIterator<Item = C>) -> Result<f64, TargetError>
where
    C: FnMut() -> Result<(), TargetError> + Send,
{
    let callers: Vec<_> = callers.into_iter().collect();
    let all_run = Barrier::new(callers.len() + 1);
    let (calls, took) = thread::scope(|scope| {
        let threads: Vec<_> = callers
            .into_iter()
            .map(|call| {
                scope.spawn(|| {
                    all_run.wait();
                    call_for(time, call)
                })
            })
            .collect();
        all_run.wait();
        let begun = Instant::now();
        let calls = threads.into_iter().try_fold(0, |calls, thread| {
            let ended = thread.join();
            Ok(calls + ended.map_err(|_| TargetError::failed("a caller panicked"))??)
        })?;
        Ok((calls, begun.elapsed()))
    })?;
    Ok(f64::from(calls) / took.as_secs_f64())
}

/// Returns the number of calls in this time.
fn call_for(
    time: Duration,
    mut call: impl FnMut() -> Result<(), TargetError>,
) -> Result<u32, TargetError> {
    let begun = Instant::now();
    let mut calls = 0;
    loop {
        call()?;
        calls += 1;
        if begun.elapsed() >= time {
            return Ok(calls);
        }
    }
}
