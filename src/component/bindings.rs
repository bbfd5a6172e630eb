//! The types and traits that `wit-bindgen` generates, and the names of both worlds for them.
//!
//! The package `clawdb-session-async` has the feature `async` and the world `session`, and the
//! package `clawdb-session-sync` has the feature `sync` and the world `session-sync`.

#![allow(clippy::pedantic, unsafe_code, reason = "generated")]

// The paths are relative to the manifests in `host-tests/component`.
#[cfg(feature = "async")]
wit_bindgen::generate!({
    world: "session",
    path: "../../../wit",
    generate_all,
});

#[cfg(feature = "sync")]
wit_bindgen::generate!({
    world: "session-sync",
    path: "../../../wit/sync",
    generate_all,
});

use super::exports::Component;

export!(Component with_types_in self);

#[cfg(feature = "async")]
pub use clawdb::session::guard;
#[cfg(feature = "sync")]
pub use clawdb::session_sync::guard;
#[cfg(feature = "async")]
pub use exports::clawdb::session::{events, legacy, persistence, sessions, settings};
#[cfg(feature = "sync")]
pub use exports::clawdb::session_sync::{events, legacy, persistence, sessions, settings};

/// Calls a function of the guard. In the world `session` it is `async` and takes its argument.
#[cfg(feature = "async")]
macro_rules! call_guard {
    ($function:ident($argument:expr)) => {
        guard::$function($argument).await
    };
}

/// Calls a function of the guard. In the world `session-sync` it borrows its argument.
#[cfg(feature = "sync")]
macro_rules! call_guard {
    ($function:ident($argument:expr)) => {
        guard::$function(&$argument)
    };
}
pub(super) use call_guard;

/// Returns the reading of the host's clock as seconds since 1970 and nanoseconds.
#[cfg(feature = "async")]
pub fn clock_reading() -> (i64, u32) {
    let instant = wasi::clocks::system_clock::now();
    (instant.seconds, instant.nanoseconds)
}

/// Returns the reading of the host's clock as seconds since 1970 and nanoseconds.
#[cfg(feature = "sync")]
pub fn clock_reading() -> (i64, u32) {
    let datetime = wasi::clocks::wall_clock::now();
    let seconds = i64::try_from(datetime.seconds).unwrap_or(i64::MAX);
    (seconds, datetime.nanoseconds)
}
