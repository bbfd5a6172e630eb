//! The side that asks: a contestant in a process of its own.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::message::{Answer, Ask, Filled};
use crate::target::{Figure, Operation};

/// A contestant's process. It ends when this is dropped.
pub struct Process {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<io::Result<String>>,
    limit: Duration,
}

/// Why there is no answer. There will not be another one either.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("it could not be started: {0}")]
    NotStarted(#[source] io::Error),
    /// It ended.
    #[error("it ended: {0}")]
    Ended(String),
    /// It did not answer in time.
    #[error("it did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// It answered something else than what it was asked.
    #[error("it answered {0:?}")]
    Nonsense(String),
    /// It could not do what it was asked to.
    #[error("{0}")]
    Failed(String),
}

impl Process {
    /// Starts a program. Each answer may take as long as `limit`.
    ///
    /// # Errors
    /// [`ProcessError::NotStarted`].
    pub fn start(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        limit: Duration,
    ) -> Result<Self, ProcessError> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(ProcessError::NotStarted)?;
        let questions = child.stdin.take();
        let (sender, answers) = mpsc::channel();
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
            questions,
            answers,
            limit,
        })
    }

    /// Has sessions made until there are so many.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn fill(&mut self, count: u32) -> Result<Option<Filled>, ProcessError> {
        match self.ask(Ask::Fill(count))? {
            Answer::Filled(filled) => Ok(filled),
            answer => Err(nonsense(&answer)),
        }
    }

    /// The time of a call out of so many, in nanoseconds.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn time(&mut self, operation: Operation, calls: u32) -> Result<Option<f64>, ProcessError> {
        match self.ask(Ask::Time(operation, calls))? {
            Answer::Took(took) => Ok(took),
            answer => Err(nonsense(&answer)),
        }
    }

    /// A figure that is no time of a call.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn figure(&mut self, figure: Figure) -> Result<Option<f64>, ProcessError> {
        match self.ask(Ask::Figure(figure))? {
            Answer::Figure(figure) => Ok(figure),
            answer => Err(nonsense(&answer)),
        }
    }

    fn ask(&mut self, ask: Ask) -> Result<Answer, ProcessError> {
        let mut line = serde_json::to_string(&ask)
            .map_err(|error| ProcessError::Nonsense(error.to_string()))?;
        line.push('\n');
        let sent = match &mut self.questions {
            Some(questions) => questions.write_all(line.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if sent.is_err() {
            return Err(self.ended());
        }
        let line = match self.answers.recv_timeout(self.limit) {
            Ok(line) => line.map_err(|error| ProcessError::Nonsense(error.to_string()))?,
            Err(RecvTimeoutError::Timeout) => return Err(ProcessError::Silent(self.limit)),
            Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
        };
        match serde_json::from_str(&line) {
            Ok(Answer::Failed(reason)) => Err(ProcessError::Failed(reason)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(ProcessError::Nonsense(line)),
        }
    }

    /// It has closed its output, so it is about to be gone.
    fn ended(&mut self) -> ProcessError {
        self.questions = None;
        ProcessError::Ended(match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        })
    }
}

fn nonsense(answer: &Answer) -> ProcessError {
    ProcessError::Nonsense(format!("{answer:?}"))
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without questions it ends by itself, and cleans up; one that does not is ended.
        self.questions = None;
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
