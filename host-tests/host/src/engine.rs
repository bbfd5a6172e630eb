//! The compiled component: made once, instantiated as often as one likes.

use std::thread;
use std::time::Duration;

use clawdb_session_component::COMPONENT;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::SessionPre;
use crate::error::StartError;
use crate::imports;
use crate::imports::State;

/// Of how many modules a component is made: the guest, and what `wit-component` puts between it and
/// its imports.
const CORE_MODULES: u32 = 3;

/// How often an instance that computes without a pause is looked at.
const EPOCH_INTERVAL: Duration = Duration::from_millis(20);

/// How instances get their memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allocation {
    /// Each from the operating system when it starts: as many as there is memory for.
    #[default]
    OnDemand,
    /// Out of a pool that is set aside at once, as address space: for thousands of small instances, which
    /// start faster and take fewer pages so.
    Pool {
        /// How many there can be at a time; one more is a [`StartError`]. Each takes 4 GiB of address
        /// space, of which there are some 128 TiB.
        instances: u32,
    },
}

/// The component, compiled and linked to its three imports. Cloning it is cheap.
#[derive(Clone)]
pub struct SessionEngine {
    engine: Engine,
    component: Component,
    linked: SessionPre<State>,
}

impl SessionEngine {
    /// Compiles the component that was built with this crate.
    ///
    /// # Errors
    /// [`StartError`] when wasmtime does not support this machine.
    pub fn new() -> Result<Self, StartError> {
        Self::from_bytes(COMPONENT)
    }

    /// Compiles another build of the component.
    ///
    /// # Errors
    /// [`StartError`] when the bytes are no component of world `clawdb:session/session`.
    pub fn from_bytes(component: &[u8]) -> Result<Self, StartError> {
        Self::with_allocation(component, Allocation::OnDemand)
    }

    /// Compiles a build of the component for instances that get their memory in this way.
    ///
    /// # Errors
    /// As [`SessionEngine::from_bytes`], and when there is not enough address space for the pool.
    pub fn with_allocation(component: &[u8], allocation: Allocation) -> Result<Self, StartError> {
        let engine = engine(allocation)?;
        let component = Component::new(&engine, component).map_err(failed("compiled"))?;
        Self::link(engine, component)
    }

    /// The compiled component, for [`SessionEngine::from_precompiled`]: so that a process which starts
    /// need not compile.
    ///
    /// # Errors
    /// [`StartError`] when wasmtime cannot write it.
    pub fn precompiled(&self) -> Result<Vec<u8>, StartError> {
        self.component.serialize().map_err(failed("written"))
    }

    /// Takes what [`SessionEngine::precompiled`] gave, with the same version of this crate, on a machine of
    /// the same kind and with the same allocation.
    ///
    /// # Safety
    /// The bytes are machine code that runs with the rights of this process, and they are not checked: they
    /// must be what [`SessionEngine::precompiled`] gave, from a place where nobody else can write.
    ///
    /// # Errors
    /// [`StartError`] when another version of wasmtime or another configuration wrote it.
    pub unsafe fn from_precompiled(
        precompiled: &[u8],
        allocation: Allocation,
    ) -> Result<Self, StartError> {
        let engine = engine(allocation)?;
        // SAFETY: the caller knows where the bytes come from.
        let component = unsafe { Component::deserialize(&engine, precompiled) };
        let component = component.map_err(failed("read"))?;
        Self::link(engine, component)
    }

    fn link(engine: Engine, component: Component) -> Result<Self, StartError> {
        let mut linker = Linker::new(&engine);
        imports::add_to_linker(&mut linker).map_err(failed("linked"))?;
        let session = linker
            .instantiate_pre(&component)
            .and_then(SessionPre::new)
            .map_err(failed("linked"))?;
        start_epoch_timer(&engine);
        Ok(Self {
            engine,
            component,
            linked: session,
        })
    }

    /// The names of what the component imports, in its order.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        let component = self.component.component_type();
        component
            .imports(&self.engine)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// The names of what the component exports, in its order.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        let component = self.component.component_type();
        component
            .exports(&self.engine)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn linked(&self) -> &SessionPre<State> {
        &self.linked
    }
}

/// How components are compiled and run.
#[must_use]
pub fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    // A start reads less without them. A trap still names the function, though not the place in it; the
    // system's unwinder, which debuggers use, does not see through the component.
    config.generate_address_map(false);
    // Windows cannot do without.
    config.native_unwind_info(cfg!(windows));
    config
}

fn engine(allocation: Allocation) -> Result<Engine, StartError> {
    let mut config = config();
    if let Allocation::Pool { instances } = allocation {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(instances)
            .total_core_instances(instances.saturating_mul(CORE_MODULES))
            .total_memories(instances)
            .total_tables(instances.saturating_mul(CORE_MODULES))
            .total_stacks(instances)
            .max_unused_warm_slots(instances);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    Engine::new(&config).map_err(failed("compiled"))
}

fn failed(action: &'static str) -> impl Fn(wasmtime::Error) -> StartError {
    move |error| StartError {
        action,
        source: error.into(),
    }
}

/// Moves the engine's epoch on for as long as the engine lives.
fn start_epoch_timer(engine: &Engine) {
    let engine = engine.weak();
    thread::spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(EPOCH_INTERVAL);
        }
    });
}
