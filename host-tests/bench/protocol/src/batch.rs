//! How a batch of calls is timed: one call after the other, and what each gives is kept, so that
//! nothing else than the calls is in the time.

use std::hint::black_box;
use std::time::Instant;

use crate::target::{Failure, Granted, Timed};
use crate::workload::Session;

/// A call for each item; what they give.
///
/// # Errors
/// The first call's.
pub fn all<T, R>(items: Vec<T>, mut call: impl FnMut(T) -> Result<R, Failure>) -> Timed<Vec<R>> {
    let mut results = Vec::with_capacity(items.len());
    let begun = Instant::now();
    for item in items {
        results.push(call(item)?);
    }
    Ok(Some((results, begun.elapsed())))
}

/// A call for each item; what they give is dropped.
///
/// # Errors
/// The first call's.
pub fn each<T, R>(items: Vec<T>, mut call: impl FnMut(T) -> Result<R, Failure>) -> Timed<()> {
    let begun = Instant::now();
    for item in items {
        black_box(call(item)?);
    }
    Ok(Some(((), begun.elapsed())))
}

/// What the callers get of sessions that were made.
#[must_use]
pub fn granted(sessions: Vec<Session>) -> Vec<Granted> {
    let granted = sessions.into_iter().map(|session| Granted {
        id: session.id,
        token: session.token,
    });
    granted.collect()
}
