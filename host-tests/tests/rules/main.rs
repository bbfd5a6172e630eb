//! The rules of the contract, each through the built component in wasmtime.
//!
//! A test's name begins with the rule that it checks. Time is a clock that stands still, waiting is
//! a guard that is held; nothing sleeps.

mod bounds;
mod component;
mod events;
mod finality;
mod guard;
mod host;
mod input;
mod scene;
mod secrets;
mod time;
