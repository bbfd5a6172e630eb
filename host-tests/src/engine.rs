//! The compiled component: made once, instantiated as often as one likes.

use std::thread;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};

use crate::bindings::SessionPre;
use crate::error::StartError;
use crate::imports::{self, State};

/// The component that was built with this crate.
pub const COMPONENT: &[u8] = include_bytes!(env!("CLAWDB_SESSION_COMPONENT"));

/// How often an instance that computes without a pause is looked at.
const TICK: Duration = Duration::from_millis(20);

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
        let failed = |action| {
            move |error: wasmtime::Error| StartError {
                action,
                source: error.into(),
            }
        };
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        config.epoch_interruption(true);
        let engine = Engine::new(&config).map_err(failed("compiled"))?;
        let component = Component::new(&engine, component).map_err(failed("compiled"))?;
        let mut linker = Linker::new(&engine);
        imports::add_to_linker(&mut linker).map_err(failed("linked"))?;
        let session = linker
            .instantiate_pre(&component)
            .and_then(SessionPre::new)
            .map_err(failed("linked"))?;
        tick(&engine);
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

/// Moves the engine's epoch on for as long as the engine lives.
fn tick(engine: &Engine) {
    let engine = engine.weak();
    thread::spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    });
}
