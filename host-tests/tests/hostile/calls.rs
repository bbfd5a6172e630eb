//! Random calls of an instance.

use clawdb_session_host::{
    AnySessions, CallError, Config, CreateRequest, Grant, Page, RevokeFilter, Session, Validated,
};
use clawdb_session_testkit::Random;

const AGENTS: usize = 4;
const ROLES: [&str; 2] = ["reader", "writer"];

/// A call that was chosen at random.
pub struct Call {
    /// What it does, a number below 112.
    choice: usize,
    session: String,
    /// A call about one token uses the first.
    tokens: [String; 3],
    agent: usize,
    role: &'static str,
}

/// What a call has returned.
pub enum Answer {
    Granted(Grant),
    Used(String, Session),
    /// A result for each token.
    Validated(Vec<(String, Validated)>),
    Ended(String),
    ClockAccepted,
    Other,
    Refused(CallError),
}

pub fn agent(number: usize) -> String {
    format!("0a9e0000-0000-4000-8000-{number:012}")
}

pub fn request(agent_number: usize, role: &str) -> CreateRequest {
    CreateRequest::new(agent(agent_number), role).with_scopes(["tool:*"])
}

impl Call {
    /// Chooses a call, and some of the sessions and tokens for it.
    pub fn pick(random: &Random, sessions: &[String], tokens: &[String]) -> Self {
        let session = random.pick(sessions).cloned();
        Self {
            session: session.unwrap_or_else(|| agent(99)),
            tokens: std::array::from_fn(|_| random.pick(tokens).cloned().unwrap_or_default()),
            agent: random.below(AGENTS),
            role: ROLES[random.below(ROLES.len())],
            choice: random.below(112),
        }
    }

    /// Makes the call.
    pub async fn make(self, instance: AnySessions) -> Answer {
        let Self {
            choice,
            session,
            tokens,
            agent: number,
            role,
        } = self;
        let token = tokens[0].clone();
        let answer = match choice {
            0..=24 => {
                let grant = instance.create(request(number, role)).await;
                grant.map(Answer::Granted)
            }
            25..=34 => {
                let grant = instance.delegate(session, request(number, role)).await;
                grant.map(Answer::Granted)
            }
            35..=54 => {
                let session = instance.validate(&*token).await;
                session.map(|session| Answer::Used(token, session))
            }
            55..=59 => {
                let session = instance.authorize(&*token, "tool:search").await;
                session.map(|session| Answer::Used(token, session))
            }
            60..=69 => instance.rotate(token).await.map(Answer::Granted),
            70..=76 => instance.refresh(session).await.map(Answer::Granted),
            77..=81 => {
                let revoked = instance.revoke(&*session).await;
                revoked.map(|_| Answer::Ended(session))
            }
            82..=84 => {
                let revoked = instance.revoke_by_token(token).await;
                revoked.map(|revoked| Answer::Ended(revoked.session_id))
            }
            85..=86 => {
                let invalidated = instance.invalidate(&*session).await;
                invalidated.map(|()| Answer::Ended(session))
            }
            87 => {
                let filter = RevokeFilter::Role(role.into());
                instance.revoke_all(filter).await.map(|_| Answer::Other)
            }
            88 => {
                let ended = instance.revoke_all_for_agent(agent(number)).await;
                ended.map(|_| Answer::Other)
            }
            89..=91 => {
                let results = instance.validate_many(tokens.to_vec()).await;
                results.map(|results| Answer::Validated(tokens.into_iter().zip(results).collect()))
            }
            92..=93 => instance.touch(session).await.map(|()| Answer::Other),
            94..=95 => {
                let flushed = instance.flush_guard_revocations().await;
                flushed.map(|_| Answer::Other).map_err(CallError::Host)
            }
            96..=97 => {
                let pruned = instance.prune_expired(None).await;
                pruned.map(|_| Answer::Other).map_err(CallError::Host)
            }
            98 => instance.accept_clock().await.map(|_| Answer::ClockAccepted),
            99 => instance.get(session).await.map(|_| Answer::Other),
            100 => {
                let page = instance.list_for_agent(agent(number), Page::default());
                page.await.map(|_| Answer::Other)
            }
            101 => {
                let count = instance.active_count().await;
                count.map(|_| Answer::Other).map_err(CallError::Host)
            }
            102 => {
                let stats = instance.stats().await;
                stats.map(|_| Answer::Other).map_err(CallError::Host)
            }
            103 => instance.poll_events(0, 10).await.map(|_| Answer::Other),
            // The instance has a configuration, so these are refused.
            104 => {
                let configured = instance.configure(Config::default()).await;
                configured.map(|()| Answer::Other)
            }
            105 => instance.restore(Vec::new()).await.map(|()| Answer::Other),
            // Without a state key, these are refused too.
            106..=107 => instance.changes(0, 10).await.map(|_| Answer::Other),
            108..=109 => {
                let stored = if number == 0 { 50 } else { u64::MAX };
                let flushed = instance.flush_stored_revocations(stored).await;
                flushed.map(|_| Answer::Other)
            }
            _ => instance.close_event_run().await.map(|()| Answer::Other),
        };
        answer.unwrap_or_else(Answer::Refused)
    }
}
