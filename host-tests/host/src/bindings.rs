//! The Rust types and calls that wasmtime makes of the WIT package.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "session",
    imports: {
        // A guard that is broken beyond answering may stop the instance.
        "clawdb:session/guard": trappable,
    },
    // Every export is called through an accessor, so that calls overlap in one instance.
    exports: { default: async | store },
    additional_derives: [PartialEq, Eq],
});
