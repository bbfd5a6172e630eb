//! The published files, and a store.

pub mod store;

#[allow(clippy::all, clippy::pedantic, reason = "published source")]
pub mod context {
    include!("../source/context.rs");
}

#[allow(clippy::all, clippy::pedantic, reason = "published source")]
pub mod manager {
    include!("../source/manager.rs");
}

pub use context::SessionContext;
pub use manager::{ClawDBSession, SessionManager};
