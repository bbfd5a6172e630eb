//! Times a batch of calls, made one after the other. Results are stored or dropped through
//! `black_box`, so that the time is that of the calls.

use std::hint::black_box;
use std::time::Instant;

use crate::target::{CreatedSession, TargetError, Timed};
use crate::workload::Session;

/// Makes a call for each item and returns the results.
///
/// # Errors
/// The error of the first call that fails.
pub fn map<T, R>(
    items: Vec<T>,
    mut call: impl FnMut(T) -> Result<R, TargetError>,
) -> Timed<Vec<R>> {
    let mut results = Vec::with_capacity(items.len());
    let begun = Instant::now();
    for item in items {
        results.push(call(item)?);
    }
    Ok(Some((results, begun.elapsed())))
}

/// Makes a call for each item and drops the results.
///
/// # Errors
/// The error of the first call that fails.
pub fn for_each<T, R>(
    items: Vec<T>,
    mut call: impl FnMut(T) -> Result<R, TargetError>,
) -> Timed<()> {
    let begun = Instant::now();
    for item in items {
        black_box(call(item)?);
    }
    Ok(Some(((), begun.elapsed())))
}

/// Returns the ids and tokens of created sessions, which the client keeps.
#[must_use]
pub fn created_sessions(sessions: Vec<Session>) -> Vec<CreatedSession> {
    let created = sessions.into_iter().map(|session| CreatedSession {
        id: session.id,
        token: session.token,
    });
    created.collect()
}
