//! The Rust types and calls that wasmtime generates from the WIT package.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "session",
    imports: {
        // A guard that is broken may make the instance trap.
        "clawdb:session/guard": trappable,
    },
    // Exports are called through an accessor, so that calls overlap in one instance.
    exports: { default: async | store },
    additional_derives: [PartialEq, Eq],
});
