//! The command line `clawdb-session`: a tour of the component, `exec`, the HTTP service and
//! measurements.

mod command;

use std::ffi::OsString;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clawdb_session_bench::bench::{self, BenchArgs};
use clawdb_session_bench::{measure, target};
use clawdb_session_durable::{DurableHost, TenantId};
use clawdb_session_host::{
    AnyEngine, COMPONENT, InstanceOptions, SYNC_COMPONENT, WipingAllocator, World, full_text,
};
use clawdb_session_testkit::Conversation;
use tokio::fs::File;
use tokio::io::{self, AsyncBufRead, BufReader};
use tokio::runtime::{Builder, Runtime};

use command::guard::GuardArgs;
use command::log::log;
use command::rekey::RekeyArgs;
use command::serve::ServeArgs;
use command::storage::Storage;
use command::world::WorldArgs;

/// The allocator. It overwrites memory that is freed, because that can hold tokens and keys.
///
/// An answer is allocated on one thread and freed on another. With glibc's allocator, many
/// concurrent callers make only two thirds of the calls that they make with jemalloc.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: WipingAllocator<tikv_jemallocator::Jemalloc> =
    WipingAllocator(tikv_jemallocator::Jemalloc);
#[cfg(not(all(feature = "jemalloc", not(target_env = "msvc"))))]
#[global_allocator]
static ALLOCATOR: WipingAllocator<std::alloc::System> = WipingAllocator(std::alloc::System);

/// Session management for AI agents, in a WebAssembly component
///
/// Without a command, the program shows a tour: it calls each operation of the component once and
/// prints the results.
#[derive(Parser)]
#[command(version, after_long_help = HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the component's size, imports and exports
    #[command(after_long_help = COMPONENT_HELP)]
    Component {
        /// Also writes the component to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The world of the component: session or session-sync
        #[arg(long, value_name = "WORLD", default_value_t = World::Session)]
        world: World,
    },
    /// Calls operations of the component: reads and writes JSON objects, one on each line
    #[command(after_long_help = EXEC_HELP)]
    Exec {
        /// The file to read; without it, standard input
        file: Option<PathBuf>,
        /// Lets the input control the clock, the guard and the random source
        ///
        /// The clock starts at 2030-01-01T00:00:00Z and stands still. The guard has no deadline.
        ///   {"op":"clock","advance":SECONDS}
        ///   {"op":"clock","set":"TIME"}
        ///   {"op":"guard","mode":MODE,"on":"issue|validate|revoke|all"}
        ///      MODE: "ok|hold|deny|unavailable|revoked|wrong-handle|short|trap"
        ///   {"op":"guard","calls":true} returns the number of the guard's calls and of their items
        ///   {"op":"entropy","mode":"ok|repeat"}
        ///   {"op":"restart"} replaces the instance with a new one without sessions
        /// The mode "hold" requires --world session. A line whose call would wait for a guard in
        /// that mode is answered "would-wait".
        #[arg(long, verbatim_doc_comment, conflicts_with_all = ["journal", "nats"])]
        controls: bool,
        #[command(flatten)]
        storage: Storage,
        #[command(flatten)]
        guard: GuardArgs,
        #[command(flatten)]
        world: WorldArgs,
    },
    /// Compares the component with the original session manager and with other stores, in one run
    #[command(after_long_help = BENCH_HELP)]
    Bench(BenchArgs),
    /// Runs a target of `bench`, which sends commands to it
    #[command(hide = true)]
    BenchTarget { name: target::TargetName },
    /// Measures a journal in a file: acknowledged creates per second, and the time of a restore
    #[command(after_long_help = MEASURE_HELP)]
    Measure {
        /// The numbers of sessions to restore, 1 to 10000000, separated by commas
        #[arg(
            long,
            value_name = "N",
            value_delimiter = ',',
            default_values_t = [1_000, 100_000, 1_000_000],
            value_parser = clap::value_parser!(u32).range(1..=10_000_000)
        )]
        sessions: Vec<u32>,
        /// The folder for the journal files, which are removed afterwards
        #[arg(long, value_name = "DIR", default_value = ".")]
        folder: PathBuf,
        /// The time in seconds for which each number of callers creates sessions, 0.001 to 3600
        #[arg(
            long,
            value_name = "SECONDS",
            default_value = "3",
            value_parser = |text: &str| command::storage::seconds(text, 0.001..=3_600.0)
        )]
        seconds: Duration,
    },
    /// Writes the components, packages and checksums of a release; run it in a checkout
    #[command(disable_help_flag = true)]
    Package {
        /// The arguments; --help lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Serves sessions over HTTP until SIGTERM or SIGINT
    #[command(after_long_help = command::serve::HELP)]
    Serve(ServeArgs),
    /// Reseals all records of a journal with a new state key, without serving
    #[command(after_long_help = command::rekey::HELP)]
    Rekey(RekeyArgs),
}

