//! The original design, natively: what `ClawDB`'s session manager does, with tokens that validate.
//!
//! A concurrent map from the session's id to the session; the bearer token is a JSON Web Token that
//! names the id. Validating it checks the signature, looks the session up, compares the expiry and
//! clones the session. There are no indexes: what concerns an agent or the time looks at every
//! session.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use uuid::Uuid;

use crate::batch;
use crate::jwt::Signer;
use crate::target::{Contestant, Failure, Figure, Granted, Operation, Timed};
use crate::workload::{LIFETIME, Request, Session, keep_first, now};

/// The session manager.
#[derive(Default)]
pub struct Original {
    sessions: DashMap<Uuid, Session>,
    signer: Signer,
    /// The first that were made.
    first: Vec<Uuid>,
}

impl Original {
    /// Makes a session, signs its token and keeps both.
    ///
    /// # Errors
    /// [`Failure`] when the token cannot be signed.
    pub fn create(&self, request: Request) -> Result<Session, Failure> {
        let mut session = Session::new(request);
        session.token = self.signer.sign(&session)?;
        self.sessions.insert(session.id, session.clone());
        Ok(session)
    }

    /// The session that a token is for.
    ///
    /// # Errors
    /// [`Failure`] when the token is not good or its session is gone.
    pub fn validate(&self, token: &str) -> Result<Session, Failure> {
        let refused = Failure::refused(Operation::Validate);
        let id = self.signer.verify(token).map_err(&refused)?;
        let session = self.sessions.get(&id).map(|session| session.clone());
        session
            .filter(|session| now() < session.expires_at)
            .ok_or_else(|| refused("no such session".into()))
    }

    /// A new token and a new expiry for a session.
    ///
    /// # Errors
    /// [`Failure`] when there is no such session.
    pub fn refresh(&self, id: Uuid) -> Result<Session, Failure> {
        let session = self.sessions.get(&id).map(|session| session.clone());
        let refused = Failure::refused(Operation::Refresh);
        let mut session = session.ok_or_else(|| refused("no such session".into()))?;
        session.expires_at = now() + LIFETIME;
        session.token = self.signer.sign(&session)?;
        self.sessions.insert(id, session.clone());
        Ok(session)
    }

    /// Ends a session; whether there was one.
    #[must_use]
    pub fn revoke(&self, id: Uuid) -> bool {
        self.sessions.remove(&id).is_some()
    }

    /// Ends all sessions of an agent, and tells how many.
    #[must_use]
    pub fn revoke_agent(&self, agent: Uuid) -> usize {
        let before = self.sessions.len();
        self.sessions.retain(|_, session| session.agent_id != agent);
        before - self.sessions.len()
    }

    /// How many validates a second so many threads get done that call at the same time.
    ///
    /// # Errors
    /// [`Failure`] of a call.
    pub fn rate(&self, callers: u32, time: Duration) -> Result<f64, Failure> {
        let first = self.first.iter().filter_map(|id| self.sessions.get(id));
        let tokens: Vec<_> = first.map(|session| session.token.clone()).collect();
        let begun = Instant::now();
        let work = || {
            let mut calls = 0_u32;
            for token in tokens.iter().cycle() {
                if begun.elapsed() >= time {
                    break;
                }
                black_box(self.validate(token)?);
                calls += 1;
            }
            Ok(calls)
        };
        let calls = thread::scope(|scope| {
            let callers: Vec<_> = (0..callers).map(|_| scope.spawn(work)).collect();
            callers.into_iter().try_fold(0, |calls, caller| {
                let ended = caller.join();
                Ok(calls + ended.map_err(|_| Failure::broken("a caller panicked"))??)
            })
        })?;
        Ok(f64::from(calls) / begun.elapsed().as_secs_f64())
    }

    /// Ends all sessions whose time is over.
    pub fn prune(&self) {
        let now = now();
        self.sessions.retain(|_, session| now < session.expires_at);
    }
}

impl Contestant for Original {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<Granted>> {
        let made = batch::all(requests, |request| Self::create(self, request))?;
        if let Some((sessions, _)) = &made {
            keep_first(&mut self.first, sessions.iter().map(|session| session.id));
        }
        Ok(made.map(|(sessions, took)| (batch::granted(sessions), took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        batch::each(tokens, |token| Self::validate(self, &token))
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        batch::all(ids, |id| Ok(Self::refresh(self, id)?.token))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        let refused = Failure::refused(Operation::Revoke);
        batch::each(ids, |id| {
            let ended = Self::revoke(self, id);
            ended
                .then_some(())
                .ok_or_else(|| refused("no such session".into()))
        })
    }

    fn revoke_agents(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        let refused = Failure::refused(Operation::RevokeAgent);
        batch::each(agents, |agent| match self.revoke_agent(agent) {
            0 => Err(refused("no session".into())),
            ended => Ok(ended),
        })
    }

    fn prune(&mut self, calls: u32) -> Timed<()> {
        batch::each((0..calls).collect(), |_| {
            Self::prune(self);
            Ok(())
        })
    }

    fn figure(&mut self, figure: Figure) -> Result<Option<f64>, Failure> {
        match figure {
            Figure::ValidateRate {
                callers,
                milliseconds,
            } => self
                .rate(callers, Duration::from_millis(milliseconds.into()))
                .map(Some),
            _ => Ok(None),
        }
    }
}
