//! Rotations whose caller got no answer, because the journal did not store them in time or the call
//! was dropped. The bearer has the old token only, and presents it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clawdb_session_host::{CallError, Grant, LocalInstance, Session, SessionError, Token};

use crate::active_instance::ActiveInstance;
use crate::backend::AdmittedCall;
use crate::error::DurableError;

/// How long an answer is kept after its rotation.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// The maximum number of rotations in progress and answers that are kept.
const MAX_ENTRIES: usize = 16_384;
/// The shortest time between two searches for answers that were kept for too long.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// The answers to rotations that took effect in a term, until a caller gets them.
///
/// The component has superseded the presented token, and would end the session as stolen if that
/// token came again (R27). The answers end with the term: the next instance may not have the
/// rotation, and can give its generation to another token.
#[derive(Default)]
pub(super) struct UndeliveredGrants(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// By the tokens that were presented.
    by_token: HashMap<String, Entry>,
    swept_at: Option<Instant>,
}

enum Entry {
    /// A call with this token has not ended.
    InProgress,
    /// A call with this token has ended, and its caller did not get this answer.
    Kept(Granted),
}

/// What a rotation has granted.
#[derive(Clone)]
struct Granted {
    session_id: String,
    generation: u64,
    token: Token,
    at: Instant,
}

impl Granted {
    fn is_kept(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < KEPT_FOR
    }
}

impl UndeliveredGrants {
    /// Begins a rotation with this token. It gets the answer that was kept for the token, if there
    /// is one.
    ///
    /// # Errors
    /// `Conflict` if another rotation with this token is in progress.
    fn begin(self: &Arc<Self>, presented: &str, now: Instant) -> Result<Rotation, SessionError> {
        let mut table = self.lock();
        let granted = match table.by_token.get(presented) {
            Some(Entry::InProgress) => return Err(SessionError::Conflict),
            Some(Entry::Kept(granted)) if granted.is_kept(now) => Some(granted.clone()),
            _ => None,
        };
        // If there are too many, the answer to this rotation is not kept.
        let has_place =
            table.by_token.contains_key(presented) || table.by_token.len() < MAX_ENTRIES;
        let presented = has_place.then(|| presented.to_owned());
        if let Some(presented) = presented.clone() {
            table.by_token.insert(presented, Entry::InProgress);
        }
        Ok(Rotation {
            undelivered: Arc::clone(self),
            presented,
            granted: Mutex::new(granted),
        })
    }

