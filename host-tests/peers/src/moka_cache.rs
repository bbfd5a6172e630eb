//! `moka`: sessions in a cache in memory, by id.
//!
//! A token is the session's id, a random number and padding up to the usual length. `validate`
//! reads the id, gets a clone of the session and compares the token. Tokens are not signed or
//! hashed, so this is the cost of a lookup without a guard. The cache returns no expired session.
//! It has no index by agent: revoke-all would have to scan every session, as in the original
//! design.

use std::time::Duration;

use clawdb_session_bench_protocol::batch;
use clawdb_session_bench_protocol::target::{
    CreatedSession, Operation, Target, TargetError, Timed,
};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, Session, TOKEN_LENGTH, now};
use moka::sync::Cache;
use uuid::Uuid;

/// The length of an id in a token, in bytes.
const ID_LENGTH: usize = 36;

/// Sessions in an unbounded cache.
pub struct MokaCache {
    sessions: Cache<Uuid, Session>,
}

impl MokaCache {
    /// Returns an empty cache.
    pub fn new() -> Self {
        let lifetime = Duration::from_secs(LIFETIME);
        Self {
            sessions: Cache::builder().time_to_live(lifetime).build(),
        }
    }

    fn create(&self, request: Request) -> Session {
        let mut session = Session::new(request);
        session.token = new_token(session.id);
        self.sessions.insert(session.id, session.clone());
        session
    }

    fn validate(&self, token: &str) -> Option<Session> {
        let id: Uuid = token.get(..ID_LENGTH)?.parse().ok()?;
        let session = self.sessions.get(&id)?;
        (session.token == token).then_some(session)
    }

    fn refresh(&self, id: Uuid) -> Option<String> {
        let mut session = self.sessions.get(&id)?;
        session.expires_at = now() + LIFETIME;
        session.token = new_token(id);
        self.sessions.insert(id, session.clone());
        Some(session.token)
    }
}

impl Target for MokaCache {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        let created = batch::map(requests, |request| Ok(Self::create(self, request)))?;
        Ok(created.map(|(sessions, took)| (batch::created_sessions(sessions), took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        batch::for_each(tokens, |token| {
            Self::validate(self, &token).ok_or_else(|| not_found(Operation::Validate))
        })
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        batch::map(ids, |id| {
            Self::refresh(self, id).ok_or_else(|| not_found(Operation::Refresh))
        })
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        batch::for_each(ids, |id| {
            self.sessions
                .remove(&id)
                .ok_or_else(|| not_found(Operation::Revoke))
        })
    }

    /// Runs the cache's maintenance, which removes expired sessions.
    fn prune(&mut self, calls: u32) -> Timed<()> {
        batch::for_each((0..calls).collect(), |_| {
            self.sessions.run_pending_tasks();
            Ok(())
        })
    }
}

fn new_token(id: Uuid) -> String {
    let random = Uuid::new_v4();
    let padding = TOKEN_LENGTH - 2 * ID_LENGTH;
    format!("{id}{random}{:.<padding$}", "")
}

fn not_found(operation: Operation) -> TargetError {
    TargetError::refused(operation)("no such session".into())
}
