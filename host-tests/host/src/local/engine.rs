//! The compiled component of the world `session-sync`, of which any number of instances can start.

use std::path::Path;
use std::sync::Mutex;

use clawdb_session_component::SYNC_COMPONENT;
use wasmtime::component::InstancePre;
use wasmtime::{Config, Engine};

use crate::compiled::{Allocation, Compiled, base_config};
use crate::engine::once_in_process;
use crate::error::StartError;
use crate::local::imports::{self, LocalState};

/// The component of the world `session-sync`, compiled and linked to its three imports.
///
/// Clones share the compiled code. Start all instances from one engine.
#[derive(Clone)]
pub struct LocalEngine {
    compiled: Compiled,
    linked: InstancePre<LocalState>,
}

impl LocalEngine {
    /// Returns the engine of the component that was built with this crate. The first call of a
    /// process compiles the component; later ones share the compiled code.
    ///
    /// # Errors
    /// [`StartError`] if wasmtime does not support this machine.
    pub fn new() -> Result<Self, StartError> {
        static ENGINE: Mutex<Option<LocalEngine>> = Mutex::new(None);
        once_in_process(&ENGINE, || Self::from_bytes(SYNC_COMPONENT))
    }

    /// Returns the engine of the component that was built with this crate, and keeps its compiled
    /// code in a directory, as
    /// [`SessionEngine::with_code_cache`](crate::SessionEngine::with_code_cache) does.
    ///
    /// # Errors
    /// [`StartError`] if the directory cannot be used, another user can write to it, or wasmtime
    /// does not support this machine.
    pub fn with_code_cache(directory: &Path) -> Result<Self, StartError> {
        Self::link(Compiled::cached(config(), SYNC_COMPONENT, directory)?)
    }

    /// Compiles another build of the component.
    ///
    /// # Errors
    /// [`StartError`] if the bytes are not a component of the world
    /// `clawdb:session-sync/session-sync`.
    pub fn from_bytes(component: &[u8]) -> Result<Self, StartError> {
        Self::with_allocation(component, Allocation::OnDemand)
    }

    /// Compiles a build of the component, with a choice of how instances get their memory.
    ///
    /// # Errors
    /// [`StartError`] as for [`LocalEngine::from_bytes`], or if the process does not have enough
    /// address space for the pool.
    pub fn with_allocation(component: &[u8], allocation: Allocation) -> Result<Self, StartError> {
        Self::link(Compiled::new(config(), component, allocation)?)
    }

    fn link(compiled: Compiled) -> Result<Self, StartError> {
        let linked = compiled.link(imports::add_to_linker)?;
        Ok(Self { compiled, linked })
    }

    /// Returns the names of the imports of the component, in its order.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        self.compiled.imports()
    }

    /// Returns the names of the exports of the component, in its order.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        self.compiled.exports()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.compiled.engine
    }

    pub(super) fn linked(&self) -> &InstancePre<LocalState> {
        &self.linked
    }
}

fn config() -> Config {
    let mut config = base_config();
    // A component without `async func` does not need it, and calls are faster without.
    config.concurrency_support(false);
    config
}
