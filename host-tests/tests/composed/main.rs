//! The session component with the JWT guard inside, and this guard alone, in plain wasmtime.

mod guard;
mod host;
mod sessions;
