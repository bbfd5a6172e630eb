//! The build script of packages with tests: tells them what the machine has, as cfgs. A test that
//! needs what is missing is reported as ignored, with what to install:
//!
//! | cfg | the machine has |
//! |---|---|
//! | `has_nats` | `nats-server` in a folder of `PATH`, or where Debian has it |
//! | `can_mount` | the right to mount a disk (`CAP_SYS_ADMIN` outside of user namespaces), as root outside of containers |
//!
//! `CLAWDB_SESSION_NATS_SERVER` is the path of the server.
//!
//! Such a test is not ignored by itself when it runs: on a machine that has lost what it needs
//! since the build, it fails.

use std::path::{Path, PathBuf};
use std::{env, fs};

const NATS: &str = "nats-server";
/// Debian installs it in the first of these, which only root has in `PATH`.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
/// Cargo looks at each file below a folder that it watches.
const MAX_WATCHED: usize = 10_000;
/// The number of `CAP_SYS_ADMIN` (`capabilities(7)`).
const CAP_SYS_ADMIN: u32 = 21;

/// Tells cargo the cfgs, and when to look again.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_nats, can_mount)");
    // USER changes with sudo.
    for variable in ["PATH", "USER"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if has_nats() {
        println!("cargo::rustc-cfg=has_nats");
    }
    if can_mount() {
        println!("cargo::rustc-cfg=can_mount");
    }
}

/// Looks for the server. Where there is none, cargo looks again when something is installed in one
/// of the folders; where it is, when it goes away.
fn has_nats() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path)
        .chain(MORE_FOLDERS.map(PathBuf::from))
        .filter(|folder| folder.is_dir())
        .collect();
    let mut programs = folders.iter().map(|folder| folder.join(NATS));
    if let Some(program) = programs.find(|program| program.is_file()) {
        let program = program.display();
        println!("cargo::rerun-if-changed={program}");
        println!("cargo::rustc-env=CLAWDB_SESSION_NATS_SERVER={program}");
        return true;
    }
    for folder in folders {
        if has_entries_up_to(&folder, &mut { MAX_WATCHED }) {
            println!("cargo::rerun-if-changed={}", folder.display());
        }
    }
    false
}

/// Takes the number of entries below a folder from `left`; tells whether there were enough.
fn has_entries_up_to(folder: &Path, left: &mut usize) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return true;
    };
    for entry in entries.flatten() {
        if *left == 0 {
            return false;
        }
        *left -= 1;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !has_entries_up_to(&entry.path(), left) {
            return false;
        }
    }
    true
}

fn can_mount() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    effective.is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0) && maps_all_users()
}

/// Tells whether each user has the same number outside (`user_namespaces(7)`). In a user namespace
/// that maps fewer, root has each capability, but may not mount a disk.
fn maps_all_users() -> bool {
    // A kernel without user namespaces does not have the file.
    let map = fs::read_to_string("/proc/self/uid_map");
    map.map_or(true, |map| {
        map.split_whitespace().eq(["0", "0", "4294967295"])
    })
}
