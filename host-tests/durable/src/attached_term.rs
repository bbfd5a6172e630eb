//! The term of an instance, as its guard finds it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use clawdb_session_host::{GuardError, GuardFailure};

use crate::term_handle::TermHandle;

/// The term that makes the changes of an instance durable, while the instance serves.
#[derive(Default)]
pub(super) struct AttachedTerm(Mutex<Option<TermHandle>>);

impl AttachedTerm {
    /// Returns whether an instance that serves has this term, and this host still has the tenant.
    pub fn is_owner(&self) -> bool {
        let handle = self.lock();
        handle
            .as_ref()
            .is_some_and(|handle| handle.check_owner().is_ok())
    }

    /// Returns the term.
    pub fn get(&self) -> Option<TermHandle> {
        self.lock().clone()
    }

    /// Sets the term.
    pub fn set(&self, handle: Option<TermHandle>) {
        *self.lock() = handle;
    }

    fn lock(&self) -> MutexGuard<'_, Option<TermHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the error for a revocation that is not durable yet.
pub(super) fn not_durable() -> GuardFailure {
    let reason = "the change that revokes the token is not durable yet";
    GuardFailure::Error(GuardError::Unavailable(reason.into()))
}
