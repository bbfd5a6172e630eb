//! A running instance of the component, and the handle that the rest of a program calls.
//!
//! One task drives the instance for as long as it lives: it is the only one that touches the store.
//! Handles send their calls to it through a channel and wait for the answers, so any number of
//! tasks call at once, and the calls overlap inside the instance wherever they wait for the guard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use wasmtime::component::Accessor;

use crate::bindings::Session as Component;
use crate::bindings::exports::clawdb::session::events::EventPage;
use crate::bindings::exports::clawdb::session::persistence::{Change, ChangePage};
use crate::bindings::exports::clawdb::session::sessions::{
    self, CreateRequest, FlushReport, Page, Revocation, RevokeFilter, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::{Config, Statistics};
use crate::command::{Call, Command};
use crate::driver::drive;
use crate::engine::SessionEngine;
use crate::error::{CallError, HostError, SessionError, StartError};
use crate::imports::State;
use crate::instance::Instance;
use crate::options::HostOptions;
use crate::poll_monitor::Reply;
use crate::subscription::Subscription;
use crate::token::Token;

/// How many bytes of records one `restore` takes. A journal that reads in pages of 1,000 records or
/// about 1 MiB stays well below.
const MAX_RESTORED: usize = 16 << 20;

/// How many bytes of tokens one `validate-many` takes. The component takes 256 of 8 KiB.
const MAX_TOKENS_BYTES: usize = 16 << 20;

/// A session and the bearer token for it, given this one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The session.
    pub session: Session,
    /// The token that the agent presents from now on.
    pub token: Token,
}

impl From<sessions::Grant> for Grant {
    fn from(grant: sessions::Grant) -> Self {
        Self {
            session: grant.session,
            token: grant.token.into(),
        }
    }
}

/// What `sessions.validate-many` answers for one of the tokens.
pub type Validated = Result<Session, SessionError>;

/// A handle on a running instance. Clones are handles on the same; the instance ends when the last
/// one is dropped and the calls under way are done.
///
/// The methods are the component's operations; `wit/` says what each does. A call whose future is
/// dropped goes on to its end in the instance.
#[derive(Clone)]
pub struct SessionHost {
    commands: mpsc::UnboundedSender<Command>,
    turns: Arc<Semaphore>,
    max_in_flight: usize,
    stopped: watch::Receiver<Option<HostError>>,
    memory: Arc<AtomicUsize>,
}

/// A call of an exported function: `interface.function(arguments)`, at once or when it has a turn.
macro_rules! call {
    ($host:expr, $interface:ident.$function:ident($($argument:expr),*)) => {
        call!(holding (), $host, $interface.$function($($argument),*))
    };
    (holding $held:expr, $host:expr, $interface:ident.$function:ident($($argument:expr),*)) => {
        $host.call($held, move |accessor, component| {
            Box::pin(component.$interface().$function(accessor, $($argument),*))
        })
    };
    (in turn, $host:expr, $interface:ident.$function:ident($($argument:expr),*)) => {
        call!(in turns 1, $host, $interface.$function($($argument),*))
    };
    (in turns $turns:expr, $host:expr, $interface:ident.$function:ident($($argument:expr),*)) => {
        async {
            let turns = $host.wait_for_turns($turns).await;
            call!(holding turns, $host, $interface.$function($($argument),*)).await
        }
    };
}

impl SessionHost {
    /// Starts an instance without sessions, driven by a task on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when an option is outside its bounds (the source is an [`InvalidSetting`](crate::InvalidSetting)), or
    /// when it cannot be instantiated.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(engine: &SessionEngine, options: HostOptions) -> Result<Self, StartError> {
        let max_in_flight = options.max_in_flight.min(Semaphore::MAX_PERMITS);
        let instance = Instance::start(engine, options).await?;
        let memory = instance.shared_memory();

