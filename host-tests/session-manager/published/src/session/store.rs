//! A map of the sessions, with the functions that the manager calls.

use std::collections::HashMap;
use std::sync::Mutex;

use uuid::Uuid;

use crate::error::{ClawDBError, ClawDBResult};
use crate::session::context::SessionContext;

#[derive(Default)]
pub struct SessionStore(Mutex<HashMap<Uuid, SessionContext>>);

impl SessionStore {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn insert(&self, context: SessionContext) {
        let mut sessions = self.0.lock().unwrap();
        sessions.insert(context.session_id, context);
    }

    pub(crate) fn get(&self, id: Uuid) -> ClawDBResult<SessionContext> {
        let context = self.0.lock().unwrap().get(&id).cloned();
        let context = context.ok_or(ClawDBError::SessionNotFound(id))?;
        if !context.is_valid() {
            return Err(ClawDBError::SessionExpired(id));
        }
        Ok(context)
    }

    pub(crate) fn remove(&self, id: Uuid) -> Option<SessionContext> {
        self.0.lock().unwrap().remove(&id)
    }

    pub(crate) fn ids_for_agent(&self, agent: Uuid) -> Vec<Uuid> {
        let sessions = self.0.lock().unwrap();
        let of_agent = sessions
            .values()
            .filter(|session| session.agent_id == agent);
        of_agent.map(|session| session.session_id).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn prune_expired(&self) -> usize {
        let mut sessions = self.0.lock().unwrap();
        let before = sessions.len();
        sessions.retain(|_, session| session.is_valid());
        before - sessions.len()
    }
}
