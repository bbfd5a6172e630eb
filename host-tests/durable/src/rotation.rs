//! Rotations whose caller got no answer, because the journal did not store them in time or the call
//! was dropped. The bearer has the old token only, and presents it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use clawdb_session_host::{CallError, Grant, LocalInstance, Session, SessionError};

use crate::active_instance::ActiveInstance;
use crate::backend::AdmittedCall;
use crate::error::DurableError;

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// The maximum number of answers that are kept.
const MAX_KEPT: usize = 16_384;

/// The answers to rotations that took effect in a term, until a caller gets them.
///
/// The component has superseded the presented token, and would end the session as stolen if that
/// token came again (R27).
#[derive(Default)]
pub(super) struct UndeliveredGrants {
    /// The answers, by the tokens that were presented.
    by_token: Mutex<HashMap<String, UndeliveredGrant>>,
}

struct UndeliveredGrant {
    grant: Grant,
    /// The call that waits until it may return the answer. It has ended if nothing refers to it.
    call: Weak<()>,
    since: Instant,
}

impl UndeliveredGrants {
    /// Keeps the answer to a rotation, unless there are too many.
    fn keep(&self, presented: String, grant: Grant, call: Weak<()>) {
        let mut by_token = self.lock();
        if by_token.len() < MAX_KEPT {
            let since = Instant::now();
            by_token.insert(presented, UndeliveredGrant { grant, call, since });
        }
    }

    /// Returns the answer to a rotation with this token, if it is kept. It belongs to `call` then.
    ///
    /// # Errors
    /// `Conflict` if another call waits until it may return the answer.
    fn claim(&self, presented: &str, call: &Arc<()>) -> Result<Option<Grant>, SessionError> {
        let mut by_token = self.lock();
        if by_token.is_empty() {
            return Ok(None);
        }
        by_token.retain(|_, it| it.call.strong_count() > 0 || it.since.elapsed() < KEPT_FOR);
        let Some(undelivered) = by_token.get_mut(presented) else {
            return Ok(None);
        };
        if undelivered.call.strong_count() > 0 {
            return Err(SessionError::Conflict);
        }
        undelivered.call = Arc::downgrade(call);
        Ok(Some(undelivered.grant.clone()))
    }

    /// Drops the answer to a rotation with this token.
    fn remove(&self, presented: &str) {
        self.lock().remove(presented);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, UndeliveredGrant>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rotates a token and returns the grant when that is durable. If an earlier call has rotated the
/// token and got no answer, returns the grant of that rotation.
pub(super) async fn rotate(
    admitted: AdmittedCall,
    presented: String,
) -> Result<Grant, DurableError> {
    let AdmittedCall {
        active,
        keep_loaded,
        call,
    } = admitted;
    let held = (keep_loaded, call);
    let this_call = Arc::new(());
    let undelivered = Arc::clone(&active.term.undelivered);
    let kept = undelivered.claim(&presented, &this_call);
    let granted = if let Some(grant) = kept.map_err(DurableError::Session)? {
        repeat(&active, held, grant).await
    } else {
        let call = Arc::downgrade(&this_call);
        rotate_once(&active, held, presented.clone(), call).await
    };
    match &granted {
        // The session has ended, so the token is of no use.
        Ok(_) | Err(DurableError::Session(SessionError::InvalidToken)) => {
            undelivered.remove(&presented);
        }
        Err(_) => {}
    }
    granted
}

/// Rotates a token in the instance. The grant is kept while the call waits for the journal.
async fn rotate_once(
    active: &ActiveInstance,
    held: impl Send + 'static,
    presented: String,
    call: Weak<()>,
) -> Result<Grant, DurableError> {
    let undelivered = Arc::clone(&active.term.undelivered);
    let token = presented.clone();
    let keep = move |answer: Result<Grant, CallError>| {
        if let Ok(grant) = &answer {
            undelivered.keep(presented, grant.clone(), call);
        }
        answer
    };
    let Some(sync) = &active.instance.sync else {
        let rotating = active.instance.sessions.rotate(token);
        let answer = active.answer(async { keep(rotating.await) }, |_| true);
        let answer = answer.await;
        drop(held);
        return answer;
    };
    let rotating = move |instance: &mut LocalInstance| keep(instance.rotate(token));
    let answer = active.answer_sync(sync, held, rotating, |_| true, |_, _| {});
    answer.await
}

/// Returns a grant that was kept, when its rotation is durable, with the session as it is now.
///
/// # Errors
/// `InvalidToken` if the session has ended, `Conflict` if it has a newer token.
async fn repeat(
    active: &ActiveInstance,
    held: impl Send + 'static,
    grant: Grant,
) -> Result<Grant, DurableError> {
    match session(active, held, grant.session.id.clone()).await {
        Ok(session) if session.generation == grant.session.generation => Ok(Grant {
            session,
            token: grant.token,
        }),
        Ok(_) => Err(DurableError::Session(SessionError::Conflict)),
        Err(DurableError::Session(
            SessionError::SessionNotFound | SessionError::SessionExpired,
        )) => Err(DurableError::Session(SessionError::InvalidToken)),
        Err(error) => Err(error),
    }
}

/// Returns a session when all changes so far are durable.
async fn session(
    active: &ActiveInstance,
    held: impl Send + 'static,
    id: String,
) -> Result<Session, DurableError> {
    let Some(sync) = &active.instance.sync else {
        let session = active.answer(active.instance.sessions.get(id), |_| true);
        let session = session.await;
        drop(held);
        return session;
    };
    let get = move |instance: &mut LocalInstance| instance.get(id);
    let session = active.answer_sync(sync, held, get, |_| true, |_, _| {});
    session.await
}
