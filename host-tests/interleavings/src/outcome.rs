//! What can be observed of a schedule when it has ended.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use clawdb_session::{Error, EventKind};

/// The outcome of a schedule. Ids, tokens and times are replaced by names that do not depend on the
/// order of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What each call returned.
    pub results: Vec<Answer>,
    /// Each session by its name, as it is at the end.
    pub sessions: BTreeMap<Rc<str>, SessionState>,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call succeeded, with what is said about its value.
    Ok(String),
    /// The call was refused.
    Refused(Error),
    /// The call has these answers, one for each token.
    Many(Vec<Answer>),
    /// Revocations were flushed. How many is not compared: that includes those which other calls
    /// are about to confirm.
    Flushed,
    /// The call was dropped.
    Dropped,
    /// The answer is not compared.
    Any,
}

/// A session at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// Its generation, uses left and expiry, if it is live.
    pub live: Option<(u64, Option<u32>, u64)>,
    /// The kinds of its events, without refused attempts.
    pub events: Vec<EventKind>,
    /// The generations of its tokens that validate.
    pub valid: Vec<u64>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (call, answer) in self.results.iter().enumerate() {
            writeln!(f, "  call {call}: {answer:?}")?;
        }
        for (name, state) in &self.sessions {
            let SessionState {
                live,
                events,
                valid,
            } = state;
            writeln!(
                f,
                "  {name}: live {live:?}, events {events:?}, valid tokens {valid:?}"
            )?;
        }
        Ok(())
    }
}

impl Answer {
    /// Returns how often the call succeeded: once for each token.
    pub fn successes(&self) -> usize {
        match self {
            Self::Ok(_) => 1,
            Self::Many(answers) => answers.iter().map(Self::successes).sum(),
            _ => 0,
        }
    }

    /// Returns the answer of a call that finds an expired session, if another call has found and
    /// ended it before.
    fn as_if_expired(&self) -> Self {
        match self {
            Self::Refused(Error::SessionNotFound | Error::InvalidToken) => {
                Self::Refused(Error::SessionExpired)
            }
            Self::Many(answers) => Self::Many(answers.iter().map(Self::as_if_expired).collect()),
            answer => answer.clone(),
        }
    }
}

impl Outcome {
    /// Returns the outcome with the answers of these calls only; they are given as bits. If
    /// `found_expired`, a call in flight has found that a session has expired, and has ended it.
    /// Then a later call does not find the session, as it otherwise would ("It has ended, if it
    /// existed").
    pub(crate) fn with_answers_of(&self, calls: u8, found_expired: bool) -> Self {
        let answers = self.results.iter().enumerate();
        let results = answers.map(|(call, answer)| match answer {
            _ if calls & (1 << call) == 0 => Answer::Any,
            answer if found_expired => answer.as_if_expired(),
            answer => answer.clone(),
        });
        Self {
            results: results.collect(),
            sessions: self.sessions.clone(),
        }
    }
}

impl SessionState {
    /// Returns whether the session has ended, by its events.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.events.last(), Some(EventKind::Ended(_)))
    }
}
