//! Sequences of operations, with calls that wait, are answered in any order, or are dropped.

use crate::ports::Ports;
use crate::script::Script;
use crate::world::{World, config, start};

/// Runs the operations that the input chooses.
///
/// # Panics
/// If the core breaks a promise.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let ports = Ports::new();
    let is_keyed = script.flag();
    let config = config(&mut script, is_keyed);
    let manager = start(&config, &ports);
    let mut world = World::new(&manager, &ports, is_keyed);
    world.run(&mut script, false);
    world.end();
}
