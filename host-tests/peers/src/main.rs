//! What a platform would use instead of the component. `peers NAME` is one of them: it answers the
//! bench's questions on its standard input. `peers --list` prints their names.
//!
//! | module | what is in it |
//! |---|---|
//! | [`cache`] | `moka`: a cache in memory |
//! | [`database`] | `rusqlite`, `rusqlite-file`: `SQLite`, in memory and in a file |
//! | [`remote`] | `redis`: Redis on loopback |
//! | [`server`] | a Redis server of its own |
//! | [`authority`] | `claw-guard`: `ClawDB`'s token authority |

use std::io;
use std::process::ExitCode;

use clawdb_session_bench_protocol::contestant::{Contestant, Failure};
use clawdb_session_bench_protocol::serve::serve;

#[cfg(feature = "claw-guard")]
mod authority;
mod cache;
mod database;
mod remote;
mod server;

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
        "moka" => answer(cache::Moka::new()),
        "rusqlite" => answer(database::Sqlite::in_memory()?),
        "rusqlite-file" => answer(database::Sqlite::in_file()?),
        "redis" => answer(remote::Redis::start()?),
        #[cfg(feature = "claw-guard")]
        "claw-guard" => answer(authority::ClawGuard::start()?),
        _ => Err(Failure::Broken(format!(
            "no {name:?}; there are: {}",
            NAMES.join(", ")
        ))),
    }
}

fn answer(contestant: impl Contestant) -> Result<(), Failure> {
    serve(contestant, io::stdin().lock(), io::stdout().lock()).map_err(Failure::broken)
}
