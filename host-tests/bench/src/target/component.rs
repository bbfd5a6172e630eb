//! The component: all calls from one task, with a guard that answers at once.

use std::hint::black_box;
use std::time::Instant;

use clawdb_session_bench_protocol::target::{
    Contestant, Failure, Figure, Granted, Operation, Timed,
};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, WORKSPACE};
use clawdb_session_host::{
    Component as Exports, Config, CreateRequest, Grant, HostOptions, Instance, SessionEngine,
    SessionError, SessionsInterface as Sessions, State,
};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;
use wasmtime::component::Accessor;

use super::guard::YesGuard;

/// What a call gives.
type Called<R> = wasmtime::Result<Result<R, SessionError>>;

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

    /// A call for each item, and what is done with what it gives.
    fn each<T, R>(
        &mut self,
        operation: Operation,
        items: Vec<T>,
        call: &impl AsyncFn(&Accessor<State>, &Sessions, T) -> Called<R>,
        mut keep: impl FnMut(R),
    ) -> Timed<()> {
        self.timed(async |accessor, exports| {
            let sessions = exports.clawdb_session_sessions();
            for item in items {
                match call(accessor, sessions, item).await? {
                    Ok(given) => keep(given),
                    Err(error) => return Ok(Err(refused(operation)(error))),
                }
            }
            Ok(Ok(()))
        })
    }

    /// Does `work` and takes the time.
    fn timed(
        &mut self,
        work: impl AsyncFnOnce(&Accessor<State>, &Exports) -> wasmtime::Result<Result<(), Failure>>,
    ) -> Timed<()> {
        let timed = self.instance.run(async |accessor, exports| {
            let begun = Instant::now();
            let done = work(accessor, exports).await?;
            Ok(done.map(|()| ((), begun.elapsed())))
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
        ..Config::default()
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
        token: grant.token.into(),
    })
}

fn refused(operation: Operation) -> impl Fn(SessionError) -> Failure {
    move |error| Failure::refused(operation)(format!("{error:?}"))
}

/// What is given is not looked at.
fn dropped<R>(given: R) {
    drop(black_box(given));
}

fn texts(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

impl Contestant for Component {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<Granted>> {
        let requests: Vec<_> = requests.into_iter().map(request).collect();
        let mut grants = Vec::with_capacity(requests.len());
        let created = self.each(
            Operation::Create,
            requests,
            &async |accessor, sessions, request| sessions.call_create(accessor, request).await,
            |grant| grants.push(Grant::from(grant)),
        )?;
        let granted: Result<_, _> = grants.into_iter().map(granted).collect();
        let granted = granted?;
        Ok(created.map(|((), took)| (granted, took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        self.each(
            Operation::Validate,
            tokens,
            &async |accessor, sessions, token| sessions.call_validate(accessor, token).await,
            dropped,
        )
    }

    fn validate_many(&mut self, tokens: Vec<Vec<String>>) -> Timed<()> {
        self.each(
            Operation::ValidateMany,
            tokens,
            &async |accessor, sessions, tokens| {
                let answers = sessions.call_validate_many(accessor, tokens).await?;
                Ok(answers.and_then(|answers| answers.into_iter().collect::<Result<Vec<_>, _>>()))
            },
            dropped,
        )
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        let mut tokens = Vec::with_capacity(ids.len());
        let refreshed = self.each(
            Operation::Refresh,
            texts(&ids),
            &async |accessor, sessions, id| sessions.call_refresh(accessor, id).await,
            |grant| tokens.push(grant.token),
        )?;
        Ok(refreshed.map(|((), took)| (tokens, took)))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        self.each(
            Operation::Revoke,
            texts(&ids),
            &async |accessor, sessions, id| sessions.call_revoke(accessor, id).await,
            dropped,
        )
    }

    fn revoke_agents(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        let mut without = 0;
        let revoked = self.each(
            Operation::RevokeAgent,
            texts(&agents),
            &async |accessor, sessions, agent| {
                sessions.call_revoke_all_for_agent(accessor, agent).await
            },
            |ended| without += u32::from(ended == 0),
        )?;
        if without > 0 {
            return Err(Failure::refused(Operation::RevokeAgent)(
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

    fn figure(&mut self, figure: Figure) -> Result<Option<f64>, Failure> {
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        Ok((figure == Figure::LinearMemory).then(|| self.instance.memory() as f64))
    }
}
