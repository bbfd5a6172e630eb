//! The operations of [`DurableHost`], made from the same table as those of an
//! instance.

use clawdb_session_host::{
    Argument, CallError, CreateRequest, EventPage, FlushReport, Grant, GuardError, LocalInstance,
    Page, Revocation, RevokeFilter, Session, SessionError, SessionPage, Statistics, Tokens,
    Validated, for_each_operation, parameter,
};

use crate::backend::AdmittedCall;
use crate::error::DurableError;
use crate::host::DurableHost;
use crate::rotation;

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
        #[errors($($errors:literal),+)]
        #[permits($($permits:tt)+)]
        #[durable(rotate)]
        fn $name:ident($argument:ident: $type:ident)
            -> Result<$answer:ty, $error:ident> = $interface:ident.$function:ident
    ) => {
        $(#[doc = $doc])*
        #[doc = ""]
        #[doc = " After `Retry`, the rotation may have taken effect. The host then keeps its"]
        #[doc = " answer for 10 minutes from then on, while it owns the tenant and the instance"]
        #[doc = " lasts, and at most 16,384 answers. A call with the same token returns that"]
        #[doc = " answer when it is durable, or `Conflict` if the session has a newer token. If"]
        #[doc = " the instance has ended, that call can end the session as stolen (R27)."]
        #[doc = ""]
        #[doc = " `Conflict` also means that another call with this token has not ended. In the"]
        #[doc = " world `session-sync` a call whose future was dropped ends later, and its answer"]
        #[doc = " is kept as well."]
        #[doc = ""]
        #[doc = " # Errors"]
        #[doc = concat!(" [`DurableError::Session`] with ", $($errors,)+ ".")]
        #[doc = " The other errors of [`DurableError`] if the host cannot serve."]
        pub async fn $name(&self, $argument: parameter!($type)) -> Result<$answer, DurableError> {
            let $argument: <$type as Argument>::Value = $argument.into();
            rotation::$name(self.admit().await?, $argument).await
        }
    };
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
            $(let $argument: <$type $(<$item>)? as Argument>::Value = $argument.into();)*
            let AdmittedCall { active, keep_loaded, call } = self.admit().await?;
            let held = (keep_loaded, call);
            match &active.instance.sync {
                Some(sync) => {
                    answer_sync!($durable, active(sync, held), $name($($argument),*))
                }
                None => {
                    let sessions = &active.instance.sessions;
                    let answer = active.answer(sessions.$name($($argument),*), rule::$durable);
                    let answer = answer.await;
                    drop(held);
                    answer
                }
            }
        }
    };
}

/// Runs an operation on an instance of the world `session-sync`.
macro_rules! answer_sync {
    (flush, $active:ident($sync:ident, $held:ident), $name:ident()) => {
        $active.flush_sync($sync, $held).await
    };
    (confirm, $active:ident($sync:ident, $held:ident), $name:ident($($argument:ident),*)) => {{
        let call = move |instance: &mut LocalInstance| instance.$name($($argument),*);
        $active.answer_sync($sync, $held, call, rule::confirm, confirm).await
    }};
    (
        $durable:ident,
        $active:ident($sync:ident, $held:ident),
        $name:ident($($argument:ident),*)
    ) => {{
        let call = move |instance: &mut LocalInstance| instance.$name($($argument),*);
        $active.answer_sync($sync, $held, call, rule::$durable, |_, _| {}).await
    }};
}

impl DurableHost {
    for_each_operation!(method);
}

/// Whether the answer to an operation waits until all changes so far are durable: the functions
/// have the names of the table's column `durable`.
mod rule {
    use super::{CallError, SessionError, Uses};

    pub(super) fn run<T>(_: &Result<T, CallError>) -> bool {
        true
    }

    pub(super) use run as confirm;
    pub(super) use run as flush;

    pub(super) fn read<T>(_: &Result<T, CallError>) -> bool {
        false
    }

    /// Returns whether a limited use was taken, or a session was found to have expired: a session
    /// that was reported as expired must not be live in the next instance.
    pub(super) fn used<T: Uses>(answer: &Result<T, CallError>) -> bool {
        match answer {
            Ok(answer) => answer.have_changed(),
            Err(CallError::Session(error)) => *error == SessionError::SessionExpired,
            Err(CallError::Host(_)) => false,
        }
    }
}

/// Sets whether the guard has confirmed a revocation: it has revoked the token, or the token is
/// invalid anyway.
fn confirm(revocation: &mut Revocation, answer: Result<(), GuardError>) {
    if revocation.guard_confirmed {
        return;
    }
    revocation.guard_error = match answer {
        Ok(()) | Err(GuardError::Revoked | GuardError::Expired) => None,
        Err(error) => Some(error),
    };
    revocation.guard_confirmed = revocation.guard_error.is_none();
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
