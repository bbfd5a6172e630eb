//! Reads headers.

use axum::http::{HeaderMap, HeaderValue};

use crate::error::ApiError;

/// A header's value. Where there are two, nobody can tell which one counts.
pub(super) fn single_value<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a [u8]>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(ApiError::bad_request(format!("{name} is there twice")));
    }
    Ok(value.map(HeaderValue::as_bytes))
}
