//! The rules of the contract, each through the built component in wasmtime.
//!
//! A test's name begins with the rule that it checks. Time is a clock that stands still, waiting is
//! a guard that is held; nothing sleeps.

mod audit;
mod batch;
mod bounds;
mod component;
mod delegation;
mod events;
mod finality;
mod guard;
mod host;
mod input;
mod jwt;
mod killswitch;
mod lag;
mod lifespan;
mod logout;
mod persistence;

mod records;
mod rotation;
mod scopes;
mod secrets;
mod time;
mod validation_cache;
