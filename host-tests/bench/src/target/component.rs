//! The component, called by one task, with a guard that answers at once.

use std::hint::black_box;
use std::time::Instant;

use clawdb_session_bench_protocol::target::{
    CreatedSession, Metric, Operation, Target, TargetError, Timed,
};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, WORKSPACE};
use clawdb_session_host::{
    Component, ComponentError, Config, CreateRequest, Grant, HostOptions, Instance, SessionEngine,
    SessionError, SessionsInterface as Sessions, State,
};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;
use wasmtime::component::Accessor;

use super::failed;
use super::guard::AllowAllGuard;

/// The result of a call.
type CallResult<R> = wasmtime::Result<Result<R, ComponentError>>;

/// An instance and the runtime that its calls run in.
pub struct ComponentTarget {
    runtime: Runtime,
    instance: Instance,
}

impl ComponentTarget {
    /// Starts an instance for up to ten million sessions.
    pub fn start() -> Result<Self, TargetError> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(failed)?;
        let engine = SessionEngine::new().map_err(failed)?;
        let instance = runtime.block_on(instance(&engine, AllowAllGuard::default()))?;
        Ok(Self { runtime, instance })
    }

    /// Makes a call for each item and passes its result to `keep`.
    fn for_each<T, R>(
        &mut self,
        operation: Operation,
        items: Vec<T>,
        call: &impl AsyncFn(&Accessor<State>, &Sessions, T) -> CallResult<R>,
        mut keep: impl FnMut(R),
    ) -> Timed<()> {
        self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            for item in items {
                match call(accessor, sessions, item).await? {
                    Ok(result) => keep(result),
                    Err(error) => return Ok(Err(refused(operation)(error))),
                }
            }
            Ok(Ok(()))
        })
    }

    /// Runs `work` and returns its time.
    fn timed(
        &mut self,
        work: impl AsyncFnOnce(
            &Accessor<State>,
            &Component,
        ) -> wasmtime::Result<Result<(), TargetError>>,
    ) -> Timed<()> {
        let timed = self.instance.run(async |accessor, exports| {
            let begun = Instant::now();
            let done = work(accessor, exports).await?;
            Ok(done.map(|()| ((), begun.elapsed())))
        });
        let result = self.runtime.block_on(timed).map_err(failed)?;
        result.map(Some)
    }
}

/// Starts an instance that is configured for many sessions. The guard needs no deadline.
pub async fn instance(
    engine: &SessionEngine,
    guard: AllowAllGuard,
) -> Result<Instance, TargetError> {
    let mut options = HostOptions::new(guard);
    options.guard_deadline = None;
    let instance = Instance::start(engine, options).await;
    let mut instance = instance.map_err(failed)?;
    let configured = instance.run(async |accessor, exports| {
        let settings = exports.clawdb_session_settings();
        settings.call_configure(accessor, config()).await
    });
    match configured.await {
        Ok(Ok(())) => Ok(instance),
        Ok(Err(error)) => Err(TargetError::Failed(SessionError::from(error).to_string())),
        Err(error) => Err(failed(error)),
    }
}

/// Returns the default configuration with limits that the bench does not reach.
pub fn config() -> Config {
    Config {
        workspace_id: Some(WORKSPACE.to_string()),
        max_sessions: Some(10_000_000),
        max_state_bytes: Some(3 << 30),
        ..Config::default()
    }
}

/// Converts a request of the workload into the component's.
pub fn request(request: Request) -> CreateRequest {
    CreateRequest {
        scopes: request.scopes,
        task_type: Some(request.task_type),
        expires_in: Some(LIFETIME),
        metadata: Some(request.metadata),
        ..CreateRequest::new(request.agent_id, request.role)
    }
}

fn created(grant: Grant) -> Result<CreatedSession, TargetError> {
    Ok(CreatedSession {
        id: grant.session.id.parse().map_err(failed)?,
        token: grant.token.into(),
    })
}

fn refused(operation: Operation) -> impl Fn(ComponentError) -> TargetError {
    move |error| TargetError::refused(operation)(SessionError::from(error).to_string())
}

/// Drops a result without letting the compiler remove the call.
fn discard<R>(result: R) {
    drop(black_box(result));
}

fn to_strings(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

impl Target for ComponentTarget {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        let requests: Vec<_> = requests.into_iter().map(request).collect();
        let mut grants = Vec::with_capacity(requests.len());
        let batch = self.for_each(
            Operation::Create,
            requests,
            &async |accessor, sessions, request| sessions.call_create(accessor, request).await,
            |grant| grants.push(Grant::from(grant)),
        )?;
        let sessions: Result<_, _> = grants.into_iter().map(created).collect();
        let sessions = sessions?;
        Ok(batch.map(|((), took)| (sessions, took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        self.for_each(
            Operation::Validate,
            tokens,
            &async |accessor, sessions, token| sessions.call_validate(accessor, token).await,
            discard,
        )
    }

    fn validate_many(&mut self, tokens: Vec<Vec<String>>) -> Timed<()> {
        self.for_each(
            Operation::ValidateMany,
            tokens,
            &async |accessor, sessions, tokens| {
                let answers = sessions.call_validate_many(accessor, tokens).await?;
                Ok(answers.and_then(|answers| answers.into_iter().collect::<Result<Vec<_>, _>>()))
            },
            discard,
        )
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        let mut tokens = Vec::with_capacity(ids.len());
        let refreshed = self.for_each(
            Operation::Refresh,
            to_strings(&ids),
            &async |accessor, sessions, id| sessions.call_refresh(accessor, id).await,
            |grant| tokens.push(grant.token),
        )?;
        Ok(refreshed.map(|((), took)| (tokens, took)))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        self.for_each(
            Operation::Revoke,
            to_strings(&ids),
            &async |accessor, sessions, id| sessions.call_revoke(accessor, id).await,
            discard,
        )
    }

    fn revoke_all_for_agent(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        let mut agents_without_sessions = 0;
        let revoked = self.for_each(
            Operation::RevokeAllForAgent,
            to_strings(&agents),
            &async |accessor, sessions, agent| {
                sessions.call_revoke_all_for_agent(accessor, agent).await
            },
            |ended| agents_without_sessions += u32::from(ended == 0),
        )?;
        if agents_without_sessions > 0 {
            return Err(TargetError::refused(Operation::RevokeAllForAgent)(
                "no session".into(),
            ));
        }
        Ok(revoked)
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

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        Ok((metric == Metric::LinearMemory).then(|| self.instance.memory() as f64))
    }
}