        let (commands, received) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(None);
        tokio::spawn(async move {
            let end = drive(instance, received).await;
            stop.send_replace(Some(end));
        });
        Ok(Self {
            commands,
            turns: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            stopped,
            memory,
        })
    }

    /// How much memory the instance has taken, in bytes. It never gives any back to the host, but
    /// uses what it has again.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// `sessions.create`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create(&self, request: CreateRequest) -> Result<Grant, CallError> {
        bounded_request(&request)?;
        let answer = call!(in turn, self, clawdb_session_sessions.call_create(request));
        Ok(answer.await??.into())
    }

    /// `sessions.delegate`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delegate(
        &self,
        parent_session_id: impl Into<String>,
        request: CreateRequest,
    ) -> Result<Grant, CallError> {
        let id = parent_session_id.into();
        bounded("parent-session-id", id.len())?;
        bounded_request(&request)?;
        let answer = call!(
            in turn,
            self,
            clawdb_session_sessions.call_delegate(id, request)
        );
        Ok(answer.await??.into())
    }

    /// `sessions.validate`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn validate(&self, token: impl Into<String>) -> Result<Session, CallError> {
        let token = token.into();
        bounded("token", token.len())?;
        Ok(call!(in turn, self, clawdb_session_sessions.call_validate(token)).await??)
    }

    /// `sessions.validate-many`. It waits for a turn for each of its tokens, or for all that there are.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn validate_many(&self, tokens: Vec<String>) -> Result<Vec<Validated>, CallError> {
        bounded_to(MAX_TOKENS_BYTES, "tokens", size_of_list(&tokens))?;
        let turns = tokens.len();
        let answer = call!(
            in turns turns,
            self,
            clawdb_session_sessions.call_validate_many(tokens)
        );
        Ok(answer.await??)
    }

    /// `sessions.authorize`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn authorize(
        &self,
        token: impl Into<String>,
        scope: impl Into<String>,
    ) -> Result<Session, CallError> {
        let (token, scope) = (token.into(), scope.into());
        bounded("token", token.len())?;
        bounded("scope", scope.len())?;
        let answer = call!(
            in turn,
            self,
            clawdb_session_sessions.call_authorize(token, scope)
        );
        Ok(answer.await??)
    }

    /// `sessions.rotate`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn rotate(&self, token: impl Into<String>) -> Result<Grant, CallError> {
        let token = token.into();
        bounded("token", token.len())?;
        let answer = call!(in turn, self, clawdb_session_sessions.call_rotate(token));
        Ok(answer.await??.into())
    }

    /// `sessions.touch`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn touch(&self, session_id: impl Into<String>) -> Result<(), CallError> {
        let id = session_id.into();
        bounded("session-id", id.len())?;
        Ok(call!(self, clawdb_session_sessions.call_touch(id)).await??)
    }

    /// `sessions.refresh`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn refresh(&self, session_id: impl Into<String>) -> Result<Grant, CallError> {
        let id = session_id.into();
        bounded("session-id", id.len())?;
        let answer = call!(in turn, self, clawdb_session_sessions.call_refresh(id));
        Ok(answer.await??.into())
    }

    /// `sessions.revoke`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn revoke(&self, session_id: impl Into<String>) -> Result<Revocation, CallError> {
        let id = session_id.into();
        bounded("session-id", id.len())?;
        Ok(call!(self, clawdb_session_sessions.call_revoke(id)).await??)
    }

    /// Ends the session whose current token this is, and all below it (`sessions.revoke-by-token`,
    /// R35).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn revoke_by_token(&self, token: impl Into<String>) -> Result<Revocation, CallError> {
        let token = token.into();
        bounded("token", token.len())?;
        Ok(call!(self, clawdb_session_sessions.call_revoke_by_token(token)).await??)
    }

    /// `sessions.revoke-all-for-agent`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn revoke_all_for_agent(
        &self,
        agent_id: impl Into<String>,
    ) -> Result<u32, CallError> {
        let id = agent_id.into();
        bounded("agent-id", id.len())?;
        Ok(call!(self, clawdb_session_sessions.call_revoke_all_for_agent(id)).await??)
    }

    /// `sessions.revoke-all`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn revoke_all(&self, filter: RevokeFilter) -> Result<u32, CallError> {
        match &filter {
            RevokeFilter::Everything => {}
            RevokeFilter::Role(role) => bounded("role", role.len())?,
            RevokeFilter::Root(id) => bounded("root", id.len())?,
        }
        Ok(call!(self, clawdb_session_sessions.call_revoke_all(filter)).await??)
    }

    /// `sessions.flush-guard-revocations`.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn flush_guard_revocations(&self) -> Result<FlushReport, HostError> {
        call!(self, clawdb_session_sessions.call_flush_guard_revocations()).await
    }

    /// `sessions.get`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get(&self, session_id: impl Into<String>) -> Result<Session, CallError> {
        let id = session_id.into();
        bounded("session-id", id.len())?;
        Ok(call!(self, clawdb_session_sessions.call_get(id)).await??)
    }

    /// `sessions.list-for-agent`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_for_agent(
        &self,
        agent_id: impl Into<String>,
        page: Page,
    ) -> Result<SessionPage, CallError> {
        let id = agent_id.into();
        bounded("agent-id", id.len())?;
        Ok(call!(self, clawdb_session_sessions.call_list_for_agent(id, page)).await??)
    }

    /// `sessions.active-count`.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn active_count(&self) -> Result<u32, HostError> {
        call!(self, clawdb_session_sessions.call_active_count()).await
    }

    /// `sessions.prune-expired`.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn prune_expired(&self, limit: Option<u32>) -> Result<u32, HostError> {
        call!(self, clawdb_session_sessions.call_prune_expired(limit)).await
    }

    /// `legacy.create-session`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_session(
        &self,
        agent_id: impl Into<String>,
        role: impl Into<String>,
        scopes: Vec<String>,
        task_type: Option<String>,
    ) -> Result<Grant, CallError> {
        let (id, role) = (agent_id.into(), role.into());
        bounded("agent-id", id.len())?;
        bounded("role", role.len())?;
        bounded("scopes", size_of_list(&scopes))?;
        bounded("task-type", task_type.as_ref().map_or(0, String::len))?;
        let answer = call!(
            in turn,
            self,
            clawdb_session_legacy.call_create_session(id, role, scopes, task_type)
        );
        Ok(answer.await??.into())
    }

    /// `legacy.get-session`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get_session(&self, id: impl Into<String>) -> Result<Session, CallError> {
        let id = id.into();
        bounded("id", id.len())?;
        Ok(call!(self, clawdb_session_legacy.call_get_session(id)).await??)
    }

    /// `legacy.invalidate`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn invalidate(&self, id: impl Into<String>) -> Result<(), CallError> {
        let id = id.into();
        bounded("id", id.len())?;
        Ok(call!(self, clawdb_session_legacy.call_invalidate(id)).await??)
    }

    /// `events.poll-events`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn poll_events(&self, since: u64, limit: u32) -> Result<EventPage, CallError> {
        Ok(call!(self, clawdb_session_events.call_poll_events(since, limit)).await??)
    }

    /// `events.subscribe`. The subscription also has the run that its events begin in.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn subscribe(&self, since: u64) -> Result<Subscription, CallError> {
        let answer = self.call((), move |accessor, component| {
            Box::pin(async move {
                let events = component.clawdb_session_events();
                let stream = match events.call_subscribe(accessor, since).await? {
                    Ok(stream) => stream,
                    Err(error) => return Ok(Err(error)),
                };
                // An empty page, which tells where the events are.
                match events.call_poll_events(accessor, u64::MAX, 1).await? {
                    Ok(page) => accessor
                        .with(|store| Subscription::new(stream, &page, store))
                        .map(Ok),
                    Err(error) => Ok(Err(error)),
                }
            })
        });
        Ok(answer.await??)
    }

    /// `settings.configure`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn configure(&self, config: Config) -> Result<(), CallError> {
        bounded(
            "workspace-id",
            config.workspace_id.as_ref().map_or(0, String::len),
        )?;
        let keys = config.previous_state_keys.iter().chain(&config.state_key);
        bounded(
            "state-key",
            keys.map(Vec::len).fold(0, usize::saturating_add),
        )?;
        Ok(call!(self, clawdb_session_settings.call_configure(config)).await??)
    }

    /// Ends all sessions and lets the time inside go on from the host's clock (R6). Returns how many
    /// live sessions it ended.
    ///
    /// # Errors
    /// [`CallError`]; `clock-not-behind` when the lag is within `clock-tolerance`.
    pub async fn accept_clock(&self) -> Result<u32, CallError> {
        Ok(call!(self, clawdb_session_settings.call_accept_clock()).await??)
    }

    /// `settings.stats`.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn stats(&self) -> Result<Statistics, HostError> {
        call!(self, clawdb_session_settings.call_stats()).await
    }

    /// `persistence.changes`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn changes(&self, since: u64, limit: u32) -> Result<ChangePage, CallError> {
        Ok(call!(self, clawdb_session_persistence.call_changes(since, limit)).await??)
    }

    /// `persistence.restore`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn restore(&self, changes: Vec<Change>) -> Result<(), CallError> {
        let sizes = changes
            .iter()
            .map(|change| change.value.len().saturating_add(change.key.len()));
        bounded_to(
            MAX_RESTORED,
            "changes",
            sizes.fold(0, usize::saturating_add),
        )?;
        Ok(call!(self, clawdb_session_persistence.call_restore(changes)).await??)
    }

    /// `persistence.close-event-run`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn close_event_run(&self) -> Result<(), CallError> {
        Ok(call!(self, clawdb_session_persistence.call_close_event_run()).await??)
    }

    /// Waits until the instance has ended.
    pub async fn stopped(&self) -> HostError {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await;
        reason
            .ok()
            .and_then(|reason| reason.clone())
            .unwrap_or(HostError::Stopped)
    }

    /// Waits until the instance has done all that it can for the calls that were made before: each
    /// of them has ended or waits for the guard. For tests and simulations, which need to know
    /// without sleeping that calls overlap.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn wait_until_idle(&self) -> Result<(), HostError> {
        let (reply, settled) = oneshot::channel();
        self.send(Command::NotifyWhenIdle(reply), settled).await
    }

    /// The turn of a call that asks the guard, or of one that counts as several.
    async fn wait_for_turns(&self, turns: usize) -> Option<OwnedSemaphorePermit> {
        let turns = u32::try_from(turns.min(self.max_in_flight)).unwrap_or(u32::MAX);
        let turns = Arc::clone(&self.turns).acquire_many_owned(turns).await;
        // Nobody closes the semaphore.
        turns.ok()
    }

    /// A call, and what it holds until it has ended in the instance, also when the caller has long gone.
    async fn call<R: Send + 'static>(
        &self,
        held: impl Send + 'static,
        call: impl for<'a> FnOnce(
            &'a Accessor<State>,
            &'a Component,
        ) -> BoxFuture<'a, wasmtime::Result<R>>
        + Send
        + 'static,
    ) -> Result<R, HostError> {
        let (reply, answer) = oneshot::channel();
        let call: Call = Box::new(move |accessor, component| {
            let running = call(accessor, component);
            Box::pin(async move {
                let result = running.await;
                drop(held);
                let result = result?;
                // Nobody waits for the answer of a call whose future was dropped.
                let answer = move || drop(reply.send(result));
                Ok(Box::new(answer) as Reply)
            })
        });
        self.send(Command::Call(call), answer).await
    }

    async fn send<R>(
        &self,
        command: Command,
        answer: oneshot::Receiver<R>,
    ) -> Result<R, HostError> {
        // A command that is refused or dropped gets no answer, whichever comes first.
        let _ = self.commands.send(command);
        if let Ok(answer) = answer.await {
            return Ok(answer);
        }
        Err(self.stopped().await)
    }
}

fn bounded_request(request: &CreateRequest) -> Result<(), SessionError> {
    bounded("role", request.role.len())?;
    bounded("scopes", size_of_list(&request.scopes))?;
    bounded(
        "task-type",
        request.task_type.as_ref().map_or(0, String::len),
    )?;
    bounded("metadata", request.metadata.as_ref().map_or(0, String::len))?;
    bounded("agent-id", request.agent_id.len())
}

/// Refuses what must not even enter the instance's memory. Far above the component's own bounds,
/// which it checks itself.
fn bounded(field: &str, bytes: usize) -> Result<(), SessionError> {
    bounded_to(1 << 20, field, bytes)
}

fn bounded_to(max: usize, field: &str, bytes: usize) -> Result<(), SessionError> {
    if bytes <= max {
        return Ok(());
    }
    Err(SessionError::InvalidArgument(sessions::InvalidArgument {
        field: field.into(),
        reason: format!("must be far below {max} bytes"),
    }))
}

/// How many bytes a list takes in the instance: each item has a pointer and a length besides its
/// text.
fn size_of_list(items: &[String]) -> usize {
    items
        .iter()
        .map(|item| item.len().saturating_add(8))
        .fold(0, usize::saturating_add)
}
