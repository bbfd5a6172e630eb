//! What a platform would use instead of the component. `peers NAME` is one of them: it answers the
//! bench's questions on its standard input. `peers --list` prints their names.
//!
//! | module | what is in it |
//! |---|---|
//! | [`moka_cache`] | `moka`: a cache in memory |
//! | [`sqlite_store`] | `rusqlite`, `rusqlite-file`: `SQLite`, in memory and in a file |
//! | [`redis_store`] | `redis`: Redis on loopback |
//! | [`redis_server`] | a Redis server of its own |
//! | [`claw_guard_sessions`] | `claw-guard`: `ClawDB`'s token authority |

use std::io;
use std::process::ExitCode;

use clawdb_session_bench_protocol::serve::serve;
use clawdb_session_bench_protocol::target::{Contestant, Failure};

#[cfg(feature = "claw-guard")]
mod claw_guard_sessions;
mod moka_cache;
mod redis_server;
mod redis_store;
mod sqlite_store;

/// The same as the bench's own program has.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The names of those that are built in.
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
        _ => Err(Failure::broken("usage: peers --list | peers NAME")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("peers: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<(), Failure> {
    match name {
        "moka" => answer(moka_cache::Moka::new()),
        "rusqlite" => answer(sqlite_store::Sqlite::in_memory()?),
        "rusqlite-file" => answer(sqlite_store::Sqlite::in_file()?),
        "redis" => answer(redis_store::Redis::start()?),
        #[cfg(feature = "claw-guard")]
        "claw-guard" => answer(claw_guard_sessions::ClawGuard::start()?),
        _ => Err(Failure::Broken(format!(
            "no {name:?}; there are: {}",
            NAMES.join(", ")
        ))),
    }
}

fn answer(contestant: impl Contestant) -> Result<(), Failure> {
    serve(contestant, io::stdin().lock(), io::stdout().lock()).map_err(Failure::broken)
}
