//! The operations of the component in a conversation, made from the table of operations.

use clawdb_session_host::json::fields::{Fields, FromFields, Invalid, Read, object};
use clawdb_session_host::json::{self, revoke_filter};
use clawdb_session_host::{
    Argument, Change, Config, CreateRequest, Page, RevokeFilter, Tokens, for_each_operation, name,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::sessions::Sessions;

/// An operation of the component, with its arguments.
pub struct Operation(Box<dyn FnOnce(Sessions) -> BoxFuture<'static, Value> + Send>);

/// Reads the arguments of an operation. If the only argument is a record, its fields are those of
/// the line.
macro_rules! arguments {
    ($fields:ident, $argument:ident: $type:ty) => {
        let $argument = <$type as FromLine>::read_alone($fields, name!($argument).kebab)?;
    };
    ($fields:ident, $($argument:ident: $type:ty),*) => {
        $(let $argument = <$type as FromLine>::read($fields, name!($argument).kebab)?;)*
    };
}

/// Returns the answer of a durable host, which does not have all operations.
macro_rules! durable {
    (none, $host:ident.$name:ident($($argument:ident),*)) => {{
        drop(($host, $($argument),*));
        let reason = "a host with a journal configures the instance and reads its records itself, \
                      so this operation is not available";
        json!({ "err": { "kind": "bad-request", "reason": reason } })
    }};
    ($durable:ident, $host:ident.$name:ident($($argument:ident),*)) => {
        json::answer(&$host.$name($($argument),*).await)
    };
}

impl<'a> FromFields<'a> for Operation {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        let op: String = fields.required("op")?;
        Self::read(&op, fields)
    }
}

impl Operation {
    /// Reads the fields of the operation with this name.
    pub fn read(op: &str, fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        /// Reads the arguments of the operation of a row, if `op` is its name.
        macro_rules! row {
            (
                $(#[doc = $doc:literal])*
                $(#[errors($($errors:literal),+)])?
                #[permits($($permits:tt)+)]
                #[durable($durable:ident)]
                fn $name:ident($($argument:ident: $type:ident $(<$item:ident>)?),*)
                    -> Result<$answer:ty, $error:ident> = $interface:ident.$function:ident
            ) => {
                if op == name!($name).kebab {
                    arguments!(fields, $($argument: $type $(<$item>)?),*);
                    return Ok(Self(Box::new(move |sessions| {
                        Box::pin(async move {
                            match sessions {
                                Sessions::Instance(host) => {
                                    json::answer(&host.$name($($argument),*).await)
                                }
                                Sessions::Durable(host) => {
                                    durable!($durable, host.$name($($argument),*))
                                }
                            }
                        })
                    })));
                }
            };
        }

        for_each_operation!(row);
        Err(fields.invalid("op", "is not an operation"))
    }

    /// Calls the operation and returns the answer as JSON.
    pub fn call(self, sessions: Sessions) -> BoxFuture<'static, Value> {
        (self.0)(sessions)
    }
}

/// The type of an argument that can be read from the fields of a line.
trait FromLine: Argument {
    /// Reads an argument from the field with this name.
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self::Value, Invalid>;

    /// Reads the argument of an operation that has no other.
    fn read_alone(fields: &mut Fields<'_>, name: &'static str) -> Result<Self::Value, Invalid> {
        Self::read(fields, name)
    }
}

impl FromLine for String {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self, Invalid> {
        // The legacy operations name it `id`, and they accept `session-id` too.
        if name == "id"
            && let Some(id) = fields.optional("session-id")?
        {
            return Ok(id);
        }
        fields.required(name)
    }
}

impl FromLine for Tokens {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Vec<String>, Invalid> {
        fields.required(name)
    }
}

impl FromLine for CreateRequest {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self, Invalid> {
        fields.required_by(name, object)
    }

    fn read_alone(fields: &mut Fields<'_>, _name: &'static str) -> Result<Self, Invalid> {
        Self::from_fields(fields)
    }
}

impl FromLine for Config {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self, Invalid> {
        fields.required_by(name, object)
    }

    fn read_alone(fields: &mut Fields<'_>, _name: &'static str) -> Result<Self, Invalid> {
        Self::from_fields(fields)
    }
}

impl FromLine for RevokeFilter {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self, Invalid> {
        fields.required_by(name, revoke_filter)
    }
}

impl FromLine for Page {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self, Invalid> {
        Ok(fields.optional_by(name, object)?.unwrap_or_default())
    }
}

/// Implements [`FromLine`] for types whose field must be present.
macro_rules! required {
    ($($type:ty),*) => {$(
        impl FromLine for $type {
            fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self, Invalid> {
                fields.required(name)
            }
        }
    )*};
}

required!(u32, u64, Vec<Change>);

impl FromLine for Vec<String> {
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self, Invalid> {
        Ok(fields.optional(name)?.unwrap_or_default())
    }
}

impl<T> FromLine for Option<T>
where
    Self: Argument<Value = Self>,
    T: for<'a> Read<'a>,
{
    fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<Self, Invalid> {
        fields.optional(name)
    }
}
