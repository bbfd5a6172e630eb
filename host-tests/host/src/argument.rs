//! The types that operations take, and their largest sizes. The component checks smaller bounds
//! itself. The host refuses values that are too large to be copied into the instance's memory.

use std::convert::Infallible;

use crate::bindings::exports::clawdb::session::persistence::Change;
use crate::bindings::exports::clawdb::session::sessions::{
    CreateRequest, InvalidArgument, Page, RevokeFilter,
};
use crate::bindings::exports::clawdb::session::settings::Config;
use crate::error::SessionError;

/// The maximum number of bytes of an argument, with two exceptions.
const MAX: usize = 1 << 20;
/// The maximum number of bytes of records in one `restore`. Journals restore pages of at most 1,000
/// records and about 1 MiB.
const MAX_RESTORED: usize = 16 << 20;
/// The maximum number of bytes of tokens in one `validate-many`. The component accepts 256 of 8
/// KiB.
const MAX_TOKENS: usize = 16 << 20;

/// The type of an argument in the table of operations.
pub trait Argument {
    /// The type of the value that the operation takes.
    type Value;
    /// The error for a value that is too large; `Infallible` for a type of fixed size.
    type Refusal;

    /// Checks that a value is small enough for the instance.
    ///
    /// # Errors
    /// `invalid-argument` with the name of the field. For a value without fields this is `field`.
    fn check(value: &Self::Value, field: &str) -> Result<(), Self::Refusal>;
}

/// The tokens of `validate-many` in the table of operations. Its value is a list of strings.
pub enum Tokens {}

impl Argument for String {
    type Value = Self;
    type Refusal = SessionError;

    fn check(value: &Self, field: &str) -> Result<(), SessionError> {
        at_most(MAX, field, value.len())
    }
}

impl Argument for Option<String> {
    type Value = Self;
    type Refusal = SessionError;

    fn check(value: &Self, field: &str) -> Result<(), SessionError> {
        at_most(MAX, field, value.as_ref().map_or(0, String::len))
    }
}

impl Argument for Vec<String> {
    type Value = Self;
    type Refusal = SessionError;

    fn check(value: &Self, field: &str) -> Result<(), SessionError> {
        at_most(MAX, field, size_of_list(value))
    }
}

impl Argument for Tokens {
    type Value = Vec<String>;
    type Refusal = SessionError;

    fn check(value: &Vec<String>, field: &str) -> Result<(), SessionError> {
        at_most(MAX_TOKENS, field, size_of_list(value))
    }
}

impl Argument for Vec<Change> {
    type Value = Self;
    type Refusal = SessionError;

    fn check(value: &Self, field: &str) -> Result<(), SessionError> {
        let sizes = value
            .iter()
            .map(|change| change.value.len().saturating_add(change.key.len()));
        at_most(MAX_RESTORED, field, sum(sizes))
    }
}

impl Argument for CreateRequest {
    type Value = Self;
    type Refusal = SessionError;

    fn check(value: &Self, _field: &str) -> Result<(), SessionError> {
        String::check(&value.role, "role")?;
        Vec::<String>::check(&value.scopes, "scopes")?;
        Option::<String>::check(&value.task_type, "task-type")?;
        Option::<String>::check(&value.metadata, "metadata")?;
        String::check(&value.agent_id, "agent-id")
    }
}

impl Argument for RevokeFilter {
    type Value = Self;
    type Refusal = SessionError;

    fn check(value: &Self, _field: &str) -> Result<(), SessionError> {
        match value {
            Self::Everything => Ok(()),
            Self::Role(role) => String::check(role, "role"),
            Self::Root(id) => String::check(id, "root"),
        }
    }
}

impl Argument for Config {
    type Value = Self;
    type Refusal = SessionError;

    fn check(value: &Self, _field: &str) -> Result<(), SessionError> {
        Option::<String>::check(&value.workspace_id, "workspace-id")?;
        let keys = value.previous_state_keys.iter().chain(&value.state_key);
        at_most(MAX, "state-key", sum(keys.map(Vec::len)))
    }
}

/// Implements [`Argument`] for types of fixed size.
macro_rules! of_fixed_size {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            type Value = Self;
            type Refusal = Infallible;

            fn check(_value: &Self, _field: &str) -> Result<(), Infallible> {
                Ok(())
            }
        }
    )*};
}

of_fixed_size!(u32, u64, Option<u32>, Page);

fn at_most(max: usize, field: &str, bytes: usize) -> Result<(), SessionError> {
    if bytes <= max {
        return Ok(());
    }
    Err(SessionError::InvalidArgument(InvalidArgument {
        field: field.into(),
        reason: format!("has {bytes} bytes, and the host accepts at most {max} bytes"),
    }))
}

/// Returns how many bytes a list takes in the instance. Each item needs 8 bytes for a pointer and a
/// length, in addition to its text.
fn size_of_list(items: &[String]) -> usize {
    sum(items.iter().map(|item| item.len().saturating_add(8)))
}

fn sum(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(0, usize::saturating_add)
}
