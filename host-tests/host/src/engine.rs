//! The compiled component, of which any number of instances can start.

use std::thread;
use std::time::Duration;

use clawdb_session_component::COMPONENT;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::SessionPre;
use crate::error::StartError;
use crate::imports;
use crate::imports::State;

/// The number of core modules in a component: the guest, and two that `wit-component` adds between
/// the guest and its imports.
const CORE_MODULES: u32 = 3;

/// How often wasmtime checks an instance that computes without a pause.
const EPOCH_INTERVAL: Duration = Duration::from_millis(20);

/// How instances get their memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allocation {
    /// Each instance takes memory from the operating system. Only the memory limits their number.
    #[default]
    OnDemand,
    /// Instances take memory from a pool, whose address space is reserved when the engine is made.
    /// Thousands of small instances start faster this way, and each takes fewer pages.
    Pool {
        /// The maximum number of instances at a time. The start of a further one is a
        /// [`StartError`]. Each reserves 4 GiB of address space; a process has about 128 TiB.
        instances: u32,
    },
}

/// The component, compiled and linked to its three imports.
///
/// Compile it once and start all instances from it. Clones share it.
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
    /// [`StartError`] if wasmtime does not support this machine.
    pub fn new() -> Result<Self, StartError> {
        Self::from_bytes(COMPONENT)
    }

    /// Compiles another build of the component.
    ///
    /// # Errors
    /// [`StartError`] if the bytes are not a component of the world `clawdb:session/session`.
    pub fn from_bytes(component: &[u8]) -> Result<Self, StartError> {
        Self::with_allocation(component, Allocation::OnDemand)
    }

    /// Compiles a build of the component, with a choice of how instances get their memory.
    ///
    /// # Errors
    /// [`StartError`] as for [`SessionEngine::from_bytes`], or if the process does not have enough
    /// address space for the pool.
    pub fn with_allocation(component: &[u8], allocation: Allocation) -> Result<Self, StartError> {
        let engine = engine(allocation)?;
        let component = Component::new(&engine, component).map_err(failed("compiled"))?;
        Self::link(engine, component)
    }

    /// Returns the compiled component, which [`SessionEngine::from_precompiled`] loads without
    /// compiling.
    ///
    /// # Errors
    /// [`StartError`] if wasmtime cannot serialize it.
    pub fn precompiled(&self) -> Result<Vec<u8>, StartError> {
        self.component.serialize().map_err(failed("written"))
    }

    /// Loads the bytes that [`SessionEngine::precompiled`] returned in the same version of this
    /// crate, on the same kind of machine and with the same allocation.
    ///
    /// # Safety
    /// The bytes are machine code that runs with the rights of this process, and wasmtime does not
    /// verify them. They must be exactly those that [`SessionEngine::precompiled`] returned, so
    /// keep them where no other user can write.
    ///
    /// # Errors
    /// [`StartError`] if another version of wasmtime, or one with another configuration, returned
    /// the bytes.
    pub unsafe fn from_precompiled(
        precompiled: &[u8],
        allocation: Allocation,
    ) -> Result<Self, StartError> {
        let engine = engine(allocation)?;
        // SAFETY: the caller guarantees that `precompiled` returned the bytes.
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

    /// Returns the names of the imports of the component, in its order.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        let component = self.component.component_type();
        component
            .imports(&self.engine)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Returns the names of the exports of the component, in its order.
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

/// Returns the configuration of wasmtime that [`SessionEngine`] uses, without the allocation.
#[must_use]
pub fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    // A start reads less without the address map and the unwind information. A trap still names the
    // functions, but not the positions in them, and debuggers cannot unwind through the component.
    config.generate_address_map(false);
    // Windows requires unwind information.
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

/// Starts a thread that increments the engine's epoch until the engine is dropped.
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
