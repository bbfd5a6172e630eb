//! The peers that `bench` compares the component with. `peers NAME` runs one, which reads commands
//! from standard input. `peers --list` prints the names.
//!
//! | module | contents |
//! |---|---|
//! | [`moka_cache`] | `moka`: a cache in memory |
//! | [`sqlite_store`] | `rusqlite`, `rusqlite-file`: `SQLite`, in memory and in a file |
//! | [`redis_store`] | `redis`: Redis on loopback |
//! | [`redis_server`] | starts and ends a Redis server |
//! | [`claw_guard_sessions`] | `claw-guard`: `ClawDB`'s token authority |

use std::io;
use std::process::ExitCode;

use clawdb_session_bench_protocol::serve::serve;
use clawdb_session_bench_protocol::target::{Target, TargetError};

#[cfg(feature = "claw-guard")]
mod claw_guard_sessions;
mod moka_cache;
mod redis_server;
mod redis_store;
mod sqlite_store;

/// The allocator, which is that of the command line.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The names of the targets of this build.
const NAMES: &[&str] = &[
    "moka",
    "rusqlite",
    "rusqlite-file",
    "redis",
    #[cfg(feature = "claw-guard")]
    "claw-guard",
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--list"), None) => {
            println!("{}", NAMES.join("\n"));
            Ok(())
        }
        (Some(name), None) => run(name),
        _ => Err(TargetError::failed("usage: peers --list | peers NAME")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<(), TargetError> {
    match name {
        "moka" => serve_stdio(moka_cache::MokaCache::new()),
        "rusqlite" => serve_stdio(sqlite_store::SqliteStore::in_memory()?),
        "rusqlite-file" => serve_stdio(sqlite_store::SqliteStore::in_file()?),
        "redis" => serve_stdio(redis_store::RedisStore::start()?),
        #[cfg(feature = "claw-guard")]
        "claw-guard" => serve_stdio(claw_guard_sessions::ClawGuardSessions::start()?),
        _ => Err(TargetError::Failed(format!(
            "there is no target {name}; the targets are {}",
            NAMES.join(", ")
        ))),
    }
}

fn serve_stdio(target: impl Target) -> Result<(), TargetError> {
    serve(target, io::stdin().lock(), io::stdout().lock()).map_err(TargetError::failed)
}
