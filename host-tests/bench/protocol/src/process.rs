//! The bench's side of the protocol: a target in a separate process.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{self, Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::message::{Command, FillReport, Reply};
use crate::target::{Metric, Operation};

/// A target's process. Dropping it ends the process.
pub struct TargetProcess {
    child: Child,
    commands: Option<ChildStdin>,
    replies: Receiver<io::Result<String>>,
    timeout: Duration,
}

/// The error of a command without a valid reply. The process sends no later reply either.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The process could not be started.
    #[error("it could not be started")]
    NotStarted(#[source] io::Error),
    /// The process ended.
    #[error("it ended: {0}")]
    Exited(String),
    /// The process did not reply in time.
    #[error("it did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The reply is not a reply to the command.
    #[error("it answered {}", Value::from(.0.as_str()))]
    InvalidReply(String),
    /// The target could not execute the command.
    #[error("{0}")]
    Failed(String),
}

impl TargetProcess {
    /// Starts a program. Each reply may take up to `timeout`.
    ///
    /// # Errors
    /// [`ProcessError::NotStarted`] with the operating system's error.
    pub fn start(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        timeout: Duration,
    ) -> Result<Self, ProcessError> {
        let mut child = process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(ProcessError::NotStarted)?;
        let commands = child.stdin.take();
        let (sender, replies) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines() {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self {
            child,
            commands,
            replies,
            timeout,
        })
    }

    /// Lets the target create sessions until there are `count`.
    ///
    /// # Errors
    /// [`ProcessError`] without a valid reply in time.
    pub fn fill(&mut self, count: u32) -> Result<Option<FillReport>, ProcessError> {
        match self.send(Command::Fill(count))? {
            Reply::Filled(report) => Ok(report),
            reply => Err(invalid(&reply)),
        }
    }

    /// Returns the time of a call, measured over this many calls, in nanoseconds.
    ///
    /// # Errors
    /// [`ProcessError`] without a valid reply in time.
    pub fn time(&mut self, operation: Operation, calls: u32) -> Result<Option<f64>, ProcessError> {
        match self.send(Command::Time(operation, calls))? {
            Reply::Time(time) => Ok(time),
            reply => Err(invalid(&reply)),
        }
    }

    /// Measures something other than the time of a call.
    ///
    /// # Errors
    /// [`ProcessError`] without a valid reply in time.
    pub fn metric(&mut self, metric: Metric) -> Result<Option<f64>, ProcessError> {
        match self.send(Command::Metric(metric))? {
            Reply::Metric(value) => Ok(value),
            reply => Err(invalid(&reply)),
        }
    }

    fn send(&mut self, command: Command) -> Result<Reply, ProcessError> {
        let mut line = serde_json::to_string(&command)
            .map_err(|error| ProcessError::InvalidReply(error.to_string()))?;
        line.push('\n');
        let sent = match &mut self.commands {
            Some(commands) => commands.write_all(line.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if sent.is_err() {
            return Err(self.exited());
        }
        let line = match self.replies.recv_timeout(self.timeout) {
            Ok(line) => line.map_err(|error| ProcessError::InvalidReply(error.to_string()))?,
            Err(RecvTimeoutError::Timeout) => return Err(ProcessError::TimedOut(self.timeout)),
            Err(RecvTimeoutError::Disconnected) => return Err(self.exited()),
        };
        match serde_json::from_str(&line) {
            Ok(Reply::Failed(reason)) => Err(ProcessError::Failed(reason)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(ProcessError::InvalidReply(line)),
        }
    }

    /// Waits for the process, which has closed its input or output, and returns its exit status as
    /// an error.
    fn exited(&mut self) -> ProcessError {
        self.commands = None;
        ProcessError::Exited(match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        })
    }
}

fn invalid(reply: &Reply) -> ProcessError {
    let reply = serde_json::to_string(reply);
    ProcessError::InvalidReply(reply.unwrap_or_else(|error| error.to_string()))
}

impl Drop for TargetProcess {
    fn drop(&mut self) {
        // At the end of its input, a target cleans up and ends. Otherwise it is killed after 2 s.
        self.commands = None;
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
