//! The reason of a failure: a text and, if an error was the cause, that error.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The reason of a failure: a text and, if an error was the cause, that error.
///
/// [`source`](Error::source) is the first error whose text is not part of this text. Two reasons
/// are equal if their texts are equal.
///
/// ```
/// use std::error::Error;
/// use std::io;
///
/// use clawdb_session_durable::{JournalError, Reason};
/// use clawdb_session_host::full_text;
///
/// let disk = io::Error::from(io::ErrorKind::StorageFull);
/// let error = JournalError::Unavailable(Reason::with_source("the file cannot be written", disk));
/// assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
/// assert_eq!(
///     full_text(&error),
///     "the journal is not available: the file cannot be written: no storage space"
/// );
/// ```
#[derive(Clone)]
pub struct Reason {
    text: Arc<str>,
    cause: Option<Cause>,
}

#[derive(Clone)]
enum Cause {
    /// The text of the reason does not contain that of the error.
    Source(Arc<dyn Error + Send + Sync>),
    /// The text of the reason contains that of the error, or replaces it.
    InText(Arc<dyn Error + Send + Sync>),
}

impl Reason {
    /// Returns a reason with this error as its source. The text does not contain that of the error.
    #[must_use]
    pub fn with_source(
        text: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(text, Cause::Source(Arc::from(source.into())))
    }

    /// Returns a reason with the text and the source of this error.
    #[must_use]
    pub fn from_error(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self::in_place_of(error.to_string(), error)
    }

    /// Returns a reason with the source of this error. The text contains that of the error, or
    /// replaces it.
    #[must_use]
    pub fn in_place_of(
        text: impl Into<String>,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(text, Cause::InText(Arc::from(error.into())))
    }

    fn new(text: impl Into<String>, cause: Cause) -> Self {
        Self {
            text: text.into().into(),
            cause: Some(cause),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the error that was the cause, whether or not the text contains that of the error.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match self.cause.as_ref()? {
            Cause::Source(error) | Cause::InText(error) => Some(&**error),
        }
    }
}

impl Error for Reason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.cause.as_ref()? {
            Cause::Source(error) => Some(&**error),
            Cause::InText(error) => error.source(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("Reason");
        tuple.field(&self.text);
        if let Some(cause) = self.cause() {
            tuple.field(&cause);
        }
        tuple.finish()
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Reason {}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self {
            text: text.into(),
            cause: None,
        }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::journal::JournalError;

    const OUTER: &str = "the journal is damaged: page 7";

    /// Returns an error with a source.
    fn outer() -> JournalError {
        JournalError::Damaged(Reason::with_source("page 7", io::Error::other("inner")))
    }

    fn source_of(reason: &Reason) -> Option<String> {
        reason.source().map(ToString::to_string)
    }

    #[test]
    fn an_error_whose_text_is_not_in_the_reason_is_its_source() {
        let reason = Reason::with_source("it failed", outer());
        assert_eq!(reason.to_string(), "it failed");
        assert_eq!(source_of(&reason).as_deref(), Some(OUTER));
        assert!(reason.source().unwrap().is::<JournalError>());
    }

    #[test]
    fn a_wrapped_error_is_the_cause_and_its_source_is_the_source_of_the_reason() {
        for (reason, text) in [
            (Reason::from_error(outer()), OUTER),
            (Reason::in_place_of("it failed", outer()), "it failed"),
        ] {
            assert_eq!(reason.as_str(), text);
            assert_eq!(source_of(&reason).as_deref(), Some("inner"));
            assert!(reason.cause().unwrap().is::<JournalError>());
        }
    }

    #[test]
    fn reasons_are_equal_if_their_texts_are() {
        assert_eq!(Reason::from(OUTER), Reason::from_error(outer()));
        assert_ne!(Reason::from("one"), Reason::from("another".to_owned()));
        assert!(Reason::from("one").cause().is_none());
    }
}
