//! `ClawDB`'s session manager as it was before the component, in this process: sessions in a concurrent map by
//! their ids, tokens that are JSON Web Tokens.
//!
//! It checks a token's signature and looks its session up. What it does for many it does by going through
//! all: it has no index but the one by id.

use chrono::{DateTime, Duration, Utc};
use dashmap::DashMap;
use uuid::Uuid;

use crate::contestant::{Contestant, Failed, Measure};
use crate::stopwatch::{self, Longest};
use crate::token::{Authority, now};
use crate::workload::{self, Draw, OTHER_AGENT, Request, SESSIONS_OF_AN_AGENT};

/// A session as the original keeps it.
#[derive(Clone, Debug)]
struct Session {
    id: Uuid,
    agent_id: Uuid,
    #[expect(dead_code, reason = "kept, and copied with each answer")]
    workspace_id: Uuid,
    request: Request,
    #[expect(dead_code, reason = "kept, and copied with each answer")]
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    token: String,
}

/// The original session manager.
#[derive(Default)]
struct Manager {
    sessions: DashMap<Uuid, Session>,
    authority: Authority,
}

impl Manager {
    fn create(&self, request: Request) -> Result<Session, Failed> {
        let id = Uuid::new_v4();
        let token = self.authority.issue(id, &request, now())?;
        let created_at = Utc::now();
        let session = Session {
            id,
            agent_id: request.agent_id,
            workspace_id: Uuid::nil(),
            created_at,
            expires_at: created_at + Duration::seconds(i64::try_from(request.expires_in)?),
            request,
            token,
        };
        self.sessions.insert(id, session.clone());
        Ok(session)
    }

    fn validate(&self, token: &str) -> Result<Session, Failed> {
        let claims = self.authority.check(token)?;
        let session = self.sessions.get(&claims.sid).ok_or("unknown")?;
        if session.expires_at <= Utc::now() {
            return Err("expired".into());
        }
        Ok(session.clone())
    }

    fn refresh(&self, id: Uuid) -> Result<Session, Failed> {
        let mut session = self.sessions.get(&id).ok_or("unknown")?.clone();
        session.token = self.authority.issue(id, &session.request, now())?;
        let lifetime = i64::try_from(session.request.expires_in)?;
        session.expires_at = Utc::now() + Duration::seconds(lifetime);
        self.sessions.insert(id, session.clone());
        Ok(session)
    }

    fn revoke(&self, id: Uuid) -> Result<(), Failed> {
        self.sessions.remove(&id).map(drop).ok_or("unknown".into())
    }

    fn revoke_all_for_agent(&self, agent_id: Uuid) -> usize {
        let of_agent = self.sessions.iter();
        let of_agent = of_agent.filter(|session| session.agent_id == agent_id);
        let ids: Vec<Uuid> = of_agent.map(|session| session.id).collect();
        for id in &ids {
            self.sessions.remove(id);
        }
        ids.len()
    }

    fn prune(&self) -> usize {
        let (before, now) = (self.sessions.len(), Utc::now());
        self.sessions.retain(|_, session| session.expires_at > now);
        before - self.sessions.len()
    }
}

/// The original design, measured.
#[derive(Default)]
pub struct Original {
    manager: Manager,
    kept: Vec<(Uuid, String)>,
    draw: Draw,
    longest: Longest,
}

impl Original {
    fn create(&mut self) -> Result<(), Failed> {
        let request = workload::request(self.kept.len());
        let manager = &self.manager;
        let session = self.longest.time(|| manager.create(request))?;
        self.kept.push((session.id, session.token));
        Ok(())
    }

    fn some(&mut self, count: usize) -> Vec<usize> {
        self.draw.below(self.kept.len(), count)
    }
}

impl Contestant for Original {
    fn grow(&mut self, sessions: usize) -> Result<(), Failed> {
        while self.kept.len() < sessions {
            self.create()?;
        }
        Ok(())
    }

    fn measure(&mut self, measure: Measure, calls: usize) -> Result<Option<f64>, Failed> {
        let micros = match measure {
            Measure::Validate => {
                let some = self.some(calls);
                let tokens: Vec<&str> = some.iter().map(|at| self.kept[*at].1.as_str()).collect();
                stopwatch::each(calls, |call| self.manager.validate(tokens[call]).map(drop))?
            }
            Measure::Create => {
                let first = self.kept.len();
                let requests: Vec<Request> =
                    (first..first + calls).map(workload::request).collect();
                let mut requests = requests.into_iter();
                let mut made = Vec::with_capacity(calls);
                let micros = stopwatch::each(calls, |_| {
                    let request = requests.next().ok_or("one for each call")?;
                    made.push(self.manager.create(request)?);
                    Ok::<(), Failed>(())
                })?;
                let made = made.into_iter().map(|session| (session.id, session.token));
                self.kept.extend(made);
                micros
            }
            Measure::Revoke => {
                let made = self.kept.split_off(self.kept.len().saturating_sub(calls));
                stopwatch::each(made.len(), |call| self.manager.revoke(made[call].0))?
            }
            Measure::Refresh => {
                let some = self.some(calls);
                let ids: Vec<Uuid> = some.iter().map(|at| self.kept[*at].0).collect();
                let mut renewed = Vec::with_capacity(calls);
                let micros = stopwatch::each(calls, |call| {
                    renewed.push(self.manager.refresh(ids[call])?);
                    Ok::<(), Failed>(())
                })?;
                for (at, session) in some.into_iter().zip(renewed) {
                    self.kept[at].1 = session.token;
                }
                micros
            }
            Measure::RevokeAll => {
                for _ in 0..SESSIONS_OF_AN_AGENT {
                    self.manager.create(workload::request_of(OTHER_AGENT))?;
                }
                stopwatch::each(1, |_| {
                    match self.manager.revoke_all_for_agent(OTHER_AGENT) {
                        SESSIONS_OF_AN_AGENT => Ok(()),
                        ended => Err(format!("{ended} sessions ended")),
                    }
                })?
            }
            Measure::Prune => stopwatch::each(calls, |_| match self.manager.prune() {
                0 => Ok(()),
                pruned => Err(format!("{pruned} sessions were over")),
            })?,
            Measure::LongestCreate => self.longest.take(),
            _ => return Ok(None),
        };
        Ok(Some(micros))
    }
}
