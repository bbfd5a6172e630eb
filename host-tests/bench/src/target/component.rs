//! The component of the world `session`, called by one task.

use std::fmt::Display;
use std::hint::black_box;

use clawdb_session_bench_protocol::target::{CreatedSession, Metric, Operation, TargetError};
use clawdb_session_host::{
    ComponentError, CreateRequest, Grant, Guard, HostOptions, Instance, SessionEngine,
    SessionError, SessionsInterface as Sessions, State,
};
use tokio::runtime::{Builder, Runtime};
use wasmtime::component::Accessor;

use super::calls::{Caller, Calls, SessionTarget, config};
use super::failed;
use super::guard::AllowAllGuard;

/// An instance and the runtime that its calls run in.
pub struct ComponentCaller {
    runtime: Runtime,
    instance: Instance,
}

/// Starts an instance for up to ten million sessions.
pub fn start() -> Result<SessionTarget<ComponentCaller>, TargetError> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(failed)?;
    let engine = SessionEngine::new().map_err(failed)?;
    let instance = runtime.block_on(instance(&engine, AllowAllGuard::default()))?;
    Ok(SessionTarget(ComponentCaller { runtime, instance }))
}

/// Starts an instance that is configured for many sessions. The guard needs no deadline.
pub async fn instance(engine: &SessionEngine, guard: impl Guard) -> Result<Instance, TargetError> {
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

impl Caller for ComponentCaller {
    type Calls<'a> = ComponentCalls<'a>;

    fn run<R>(
        &mut self,
        work: impl AsyncFnOnce(&mut ComponentCalls<'_>) -> Result<R, TargetError>,
    ) -> Result<R, TargetError> {
        let run = self.instance.run(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            Ok(work(&mut ComponentCalls { accessor, sessions }).await)
        });
        self.runtime.block_on(run).map_err(failed)?
    }

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        Ok((metric == Metric::LinearMemory).then(|| self.instance.memory() as f64))
    }
}

/// The operations that the component exports.
pub struct ComponentCalls<'a> {
    accessor: &'a Accessor<State>,
    sessions: &'a Sessions,
}

/// Returns the result of an operation.
fn result<R>(
    operation: Operation,
    called: wasmtime::Result<Result<R, ComponentError>>,
) -> Result<R, TargetError> {
    let refused = |error| TargetError::refused(operation)(SessionError::from(error).to_string());
    called.map_err(trapped)?.map_err(refused)
}

/// Returns the error of a call that trapped, with its sources.
fn trapped(error: impl Display) -> TargetError {
    TargetError::Failed(format!("{error:#}"))
}

impl Calls for ComponentCalls<'_> {
    type Grant = Grant;

    async fn create(&mut self, request: CreateRequest) -> Result<Grant, TargetError> {
        let called = self.sessions.call_create(self.accessor, request).await;
        Ok(result(Operation::Create, called)?.into())
    }

    async fn validate(&mut self, token: String) -> Result<(), TargetError> {
        let called = self.sessions.call_validate(self.accessor, token).await;
        drop(black_box(result(Operation::Validate, called)?));
        Ok(())
    }

    async fn validate_many(&mut self, tokens: Vec<String>) -> Result<(), TargetError> {
        let called = self.sessions.call_validate_many(self.accessor, tokens);
        for answer in black_box(result(Operation::ValidateMany, called.await)?) {
            result(Operation::ValidateMany, Ok(answer))?;
        }
        Ok(())
    }

    async fn refresh(&mut self, session_id: String) -> Result<String, TargetError> {
        let called = self.sessions.call_refresh(self.accessor, session_id).await;
        Ok(result(Operation::Refresh, called)?.token)
    }

    async fn revoke(&mut self, session_id: String) -> Result<(), TargetError> {
        let called = self.sessions.call_revoke(self.accessor, session_id).await;
        drop(black_box(result(Operation::Revoke, called)?));
        Ok(())
    }

    async fn revoke_all_for_agent(&mut self, agent_id: String) -> Result<usize, TargetError> {
        let called = self
            .sessions
            .call_revoke_all_for_agent(self.accessor, agent_id);
        let ended = result(Operation::RevokeAllForAgent, called.await)?;
        usize::try_from(ended).map_err(failed)
    }

    async fn prune_expired(&mut self) -> Result<(), TargetError> {
        let called = self.sessions.call_prune_expired(self.accessor, None).await;
        black_box(called.map_err(trapped)?);
        Ok(())
    }

    async fn active_count(&mut self) -> Result<(), TargetError> {
        let called = self.sessions.call_active_count(self.accessor).await;
        black_box(called.map_err(trapped)?);
        Ok(())
    }

    fn created(grant: Grant) -> Result<CreatedSession, TargetError> {
        created(grant)
    }
}

/// Returns the id and the token of a session.
pub fn created(grant: Grant) -> Result<CreatedSession, TargetError> {
    Ok(CreatedSession {
        id: grant.session.id.parse().map_err(failed)?,
        token: grant.token.into(),
    })
}
