//! Reading header fields.

use axum::http::{HeaderMap, HeaderValue};

use crate::error::ApiError;

/// Returns a header's value, if the request has the header.
///
/// # Errors
/// An error if the request has it twice, because it is ambiguous then.
pub(super) fn single_value<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a [u8]>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(ApiError::bad_request(format!("{name}: is given twice")));
    }
    Ok(value.map(HeaderValue::as_bytes))
}
