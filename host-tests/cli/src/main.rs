//! The command line: a tour of the component, the component itself, and conversations with it.

mod command;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clawdb_session_bench::bench::{self, BenchArgs};
use clawdb_session_bench::{measure, target};
use clawdb_session_durable::{DurableHost, TenantId};
use clawdb_session_host::{COMPONENT, SessionEngine, full_text};
use clawdb_session_testkit::Conversation;
use tokio::fs::File;
use tokio::io::{self, AsyncBufRead, BufReader};

use command::guard::GuardArgs;
use command::rekey::RekeyArgs;
use command::serve::ServeArgs;
use command::storage::Storage;

/// An answer is made on one thread and dropped on another. With glibc's allocator, many callers at once get
/// two thirds of the calls done that they get with this one.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Sessions for AI agents, in a WebAssembly component. Without a command: a short tour of it.
///
/// The guard signs JSON Web Tokens (HS256) with the key in `CLAW_GUARD_JWT_SECRET` (at least 32
/// bytes), or with a random one where that is not set. It accepts tokens of the keys in
/// `CLAW_GUARD_PREVIOUS_JWT_SECRETS` too, one on each line.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the component's size, imports and exports
    Component {
        /// Also writes the component to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Holds a conversation with an instance: a JSON object a line in, one out
    ///
    /// {"op":"create","agent-id":"...","role":"..."} gives {"ok":{"session":{...},"token":"..."}}
    /// or {"err":{"kind":"...",...}}. Operations and fields have the names of the WIT; times
    /// are RFC 3339. The filter of revoke-all is "everything", {"role":"..."} or {"root":"..."}.
    /// metadata is a string that holds a JSON text, such as "{\"a\":1}". null counts as absent, so
    /// that the metadata is {}; the JSON text null is written "null".
    ///
    /// {"op":"start","name":"a","call":{...}} starts a call and answers as soon as it is done or
    /// waits for the guard; {"op":"finish","name":"a"} gives its answer.
    ///
    /// {"op":"subscribe","name":"s","since":0} has events pushed; {"op":"read","name":"s","limit":N}
    /// gives those that have come, and {"op":"unsubscribe","name":"s"} ends it.
    ///
    /// A line that is not understood, or that gives a field twice, gets
    /// {"err":{"kind":"bad-request",...}}, and the conversation goes on.
    Exec {
        /// Where the conversation is read from; standard input where there is none
        file: Option<PathBuf>,
        /// Puts clock, guard and random source into the conversation's hands
        ///
        /// The clock starts at 2030-01-01T00:00:00Z and stands still; the guard has no deadline.
        ///   {"op":"clock","advance":SECONDS}
        ///   {"op":"clock","set":"TIME"}
        ///   {"op":"guard","mode":MODE,"on":"issue|validate|revoke|all"}
        ///      MODE: "ok|hold|deny|unavailable|revoked|wrong-handle|short|trap"
        ///   {"op":"guard","calls":true} counts the guard's calls and the items of its batches
        ///   {"op":"entropy","mode":"ok|repeat"}
        ///   {"op":"restart"} goes on with another instance, without sessions
        /// A line whose call would have to wait for a held guard gets "would-wait".
        #[arg(long, verbatim_doc_comment, conflicts_with_all = ["journal", "nats"])]
        controls: bool,
        #[command(flatten)]
        storage: Storage,
        #[command(flatten)]
        guard: GuardArgs,
    },
    /// Measures the component beside what could be used instead of it: other stores, all in one run
    ///
    /// Microseconds for each operation, and whether the goals are met. Build with `--profile dist`. A full run takes some
    /// ten minutes and up to 8 GB of memory.
    Bench(BenchArgs),
    /// Runs a target of `bench`, which sends it commands
    #[command(hide = true)]
    BenchTarget { name: target::TargetName },
    /// Measures what a journal in a file costs: creates a second, and the time to have sessions again
    Measure {
        /// How many sessions to have again, one number after the other
        #[arg(
            long,
            value_name = "N",
            value_delimiter = ',',
            default_values_t = [1_000, 100_000, 1_000_000],
            value_parser = clap::value_parser!(u32).range(1..=10_000_000)
        )]
        sessions: Vec<u32>,
        /// In which folder the files are made; they are removed again
        #[arg(long, value_name = "DIR", default_value = ".")]
        folder: PathBuf,
        /// For how many seconds each number of callers creates
        #[arg(
            long,
            value_name = "SECONDS",
            default_value = "3",
            value_parser = |text: &str| command::storage::seconds(text, 0.001..=3_600.0)
        )]
        seconds: Duration,
    },
    /// Serves sessions over HTTP, until SIGTERM or SIGINT
    #[command(after_long_help = command::serve::HELP)]
    Serve(ServeArgs),
    /// Reseals every record of a journal with the state key, after that was changed
    ///
    /// The new key is `CLAWDB_SESSION_STATE_KEY`, and `CLAWDB_SESSION_PREVIOUS_STATE_KEYS` has those
    /// before it, as for `serve`, which does the same in the background. It can be interrupted and run
    /// again. It ends with 0 when all records are under the state key; otherwise it says what is left: a
    /// file that another process has open, workspaces that another host has, records that no key
    /// opens and damaged ones. It asks no guard and goes by no clock. Where several hosts share the
    /// servers, first give all of them the new key among the previous ones, then swap the two on
    /// each, and then run this.
    Rekey(RekeyArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(CommandLine::parse().command)).await {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has read enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", full_text(&*error));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn run(command: Option<Command>) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        None => command::tour::run(&mut std::io::stdout()).await,
        Some(Command::Component { out }) => show_component(&mut std::io::stdout(), out).await,
        // It waits for other processes, not for anything of this runtime.
        Some(Command::Bench(args)) => {
            tokio::task::block_in_place(|| bench::run(&mut std::io::stdout(), &args))
        }
        // It has a runtime of its own, on a thread that belongs to nobody else.
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
        }) => {
            let file = match file {
                Some(path) => Some(
                    File::open(&path)
                        .await
                        .map_err(|error| format!("{}: {error}", path.display()))?,
                ),
                None => None,
            };
            let engine = SessionEngine::new()?;
            let mut conversation = if let Some(opened) = storage.open(engine.clone(), guard).await?
            {
                let host = DurableHost::start(opened.options, opened.journal, TenantId::default());
                Conversation::with_durable(host.await?)
            } else if controls {
                let guard = guard.guard()?;
                let guard = |clock| Arc::new(guard.with_clock(clock)) as Arc<_>;
                Conversation::start_controlled(&engine, guard).await?
            } else {
                Conversation::start(&engine, guard.guard()?).await?
            };
            let input: Box<dyn AsyncBufRead + Unpin> = match file {
                Some(file) => Box::new(BufReader::new(file)),
                None => Box::new(BufReader::new(io::stdin())),
            };
            let ran = conversation.run(input, io::stdout()).await;
            // Also when nobody reads any more: others wait for the sessions.
            conversation.end().await;
            Ok(ran?)
        }
        Some(Command::Serve(args)) => Box::pin(command::serve::run(args)).await,
        Some(Command::Rekey(args)) => Box::pin(command::rekey::run(args)).await,
    }
}

async fn show_component(
    out: &mut impl Write,
    file: Option<PathBuf>,
) -> Result<(), Box<dyn std::error::Error>> {
    let engine = SessionEngine::new()?;
    writeln!(out, "size: {} bytes", COMPONENT.len())?;
    writeln!(out, "imports:")?;
    for name in engine.imports() {
        writeln!(out, "  {name}")?;
    }
    writeln!(out, "exports:")?;
    for name in engine.exports() {
        writeln!(out, "  {name}")?;
    }
    if let Some(path) = file {
        tokio::fs::write(&path, COMPONENT)
            .await
            .map_err(|error| format!("{}: {error}", path.display()))?;
        writeln!(out, "written to {}", path.display())?;
    }
    Ok(())
}
