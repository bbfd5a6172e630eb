//! Styles of JSON. A style decides on names and on members that are left out.

use std::marker::PhantomData;

use serde::{Serialize, Serializer};

use crate::names::Name;

/// How the members of records are named, and which are left out or required.
pub trait Style {
    /// Whether a JSON text (`metadata`) is written as a JSON value. Otherwise it is a string.
    const NESTS_JSON: bool;
    /// Whether an event has the members `reason` and `missed` even if it has no reason and no event
    /// was missed.
    const WRITES_EMPTY: bool;
    /// Whether a request must have the list `scopes`, which may be empty.
    const REQUIRES_LISTS: bool;
    /// Whether the lifetime of a request is read before its task type. The order is visible in
    /// error messages.
    const LIFETIME_FIRST: bool;

    /// Returns the name of a member. `record` is the name of the record's type.
    fn member(record: &str, member: Name) -> &'static str;

    /// Returns whether a member of an answer is left out.
    fn leaves_out(record: &str, member: Name) -> bool;

    /// Returns the name of a case, such as a reason.
    fn case(case: Name) -> &'static str;
}

/// The style of `exec`: the WIT's names, with hyphens, and all members.
pub enum Wit {}

impl Style for Wit {
    const NESTS_JSON: bool = false;
    const WRITES_EMPTY: bool = false;
    const REQUIRES_LISTS: bool = false;
    const LIFETIME_FIRST: bool = false;

    fn member(_record: &str, member: Name) -> &'static str {
        member.kebab
    }

    fn leaves_out(_record: &str, _member: Name) -> bool {
        false
    }

    fn case(case: Name) -> &'static str {
        case.kebab
    }
}

/// A value that can be written as JSON.
pub trait ToJson {
    /// Writes the value in a style.
    ///
    /// # Errors
    /// The error of the serializer.
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error>;

    /// Returns the value in the style of `exec`.
    fn to_json(&self) -> serde_json::Value
    where
        Self: Sized,
    {
        serde_json::to_value(Styled::<Wit, _>::new(self)).unwrap_or_else(|_| {
            debug_assert!(false, "the names of all members are strings");
            serde_json::Value::Null
        })
    }
}

/// A value with a style, which serde can serialize.
pub struct Styled<'a, S, T: ?Sized> {
    value: &'a T,
    style: PhantomData<S>,
}

impl<'a, S, T: ?Sized> Styled<'a, S, T> {
    /// Returns the value in this style.
    pub const fn new(value: &'a T) -> Self {
        Self {
            value,
            style: PhantomData,
        }
    }
}

impl<S: Style, T: ToJson + ?Sized> Serialize for Styled<'_, S, T> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.value.write::<S, Z>(serializer)
    }
}
