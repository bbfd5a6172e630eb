//! `moka`: sessions in a cache in memory, by id.
//!
//! A token is the session's id, a random number and filling up to the usual length. Validating it
//! reads the id, gets a clone of the session and compares the token. Nothing is signed or hashed, and
//! no JSON Web Token is checked: this is what looking sessions up costs, without a guard. The cache
//! knows how long sessions live and does not give out one that is over. It has no index by agent: it
//! could only look at every session, as the original design does.

use std::time::Duration;

use clawdb_session_bench_protocol::batch;
use clawdb_session_bench_protocol::target::{Contestant, Failure, Granted, Operation, Timed};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, Session, TOKEN_LENGTH, now};
use moka::sync::Cache;
use uuid::Uuid;

/// How long an id is in a token, in bytes.
const ID_LENGTH: usize = 36;

/// The cache, without a bound.
pub struct Moka {
    sessions: Cache<Uuid, Session>,
}

impl Moka {
    /// An empty cache.
    pub fn new() -> Self {
        let lifetime = Duration::from_secs(LIFETIME);
        Self {
            sessions: Cache::builder().time_to_live(lifetime).build(),
        }
    }

    fn make(&self, request: Request) -> Session {
        let mut session = Session::new(request);
        session.token = new_token(session.id);
        self.sessions.insert(session.id, session.clone());
        session
    }

    fn look_up(&self, token: &str) -> Option<Session> {
        let id: Uuid = token.get(..ID_LENGTH)?.parse().ok()?;
        let session = self.sessions.get(&id)?;
        (session.token == token).then_some(session)
    }

    fn replace_token(&self, id: Uuid) -> Option<String> {
        let mut session = self.sessions.get(&id)?;
        session.expires_at = now() + LIFETIME;
        session.token = new_token(id);
        self.sessions.insert(id, session.clone());
        Some(session.token)
    }
}

impl Contestant for Moka {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<Granted>> {
        let made = batch::all(requests, |request| Ok(self.make(request)))?;
        Ok(made.map(|(sessions, took)| (batch::granted(sessions), took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        batch::each(tokens, |token| {
            self.look_up(&token)
                .ok_or_else(|| none(Operation::Validate))
        })
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        batch::all(ids, |id| {
            self.replace_token(id)
                .ok_or_else(|| none(Operation::Refresh))
        })
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        batch::each(ids, |id| {
            self.sessions
                .remove(&id)
                .ok_or_else(|| none(Operation::Revoke))
        })
    }

    /// What the cache does now and then by itself: it takes out what is over.
    fn prune(&mut self, calls: u32) -> Timed<()> {
        batch::each((0..calls).collect(), |_| {
            self.sessions.run_pending_tasks();
            Ok(())
        })
    }
}

fn new_token(id: Uuid) -> String {
    let random = Uuid::new_v4();
    let filling = TOKEN_LENGTH - 2 * ID_LENGTH;
    format!("{id}{random}{:.<filling$}", "")
}

fn none(operation: Operation) -> Failure {
    Failure::refused(operation)("no such session".into())
}
