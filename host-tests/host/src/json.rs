//! The component's values as JSON. Times are RFC 3339.
//!
//! Each record lists its members once. A [`Style`] decides how they are named and which are left
//! out: [`Wit`] is the style of `exec`, and the HTTP service has another one. [`fields`] reads JSON
//! objects field by field. The records that operations take implement its
//! [`FromFields`](fields::FromFields).

pub mod fields;
mod members;
mod records;
mod style;

use chrono::{DateTime, SecondsFormat};
use serde::ser::SerializeMap;
use serde_json::Value;

pub use members::{MemberWriter, Record, write_members};
pub use records::{create_request, revoke_filter};
pub use serde::Serializer;
pub use style::{Style, Styled, ToJson, Wit};

use crate::error::{CallError, HostError, SessionError};
use crate::guard::GuardError;
use crate::name;
use crate::names::Name;

/// Returns the result of an operation as JSON: `{"ok": ...}` or `{"err": {"kind": ...}}`.
pub fn answer<T: ToJson, E: ToJson>(result: &Result<T, E>) -> Value {
    result.to_json()
}

/// Returns a time in milliseconds since 1970 in the format of RFC 3339. A number that this format
/// cannot represent is returned as digits; the component returns no such time.
#[must_use]
pub fn rfc3339(millis: u64, precision: SecondsFormat) -> String {
    let time = i64::try_from(millis)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.map_or_else(
        || millis.to_string(),
        |time| time.to_rfc3339_opts(precision, true),
    )
}

fn time(millis: u64) -> String {
    rfc3339(millis, SecondsFormat::AutoSi)
}

impl ToJson for () {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.serialize_unit()
    }
}

/// Implements [`ToJson`] by the serde implementation of the type.
macro_rules! written_by_serde {
    ($($type:ty),*) => {$(
        impl ToJson for $type {
            fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                serde::Serialize::serialize(self, serializer)
            }
        }
    )*};
}

written_by_serde!(bool, u32, u64, String);

impl<T: ToJson> ToJson for Option<T> {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Some(value) => value.write::<S, Z>(serializer),
            None => serializer.serialize_none(),
        }
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.collect_seq(self.iter().map(Styled::<S, T>::new))
    }
}

impl<T: ToJson, E: ToJson> ToJson for Result<T, E> {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Ok(value) => map.serialize_entry("ok", &Styled::<S, T>::new(value))?,
            Err(error) => map.serialize_entry("err", &Styled::<S, E>::new(error))?,
        }
        map.end()
    }
}

impl ToJson for GuardError {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", S::case(self.kind()))?;
        match self {
            Self::Denied(reason) | Self::Unavailable(reason) => {
                map.serialize_entry("reason", reason)?;
            }
            Self::InvalidToken | Self::Expired | Self::Revoked => {}
        }
        map.end()
    }
}

impl ToJson for SessionError {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", S::case(self.kind()))?;
        match self {
            Self::InvalidArgument(argument) => {
                map.serialize_entry("field", &argument.field)?;
                map.serialize_entry("reason", &argument.reason)?;
            }
            Self::LimitReached(limit) => map.serialize_entry("which", S::case(limit.name()))?,
            Self::ScopeDenied(scope) => map.serialize_entry("scope", scope)?,
            Self::Guard(error) => {
                map.serialize_entry("error", &Styled::<S, _>::new(error))?;
            }
            Self::RefusedRecord(refused) => {
                map.serialize_entry("key", &refused.key)?;
                map.serialize_entry("reason", &refused.reason)?;
            }
            Self::Collision(duplicate) => {
                map.serialize_entry("which", S::case(duplicate.name()))?;
            }
            Self::ClockBehind(lag) => map.serialize_entry("lag", lag)?,
            Self::InvalidToken
            | Self::SessionNotFound
            | Self::SessionExpired
            | Self::SessionRevoked
            | Self::Conflict
            | Self::AlreadyConfigured
            | Self::AlreadyStarted
            | Self::NoStateKey
            | Self::EntropyUnavailable
            | Self::ClockNotBehind => {}
        }
        map.end()
    }
}

/// An error that has only a kind and a reason.
pub struct Failure {
    /// The kind.
    pub kind: Name,
    /// A human-readable reason.
    pub reason: Option<String>,
}

impl ToJson for Failure {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", S::case(self.kind))?;
        if let Some(reason) = &self.reason {
            map.serialize_entry("reason", reason)?;
        }
        map.end()
    }
}

impl ToJson for HostError {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let (kind, reason) = match self {
            Self::Trapped { .. } => (name!(trap), Some(self.to_string())),
            Self::Stopped => (name!(stopped), None),
            Self::Busy { .. } => (name!(busy), Some(self.to_string())),
            Self::Reentrant => (name!(reentrant), Some(self.to_string())),
        };
        Failure { kind, reason }.write::<S, Z>(serializer)
    }
}

impl ToJson for CallError {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Self::Session(error) => error.write::<S, Z>(serializer),
            Self::Host(error) => error.write::<S, Z>(serializer),
        }
    }
}
