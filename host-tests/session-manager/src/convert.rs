//! Conversions of the component's ids and times.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Returns an id that the component returned.
///
/// # Panics
/// Panics if it is not a UUID, which no build of the component returns (R1).
pub(crate) fn parse_id(id: &str) -> Uuid {
    Uuid::parse_str(id).expect("the component returns UUIDs")
}

/// Returns the time that is this many milliseconds after 1970-01-01T00:00:00Z.
pub(crate) fn time(millis: u64) -> DateTime<Utc> {
    let time = i64::try_from(millis)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.unwrap_or(DateTime::<Utc>::MAX_UTC)
}
