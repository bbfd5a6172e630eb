//! The command `bench-target`: a target that `bench` measures, in a separate process. It reads
//! commands from standard input and replies on standard output.

mod baseline;
mod calls;
mod component;
mod guard;
mod instances;
mod local;
mod native;
mod session_host;

use std::error::Error;
use std::io::{stdin, stdout};
use std::thread;

use clap::ValueEnum;
use clawdb_session_bench_protocol::original::Original;
use clawdb_session_bench_protocol::serve::serve;
use clawdb_session_bench_protocol::target::{Target, TargetError};
use clawdb_session_host::full_text;

/// A target of the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TargetName {
    /// The component of the world session, called by one task
    Component,
    /// The component of the world session-sync, called directly
    ComponentSync,
    /// The core as native code
    Core,
    /// The component of the world session in a `SessionHost`
    SessionHost,
    /// The component of the world session-sync in a `LocalSessions`
    LocalSessions,
    /// Concurrent creates, and many instances in one process
    Instances,
    /// A component that does no work
    Baseline,
    /// The original design as native code
    Original,
}

/// Executes commands until standard input ends.
///
/// # Errors
/// An error of starting the target, or of reading commands and writing replies.
pub fn run(name: TargetName) -> Result<(), Box<dyn Error>> {
    match name {
        TargetName::Component => serve_stdio(component::start()?),
        TargetName::ComponentSync => serve_stdio(local::start_instance()?),
        TargetName::Core => serve_stdio(native::start()?),
        TargetName::LocalSessions => {
            let sessions = local::start_sessions()?;
            // Another thread than the one that started the instance makes the calls.
            let serving = thread::spawn(|| serve_stdio(sessions).map_err(|it| it.to_string()));
            let served = serving.join().map_err(|_| "the calling thread panicked")?;
            Ok(served?)
        }
        TargetName::SessionHost => serve_stdio(session_host::SessionHostTarget::start()?),
        TargetName::Instances => serve_stdio(instances::InstancesTarget::start()?),
        TargetName::Baseline => serve_stdio(baseline::BaselineTarget::start()?),
        TargetName::Original => serve_stdio(Original::default()),
    }
}

/// Converts an error to the error of a target, with the full text of the error and its sources.
fn failed(error: impl Error + 'static) -> TargetError {
    TargetError::Failed(full_text(&error))
}

fn serve_stdio(target: impl Target) -> Result<(), Box<dyn Error>> {
    Ok(serve(target, stdin().lock(), stdout().lock())?)
}
