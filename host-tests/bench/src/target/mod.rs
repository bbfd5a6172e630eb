//! `contestant`: one of those that `bench` measures, in a process of its own. It answers on standard
//! input and output.

mod baseline;
mod component;
mod guard;
mod instances;
mod session_host;

use std::error::Error;
use std::io::{stdin, stdout};

use clap::ValueEnum;
use clawdb_session_bench_protocol::original::Original;
use clawdb_session_bench_protocol::serve::serve;
use clawdb_session_bench_protocol::target::Contestant;

/// Who.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Name {
    /// The component, called by one task
    Component,
    /// The component behind the host's channel
    Channel,
    /// Many creates under way, many instances
    Crowd,
    /// The least that a component can do
    Floor,
    /// The original design, natively
    Original,
}

/// Answers until standard input ends.
///
/// # Errors
/// When it cannot be started, or its answer cannot be written.
pub fn run(name: Name) -> Result<(), Box<dyn Error>> {
    match name {
        Name::Component => answer(component::Component::start()?),
        Name::Channel => answer(session_host::Channel::start()?),
        Name::Crowd => answer(instances::Crowd::start()?),
        Name::Floor => answer(baseline::Floor::start()?),
        Name::Original => answer(Original::default()),
    }
}

fn answer(contestant: impl Contestant) -> Result<(), Box<dyn Error>> {
    Ok(serve(contestant, stdin().lock(), stdout().lock())?)
}
