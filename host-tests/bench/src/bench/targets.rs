//! The targets, and starting them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clawdb_session_bench_protocol::process::{ProcessError, TargetProcess};

/// The maximum time of a reply. A slow target needs it for a million creates.
const REPLY_TIMEOUT: Duration = Duration::from_mins(15);

/// The targets in this program that run during the whole run, in the order of the tables.
const BUILT_IN: [&str; 7] = [
    COMPONENT,
    COMPONENT_SYNC,
    CORE,
    ORIGINAL,
    BASELINE,
    SESSION_HOST,
    LOCAL_SESSIONS,
];
/// The component of the world `session`.
pub const COMPONENT: &str = "component";
/// The component of the world `session-sync`, called directly.
pub const COMPONENT_SYNC: &str = "component-sync";
/// The core as native code.
pub const CORE: &str = "core";
/// The session manager that `ClawDB` had before.
pub const ORIGINAL: &str = "original";
/// The component that does no work.
pub const BASELINE: &str = "baseline";
/// The component of the world `session` in a `SessionHost`, called by many tasks.
pub const SESSION_HOST: &str = "session-host";
/// The component of the world `session-sync` in a `LocalSessions`, called by threads.
pub const LOCAL_SESSIONS: &str = "local-sessions";
/// Redis, one of the peers.
pub const REDIS: &str = "redis";
/// The target that creates instances for each metric. It is started anew in each round.
pub const INSTANCES: &str = "instances";
/// The component of the world `session-sync` that is started anew in each round and filled from
/// zero sessions to the highest number.
pub const FRESH_COMPONENT: &str = "fresh component-sync";

/// The targets that can be started.
pub struct Targets {
    /// This program.
    own: PathBuf,
    /// The program of the peers and the names of its targets.
    peers: Option<(PathBuf, Vec<String>)>,
    /// A note about missing targets.
    pub missing: Option<String>,
}

/// Returns the targets in this program, and those in the program of the peers if that exists.
pub fn find(peers: &Path) -> io::Result<Targets> {
    let own = std::env::current_exe()?;
    let (peers, missing) = match list(peers) {
        Ok(names) => (Some((peers.to_owned(), names)), None),
        Err(reason) => (None, Some(missing(peers, &reason))),
    };
    Ok(Targets {
        own,
        peers,
        missing,
    })
}

/// Returns the names that the program of the peers prints for `--list`, one on each line.
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
         cargo build --release --features claw-guard \
         --manifest-path host-tests/peers/Cargo.toml\n  \
         (host-tests/peers/README.md lists what the build needs)",
        peers.display()
    )
}

impl Targets {
    /// Returns all names, in the order of the tables.
    pub fn names(&self) -> Vec<String> {
        let built_in = BUILT_IN.iter().map(|&name| name.to_owned());
        let peers = self.peers.iter().flat_map(|(_, names)| names.clone());
        built_in.chain(peers).collect()
    }

    /// Starts a target.
    pub fn start(&self, name: &str) -> Result<TargetProcess, ProcessError> {
        match &self.peers {
            Some((program, names)) if names.iter().any(|peer| peer == name) => {
                TargetProcess::start(program, &[name], REPLY_TIMEOUT)
            }
            _ => TargetProcess::start(&self.own, &["bench-target", name], REPLY_TIMEOUT),
        }
    }
}

/// Returns the maximum number of sessions of a target. A slow target would take hours for a
/// million.
pub fn max_sessions(name: &str) -> u32 {
    match name {
        // Each create waits up to 15 ms for the disk.
        "rusqlite-file" => 20_000,
        "claw-guard" => 100_000,
        _ => u32::MAX,
    }
}
