//! Sequences of operations, with calls that wait, are answered in any order, or are dropped.

use clawdb_session::Config;

use crate::ports::Ports;
use crate::script::Script;
use crate::world::{Manager, World, config, start};

/// Runs the operations that the input chooses.
///
/// # Panics
/// If the core breaks a promise.
pub fn run(input: &[u8]) {
    drop(run_to_end(input));
}

/// Runs the operations that the input chooses, until everything has ended and expired and has been
/// pruned. Returns the manager and its configuration. The manager's ports keep no memory of what
/// was asked of them.
///
/// # Panics
/// If the core breaks a promise.
#[must_use]
pub fn run_to_end(input: &[u8]) -> (Manager, Config) {
    let mut script = Script::new(input);
    let ports = Ports::new();
    let is_keyed = script.flag();
    let config = config(&mut script, is_keyed);
    let manager = start(&config, &ports);
    let mut world = World::new(&manager, &ports, is_keyed);
    world.run(&mut script, false);
    world.end();
    ports.forget();
    (manager, config)
}

/// Returns a manager with this configuration that was never used, as [`run_to_end`] does.
#[must_use]
pub fn unused(config: &Config) -> (Manager, Config) {
    (start(config, &Ports::new()), config.clone())
}
