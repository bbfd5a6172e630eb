//! Who is measured, and how each is started.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clawdb_session_bench_protocol::process::{Process, ProcessError};

/// How long an answer may take: a million creates of a slow contestant.
const LIMIT: Duration = Duration::from_mins(15);

/// Those in this program, in the order of the tables.
pub const OWN: [&str; 4] = ["component", "original", "floor", "channel"];
/// The one that is started anew for what it measures.
pub const CROWD: &str = "crowd";
/// What a component is called that is started anew, to see how it grows.
pub const ANOTHER: &str = "another component";

/// Who can be started.
pub struct Contestants {
    /// This program.
    own: PathBuf,
    /// The other contestants' program, and those that it has.
    peers: Option<(PathBuf, Vec<String>)>,
    /// What to say of those that are missing.
    pub missing: Option<String>,
}

/// Those in this program, and those of the peers' if it is there.
pub fn find(peers: &Path) -> io::Result<Contestants> {
    let own = std::env::current_exe()?;
    let (peers, missing) = match list(peers) {
        Ok(names) => (Some((peers.to_owned(), names)), None),
        Err(reason) => (None, Some(missing(peers, &reason))),
    };
    Ok(Contestants {
        own,
        peers,
        missing,
    })
}

/// The names that the peers' program prints, one a line, when it is asked for its `--list`.
fn list(peers: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(peers).arg("--list").output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(output.status.to_string());
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.lines().map(str::to_owned).collect())
}

fn missing(peers: &Path, reason: &str) -> String {
    format!(
        "without moka, SQLite, Redis and claw-guard ({}: {reason}); to build them:\n  \
         cargo build --release --features claw-guard --manifest-path host-tests/peers/Cargo.toml\n  \
         (host-tests/peers/README.md tells what that needs)",
        peers.display()
    )
}

impl Contestants {
    /// All names, in the order of the tables.
    pub fn names(&self) -> Vec<String> {
        let own = OWN.iter().map(|&name| name.to_owned());
        let peers = self.peers.iter().flat_map(|(_, names)| names.clone());
        own.chain(peers).collect()
    }

    /// Starts one.
    pub fn start(&self, name: &str) -> Result<Process, ProcessError> {
        match &self.peers {
            Some((program, names)) if names.iter().any(|peer| peer == name) => {
                Process::start(program, &[name], LIMIT)
            }
            _ => Process::start(&self.own, &["contestant", name], LIMIT),
        }
    }
}

/// How many sessions one gets at most: what is slow would take hours for a million.
pub fn most_sessions(name: &str) -> u32 {
    match name {
        // Each of its creates waits for the disk, which takes up to 15 ms.
        "rusqlite-file" => 20_000,
        "claw-guard" => 100_000,
        _ => u32::MAX,
    }
}
