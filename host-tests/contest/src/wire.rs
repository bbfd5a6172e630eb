//! A contestant in a process of its own: questions in, answers out, a JSON object a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Failed, Measure};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Question {
    Grow { sessions: usize },
    Measure { what: Measure, calls: usize },
    Resident,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done,
    Value(Option<f64>),
    Failed(String),
}

/// Why a contestant does not answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Its process could not be started, or is gone.
    #[error("the process of {name} could not be asked: {source}")]
    Process {
        /// The contestant.
        name: String,
        /// What happened.
        source: std::io::Error,
    },
    /// It answered something that is no answer.
    #[error("{name} answered `{line}`")]
    Nonsense {
        /// The contestant.
        name: String,
        /// What it answered.
        line: String,
    },
    /// It says that it failed.
    #[error("{name}: {reason}")]
    Failed {
        /// The contestant.
        name: String,
        /// What it says.
        reason: String,
    },
}

/// Answers questions until there are no more.
///
/// # Errors
/// When questions cannot be read or understood, or answers not be written. That the contestant failed is an
/// answer.
pub fn serve(
    contestant: &mut dyn Contestant,
    questions: impl BufRead,
    mut answers: impl Write,
) -> Result<(), Failed> {
    for line in questions.lines() {
        let answer = match serde_json::from_str(&line?)? {
            Question::Grow { sessions } => contestant.grow(sessions).map(|()| Answer::Done),
            Question::Measure { what, calls } => {
                contestant.measure(what, calls.max(1)).map(Answer::Value)
            }
            Question::Resident => resident().map(Answer::Value),
        };
        let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
        serde_json::to_writer(&mut answers, &answer)?;
        answers.write_all(b"\n")?;
        answers.flush()?;
    }
    Ok(())
}

/// How much memory this process has, in bytes, as far as the system tells.
fn resident() -> Result<Option<f64>, Failed> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Ok(None);
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(match kib {
        Some(kib) => Some(kib.parse::<f64>()? * 1_024.0),
        None => None,
    })
}

/// A contestant in another process. It ends with this value.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the program, which is to [`serve`].
    ///
    /// # Errors
    /// [`WireError::Process`].
    pub fn start(name: &str, program: &mut Command) -> Result<Self, WireError> {
        let mut start = || {
            let mut child = program
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let questions = child.stdin.take();
            let answers = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok((child, questions, BufReader::new(answers)))
        };
        let (child, questions, answers) = start().map_err(|source| WireError::Process {
            name: name.into(),
            source,
        })?;
        Ok(Self {
            name: name.into(),
            child,
            questions,
            answers,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`Contestant::grow`].
    ///
    /// # Errors
    /// [`WireError`].
    pub fn grow(&mut self, sessions: usize) -> Result<(), WireError> {
        self.ask(&Question::Grow { sessions }).map(drop)
    }

    /// See [`Contestant::measure`].
    ///
    /// # Errors
    /// [`WireError`].
    pub fn measure(&mut self, what: Measure, calls: usize) -> Result<Option<f64>, WireError> {
        self.ask(&Question::Measure { what, calls })
    }

    /// How much memory its process has, in bytes.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn resident(&mut self) -> Result<Option<f64>, WireError> {
        self.ask(&Question::Resident)
    }

    fn ask(&mut self, question: &Question) -> Result<Option<f64>, WireError> {
        let line = self.exchange(question);
        let line = line.map_err(|source| WireError::Process {
            name: self.name.clone(),
            source,
        })?;
        match serde_json::from_str(&line) {
            Ok(Answer::Done) => Ok(None),
            Ok(Answer::Value(value)) => Ok(value),
            Ok(Answer::Failed(reason)) => Err(WireError::Failed {
                name: self.name.clone(),
                reason,
            }),
            Err(_) => Err(WireError::Nonsense {
                name: self.name.clone(),
                line: line.trim_end().into(),
            }),
        }
    }

    fn exchange(&mut self, question: &Question) -> std::io::Result<String> {
        let mut line = serde_json::to_string(question)?;
        line.push('\n');
        let questions = self.questions.as_mut();
        let questions = questions.ok_or(std::io::ErrorKind::BrokenPipe)?;
        questions.write_all(line.as_bytes())?;
        line.clear();
        match self.answers.read_line(&mut line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without questions it ends by itself; one that does not is not waited for.
        self.questions = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::original::Original;

    fn converse(questions: &[Question]) -> Vec<Answer> {
        let lines: Vec<String> = questions
            .iter()
            .map(|question| serde_json::to_string(question).unwrap() + "\n")
            .collect();
        let mut answers = Vec::new();
        serve(
            &mut Original::default(),
            lines.concat().as_bytes(),
            &mut answers,
        )
        .unwrap();
        String::from_utf8(answers)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn measured(what: Measure) -> Question {
        Question::Measure { what, calls: 20 }
    }

    #[test]
    fn the_original_design_measures_what_it_has_and_keeps_as_many_sessions_as_it_had() {
        let mut questions = vec![Question::Grow { sessions: 50 }];
        let operations = [
            Measure::Validate,
            Measure::Create,
            Measure::Revoke,
            Measure::Refresh,
            Measure::Validate,
            Measure::RevokeAll,
            Measure::Prune,
            Measure::LongestCreate,
        ];
        questions.extend(operations.map(measured));
        questions.push(measured(Measure::ValidateMany));
        let answers = converse(&questions);
        assert!(matches!(answers.first(), Some(Answer::Done)));
        for answer in &answers[1..=operations.len()] {
            assert!(
                matches!(answer, Answer::Value(Some(time)) if *time > 0.0),
                "{answer:?}"
            );
        }
        assert!(matches!(answers.last(), Some(Answer::Value(None))));
    }

    #[test]
    fn what_goes_wrong_in_a_contestant_is_an_answer_and_the_conversation_goes_on() {
        struct Broken;
        impl Contestant for Broken {
            fn grow(&mut self, _: usize) -> Result<(), Failed> {
                Err("no room".into())
            }
            fn measure(&mut self, _: Measure, _: usize) -> Result<Option<f64>, Failed> {
                Ok(Some(1.0))
            }
        }
        let questions = [Question::Grow { sessions: 1 }, measured(Measure::Prune)];
        let lines = questions.map(|question| serde_json::to_string(&question).unwrap() + "\n");
        let mut answers = Vec::new();
        serve(&mut Broken, lines.concat().as_bytes(), &mut answers).unwrap();
        assert_eq!(
            String::from_utf8(answers).unwrap(),
            "{\"failed\":\"no room\"}\n{\"value\":1.0}\n"
        );
    }

    #[test]
    fn a_process_that_is_no_contestant_is_told_by_name() {
        let mut cat = Process::start("cat", &mut Command::new("cat")).unwrap();
        assert!(matches!(
            cat.grow(1),
            Err(WireError::Nonsense { name, .. }) if name == "cat"
        ));
        let mut gone = Process::start("gone", &mut Command::new("true")).unwrap();
        assert!(matches!(
            gone.grow(1),
            Err(WireError::Process { name, .. }) if name == "gone"
        ));
    }
}
