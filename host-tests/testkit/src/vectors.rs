//! Conformance vectors: conversations with an instance, and what it must answer. `vectors/README.md`
//! says how they are written.
//!
//! They are part of the library because they check a guard as well: the component behaves as they
//! say on any token authority that keeps the contract.

use std::collections::HashMap;
use std::path::Path;
use std::{fmt, fs, io};

use serde::Deserialize;
use serde_json::Value;

use crate::exec::Conversation;

/// A vector.
#[derive(Clone, Debug)]
pub struct Vector {
    /// The name of its file.
    pub file: String,
    /// What it says of itself.
    pub head: VectorHeader,
    exchanges: Vec<Exchange>,
}

/// What a vector says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct VectorHeader {
    /// Its number.
    #[serde(rename = "vector")]
    pub number: u64,
    /// What it shows.
    pub title: String,
    /// The rules that it checks, such as `R12`.
    pub rules: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Exchange {
    send: Value,
    expect: Value,
}

/// An answer that is not the one expected.
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

/// The values that names stand for.
type Names = HashMap<String, Value>;

impl Vector {
    /// The vectors in a folder, by the names of their files.
    ///
    /// # Errors
    /// When a file cannot be read, or is no vector.
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

    /// Holds the conversation, which has to be a new one with controls.
    ///
    /// # Errors
    /// The first [`Mismatch`].
    pub async fn replay(&self, mut conversation: Conversation) -> Result<(), Mismatch> {
        let mut names = Names::new();
        for (exchange, line) in self.exchanges.iter().zip(2..) {
            let sent = match filled_in(&exchange.send, &names) {
                // A line as it is.
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

fn is_name(text: &str) -> bool {
    text.starts_with('$') && text != "$*"
}

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
    fn an_answer_that_differs_is_told_from_one_that_contains_what_is_expected() {
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
