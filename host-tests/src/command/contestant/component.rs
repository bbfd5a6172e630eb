//! The component: all calls from one task, with a guard that answers at once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use clawdb_session_contest::contestant::{Contestant, Failure, Figure, Granted, Operation, Timed};
use clawdb_session_contest::workload::{LIFETIME, Request, WORKSPACE};
use clawdb_session_host::bindings::Session as Exports;
use clawdb_session_host::bindings::exports::clawdb::session::sessions::{CreateRequest, Grant};
use clawdb_session_host::bindings::exports::clawdb::session::settings::Config;
use clawdb_session_host::engine::SessionEngine;
use clawdb_session_host::error::SessionError;
use clawdb_session_host::host::{HostOptions, default_config};
use clawdb_session_host::instance::{Instance, State};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;
use wasmtime::component::Accessor;

use super::guard::YesGuard;

/// An instance and the runtime that its calls run in.
pub struct Component {
    runtime: Runtime,
    instance: Instance,
}

impl Component {
    /// An instance with room for ten million sessions.
    pub fn start() -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(Failure::broken)?;
        let engine = SessionEngine::new().map_err(Failure::broken)?;
        let instance = runtime.block_on(instance(&engine, YesGuard::default()))?;
        Ok(Self { runtime, instance })
    }

    /// Does `work` and takes the time.
    fn timed<R>(
        &mut self,
        work: impl AsyncFnOnce(&Accessor<State>, &Exports) -> wasmtime::Result<Result<R, Failure>>,
    ) -> Timed<R> {
        let timed = self.instance.run(async |accessor, exports| {
            let begun = Instant::now();
            let result = work(accessor, exports).await?;
            Ok(result.map(|result| (result, begun.elapsed())))
        });
        let result = self.runtime.block_on(timed).map_err(Failure::broken)?;
        result.map(Some)
    }
}

/// An instance as it is measured: configured for many sessions, and no deadline around a guard that
/// does not need one.
pub async fn instance(engine: &SessionEngine, guard: YesGuard) -> Result<Instance, Failure> {
    let mut options = HostOptions::new(guard);
    options.guard_deadline = None;
    let instance = Instance::start(engine, options).await;
    let mut instance = instance.map_err(Failure::broken)?;
    let configured = instance.run(async |accessor, exports| {
        let settings = exports.clawdb_session_settings();
        settings.call_configure(accessor, config()).await
    });
    match configured.await {
        Ok(Ok(())) => Ok(instance),
        Ok(Err(error)) => Err(Failure::Broken(format!("{error:?}"))),
        Err(error) => Err(Failure::broken(error)),
    }
}

/// For more sessions than there will be; everything else as it is by default.
pub fn config() -> Config {
    Config {
        workspace_id: Some(WORKSPACE.to_string()),
        max_sessions: Some(10_000_000),
        max_state_bytes: Some(3 << 30),
        ..default_config()
    }
}

/// A request of the workload in the component's words.
pub fn request(request: Request) -> CreateRequest {
    CreateRequest {
        agent_id: request.agent_id.to_string(),
        role: request.role,
        scopes: request.scopes,
        task_type: Some(request.task_type),
        expires_in: Some(LIFETIME),
        metadata: Some(request.metadata),
        max_uses: None,
    }
}

fn granted(grant: Grant) -> Result<Granted, Failure> {
    Ok(Granted {
        id: grant.session.id.parse().map_err(Failure::broken)?,
        token: grant.token,
    })
}

fn refused(operation: Operation) -> impl Fn(SessionError) -> Failure {
    move |error| Failure::refused(operation)(format!("{error:?}"))
}

fn texts(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

impl Contestant for Component {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<Granted>> {
        let requests: Vec<_> = requests.into_iter().map(request).collect();
        let mut grants = Vec::with_capacity(requests.len());
        let created = self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            for request in requests {
                match sessions.call_create(accessor, request).await? {
                    Ok(grant) => grants.push(grant),
                    Err(error) => return Ok(Err(refused(Operation::Create)(error))),
                }
            }
            Ok(Ok(()))
        });
        let took = took(created?);
        let granted: Result<_, _> = grants.into_iter().map(granted).collect();
        Ok(Some((granted?, took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            for token in tokens {
                match sessions.call_validate(accessor, token).await? {
                    Ok(session) => drop(black_box(session)),
                    Err(error) => return Ok(Err(refused(Operation::Validate)(error))),
                }
            }
            Ok(Ok(()))
        })
    }

    fn validate_many(&mut self, tokens: Vec<Vec<String>>) -> Timed<()> {
        self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            for tokens in tokens {
                let answers = sessions.call_validate_many(accessor, tokens).await?;
                let refused = refused(Operation::ValidateMany);
                let answers =
                    answers.and_then(|answers| answers.into_iter().collect::<Result<Vec<_>, _>>());
                match answers {
                    Ok(sessions) => drop(black_box(sessions)),
                    Err(error) => return Ok(Err(refused(error))),
                }
            }
            Ok(Ok(()))
        })
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        let ids = texts(&ids);
        self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            let mut tokens = Vec::with_capacity(ids.len());
            for id in ids {
                match sessions.call_refresh(accessor, id).await? {
                    Ok(grant) => tokens.push(grant.token),
                    Err(error) => return Ok(Err(refused(Operation::Refresh)(error))),
                }
            }
            Ok(Ok(tokens))
        })
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        let ids = texts(&ids);
        self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            for id in ids {
                match sessions.call_revoke(accessor, id).await? {
                    Ok(revocation) => drop(black_box(revocation)),
                    Err(error) => return Ok(Err(refused(Operation::Revoke)(error))),
                }
            }
            Ok(Ok(()))
        })
    }

    fn revoke_agents(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        let agents = texts(&agents);
        self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            for agent in agents {
                match sessions.call_revoke_all_for_agent(accessor, agent).await? {
                    Ok(0) => {
                        let refused = Failure::refused(Operation::RevokeAgent);
                        return Ok(Err(refused("no session".into())));
                    }
                    Ok(_) => {}
                    Err(error) => return Ok(Err(refused(Operation::RevokeAgent)(error))),
                }
            }
            Ok(Ok(()))
        })
    }

    fn prune(&mut self, calls: u32) -> Timed<()> {
        self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            for _ in 0..calls {
                black_box(sessions.call_prune_expired(accessor, None).await?);
            }
            Ok(Ok(()))
        })
    }

    fn figure(&mut self, figure: Figure) -> Result<Option<f64>, Failure> {
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        Ok((figure == Figure::LinearMemory).then(|| self.instance.memory() as f64))
    }
}

fn took<R>(timed: Option<(R, Duration)>) -> Duration {
    timed.map_or(Duration::ZERO, |(_, took)| took)
}
