//! What can be said in a conversation.

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
    /// Something about the conversation.
    Control(Control),
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, for people, in at most 256 bytes.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        fields::read("line", line).map_err(|error| match error {
            Invalid::Syntax(reason) => fields::shortened(&format!("not JSON: {reason}")),
            error => error.to_string(),
        })
    }
}

/// Something about the conversation.
pub enum Control {
    /// Starts a call and answers when it is done or waits for the guard.
    Start {
        /// What `finish` calls it.
        name: String,
        /// The call.
        call: Operation,
    },
    /// Waits for the end of a started call and gives its answer.
    Finish {
        /// Its name.
        name: String,
    },
    /// `events.subscribe`
    Subscribe {
        /// What `read` calls it.
        name: String,
        /// After which event.
        since: u64,
    },
    /// Gives the events that have been pushed and not been read, at most `limit`.
    Read {
        /// The subscription's name.
        name: String,
        /// How many.
        limit: Option<usize>,
    },
    /// Drops a subscription.
    Unsubscribe {
        /// Its name.
        name: String,
    },
    /// Goes on with another instance, without sessions, over the same clock, guard and random source
    /// (with controls).
    Restart {},
    /// Changes the clock (with controls).
    Clock {
        /// By so many seconds, also negative or fractional.
        advance: Option<f64>,
        /// To this time.
        set: Option<String>,
    },
    /// Changes the guard, or tells how often it was called (with controls).
    Guard {
        /// How it answers.
        mode: Option<GuardMode>,
        /// Which of its functions; none for all.
        on: Option<GuardFunction>,
        /// Whether to tell.
        calls: bool,
    },
    /// Changes the random source (with controls).
    Entropy {
        /// How it answers.
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
    /// Reads the fields of a control; none where `op` is not one.
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

/// Reads one function of the guard; none for `all`.
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
