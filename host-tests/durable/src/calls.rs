//! The operations of [`DurableHost`], made from the same table as those of [`SessionHost`].

use clawdb_session_host::{
    CallError, CreateRequest, EventPage, FlushReport, Grant, Page, Revocation, RevokeFilter,
    Session, SessionError, SessionHost, SessionPage, Statistics, Validated, for_each_operation,
    parameter,
};

use crate::error::DurableError;
use crate::host::DurableHost;

/// Generates the method of a row.
macro_rules! method {
    (
        $(#[doc = $doc:literal])*
        $(#[errors($($errors:literal),+)])?
        #[permits($($permits:tt)+)]
        #[durable(none)]
        $($function:tt)*
    ) => {};
    (
        $(#[doc = $doc:literal])*
        $(#[errors($($errors:literal),+)])?
        #[permits($($permits:tt)+)]
        #[durable($durable:ident)]
        fn $name:ident($($argument:ident: $type:ident $(<$item:ident>)?),*)
            -> Result<$answer:ty, $error:ident> = $interface:ident.$function:ident
    ) => {
        $(#[doc = $doc])*
        #[doc = ""]
        #[doc = " # Errors"]
        $(#[doc = concat!(" [`DurableError::Session`] with ", $($errors,)+ ".")])?
        #[doc = " The other errors of [`DurableError`] if the host cannot serve."]
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

    /// Calls the instance with an operation that uses sessions. Waits until its changes are durable
    /// if a limited use was taken, or if a session was found to have expired: a session that was
    /// reported as expired must not be live in the next instance.
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

/// An answer to an operation that uses sessions.
trait Uses {
    /// Returns whether a limited use was taken, or a session was found to have expired.
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
