//! The baseline: the cost of a call that does nothing, and of a call that asks the host and returns
//! a session.

use std::hint::black_box;
use std::time::Instant;

use clawdb_session_bench_protocol::target::{
    CreatedSession, Operation, Target, TargetError, Timed,
};
use clawdb_session_bench_protocol::workload::Request;
use clawdb_session_component::BASELINE;
use clawdb_session_host::engine_config;
use tokio::runtime::{Builder, Runtime};
use wasmtime::component::{Accessor, Component, HasSelf, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::guard::AllowAllGuard;

#[allow(clippy::pedantic, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "baseline/wit",
        world: "baseline",
        exports: { default: async | store },
    });
}

use bindings::Baseline;
use bindings::clawdb::baseline::guard::{Claims, Host, HostWithStore};

/// An instance and the runtime that its calls run in.
pub struct BaselineTarget {
    runtime: Runtime,
    store: Store<State>,
    component: Baseline,
}

struct State;

impl Host for State {}

impl<T: Send> HostWithStore<T> for HasSelf<State> {
    async fn validate_token(_: &Accessor<T, Self>, token: String) -> Result<Claims, String> {
        Ok(Claims {
            handle: AllowAllGuard::handle(&token),
            expires_at: u64::MAX,
        })
    }
}

impl BaselineTarget {
    /// Starts an instance in an engine with the same configuration as for the session component.
    pub fn start() -> Result<Self, TargetError> {
        Self::instantiate().map_err(|error| TargetError::Failed(format!("{error:#}")))
    }

    fn instantiate() -> wasmtime::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let engine = Engine::new(&engine_config())?;
        let component = Component::new(&engine, BASELINE)?;
        let mut linker = Linker::new(&engine);
        Baseline::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        let mut store = Store::new(&engine, State);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        store.set_epoch_deadline(1);
        let component = Baseline::instantiate_async(&mut store, &component, &linker);
        let component = runtime.block_on(component)?;
        Ok(Self {
            runtime,
            store,
            component,
        })
    }

    /// Runs `work` and returns its time.
    fn timed(
        &mut self,
        work: impl AsyncFnOnce(&Accessor<State>, &Baseline) -> wasmtime::Result<Result<(), String>>,
    ) -> Timed<()> {
        let component = &self.component;
        let timed = self.store.run_concurrent(async |accessor| {
            let begun = Instant::now();
            let result = work(accessor, component).await?;
            Ok(result.map(|()| begun.elapsed()))
        });
        let result = self.runtime.block_on(timed).flatten();
        match result.map_err(|error| TargetError::Failed(format!("{error:#}")))? {
            Ok(took) => Ok(Some(((), took))),
            Err(reason) => Err(TargetError::refused(Operation::Validate)(reason)),
        }
    }
}

impl Target for BaselineTarget {
    fn create(&mut self, _requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        Ok(None)
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        self.timed(async |accessor, component| {
            for token in tokens {
                let calls = component.clawdb_baseline_calls();
                match calls.call_validate(accessor, token).await? {
                    Ok(session) => drop(black_box(session)),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            Ok(Ok(()))
        })
    }

    fn no_op(&mut self, calls: u32) -> Timed<()> {
        self.timed(async |accessor, component| {
            for _ in 0..calls {
                let calls = component.clawdb_baseline_calls();
                calls.call_no_op(accessor).await?;
            }
            Ok(Ok(()))
        })
    }

    fn no_op_async(&mut self, calls: u32) -> Timed<()> {
        self.timed(async |accessor, component| {
            for _ in 0..calls {
                let calls = component.clawdb_baseline_calls();
                calls.call_no_op_async(accessor).await?;
            }
            Ok(Ok(()))
        })
    }
}
