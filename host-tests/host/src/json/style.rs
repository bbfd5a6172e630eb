//! How records are written: the style decides on names, the records say what there is.

use std::marker::PhantomData;

use serde::{Serialize, Serializer};

use crate::names::Name;

/// How the members of records are named, and which are left out.
pub trait Style {
    /// Whether a JSON text is a value of its own (`metadata`). Otherwise it is a string.
    const NESTS_JSON: bool;
    /// Whether a member is written also where it says nothing: a reason of what has none, and that
    /// no event was missed.
    const WRITES_EMPTY: bool;
    /// Whether a list that may be empty has to be given: `scopes` of a request.
    const REQUIRES_LISTS: bool;
    /// Whether the lifetime of a request is read before its task type. Errors show the order.
    const LIFETIME_FIRST: bool;

    /// Returns the name of a member. `record` is the name of the record's type.
    fn member(record: &str, member: Name) -> &'static str;

    /// Returns whether a member of an answer is left out.
    fn leaves_out(record: &str, member: Name) -> bool;

    /// Returns the name of a case, such as a reason.
    fn case(case: Name) -> &'static str;
}

/// The WIT's own names, with hyphens, and all members: the style of `exec`.
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
    /// Those of the serializer.
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error>;

    /// Returns the value in the style of `exec`.
    fn to_json(&self) -> serde_json::Value
    where
        Self: Sized,
    {
        serde_json::to_value(Styled::<Wit, _>::new(self)).unwrap_or_else(|_| {
            debug_assert!(false, "all names of members are strings");
            serde_json::Value::Null
        })
    }
}

/// A value in a style, for serde.
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
