//! The component of the world `session-sync`: a `LocalInstance` that is called directly, and a
//! `LocalSessions` that any thread calls.

use std::hint::black_box;
use std::time::Duration;

use clawdb_session_bench_protocol::callers;
use clawdb_session_bench_protocol::target::{CreatedSession, Metric, Operation, TargetError};
use clawdb_session_bench_protocol::workload::{self, CALLER_TOKENS, WORKSPACE};
use clawdb_session_host::{
    CallError, Config, CreateRequest, Grant, LocalEngine, LocalInstance, LocalOptions,
    LocalSessions,
};
use uuid::Uuid;

use super::calls::{Caller, Calls, SessionTarget, at_once, config, request};
use super::component::created;
use super::failed;
use super::guard::AllowAllGuard;

/// The number of the first session that concurrent callers validate. It is higher than those of the
/// workload, and lower than those of temporary sessions.
const FIRST_OF_CALLERS: u32 = 1_000_000_000;

/// Starts an instance for up to ten million sessions, which is called directly.
pub fn start_instance() -> Result<SessionTarget<LocalInstance>, TargetError> {
    let engine = LocalEngine::new().map_err(failed)?;
    let mut instance = LocalInstance::start(&engine, options()).map_err(failed)?;
    instance.configure(config()).map_err(failed)?;
    Ok(SessionTarget(instance))
}

/// Starts an instance for up to ten million sessions, which is called through its handle.
pub fn start_sessions() -> Result<SessionTarget<SessionsCaller>, TargetError> {
    let engine = LocalEngine::new().map_err(failed)?;
    let sessions = start(&engine, config())?;
    Ok(SessionTarget(SessionsCaller {
        engine,
        sessions,
        tokens: Vec::new(),
    }))
}

fn options() -> LocalOptions {
    LocalOptions::new(AllowAllGuard::default())
}

fn start(engine: &LocalEngine, config: Config) -> Result<LocalSessions, TargetError> {
    let sessions = LocalSessions::start(engine, options()).map_err(failed)?;
    sessions.configure(config).map_err(failed)?;
    Ok(sessions)
}

impl Caller for LocalInstance {
    type Calls<'a> = Self;

    fn run<R>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<R, TargetError>,
    ) -> Result<R, TargetError> {
        at_once(work(self))
    }

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        Ok((metric == Metric::LinearMemory).then(|| self.memory() as f64))
    }
}

/// A handle on an instance, and the engine of the other workspaces.
pub struct SessionsCaller {
    engine: LocalEngine,
    sessions: LocalSessions,
    /// The tokens that concurrent callers use in turn; empty before the first of their metrics.
    /// They are not those of the first sessions, because a refresh replaces these.
    tokens: Vec<String>,
}

impl SessionsCaller {
    /// Returns the number of calls per second that this many threads make on one instance.
    fn rate(
        &mut self,
        callers: u32,
        milliseconds: u32,
        call: impl Fn(&LocalSessions, &str) -> Result<(), TargetError> + Sync,
    ) -> Result<f64, TargetError> {
        if self.tokens.is_empty() {
            self.tokens = create_for_callers(&self.sessions)?;
        }
        let callers = (0..callers).map(|_| caller(&self.sessions, &self.tokens, &call));
        callers::rate(Duration::from_millis(milliseconds.into()), callers)
    }

    /// Returns the number of validates per second in this many new workspaces, each with an
    /// instance, the sessions of its callers, and a thread.
    fn workspace_rate(&self, workspaces: u32, milliseconds: u32) -> Result<f64, TargetError> {
        let instances: Vec<_> = (0..workspaces)
            .map(|number| {
                let workspace = Uuid::from_u128(WORKSPACE.as_u128() + u128::from(number));
                let config = Config {
                    workspace_id: Some(workspace.to_string()),
                    ..config()
                };
                let sessions = start(&self.engine, config)?;
                let tokens = create_for_callers(&sessions)?;
                Ok((sessions, tokens))
            })
            .collect::<Result<_, TargetError>>()?;
        let callers = instances
            .iter()
            .map(|(sessions, tokens)| caller(sessions, tokens, &validate));
        callers::rate(Duration::from_millis(milliseconds.into()), callers)
    }
}

impl Caller for SessionsCaller {
    type Calls<'a> = LocalSessions;

