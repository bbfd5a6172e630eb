//! The target's side of the protocol: it reads commands and writes replies.

use std::io::{self, BufRead, Write};

use crate::harness::Harness;
use crate::message::{Command, Reply};
use crate::target::{Target, TargetError};

/// Executes commands until the input ends.
///
/// # Errors
/// An error of reading or writing. A command that fails or is invalid is answered with
/// [`Reply::Failed`].
pub fn serve(
    target: impl Target,
    commands: impl BufRead,
    mut replies: impl Write,
) -> io::Result<()> {
    let mut harness = Harness::new(target);
    for line in commands.lines() {
        let line = line?;
        let reply = match serde_json::from_str(&line) {
            Ok(command) => execute(&mut harness, command),
            Err(error) => Err(TargetError::failed(error)),
        };
        let reply = reply.unwrap_or_else(|error| Reply::Failed(error.to_string()));
        serde_json::to_writer(&mut replies, &reply)?;
        replies.write_all(b"\n")?;
        replies.flush()?;
    }
    Ok(())
}

fn execute(harness: &mut Harness<impl Target>, command: Command) -> Result<Reply, TargetError> {
    Ok(match command {
        Command::Fill(count) => Reply::Filled(harness.fill(count)?),
        Command::Time(operation, calls) => Reply::Time(harness.time(operation, calls)?),
        Command::Metric(metric) => Reply::Metric(harness.metric(metric)?),
    })
}
