//! The types and traits that `wit-bindgen` generates for the world `session`.

#![allow(clippy::pedantic, reason = "generated")]

wit_bindgen::generate!({
    world: "session",
    path: "wit",
    generate_all,
});
