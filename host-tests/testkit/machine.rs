//! The build script of packages with tests. It sets cfgs for what the machine has. A test that
//! needs something else is reported as ignored, with a reason that says what to install.
//!
//! | cfg | the machine has |
//! |---|---|
//! | `has_nats` | `nats-server` in a folder of `PATH`, or where Debian installs it |
//! | `can_mount` | the right to mount a disk, as root has outside of containers |
//!
//! `CLAWDB_SESSION_NATS_SERVER` is the path of the server.
//!
//! The cfgs describe the machine at the time of the build. If the server is removed later, its
//! tests fail until the next build.

use std::path::{Path, PathBuf};
use std::{env, fs};

const NATS: &str = "nats-server";
/// More folders to search. Debian installs the server in the first, which is in the `PATH` of root
/// only.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
/// The maximum number of entries below a folder that cargo watches, because cargo checks each of
/// them.
const MAX_WATCHED: usize = 10_000;
/// The number of `CAP_SYS_ADMIN` (`capabilities(7)`).
const CAP_SYS_ADMIN: u32 = 21;

/// Prints the cfgs, and when cargo runs this program again.
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

/// Returns whether the machine has the server. If it has, cargo runs this program again when the
/// server is removed; otherwise, when a file is added to one of the folders.
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

/// Subtracts the number of entries below a folder from `left`. Returns whether the folder has at
/// most that many.
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

/// Returns whether this process may mount a disk: it has `CAP_SYS_ADMIN` and is not in a user
/// namespace that maps only some users.
fn can_mount() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    effective.is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0) && maps_all_users()
}

/// Returns whether each user has the same number outside (`user_namespaces(7)`). In a user
/// namespace that maps fewer users, root has all capabilities but may not mount a disk.
fn maps_all_users() -> bool {
    // The file is missing if the kernel has no user namespaces.
    let map = fs::read_to_string("/proc/self/uid_map");
    map.map_or(true, |map| {
        map.split_whitespace().eq(["0", "0", "4294967295"])
    })
}
