//! The exports of both worlds. They call the one manager of the instance.

use super::bindings::{events, legacy, persistence, sessions, settings};
use super::convert::count;
use super::imports::{HostClock, HostGuard};
#[cfg(feature = "async")]
use super::session::operation;
#[cfg(feature = "sync")]
use super::session_sync::operation;
use crate::{
    AgentId, Change, Error, RevokeFilter, Scope, SessionId, SessionManager, SystemEntropy, Token,
};

/// The type that implements the exported interfaces.
pub(super) struct Component;

type Manager = SessionManager<HostGuard, HostClock, SystemEntropy>;

/// Returns the manager of this instance. It is created with the first call and never dropped.
fn manager() -> &'static Manager {
    thread_local! {
        static MANAGER: &'static Manager = Box::leak(Box::new(new_manager()));
    }
    MANAGER.with(|manager| *manager)
}

fn new_manager() -> Manager {
    SessionManager::new(HostGuard, HostClock, SystemEntropy)
}

impl sessions::Guest for Component {
    operation! {
        async fn create(
            request: sessions::CreateRequest,
        ) -> Result<sessions::Grant, sessions::Error> {
            Ok(manager().create(request.try_into()?).await?.into())
        }
    }

    operation! {
        async fn delegate(
            parent_session_id: String,
            request: sessions::CreateRequest,
        ) -> Result<sessions::Grant, sessions::Error> {
            let parent = SessionId::parse("parent-session-id", &parent_session_id)?;
            let request = request.try_into()?;
            Ok(manager().delegate(parent, request).await?.into())
        }
    }

    operation! {
        async fn validate(token: String) -> Result<sessions::Session, sessions::Error> {
            Ok(manager().validate(Token::parse(token)?).await?.into())
        }
    }

    operation! {
        async fn validate_many(
            tokens: Vec<String>,
        ) -> Result<Vec<Result<sessions::Session, sessions::Error>>, sessions::Error> {
            let tokens = tokens.into_iter().map(Token::parse).collect();
            let answers = manager().validate_many(tokens).await?;
            let convert = |answer: Result<crate::Session, Error>| Ok(answer?.into());
            Ok(answers.into_iter().map(convert).collect())
        }
    }

    operation! {
        async fn authorize(
            token: String,
            scope: String,
        ) -> Result<sessions::Session, sessions::Error> {
            let (token, scope) = (Token::parse(token)?, Scope::parse(scope)?);
            Ok(manager().authorize(token, &scope).await?.into())
        }
    }

    operation! {
        async fn rotate(token: String) -> Result<sessions::Grant, sessions::Error> {
            Ok(manager().rotate(Token::parse(token)?).await?.into())
        }
    }

    fn touch(session_id: String) -> Result<(), sessions::Error> {
        let id = SessionId::parse("session-id", &session_id)?;
        Ok(manager().touch(id)?)
    }

    operation! {
        async fn refresh(session_id: String) -> Result<sessions::Grant, sessions::Error> {
            let id = SessionId::parse("session-id", &session_id)?;
            Ok(manager().refresh(id).await?.into())
        }
    }

    operation! {
        async fn revoke(session_id: String) -> Result<sessions::Revocation, sessions::Error> {
            let id = SessionId::parse("session-id", &session_id)?;
            Ok(manager().revoke(id).await?.into())
        }
    }

    operation! {
        async fn revoke_by_token(token: String) -> Result<sessions::Revocation, sessions::Error> {
            let token = Token::parse(token)?;
            Ok(manager().revoke_by_token(token).await?.into())
        }
    }

    operation! {
        async fn revoke_all_for_agent(agent_id: String) -> Result<u32, sessions::Error> {
            let id = AgentId::parse("agent-id", &agent_id)?;
            Ok(count(manager().revoke_all(RevokeFilter::Agent(id)).await))
        }
    }

    operation! {
        async fn revoke_all(filter: sessions::RevokeFilter) -> Result<u32, sessions::Error> {
            let filter = filter.try_into()?;
            Ok(count(manager().revoke_all(filter).await))
        }
    }

    operation! {
        async fn flush_guard_revocations() -> sessions::FlushReport {
            manager().flush_guard_revocations().await.into()
        }
    }

    fn get(session_id: String) -> Result<sessions::Session, sessions::Error> {
        let id = SessionId::parse("session-id", &session_id)?;
        Ok(manager().get(id)?.into())
    }

    fn list_for_agent(
        agent_id: String,
        page: sessions::Page,
    ) -> Result<sessions::SessionPage, sessions::Error> {
        let id = AgentId::parse("agent-id", &agent_id)?;
        let page = manager().list_for_agent(id, page.cursor, page.limit)?;
        Ok(page.into())
    }

    fn active_count() -> u32 {
        count(manager().active_count())
    }

    fn prune_expired(limit: Option<u32>) -> u32 {
        manager().prune_expired(limit)
    }
}

impl legacy::Guest for Component {
    operation! {
        async fn create_session(
            agent_id: String,
            role: String,
            scopes: Vec<String>,
            task_type: Option<String>,
        ) -> Result<sessions::Grant, sessions::Error> {
            let request = sessions::CreateRequest {
                agent_id,
                role,
                scopes,
                task_type,
                expires_in: None,
                metadata: None,
                max_uses: None,
            };
            Ok(manager().create(request.try_into()?).await?.into())
        }
    }

    fn get_session(id: String) -> Result<sessions::Session, sessions::Error> {
        let id = SessionId::parse("id", &id)?;
        Ok(manager().get(id)?.into())
    }

    fn invalidate(id: String) -> Result<(), sessions::Error> {
        let id = SessionId::parse("id", &id)?;
        Ok(manager().invalidate(id)?)
    }
}

impl events::Guest for Component {
    fn poll_events(since: u64, limit: u32) -> Result<events::EventPage, sessions::Error> {
        Ok(manager().poll_events(since, limit)?.into())
    }

    #[cfg(feature = "async")]
    async fn subscribe(
        since: u64,
    ) -> Result<wit_bindgen::StreamReader<events::Event>, sessions::Error> {
        Ok(super::session::push_events(
            manager().subscribe(since).await?,
        ))
    }
}

impl persistence::Guest for Component {
    fn changes(since: u64, limit: u32) -> Result<persistence::ChangePage, sessions::Error> {
        Ok(manager().changes(since, limit)?.into())
    }

    fn restore(changes: Vec<persistence::Change>) -> Result<(), sessions::Error> {
        let changes: Vec<Change> = changes.into_iter().map(Into::into).collect();
        Ok(manager().restore(&changes)?)
    }

    fn close_event_run() -> Result<(), sessions::Error> {
        Ok(manager().close_event_run()?)
    }

    operation! {
        async fn flush_stored_revocations(
            stored: u64,
        ) -> Result<sessions::FlushReport, sessions::Error> {
            Ok(manager().flush_stored_revocations(stored).await?.into())
        }
    }
}

impl settings::Guest for Component {
    fn configure(config: settings::Config) -> Result<(), sessions::Error> {
        Ok(manager().configure(&config.try_into()?)?)
    }

    operation! {
        async fn accept_clock() -> Result<u32, sessions::Error> {
            Ok(count(manager().accept_clock().await?))
        }
    }

    fn stats() -> settings::Statistics {
        manager().stats().into()
    }
}
