//! The WIT worlds: it maps WIT exports to the core, and the ports of the core to WIT imports. It
//! has no logic, and it is the only module that depends on `wit-bindgen`.
//!
//! A build has one world: `session`, or `session-sync` with the feature `sync`.

#[cfg(target_arch = "wasm32")]
mod allocator;
mod bindings;
mod convert;
mod exports;
mod imports;
#[cfg(feature = "async")]
mod session;
#[cfg(feature = "sync")]
mod session_sync;

/// The version that the component reports.
const VERSION: &str = if cfg!(feature = "next") {
    concat!(env!("CARGO_PKG_VERSION"), "-next")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Names the allocator, which also saves one call for each allocation. It is not set in a native
/// build, which only Clippy makes.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: allocator::WipingAllocator = allocator::WipingAllocator;
