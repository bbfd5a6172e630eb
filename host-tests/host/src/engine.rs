//! The compiled component of the world `session`, of which any number of instances can start.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use clawdb_session_component::COMPONENT;
use wasmtime::{Config, Engine};

use crate::bindings::SessionPre;
use crate::compiled::{Allocation, Compiled, base_config, failed};
use crate::error::StartError;
use crate::imports;
use crate::imports::State;

/// The component of the world `session`, compiled and linked to its three imports.
///
/// Clones share the compiled code. Start all instances from one engine.
#[derive(Clone)]
pub struct SessionEngine {
    compiled: Compiled,
    linked: Arc<SessionPre<State>>,
}

impl SessionEngine {
    /// Returns the engine of the component that was built with this crate. The first call of a
    /// process compiles the component; later ones share the compiled code.
    ///
    /// # Errors
    /// [`StartError`] if wasmtime does not support this machine.
    pub fn new() -> Result<Self, StartError> {
        static ENGINE: Mutex<Option<SessionEngine>> = Mutex::new(None);
        once_in_process(&ENGINE, || Self::from_bytes(COMPONENT))
    }

    /// Returns the engine of the component that was built with this crate, and keeps its compiled
    /// code in a directory. A later process loads the code in about a millisecond instead of
    /// compiling the component.
    ///
    /// The directory is created if it does not exist. The files are machine code that runs with the
    /// rights of this process, so the directory must belong to this user, and no other user may
    /// write to it or replace one of its parents; the parents are not checked. A file that another
    /// user can write to is not used, and neither is one of another version of this crate, of
    /// wasmtime or of the machine. If the code cannot be written, the next start compiles again.
    ///
    /// # Errors
    /// [`StartError`] if the directory cannot be used, another user can write to it, or wasmtime
    /// does not support this machine.
    pub fn with_code_cache(directory: &Path) -> Result<Self, StartError> {
        Self::link(Compiled::cached(config(), COMPONENT, directory)?)
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
        Self::link(Compiled::new(config(), component, allocation)?)
    }

    /// Returns the compiled component, which [`SessionEngine::from_precompiled`] loads without
    /// compiling.
    ///
    /// # Errors
    /// [`StartError`] if wasmtime cannot serialize it.
    pub fn precompiled(&self) -> Result<Vec<u8>, StartError> {
        self.compiled.code()
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
    #[expect(unsafe_code, reason = "machine code cannot be checked")]
    pub unsafe fn from_precompiled(
        precompiled: &[u8],
        allocation: Allocation,
    ) -> Result<Self, StartError> {
        // SAFETY: the caller guarantees that `precompiled` returned the bytes.
        Self::link(unsafe { Compiled::from_code(config(), precompiled, allocation) }?)
    }

    fn link(compiled: Compiled) -> Result<Self, StartError> {
        let linked = compiled.link(imports::add_to_linker)?;
        let linked = SessionPre::new(linked).map_err(failed("linked"))?;
        Ok(Self {
            compiled,
            linked: Arc::new(linked),
        })
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

    pub(crate) fn engine(&self) -> &Engine {
        &self.compiled.engine
    }

    pub(crate) fn linked(&self) -> &SessionPre<State> {
        &self.linked
    }
}

/// Returns the configuration of wasmtime that [`SessionEngine`] uses, without the allocation.
#[must_use]
pub fn config() -> Config {
    let mut config = base_config();
    config.wasm_component_model_async(true);
    config
}

/// Returns the value that the first call of the process has made.
pub(crate) fn once_in_process<T: Clone, E>(
    value: &Mutex<Option<T>>,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mut value = value.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = &*value {
        return Ok(value.clone());
    }
    Ok(value.insert(make()?).clone())
}
