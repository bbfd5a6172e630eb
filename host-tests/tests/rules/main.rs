//! The rules of the contract, each through the built component in wasmtime.
//!
//! The name of a test begins with the rule that it checks. The clock stands still unless a test
//! moves it, and calls wait while a test holds the guard. No test sleeps.

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
