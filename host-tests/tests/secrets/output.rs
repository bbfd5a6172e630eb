//! What calls return, as texts.

use std::error::Error;
use std::fmt::Debug;

use clawdb_session_host::full_text;
use clawdb_session_testkit::Secrets;

/// The answers of calls as texts, and the texts of their errors.
#[derive(Default)]
pub struct Output(Vec<u8>);

impl Output {
    pub fn add(&mut self, text: &str) {
        self.0.extend(text.bytes());
        self.0.push(b'\n');
    }

    /// Adds an answer, and returns it if the call succeeded. A grant contains its token, but its
    /// `Debug` output does not.
    pub fn report<T: Debug, E: Error + 'static>(&mut self, answer: Result<T, E>) -> Option<T> {
        self.add(&format!("{answer:?}"));
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.add(&error.to_string());
                self.add(&full_text(&error));
                None
            }
        }
    }

    /// Checks that the output contains a text, so that a search of it has what it is about.
    pub fn assert_contains(&self, text: &str) {
        let is_there = !Secrets::of("text", text).found_in(&self.0).is_empty();
        assert!(is_there, "no answer contains {text:?}");
    }

    /// Checks that the output contains no secret, and drops it.
    pub fn search(&mut self, secrets: &Secrets) {
        secrets.assert_absent("the output", &self.0);
        self.0.clear();
    }
}
