//! The original design as native code: `ClawDB`'s session manager, with valid tokens.
//!
//! The sessions are in a concurrent map by id. The bearer token is a JSON Web Token that contains
//! the id. `validate` checks the signature, looks the session up, compares the expiry and clones
//! the session. The design has no indexes: ending an agent's sessions and pruning scan every
//! session.

use std::hint::black_box;
use std::time::Duration;

use dashmap::DashMap;
use uuid::Uuid;

use crate::batch;
use crate::callers;
use crate::jwt::Signer;
use crate::target::{CreatedSession, Metric, Operation, Target, TargetError, Timed};
use crate::workload::{LIFETIME, Request, Session, keep_first, now};

/// The original session manager.
#[derive(Default)]
pub struct Original {
    sessions: DashMap<Uuid, Session>,
    signer: Signer,
    /// The first sessions, which concurrent callers validate.
    first: Vec<Uuid>,
}

impl Original {
    /// Creates a session, signs its token and stores both.
    ///
    /// # Errors
    /// [`TargetError`] if signing the token fails.
    pub fn create(&self, request: Request) -> Result<Session, TargetError> {
        let mut session = Session::new(request);
        session.token = self.signer.sign(&session)?;
        self.sessions.insert(session.id, session.clone());
        Ok(session)
    }

    /// Returns the session that a token belongs to.
    ///
    /// # Errors
    /// [`TargetError`] if the token is invalid or its session has ended.
    pub fn validate(&self, token: &str) -> Result<Session, TargetError> {
        let refused = TargetError::refused(Operation::Validate);
        let id = self.signer.verify(token).map_err(&refused)?;
        let session = self.sessions.get(&id).map(|session| session.clone());
        session
            .filter(|session| now() < session.expires_at)
            .ok_or_else(|| refused("no such session".into()))
    }

    /// Gives a session a new token and a new expiry.
    ///
    /// # Errors
    /// [`TargetError`] if no session has this id.
    pub fn refresh(&self, id: Uuid) -> Result<Session, TargetError> {
        let session = self.sessions.get(&id).map(|session| session.clone());
        let refused = TargetError::refused(Operation::Refresh);
        let mut session = session.ok_or_else(|| refused("no such session".into()))?;
        session.expires_at = now() + LIFETIME;
        session.token = self.signer.sign(&session)?;
        self.sessions.insert(id, session.clone());
        Ok(session)
    }

    /// Ends a session. Returns whether a session had this id.
    #[must_use]
    pub fn revoke(&self, id: Uuid) -> bool {
        self.sessions.remove(&id).is_some()
    }

    /// Ends all sessions of an agent. Returns how many it ended.
    #[must_use]
    pub fn revoke_all_for_agent(&self, agent: Uuid) -> usize {
        let before = self.sessions.len();
        self.sessions.retain(|_, session| session.agent_id != agent);
        before - self.sessions.len()
    }

    /// Returns the number of validates per second that this many concurrent threads make.
    ///
    /// # Errors
    /// [`TargetError`] of a call.
    pub fn validate_rate(&self, callers: u32, time: Duration) -> Result<f64, TargetError> {
        let first = self.first.iter().filter_map(|id| self.sessions.get(id));
        let tokens: Vec<_> = first.map(|session| session.token.clone()).collect();
        let callers = (0..callers).map(|_| {
            let mut tokens = tokens.iter().cycle();
            move || {
                if let Some(token) = tokens.next() {
                    black_box(self.validate(token)?);
                }
                Ok(())
            }
        });
        callers::rate(time, callers)
    }

    /// Ends all expired sessions.
    pub fn prune(&self) {
        let now = now();
        self.sessions.retain(|_, session| now < session.expires_at);
    }
}

impl Target for Original {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        let created = batch::map(requests, |request| Self::create(self, request))?;
        if let Some((sessions, _)) = &created {
            keep_first(&mut self.first, sessions.iter().map(|session| session.id));
        }
        Ok(created.map(|(sessions, took)| (batch::created_sessions(sessions), took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        batch::for_each(tokens, |token| Self::validate(self, &token))
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        batch::map(ids, |id| Ok(Self::refresh(self, id)?.token))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        let refused = TargetError::refused(Operation::Revoke);
        batch::for_each(ids, |id| {
            let ended = Self::revoke(self, id);
            ended
                .then_some(())
                .ok_or_else(|| refused("no such session".into()))
        })
    }

    fn revoke_all_for_agent(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        let refused = TargetError::refused(Operation::RevokeAllForAgent);
        batch::for_each(agents, |agent| {
            match Self::revoke_all_for_agent(self, agent) {
                0 => Err(refused("no session".into())),
                ended => Ok(ended),
            }
        })
    }

    fn prune(&mut self, calls: u32) -> Timed<()> {
        batch::for_each((0..calls).collect(), |_| {
            Self::prune(self);
            Ok(())
        })
    }

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        match metric {
            Metric::ValidateRate {
                callers,
                milliseconds,
            } => self
                .validate_rate(callers, Duration::from_millis(milliseconds.into()))
                .map(Some),
            _ => Ok(None),
        }
    }
}
