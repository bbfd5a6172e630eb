//! Writes `wit/sync` anew. Run it at the root of the repository after a change in `wit`:
//! `cargo run -p clawdb-session-wit-sync --example derive`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    match clawdb_session_wit_sync::write(&wit) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error);
            let reason = source.map_or(String::new(), |source| format!(": {source}"));
            eprintln!("error: {error}{reason}");
            ExitCode::FAILURE
        }
    }
}
