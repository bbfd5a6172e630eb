//! Writes `wit/reference` anew. Run it after a change in `wit`:
//! `cargo run -p clawdb-session-wit-reference --example render`.

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    clawdb_session_wit_reference::write(&wit, &wit.join("reference"))
}