    /// Drops the answers that were kept for too long. Searches for them once a minute.
    pub fn sweep(&self, now: Instant) {
        let mut table = self.lock();
        let is_due = |at| now.saturating_duration_since(at) >= SWEEP_INTERVAL;
        if table.swept_at.is_none_or(is_due) {
            table.swept_at = Some(now);
            table.by_token.retain(|_, entry| match entry {
                Entry::InProgress => true,
                Entry::Kept(granted) => granted.is_kept(now),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rotation in progress. When it is dropped, its answer is kept unless the caller gets it.
struct Rotation {
    undelivered: Arc<UndeliveredGrants>,
    /// The token that was presented, if the answer can be kept.
    presented: Option<String>,
    granted: Mutex<Option<Granted>>,
}

impl Rotation {
    fn granted(&self) -> MutexGuard<'_, Option<Granted>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the answer of the instance, if it is a grant.
    fn keep(&self, answer: Result<Grant, CallError>) -> Result<Grant, CallError> {
        if let Ok(grant) = &answer {
            *self.granted() = Some(Granted {
                session_id: grant.session.id.clone(),
                generation: grant.session.generation,
                token: grant.token.clone(),
                at: Instant::now(),
            });
        }
        answer
    }

    /// Drops the answer, because the caller gets it or it is of no use.
    fn forget(&self) {
        *self.granted() = None;
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        let granted = self.granted().take();
        if let Some(presented) = self.presented.take() {
            let by_token = &mut self.undelivered.lock().by_token;
            match granted {
                Some(granted) => by_token.insert(presented, Entry::Kept(granted)),
                None => by_token.remove(&presented),
            };
        }
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
    let rotation = active.term.undelivered.begin(&presented, Instant::now());
    let rotation = Arc::new(rotation.map_err(DurableError::Session)?);
    let earlier = rotation.granted().clone();
    let answer = if let Some(earlier) = earlier {
        repeat(&active, (held, Arc::clone(&rotation)), earlier).await
    } else {
        rotate_once(&active, held, presented, Arc::clone(&rotation)).await
    };
    match &answer {
        // The caller gets the grant, or the session has ended.
        Ok(_) | Err(DurableError::Session(SessionError::InvalidToken)) => rotation.forget(),
        Err(_) => {}
    }
    answer
}

/// Rotates a token in the instance.
async fn rotate_once(
    active: &ActiveInstance,
    held: impl Send + 'static,
    presented: String,
    rotation: Arc<Rotation>,
) -> Result<Grant, DurableError> {
    let Some(sync) = &active.instance.sync else {
        let rotating = active.instance.sessions.rotate(presented);
        let answer = active.answer(async { rotation.keep(rotating.await) }, |_| true);
        let answer = answer.await;
        drop(held);
        return answer;
    };
    // The instance rotates the token even if the future of this function is dropped.
    let rotating = move |instance: &mut LocalInstance| rotation.keep(instance.rotate(presented));
    let answer = active.answer_sync(sync, held, rotating, |_| true, |_, _| {});
    answer.await
}

/// Returns an earlier answer, when its rotation is durable, with the session as it is now.
///
/// # Errors
/// `InvalidToken` if the session has ended, `Conflict` if it has a newer token.
async fn repeat(
    active: &ActiveInstance,
    held: impl Send + 'static,
    earlier: Granted,
) -> Result<Grant, DurableError> {
    match session(active, held, earlier.session_id).await {
        Ok(session) if session.generation == earlier.generation => Ok(Grant {
            session,
            token: earlier.token,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(token: &str) -> Granted {
        Granted {
            session_id: "1".into(),
            generation: 1,
            token: Token::from(token.to_owned()),
            at: Instant::now(),
        }
    }

    /// Returns the token that is kept for the presented token.
    fn kept(undelivered: &Arc<UndeliveredGrants>, now: Instant) -> Option<String> {
        let rotation = undelivered.begin("presented", now).unwrap();
        let granted = rotation.granted().clone();
        granted.map(|it| it.token.to_string())
    }

    /// Returns a table with an answer to the rotation of `presented`.
    fn with_answer() -> Arc<UndeliveredGrants> {
        let undelivered = Arc::new(UndeliveredGrants::default());
        let rotation = undelivered.begin("presented", Instant::now()).unwrap();
        *rotation.granted() = Some(granted("new"));
        drop(rotation);
        undelivered
    }

    #[test]
    fn r14_a_rotation_in_progress_refuses_another_one_with_its_token_only() {
        let undelivered = Arc::new(UndeliveredGrants::default());
        let now = Instant::now();
        let rotation = undelivered.begin("presented", now).unwrap();
        let other = undelivered.begin("presented", now).err();
        assert_eq!(other, Some(SessionError::Conflict));
        assert!(undelivered.begin("other", now).is_ok());
        drop(rotation);
        assert_eq!(kept(&undelivered, now), None);
        assert!(undelivered.lock().by_token.is_empty());
    }

    #[test]
    fn r27_an_answer_that_no_caller_got_is_kept_until_a_caller_gets_it() {
        let undelivered = with_answer();
        for _ in 0..2 {
            assert_eq!(kept(&undelivered, Instant::now()).as_deref(), Some("new"));
        }
        let rotation = undelivered.begin("presented", Instant::now()).unwrap();
        rotation.forget();
        drop(rotation);
        assert!(undelivered.lock().by_token.is_empty());
    }

    #[test]
    fn r27_an_answer_is_kept_for_ten_minutes() {
        let undelivered = with_answer();
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        // A repetition that gets no answer either does not make it longer.
        assert!(kept(&undelivered, at(300)).is_some());
        assert!(kept(&undelivered, at(599)).is_some());
        assert_eq!(kept(&undelivered, at(602)), None);
        assert!(undelivered.lock().by_token.is_empty());
        let granted = granted("new");
        assert!(granted.is_kept(granted.at + Duration::from_millis(599_999)));
        assert!(!granted.is_kept(granted.at + Duration::from_mins(10)));
    }

    #[test]
    fn r22_a_search_drops_an_answer_that_was_kept_for_too_long() {
        let undelivered = with_answer();
        let rotation = undelivered.begin("other", Instant::now()).unwrap();
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        undelivered.sweep(at(599));
        assert_eq!(undelivered.lock().by_token.len(), 2);
        // The search is repeated after a minute.
        undelivered.sweep(at(630));
        assert_eq!(undelivered.lock().by_token.len(), 2);
        undelivered.sweep(at(660));
        assert_eq!(undelivered.lock().by_token.len(), 1);
        drop(rotation);
        assert!(undelivered.lock().by_token.is_empty());
    }

    #[test]
    fn r21_at_most_16384_answers_are_kept() {
        let undelivered = Arc::new(UndeliveredGrants::default());
        for number in 0..16_384 {
            let presented = number.to_string();
            let rotation = undelivered.begin(&presented, Instant::now()).unwrap();
            *rotation.granted() = Some(granted("new"));
        }
        let rotation = undelivered.begin("presented", Instant::now()).unwrap();
        *rotation.granted() = Some(granted("new"));
        drop(rotation);
        assert_eq!(kept(&undelivered, Instant::now()), None);
        let repeated = undelivered.begin("0", Instant::now()).unwrap();
        assert!(repeated.granted().is_some());
        assert_eq!(undelivered.lock().by_token.len(), 16_384);
    }
}
