//! Conformance vectors: conversations with an instance, and the answers that it must give.
//! `vectors/README.md` describes their format.
//!
//! This module is public because vectors can also check a guard: the component gives the same
//! answers with any token authority that keeps the contract.

use std::collections::HashMap;
use std::path::Path;
use std::{fmt, fs, io};

use clawdb_session_host::World;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::exec::Conversation;

/// A conformance vector.
#[derive(Clone, Debug)]
pub struct Vector {
    /// The name of the file.
    pub file: String,
    /// The first line of the file.
    pub head: VectorHeader,
    exchanges: Vec<Exchange>,
}

/// The first line of a vector.
#[derive(Clone, Debug, Deserialize)]
pub struct VectorHeader {
    /// The number of the vector.
    #[serde(rename = "vector")]
    pub number: u64,
    /// The behaviour that the vector checks.
    pub title: String,
    /// The rules that the vector checks, such as `R12`.
    pub rules: Vec<String>,
    /// The only world in which the vector can run; `None` for both worlds.
    #[serde(default, deserialize_with = "world")]
    pub world: Option<World>,
}

#[derive(Clone, Debug, Deserialize)]
struct Exchange {
    send: Value,
    expect: Value,
}

/// An answer that does not contain the expected one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub struct Mismatch {
    file: String,
    line: usize,
    sent: String,
    answer: Value,
    expected: Value,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            sent,
            answer,
            expected,
        } = self;
        write!(
            f,
            "{file}:{line}\n  sent     {sent}\n  answer   {answer}\n  expected {expected}"
        )
    }
}

/// Reads the name of a world.
fn world<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<World>, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map(Some).map_err(serde::de::Error::custom)
}

/// The values of the names in a conversation.
type Names = HashMap<String, Value>;

impl Vector {
    /// Reads the vectors in a folder, in order of their file names.
    ///
    /// # Errors
    /// The error of a file that cannot be read or is not a vector, with its path.
    pub fn read_all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut vectors = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "jsonl") {
                vectors.push(Self::read(&path)?);
            }
        }
        vectors.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(vectors)
    }

    fn read(path: &Path) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(named)?;
        let mut lines = text.lines();
        let head = serde_json::from_str(lines.next().unwrap_or_default());
        let exchanges = lines.map(serde_json::from_str).collect::<Result<_, _>>();
        let file = path.file_name().unwrap_or_default();
        Ok(Self {
            file: file.to_string_lossy().into_owned(),
            head: head.map_err(|error| named(error.into()))?,
            exchanges: exchanges.map_err(|error| named(error.into()))?,
        })
    }

    /// Returns the number of exchanges.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    /// Returns whether the vector can run in a world.
    #[must_use]
    pub fn runs_in(&self, world: World) -> bool {
        self.head.world.is_none_or(|only| only == world)
    }

    /// Sends the lines of the vector to a conversation and compares the answers. The conversation
    /// must be new and have controls.
    ///
    /// # Errors
    /// The first [`Mismatch`].
    pub async fn replay(&self, mut conversation: Conversation) -> Result<(), Mismatch> {
        let mut names = Names::new();
        for (exchange, line) in self.exchanges.iter().zip(2..) {
            let sent = match filled_in(&exchange.send, &names) {
                // A string is sent as the line itself.
                Value::String(line) => line,
                request => request.to_string(),
            };
            let answer = conversation.answer(sent.as_bytes()).await;
            if !contains(&answer, &exchange.expect, &mut names) {
                return Err(Mismatch {
                    file: self.file.clone(),
                    line,
                    sent,
                    answer,
                    expected: filled_in(&exchange.expect, &names),
                });
            }
        }
        Ok(())
    }
}

/// Returns whether a string stands for the value of a name.
fn is_name(text: &str) -> bool {
    text.starts_with('$') && text != "$*"
}

/// Returns the value with names replaced by their values.
fn filled_in(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) if is_name(text) => names.get(text).unwrap_or(value).clone(),
        Value::Array(items) => items.iter().map(|item| filled_in(item, names)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), filled_in(value, names)))
            .collect(),
        _ => value.clone(),
    }
}

/// Returns whether an answer contains the expected value. Gives each new name in `expected` the
/// value that it is compared with.
fn contains(answer: &Value, expected: &Value, names: &mut Names) -> bool {
    match (expected, answer) {
        (Value::String(any), _) if any == "$*" => true,
        (Value::String(name), _) if is_name(name) => {
            names.entry(name.clone()).or_insert_with(|| answer.clone()) == answer
        }
        (Value::Object(expected), Value::Object(answer)) => {
            expected.iter().all(|(field, value)| {
                answer
                    .get(field)
                    .is_some_and(|answer| contains(answer, value, names))
            })
        }
        (Value::Array(expected), Value::Array(answer)) => {
            expected.len() == answer.len()
                && answer
                    .iter()
                    .zip(expected)
                    .all(|(answer, item)| contains(answer, item, names))
        }
        _ => answer == expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_more_fields_contains_the_expected_one_and_a_different_one_does_not() {
        let holds = |answer: &str, expected: &str| {
            let read = |text| serde_json::from_str(text).unwrap();
            contains(&read(answer), &read(expected), &mut Names::new())
        };
        assert!(holds(
            r#"{"a":1,"b":[{"c":2,"d":3}]}"#,
            r#"{"b":[{"c":2}]}"#
        ));
        assert!(holds("[1,1]", r#"["$x","$x"]"#));
        for (answer, expected) in [
            (r#"{"a":1}"#, r#"{"a":2}"#),
            (r#"{"a":1}"#, r#"{"b":"$*"}"#),
            (r#"{"ok":null}"#, r#"{"err":{"kind":"conflict"}}"#),
            ("[1,2]", "[1]"),
            ("[1,2]", r#"["$x","$x"]"#),
            ("1", r#""1""#),
        ] {
            assert!(
                !holds(answer, expected),
                "{answer} does not contain {expected}"
            );
        }
    }
}
