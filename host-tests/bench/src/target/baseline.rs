//! The floor: what it costs to call a component at all, and one that asks its host and returns a
//! session.

use std::hint::black_box;
use std::time::Instant;

use clawdb_session_bench_protocol::target::{Contestant, Failure, Granted, Operation, Timed};
use clawdb_session_bench_protocol::workload::Request;
use clawdb_session_component::BASELINE;
use clawdb_session_host::engine_config;
use tokio::runtime::{Builder, Runtime};
use wasmtime::component::{Accessor, Component, HasSelf, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::guard;

#[allow(clippy::pedantic, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "baseline/wit",
        world: "floor",
        exports: { default: async | store },
    });
}

use bindings::Floor as Calls;
use bindings::clawdb::floor::host::{Claims, Host, HostWithStore};

/// An instance and the runtime that its calls run in.
pub struct Floor {
    runtime: Runtime,
    store: Store<State>,
    calls: Calls,
}

struct State;

impl Host for State {}

impl<T: Send> HostWithStore<T> for HasSelf<State> {
    async fn check(_: &Accessor<T, Self>, token: String) -> Result<Claims, String> {
        Ok(Claims {
            handle: guard::handle(&token),
            expires_at: u64::MAX,
        })
    }
}

impl Floor {
    /// An instance in an engine like the session component's.
    pub fn start() -> Result<Self, Failure> {
        Self::instantiate().map_err(|error| Failure::Broken(format!("{error:#}")))
    }

    fn instantiate() -> wasmtime::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let engine = Engine::new(&engine_config())?;
        let component = Component::new(&engine, BASELINE)?;
        let mut linker = Linker::new(&engine);
        Calls::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        let mut store = Store::new(&engine, State);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
        store.set_epoch_deadline(1);
        let calls = Calls::instantiate_async(&mut store, &component, &linker);
        let calls = runtime.block_on(calls)?;
        Ok(Self {
            runtime,
            store,
            calls,
        })
    }

    fn timed(
        &mut self,
        work: impl AsyncFnOnce(&Accessor<State>, &Calls) -> wasmtime::Result<Result<(), String>>,
    ) -> Timed<()> {
        let calls = &self.calls;
        let timed = self.store.run_concurrent(async |accessor| {
            let begun = Instant::now();
            let result = work(accessor, calls).await?;
            Ok(result.map(|()| begun.elapsed()))
        });
        let result = self.runtime.block_on(timed).flatten();
        match result.map_err(|error| Failure::Broken(format!("{error:#}")))? {
            Ok(took) => Ok(Some(((), took))),
            Err(reason) => Err(Failure::refused(Operation::Validate)(reason)),
        }
    }
}

impl Contestant for Floor {
    fn create(&mut self, _requests: Vec<Request>) -> Timed<Vec<Granted>> {
        Ok(None)
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        self.timed(async |accessor, component| {
            for token in tokens {
                let calls = component.clawdb_floor_calls();
                match calls.call_echo(accessor, token).await? {
                    Ok(session) => drop(black_box(session)),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            Ok(Ok(()))
        })
    }

    fn nothing(&mut self, calls: u32) -> Timed<()> {
        self.timed(async |accessor, component| {
            for _ in 0..calls {
                let calls = component.clawdb_floor_calls();
                calls.call_nothing(accessor).await?;
            }
            Ok(Ok(()))
        })
    }

    fn nothing_async(&mut self, calls: u32) -> Timed<()> {
        self.timed(async |accessor, component| {
            for _ in 0..calls {
                let calls = component.clawdb_floor_calls();
                calls.call_nothing_async(accessor).await?;
            }
            Ok(Ok(()))
        })
    }
}