/// The help after the commands.
const HELP: &str = "\
The guard signs JSON Web Tokens (HS256) with the key in CLAW_GUARD_JWT_SECRET (at least 32
bytes). If that is not set, it uses a random key, or with --journal FILE the key in FILE.guard-key.
It also accepts tokens that were signed with a key in CLAW_GUARD_PREVIOUS_JWT_SECRETS (one on each
line, at most 8).

Examples:
  clawdb-session
  clawdb-session serve --journal sessions.redb
  clawdb-session serve --help";

/// The help after the options of `component`.
const COMPONENT_HELP: &str = "\
Examples:
  clawdb-session component --out session.wasm
  clawdb-session component --world session-sync --out session-sync.wasm";

/// The help after the options of `exec`.
const EXEC_HELP: &str = r#"Example:
  echo '{"op":"create","agent-id":"7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f","role":"worker"}' |
    clawdb-session exec

Operations:
  {"op":"create","agent-id":"...","role":"..."} is answered with
  {"ok":{"session":{...},"token":"..."}} or {"err":{"kind":"...",...}}.
  Operations and fields have the names of the WIT. Times are RFC 3339. The filter of revoke-all is
  "everything", {"role":"..."} or {"root":"..."}. metadata is a string that contains JSON, such as
  "{\"a\":1}". null counts as absent, which gives the metadata {}; for the JSON null, write "null".

Calls that overlap, with --world session:
  {"op":"start","name":"a","call":{...}} starts a call. It is answered when the call ends or waits
  for the guard. {"op":"finish","name":"a"} returns the answer of the call.
  In the world session-sync, no call waits for the guard.

Events:
  {"op":"subscribe","name":"s","since":0} subscribes to events.
  {"op":"read","name":"s","limit":N} returns the events that have arrived.
  {"op":"unsubscribe","name":"s"} ends the subscription.

Errors:
  An invalid line, or one that gives a field twice, is answered with
  {"err":{"kind":"bad-request",...}}. The next line is read as usual."#;

/// The help after the options of `bench`.
const BENCH_HELP: &str = "\
Prints the microseconds of each operation, and whether the goals are met. A full run takes about 15
minutes and 12 GB of memory. Figures need a build with `--profile dist`.

Examples:
  cargo run --profile dist -- bench --report report
  cargo run -- bench --quick";

/// The help after the options of `measure`.
const MEASURE_HELP: &str = "\
Compares the creates with a loop that only writes and syncs. Figures need a build with
`--profile dist`.

Example:
  cargo run --profile dist -- measure --sessions 1000,100000 --folder /var/tmp";

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let ended = runtime().and_then(|runtime| {
        let ended = runtime.block_on(Box::pin(run(command)));
        // A function of a guard that never returns must not keep the process.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has closed it, which is not an error.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("error: {}", full_text(&*error)));
            ExitCode::FAILURE
        }
    }
}

