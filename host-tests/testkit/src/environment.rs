//! Numbers that the caller of a test sets.

use std::env;
use std::str::FromStr;

/// Returns the number in an environment variable, or `None` if it is not set.
///
/// # Panics
/// Panics if the variable has another text.
#[must_use]
pub fn number_in_environment<T: FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    let number = text.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{variable} is not a number: {text:?}")))
}
