//! The types that operations return, converted from those of the component.

use crate::bindings::exports::clawdb::session::events::EventPage;
use crate::bindings::exports::clawdb::session::persistence::ChangePage;
use crate::bindings::exports::clawdb::session::sessions::{
    self, Error as ComponentError, FlushReport, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::Statistics;
use crate::error::{CallError, HostError, SessionError};
use crate::guard::GuardError;
use crate::token::Token;

/// A session and its bearer token. The token is returned only once and is not stored (R9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The session.
    pub session: Session,
    /// The token that the agent presents from now on.
    pub token: Token,
}

/// The result of `validate_many` for one token.
pub type Validated = Result<Session, SessionError>;

/// The result of a revocation. The session has ended in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The session that ended.
    pub session_id: String,
    /// Whether the token is invalid with the guard too: the guard has confirmed the revocation, or
    /// the token has expired. If not, the revocation stays pending, and `flush_guard_revocations`
    /// asks again (R12).
    pub guard_confirmed: bool,
    /// The guard's error, if it did not confirm.
    pub guard_error: Option<GuardError>,
    /// How many live sessions below it ended with it (R26).
    pub descendants: u32,
}

impl From<sessions::Grant> for Grant {
    fn from(grant: sessions::Grant) -> Self {
        Self {
            session: grant.session,
            token: grant.token.into(),
        }
    }
}

impl From<sessions::Revocation> for Revocation {
    fn from(revocation: sessions::Revocation) -> Self {
        Self {
            session_id: revocation.session_id,
            guard_confirmed: revocation.guard_confirmed,
            guard_error: revocation.guard_error.map(GuardError::from),
            descendants: revocation.descendants,
        }
    }
}

/// A type that is converted from the result of a function of the component.
pub(crate) trait FromComponent {
    /// The type of the result.
    type Value;

    /// Returns the converted value.
    fn from_component(value: Self::Value) -> Self;
}

impl<A: FromComponent> FromComponent for Result<A, CallError> {
    type Value = Result<A::Value, ComponentError>;

    fn from_component(value: Self::Value) -> Self {
        Ok(value.map(A::from_component)?)
    }
}

/// The component refuses no call of an operation with this error.
impl<A: FromComponent> FromComponent for Result<A, HostError> {
    type Value = A::Value;

    fn from_component(value: Self::Value) -> Self {
        Ok(A::from_component(value))
    }
}

impl FromComponent for Vec<Validated> {
    type Value = Vec<Result<Session, ComponentError>>;

    fn from_component(results: Self::Value) -> Self {
        let results = results.into_iter();
        results
            .map(|result| result.map_err(SessionError::from))
            .collect()
    }
}

/// Implements [`FromComponent`] with `Into`.
macro_rules! converted_by_into {
    ($($answer:ty: $value:ty),* $(,)?) => {$(
        impl FromComponent for $answer {
            type Value = $value;

            fn from_component(value: $value) -> Self {
                value.into()
            }
        }
    )*};
}

converted_by_into!(
    Grant: sessions::Grant,
    Revocation: sessions::Revocation,
    Session: Session,
    SessionPage: SessionPage,
    FlushReport: FlushReport,
    EventPage: EventPage,
    ChangePage: ChangePage,
    Statistics: Statistics,
    u32: u32,
    (): (),
);
