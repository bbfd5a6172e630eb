//! The operations of [`DurableHost`], made from the table: as [`SessionHost`] has them.

use clawdb_session_host::{
    CallError, CreateRequest, EventPage, FlushReport, Grant, Page, Revocation, RevokeFilter,
    Session, SessionError, SessionHost, SessionPage, Statistics, Validated, for_each_operation,
    parameter,
};

use crate::error::DurableError;
use crate::host::DurableHost;

/// Makes the method of a row.
macro_rules! method {
    (
        $(#[doc = $doc:literal])*
        $(#[errors = $errors:literal])?
        #[turns($($turns:tt)+)]
        #[durable(none)]
        $($function:tt)*
    ) => {};
    (
        $(#[doc = $doc:literal])*
        $(#[errors = $errors:literal])?
        #[turns($($turns:tt)+)]
        #[durable($durable:ident)]
        fn $name:ident($($argument:ident: $type:ident $(<$item:ident>)?),*)
            -> Result<$answer:ty, $error:ident> = $interface:ident.$function:ident
    ) => {
        $(#[doc = $doc])*
        #[doc = ""]
        #[doc = " # Errors"]
        $(#[doc = concat!(" [`DurableError::Session`] with ", $errors, ".")])?
        #[doc = " [`DurableError`] has the other reasons."]
        pub async fn $name(
            &self,
            $($argument: parameter!($type $(<$item>)?)),*
        ) -> Result<$answer, DurableError> {
            self.$durable(|host: SessionHost| async move { host.$name($($argument),*).await }).await
        }
    };
}

impl DurableHost {
    for_each_operation!(method);

    /// A use of sessions. It has to be durable if it is counted, and if it has found that a session
    /// has expired: a session of which an answer said so does not live again in the next instance.
    async fn used<F, R, T: Uses>(&self, call: F) -> Result<T, DurableError>
    where
        F: FnOnce(SessionHost) -> R,
        R: Future<Output = Result<T, CallError>>,
    {
        let changes = |answer: &Result<T, CallError>| match answer {
            Ok(answer) => answer.have_changed(),
            Err(CallError::Session(error)) => *error == SessionError::SessionExpired,
            Err(CallError::Host(_)) => false,
        };
        self.call(call, changes).await
    }
}

/// An answer that tells of uses.
trait Uses {
    /// Whether one of them is of a session with `max-uses`, or has ended a session.
    fn have_changed(&self) -> bool;
}

impl Uses for Session {
    fn have_changed(&self) -> bool {
        self.uses_left.is_some()
    }
}

impl Uses for Vec<Validated> {
    fn have_changed(&self) -> bool {
        self.iter().any(|validated| match validated {
            Ok(session) => session.have_changed(),
            Err(error) => *error == SessionError::SessionExpired,
        })
    }
}
