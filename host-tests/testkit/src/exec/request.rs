//! The lines of a conversation.

use clawdb_session_host::json::fields;
use clawdb_session_host::json::fields::{Fields, FromFields, Invalid, Read, object, one_of};
use serde_json::value::RawValue;

use super::operation::Operation;
use crate::control::{GuardFunction, GuardMode};
use crate::entropy::EntropyMode;

/// A line of a conversation.
pub enum Request {
    /// An operation of the component.
    Call(Operation),
    /// A command for the conversation itself.
    Control(Control),
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// The human-readable reason why the line is refused, in at most 256 bytes.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        fields::read("line", line).map_err(|error| match error {
            Invalid::Syntax(reason) => fields::shortened(&format!("not JSON: {reason}")),
            error => error.to_string(),
        })
    }
}

/// A command for the conversation itself.
pub enum Control {
    /// Starts a call. It is answered when the call has ended or waits for the guard.
    Start {
        /// The name of the call for `finish`.
        name: String,
        /// The call.
        call: Operation,
    },
    /// Waits for the end of a started call and returns its answer.
    Finish {
        /// The name of the call.
        name: String,
    },
    /// Subscribes to the events (`events.subscribe`).
    Subscribe {
        /// The name of the subscription for `read` and `unsubscribe`.
        name: String,
        /// The sequence number after which the events begin.
        since: u64,
    },
    /// Returns the events that have arrived and were not read.
    Read {
        /// The name of the subscription.
        name: String,
        /// The maximum number of events to return; all by default.
        limit: Option<usize>,
    },
    /// Drops a subscription.
    Unsubscribe {
        /// The name of the subscription.
        name: String,
    },
    /// Replaces the instance with one without sessions that has the same clock, guard and random
    /// source (requires controls).
    Restart {},
    /// Changes the clock (requires controls).
    Clock {
        /// The number of seconds to add; it can be negative or a fraction.
        advance: Option<f64>,
        /// The time to set, in the format of RFC 3339.
        set: Option<String>,
    },
    /// Changes the guard, or returns how often it was called (requires controls).
    Guard {
        /// The new mode.
        mode: Option<GuardMode>,
        /// The function that the mode is for; all by default.
        on: Option<GuardFunction>,
        /// Whether to return the numbers of calls.
        calls: bool,
    },
    /// Changes the random source (requires controls).
    Entropy {
        /// The new mode.
        mode: EntropyMode,
    },
}

impl<'a> FromFields<'a> for Request {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        let op: String = fields.required("op")?;
        if let Some(control) = Control::read(&op, fields)? {
            return Ok(Self::Control(control));
        }
        Operation::read(&op, fields).map(Self::Call)
    }
}

impl Control {
    /// Reads the fields of a command; `None` if `op` is not the name of one.
    fn read(op: &str, fields: &mut Fields<'_>) -> Result<Option<Self>, Invalid> {
        Ok(Some(match op {
            "start" => Self::Start {
                name: fields.required("name")?,
                call: fields.required_by("call", object)?,
            },
            "finish" => Self::Finish {
                name: fields.required("name")?,
            },
            "subscribe" => Self::Subscribe {
                name: fields.required("name")?,
                since: fields.required("since")?,
            },
            "read" => Self::Read {
                name: fields.required("name")?,
                limit: fields.optional("limit")?,
            },
            "unsubscribe" => Self::Unsubscribe {
                name: fields.required("name")?,
            },
            "restart" => Self::Restart {},
            "clock" => Self::Clock {
                advance: fields.optional("advance")?,
                set: fields.optional("set")?,
            },
            "guard" => Self::Guard {
                mode: fields.optional("mode")?,
                on: fields.optional_by("on", guard_function)?.flatten(),
                calls: fields.optional("calls")?.unwrap_or_default(),
            },
            "entropy" => Self::Entropy {
                mode: fields.required("mode")?,
            },
            _ => return Ok(None),
        }))
    }
}

/// Reads a function of the guard; `None` for `all`.
fn guard_function(path: &str, value: &RawValue) -> Result<Option<GuardFunction>, Invalid> {
    let functions = [
        ("all", None),
        ("issue", Some(GuardFunction::Issue)),
        ("validate", Some(GuardFunction::Validate)),
        ("revoke", Some(GuardFunction::Revoke)),
    ];
    one_of(path, value, &functions)
}

impl<'a> Read<'a> for GuardMode {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        let modes = [
            ("ok", Self::Ok),
            ("hold", Self::Hold),
            ("deny", Self::Deny),
            ("unavailable", Self::Unavailable),
            ("revoked", Self::Revoked),
            ("wrong-handle", Self::WrongHandle),
            ("short", Self::Short),
            ("trap", Self::Trap),
        ];
        one_of(path, value, &modes)
    }
}

impl<'a> Read<'a> for EntropyMode {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        let modes = [("ok", Self::Random), ("repeat", Self::Repeat)];
        one_of(path, value, &modes)
    }
}
