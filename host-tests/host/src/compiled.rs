//! A component and the code that wasmtime compiles from it, which the engines of both worlds share.

use std::path::Path;
use std::thread;
use std::time::Duration;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::code_cache::CodeCache;
use crate::error::StartError;
use crate::local::wake_runtimes;

/// The maximum number of core modules in a component: the guest, and two that `wit-component` adds
/// between the guest and its imports.
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

/// A compiled component and the engine that runs it. Clones share both.
#[derive(Clone)]
pub(crate) struct Compiled {
    pub engine: Engine,
    component: Component,
}

impl Compiled {
    /// Compiles a component.
    pub fn new(config: Config, bytes: &[u8], allocation: Allocation) -> Result<Self, StartError> {
        let engine = engine(config, allocation)?;
        let component = Component::new(&engine, bytes).map_err(failed("compiled"))?;
        Ok(Self { engine, component })
    }

    /// Loads the code of a component from a directory. If it is not there yet, compiles the
    /// component and writes the code to the directory. If it cannot be written, the next start
    /// compiles the component again.
    pub fn cached(config: Config, bytes: &[u8], directory: &Path) -> Result<Self, StartError> {
        let engine = engine(config, Allocation::OnDemand)?;
        let cache = CodeCache::open(directory, &engine, bytes).map_err(failed("cached"))?;
        let component = if let Some(component) = cache.load(&engine) {
            component
        } else {
            let component = Component::new(&engine, bytes).map_err(failed("compiled"))?;
            let code = component.serialize().map_err(failed("written"))?;
            let _ = cache.store(&code);
            component
        };
        Ok(Self { engine, component })
    }

    /// Loads code that [`Compiled::code`] returned.
    ///
    /// # Safety
    /// The bytes are exactly those that [`Compiled::code`] returned.
    #[expect(unsafe_code, reason = "machine code cannot be checked")]
    pub unsafe fn from_code(
        config: Config,
        code: &[u8],
        allocation: Allocation,
    ) -> Result<Self, StartError> {
        let engine = engine(config, allocation)?;
        // SAFETY: the caller guarantees that `code` returned the bytes.
        let component = unsafe { Component::deserialize(&engine, code) };
        let component = component.map_err(failed("read"))?;
        Ok(Self { engine, component })
    }

    /// Returns the compiled code.
    pub fn code(&self) -> Result<Vec<u8>, StartError> {
        self.component.serialize().map_err(failed("written"))
    }

    /// Links the component to its imports, and starts to count epochs.
    pub fn link<T: 'static>(
        &self,
        imports: impl FnOnce(&mut Linker<T>) -> wasmtime::Result<()>,
    ) -> Result<InstancePre<T>, StartError> {
        let mut linker = Linker::new(&self.engine);
        imports(&mut linker).map_err(failed("linked"))?;
        let instances = linker.instantiate_pre(&self.component);
        let instances = instances.map_err(failed("linked"))?;
        start_epoch_timer(&self.engine);
        Ok(instances)
    }

    /// Returns the names of the imports of the component, in its order.
    pub fn imports(&self) -> Vec<String> {
        let component = self.component.component_type();
        component
            .imports(&self.engine)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Returns the names of the exports of the component, in its order.
    pub fn exports(&self) -> Vec<String> {
        let component = self.component.component_type();
        component
            .exports(&self.engine)
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

/// Returns the configuration of wasmtime that the engines of both worlds use.
pub(crate) fn base_config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // A start reads less without the address map and the unwind information. A trap still names the
    // functions, but not the positions in them, and debuggers cannot unwind through the component.
    config.generate_address_map(false);
    // Windows requires unwind information.
    config.native_unwind_info(cfg!(windows));
    config
}

/// Returns the error for a step of a start that failed.
pub(crate) fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    action: &'static str,
) -> impl Fn(E) -> StartError {
    move |error| StartError {
        action,
        source: error.into(),
    }
}

fn engine(mut config: Config, allocation: Allocation) -> Result<Engine, StartError> {
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

/// Starts a thread that increments the engine's epoch until the engine is dropped.
fn start_epoch_timer(engine: &Engine) {
    let engine = engine.weak();
    thread::spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            wake_runtimes();
            thread::sleep(EPOCH_INTERVAL);
        }
    });
}
