//! A host that has no guard: a clock and random bytes.

use std::sync::LazyLock;

use clawdb_session_component::{COMPOSED as COMPOSED_BYTES, JWT_GUARD};
use wasmtime::component::{Component, HasSelf, Instance, Linker};
use wasmtime::{Config, Engine, Store};

/// The component of the world `session-sync`. The composed component has the same exports.
pub mod session {
    wasmtime::component::bindgen!({
        path: "../../wit/sync",
        world: "session-sync",
    });
}

/// The interface that the composed component exports besides.
pub mod keyed {
    wasmtime::component::bindgen!({
        inline: "
            package test:composed;
            world keyed { export clawdb:jwt-guard/keys@0.1.0; }
        ",
        path: ["../../wit/sync", "../hosts/composed/guard/wit"],
        world: "test:composed/keyed",
    });
}

/// The guard component.
pub mod jwt_guard {
    wasmtime::component::bindgen!({
        path: ["../../wit/sync", "../hosts/composed/guard/wit"],
        world: "clawdb:jwt-guard/jwt-guard",
    });
}

use session::wasi::clocks::wall_clock::{self, Datetime};
use session::wasi::random::random;

pub use keyed::exports::clawdb::jwt_guard::keys::KeyError;

/// 2030-01-01T00:00:00Z, in seconds since 1970.
pub const START: u64 = 1_893_456_000;
/// A key.
pub const KEY: [u8; 32] = [7; 32];

/// What the host provides.
pub struct Host {
    /// Seconds since 1970, and nanoseconds.
    pub now: (u64, u32),
    drawn: u64,
    /// The most bytes that one call of the random source returns.
    pub most_random_bytes: u64,
}

impl wall_clock::Host for Host {
    fn now(&mut self) -> Datetime {
        let (seconds, nanoseconds) = self.now;
        Datetime {
            seconds,
            nanoseconds,
        }
    }

    fn resolution(&mut self) -> Datetime {
        unreachable!("the component reads the time only")
    }
}

impl random::Host for Host {
    /// Returns bytes that differ from call to call.
    fn get_random_bytes(&mut self, len: u64) -> Vec<u8> {
        let mut next = || {
            self.drawn += 1;
            self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
        };
        (0..len.min(self.most_random_bytes))
            .map(|_| next())
            .collect()
    }

    fn get_random_u64(&mut self) -> u64 {
        unreachable!("the component draws bytes only")
    }
}

/// A component that is compiled.
pub struct Compiled {
    engine: Engine,
    component: Component,
}

/// The composed component.
pub static COMPOSED: LazyLock<Compiled> = LazyLock::new(|| Compiled::new(COMPOSED_BYTES));

/// The guard component.
pub static GUARD: LazyLock<Compiled> = LazyLock::new(|| Compiled::new(JWT_GUARD));

impl Compiled {
    fn new(bytes: &[u8]) -> Self {
        // Calls of a world without `async func` need no support for concurrency, which costs time.
        let mut config = Config::new();
        config.concurrency_support(false);
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, bytes).unwrap();
        Self { engine, component }
    }

    /// Returns the names of the imports and of the exports.
    pub fn names(&self) -> (Vec<String>, Vec<String>) {
        let component = self.component.component_type();
        let imports = component.imports(&self.engine);
        let exports = component.exports(&self.engine);
        (
            imports.map(|(name, _)| name.into()).collect(),
            exports.map(|(name, _)| name.into()).collect(),
        )
    }

    /// Starts an instance. Its host provides a clock and random bytes, and nothing else.
    pub fn start(&self) -> (Store<Host>, Instance) {
        let mut linker = Linker::new(&self.engine);
        wall_clock::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host).unwrap();
        random::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host).unwrap();
        let host = Host {
            now: (START, 0),
            drawn: 0,
            most_random_bytes: u64::MAX,
        };
        let mut store = Store::new(&self.engine, host);
        let instance = linker.instantiate(&mut store, &self.component).unwrap();
        (store, instance)
    }
}
