//! Helpers for the checks of invariants. Only tests and the feature `checks` have them.

use std::fmt::Debug;

/// The result of a check: an error describes the invariant that is violated.
pub type Checked = Result<(), String>;

/// Returns an error unless the invariant holds.
///
/// # Errors
/// The text of the violation.
pub fn ensure(holds: bool, violation: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(violation()) }
}

/// Returns an error unless both values are equal.
///
/// # Errors
/// The text of the violation, with both values.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers pass values that they have just computed"
)]
pub fn equal<T: Debug + PartialEq>(what: &str, found: T, expected: T) -> Checked {
    ensure(found == expected, || {
        format!("{what}: {found:?}, expected {expected:?}")
    })
}
