//! The reference host of the `clawdb:session` component, on wasmtime and tokio.
//!
//! [`engine`] compiles the component once; [`host`] runs an instance of it and gives a handle that
//! many tasks can call at once. The README has a whole host in 40 lines.
//!
//! | module | what is in it |
//! |---|---|
//! | [`engine`] | the compiled component |
//! | [`host`] | a running instance and its handle |
//! | [`instance`] | a running instance in the hands of one, without a handle |
//! | `driver`, `imports`, `pulse` | the task that drives it, what it imports, what happens before and after each poll |
//! | [`durable`] | an instance whose every acknowledged change is in a journal |
//! | [`journal`] | where that is kept: the port, and journals in a file, on NATS and in memory |
//! | [`tenants`] | many of them: one for each workspace, loaded while it is used |
//! | [`error`] | what a call can end with besides its result |
//! | [`guard`], [`jwt`] | the token authority: the trait, and the one that is embedded |
//! | [`clock`], [`entropy`] | time and random bytes for the component; also ones that tests control |
//! | [`control`] | a guard that can be made to wait, refuse and lie |
//! | [`subscription`] | the events, pushed |
//! | [`token`] | a bearer token that `Debug` does not show |
//! | [`serve`] | the host as an HTTP service |
//! | [`exec`] | conversations in JSON: the command line's scripting interface |
//! | [`vectors`] | conversations that the component must answer so, on any guard |
//! | `fields` | JSON objects, read field by field |
//! | [`bindings`] | the types of the WIT |

pub mod bindings;
pub mod clock;
pub mod control;
mod driver;
pub mod durable;
pub mod engine;
pub mod entropy;
pub mod error;
pub mod exec;
mod fields;
pub mod guard;
pub mod host;
mod imports;
pub mod instance;
pub mod journal;
pub mod jwt;
mod pulse;
pub mod serve;
pub mod subscription;
pub mod tenants;
pub mod token;
pub mod vectors;