/// Returns the runtime, with one worker for each core and another one: a worker that makes a call
/// of the world `session-sync` itself waits for it, and one worker at least must not.
fn runtime() -> Result<Runtime, Box<dyn std::error::Error>> {
    let mut builder = Builder::new_multi_thread();
    // tokio reads the variable itself.
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        builder.worker_threads(cores.saturating_add(1));
    }
    Ok(builder.enable_all().build()?)
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn run(command: Option<Command>) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        None => command::tour::run(&mut std::io::stdout()).await,
        Some(Command::Component { out, world }) => {
            show_component(&mut std::io::stdout(), world, out).await
        }
        // `bench` blocks: it waits for other processes.
        Some(Command::Bench(args)) => {
            tokio::task::block_in_place(|| bench::run(&mut std::io::stdout(), &args))
        }
        // A target has its own runtime, so it needs its own thread.
        Some(Command::BenchTarget { name }) => {
            let ended = tokio::task::spawn_blocking(move || {
                target::run(name).map_err(|error| full_text(&*error))
            });
            Ok(ended.await??)
        }
        Some(Command::Measure {
            sessions,
            folder,
            seconds,
        }) => {
            let progress = command::storage::progress_bar();
            let out = &mut std::io::stdout();
            measure::run(out, &folder, &sessions, seconds, &progress).await
        }
        Some(Command::Exec {
            file,
            controls,
            storage,
            guard,
            world,
        }) => {
            let file = match file {
                Some(path) => Some(
                    File::open(&path)
                        .await
                        .map_err(|error| format!("cannot open {}: {error}", path.display()))?,
                ),
                None => None,
            };
            let engine = world.engine()?;
            let mut conversation = if let Some(opened) = storage.open(engine.clone(), guard).await?
            {
                let host = DurableHost::start(opened.options, opened.journal, TenantId::default());
                Conversation::with_durable(host.await?)
            } else if controls {
                let guard = guard.guard()?;
                let guard = |clock| Arc::new(guard.with_clock(clock)) as Arc<_>;
                Conversation::start_controlled(engine, guard).await?
            } else {
                Conversation::start(InstanceOptions::new(engine, guard.guard()?)).await?
            };
            let input: Box<dyn AsyncBufRead + Unpin> = match file {
                Some(file) => Box::new(BufReader::new(file)),
                None => Box::new(BufReader::new(io::stdin())),
            };
            let ran = conversation.run(input, io::stdout()).await;
            // Even after a failed write, the host releases the sessions for other hosts.
            conversation.end().await;
            Ok(ran?)
        }
        // `package` blocks: it waits for another process.
        Some(Command::Package { arguments }) => {
            tokio::task::block_in_place(|| command::package::run(&arguments))
        }
        Some(Command::Serve(args)) => Box::pin(command::serve::run(args)).await,
        Some(Command::Rekey(args)) => Box::pin(command::rekey::run(args)).await,
    }
}

async fn show_component(
    out: &mut impl Write,
    world: World,
    file: Option<PathBuf>,
) -> Result<(), Box<dyn std::error::Error>> {
    let engine = AnyEngine::new(world)?;
    let component = match engine {
        AnyEngine::Session(_) => COMPONENT,
        AnyEngine::SessionSync(_) => SYNC_COMPONENT,
    };
    writeln!(out, "world: {world}")?;
    writeln!(out, "size: {} bytes", component.len())?;
    writeln!(out, "imports:")?;
    for name in engine.imports() {
        writeln!(out, "  {name}")?;
    }
    writeln!(out, "exports:")?;
    for name in engine.exports() {
        writeln!(out, "  {name}")?;
    }
    if let Some(path) = file {
        tokio::fs::write(&path, component)
            .await
            .map_err(|error| format!("--out: {}: {error}", path.display()))?;
        writeln!(out, "written to {}", path.display())?;
    }
    Ok(())
}