    fn run<R>(
        &mut self,
        work: impl AsyncFnOnce(&mut LocalSessions) -> Result<R, TargetError>,
    ) -> Result<R, TargetError> {
        at_once(work(&mut self.sessions))
    }

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        match metric {
            Metric::ValidateRate {
                callers,
                milliseconds,
            } => self.rate(callers, milliseconds, validate).map(Some),
            // The call of a `LocalSessions` that does the least.
            Metric::NoOpRate {
                callers,
                milliseconds,
            } => {
                let call = |sessions: &LocalSessions, _: &str| {
                    black_box(sessions.active_count().map_err(failed)?);
                    Ok(())
                };
                self.rate(callers, milliseconds, call).map(Some)
            }
            Metric::WorkspaceRate {
                workspaces,
                milliseconds,
            } => self.workspace_rate(workspaces, milliseconds).map(Some),
            _ => Ok(None),
        }
    }
}

/// Creates the sessions that concurrent callers validate, and returns their tokens.
fn create_for_callers(sessions: &LocalSessions) -> Result<Vec<String>, TargetError> {
    let numbers = (FIRST_OF_CALLERS..).take(CALLER_TOKENS);
    let tokens = numbers.map(|number| {
        let grant = sessions.create(request(workload::request(number)));
        Ok(result(Operation::Create, grant)?.token.into())
    });
    tokens.collect()
}

/// Returns a caller that makes one call, with the next token.
fn caller(
    sessions: &LocalSessions,
    tokens: &[String],
    call: &(impl Fn(&LocalSessions, &str) -> Result<(), TargetError> + Sync),
) -> impl FnMut() -> Result<(), TargetError> + Send {
    let mut tokens = tokens.iter().cycle();
    move || match tokens.next() {
        Some(token) => call(sessions, token),
        None => Err(TargetError::failed("the callers have no tokens")),
    }
}

fn validate(sessions: &LocalSessions, token: &str) -> Result<(), TargetError> {
    let called = sessions.validate(token);
    drop(black_box(result(Operation::Validate, called)?));
    Ok(())
}

/// Returns the result of an operation.
fn result<R, E: Into<CallError>>(
    operation: Operation,
    called: Result<R, E>,
) -> Result<R, TargetError> {
    called.map_err(|error| match error.into() {
        CallError::Session(error) => TargetError::refused(operation)(error.to_string()),
        CallError::Host(error) => failed(error),
    })
}

/// Implements [`Calls`] for a type that has a method for each operation.
macro_rules! calls {
    ($type:ident) => {
        impl Calls for $type {
            type Grant = Grant;

            async fn create(&mut self, request: CreateRequest) -> Result<Grant, TargetError> {
                result(Operation::Create, $type::create(self, request))
            }

            async fn validate(&mut self, token: String) -> Result<(), TargetError> {
                let called = $type::validate(self, token);
                drop(black_box(result(Operation::Validate, called)?));
                Ok(())
            }

            async fn validate_many(&mut self, tokens: Vec<String>) -> Result<(), TargetError> {
                let called = $type::validate_many(self, tokens);
                for answer in black_box(result(Operation::ValidateMany, called)?) {
                    result(Operation::ValidateMany, answer)?;
                }
                Ok(())
            }

            async fn refresh(&mut self, session_id: String) -> Result<String, TargetError> {
                let called = $type::refresh(self, session_id);
                Ok(result(Operation::Refresh, called)?.token.into())
            }

            async fn revoke(&mut self, session_id: String) -> Result<(), TargetError> {
                let called = $type::revoke(self, session_id);
                drop(black_box(result(Operation::Revoke, called)?));
                Ok(())
            }

            async fn revoke_all_for_agent(
                &mut self,
                agent_id: String,
            ) -> Result<usize, TargetError> {
                let called = $type::revoke_all_for_agent(self, agent_id);
                let ended = result(Operation::RevokeAllForAgent, called)?;
                usize::try_from(ended).map_err(failed)
            }

            async fn prune_expired(&mut self) -> Result<(), TargetError> {
                let called = $type::prune_expired(self, None);
                black_box(result(Operation::Prune, called)?);
                Ok(())
            }

            async fn active_count(&mut self) -> Result<(), TargetError> {
                let called = $type::active_count(self);
                black_box(result(Operation::ActiveCount, called)?);
                Ok(())
            }

            fn created(grant: Grant) -> Result<CreatedSession, TargetError> {
                created(grant)
            }
        }
    };
}

calls!(LocalInstance);
calls!(LocalSessions);
