//! The WIT worlds: WIT exports to the core, the core's ports to WIT imports. Nothing is decided
//! here, and nothing else knows `wit-bindgen`.

mod bindings;
mod convert;
mod session;

/// What the component says to be.
const VERSION: &str = if cfg!(feature = "next") {
    concat!(env!("CARGO_PKG_VERSION"), "-next")
} else {
    env!("CARGO_PKG_VERSION")
};

/// The same as the default, with one call less for each allocation. Natively, where only Clippy
/// reads this, the program chooses the allocator.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;
