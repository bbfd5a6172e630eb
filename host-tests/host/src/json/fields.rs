//! Reads JSON objects field by field: bodies and queries of HTTP requests, and lines of `exec`.
//!
//! An error begins with the path of the field, such as `filter.role`, and describes the accepted
//! values. It contains no name of a Rust type and no value. A value can also be read as its text,
//! byte for byte.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The longest message of an [`Invalid`], in bytes.
const MAX_MESSAGE: usize = 256;
/// The longest part of an unknown field's name in a message, in bytes.
const MAX_NAME: usize = 64;

/// The reason why a text is not accepted. The message has at most 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The text is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// The text is JSON, but not the expected object. The message begins with the field's path.
    #[error("{0}")]
    Field(String),
}

/// A value that is read from JSON.
pub trait Read<'a>: Sized {
    /// Reads the value of the field with this path.
    ///
    /// # Errors
    /// [`Invalid`].
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid>;
}

/// A value that is read from the fields of a JSON object.
pub trait FromFields<'a>: Sized {
    /// Reads each field that the object can have. The caller refuses the fields that were not read.
    ///
    /// # Errors
    /// [`Invalid`].
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid>;
}

/// The fields of a JSON object that have not been read yet.
pub struct Fields<'a> {
    /// The beginning of the path of each field.
    prefix: String,
    values: BTreeMap<String, &'a RawValue>,
    /// The names of the fields that the reader asked for.
    known: Vec<&'static str>,
}

/// Reads a text that must be a JSON object. Errors about the whole text begin with `root`.
///
/// # Errors
/// [`Invalid`].
pub fn read<'a, T: FromFields<'a>>(root: &str, text: &'a [u8]) -> Result<T, Invalid> {
    let value: &RawValue = serde_json::from_slice(text)
        .map_err(|error| Invalid::Syntax(shortened(&error.to_string())))?;
    Fields::new(root, String::new(), value)?.all(T::from_fields)
}

/// Reads the value of the field with this path, which must be a JSON object.
///
/// # Errors
/// [`Invalid`].
pub fn object<'a, T: FromFields<'a>>(path: &str, value: &'a RawValue) -> Result<T, Invalid> {
    object_by(path, value, T::from_fields)
}

/// Reads a value as [`object`] does, with a function for the fields.
///
/// # Errors
/// [`Invalid`].
pub fn object_by<'a, T>(
    path: &str,
    value: &'a RawValue,
    read: impl FnOnce(&mut Fields<'a>) -> Result<T, Invalid>,
) -> Result<T, Invalid> {
    Fields::new(path, format!("{path}."), value)?.all(read)
}

/// Reads the value of the field with this path, which must be one of these strings.
///
/// # Errors
/// [`Invalid`].
pub fn one_of<T: Copy>(path: &str, value: &RawValue, choices: &[(&str, T)]) -> Result<T, Invalid> {
    let text = serde_json::from_str::<String>(value.get()).ok();
    let chosen = choices
        .iter()
        .find(|(name, _)| text.as_deref() == Some(name));
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        invalid(path, &format!("must be one of {}", names.join(", ")))
    })
}

/// Returns the error of a field. The reason describes the accepted values or the fault.
#[must_use]
pub fn invalid(path: &str, reason: &str) -> Invalid {
    Invalid::Field(shortened(&format!("{path}: {reason}")))
}

/// Returns the text, cut to at most 256 bytes, the length of a message.
#[must_use]
pub fn shortened(text: &str) -> String {
    cut(text, MAX_MESSAGE)
}

impl<'a> Fields<'a> {
    fn new(path: &str, prefix: String, value: &'a RawValue) -> Result<Self, Invalid> {
        if !value.get().starts_with('{') {
            return Err(invalid(path, "must be an object"));
        }
        // The text is valid JSON, because it was parsed before. So only a field name can be
        // invalid.
        let ObjectMembers(members) = serde_json::from_str(value.get())
            .map_err(|_| invalid(path, "has a field name with a lone surrogate"))?;
        let mut fields = Self {
            prefix,
            values: BTreeMap::new(),
            known: Vec::new(),
        };
        for (name, value) in members {
            if fields.values.contains_key(&name) {
                return Err(invalid(&fields.path(&name), "is given twice"));
            }
            fields.values.insert(name, value);
        }
        Ok(fields)
    }

    /// Reads the fields, and refuses the object if it has a field that was not read.
    fn all<T>(mut self, read: impl FnOnce(&mut Self) -> Result<T, Invalid>) -> Result<T, Invalid> {
        let all = read(&mut self)?;
        match self.values.keys().next() {
            None => Ok(all),
            Some(name) => Err(invalid(
                &self.path(name),
                &format!("is unknown; the fields are {}", self.known.join(", ")),
            )),
        }
    }

    /// Reads a field that may be absent. `null` counts as absent.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn optional<T: Read<'a>>(&mut self, name: &'static str) -> Result<Option<T>, Invalid> {
        self.optional_by(name, T::read)
    }

    /// Reads a field that must be present.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn required<T: Read<'a>>(&mut self, name: &'static str) -> Result<T, Invalid> {
        self.required_by(name, T::read)
    }

    /// Reads a field as [`optional`](Self::optional) does, with a function for the value.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn optional_by<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str, &'a RawValue) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        let value = self.take(name).filter(|value| value.get() != "null");
        value.map(|value| read(&self.path(name), value)).transpose()
    }

    /// Reads a field as [`required`](Self::required) does, with a function for the value.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn required_by<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str, &'a RawValue) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        let path = self.path(name);
        let value = self.take(name);
        read(&path, value.ok_or_else(|| invalid(&path, "is missing"))?)
    }

    /// Returns the text of a field's value, even if it is `null`; `None` if the field is absent.
    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.take(name).map(RawValue::get)
    }

    /// Returns the error of a field.
    #[must_use]
    pub fn invalid(&self, name: &str, reason: &str) -> Invalid {
        invalid(&self.path(name), reason)
    }

    fn take(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.known.push(name);
        self.values.remove(name)
    }

    fn path(&self, name: &str) -> String {
        format!("{}{}", self.prefix, cut(name, MAX_NAME))
    }
}

/// The members of an object in their order. A name can occur more than once.
struct ObjectMembers<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for ObjectMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = ObjectMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(ObjectMembers(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

impl<'a> Read<'a> for String {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        serde_json::from_str(value.get()).map_err(|_| {
            let is_string = value.get().starts_with('"');
            let reason = if is_string {
                "must have no lone surrogate"
            } else {
                "must be a string"
            };
            invalid(path, reason)
        })
    }
}

impl<'a, T: Read<'a>> Read<'a> for Vec<T> {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        let items: Vec<&RawValue> =
            serde_json::from_str(value.get()).map_err(|_| invalid(path, "must be a list"))?;
        let items = items.into_iter().enumerate();
        items
            .map(|(index, item)| T::read(&format!("{path}[{index}]"), item))
            .collect()
    }
}

impl<'a> Read<'a> for bool {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        serde_json::from_str(value.get()).map_err(|_| invalid(path, "must be true or false"))
    }
}

impl<'a> Read<'a> for f64 {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        serde_json::from_str(value.get()).map_err(|_| invalid(path, "must be a number"))
    }
}

/// Implements [`Read`] for unsigned numbers.
macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl<'a> Read<'a> for $number {
            fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
                let text = value.get();
                serde_json::from_str(text).map_err(|_| {
                    let is_whole = text.bytes().all(|byte| byte.is_ascii_digit());
                    // The message has no bound, because the field may have a smaller one than its
                    // type.
                    let reason = if is_whole {
                        "is too large"
                    } else {
                        "must be a whole number and not negative"
                    };
                    invalid(path, reason)
                })
            }
        }
    )*};
}

whole_numbers!(u32, u64, usize);

/// Returns the text. If it is longer than `max` bytes, it is cut and ends in `...`.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.into();
    }
    let end = text.floor_char_boundary(max - 3);
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object with a field of each kind.
    #[derive(Debug, PartialEq)]
    struct Sample {
        number: u32,
        list: Vec<String>,
        inner: Option<Box<Sample>>,
        text: Option<String>,
    }

    impl<'a> FromFields<'a> for Sample {
        fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
            Ok(Self {
                number: fields.required("number")?,
                list: fields.optional("list")?.unwrap_or_default(),
                inner: fields.optional_by("inner", object)?.map(Box::new),
                text: fields.text("text").map(Into::into),
            })
        }
    }

    fn sample(text: &str) -> Result<Sample, Invalid> {
        read("body", text.as_bytes())
    }

    fn reason(text: &str) -> String {
        match sample(text) {
            Err(Invalid::Field(reason)) => reason,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_value_can_be_read_as_a_type_or_as_its_text() {
        let text =
            r#" {"number": 7, "list": ["a"], "inner": null, "text": [ 1e400,{"a":1,"a":2} ] } "#;
        let expected = Sample {
            number: 7,
            list: vec!["a".into()],
            inner: None,
            text: Some(r#"[ 1e400,{"a":1,"a":2} ]"#.into()),
        };
        assert_eq!(sample(text), Ok(expected));
        let null = sample(r#"{"number":0,"text":null}"#).unwrap();
        assert_eq!(null.text.as_deref(), Some("null"));
    }

    #[test]
    fn an_error_begins_with_the_path_of_the_field() {
        let number = "must be a whole number and not negative";
        for (text, expected) in [
            ("1", "body: must be an object"),
            ("null", "body: must be an object"),
            ("[1]", "body: must be an object"),
            ("{}", "number: is missing"),
            (r#"{"number":1.0}"#, &format!("number: {number}")),
            (r#"{"number":null}"#, &format!("number: {number}")),
            (r#"{"number":-1}"#, &format!("number: {number}")),
            (r#"{"number":4294967296}"#, "number: is too large"),
            (r#"{"number":1,"number":1}"#, "number: is given twice"),
            (r#"{"number":1,"list":{}}"#, "list: must be a list"),
            (r#"{"number":1,"list":["",2]}"#, "list[1]: must be a string"),
            (
                r#"{"number":1,"list":["\ud800"]}"#,
                "list[0]: must have no lone surrogate",
            ),
            (
                r#"{"\ud800":1}"#,
                "body: has a field name with a lone surrogate",
            ),
            (r#"{"number":1,"inner":1}"#, "inner: must be an object"),
            (
                r#"{"number":1,"inner":{"number":""}}"#,
                &format!("inner.number: {number}"),
            ),
            (
                r#"{"number":1,"inner":{"number":1,"x":1}}"#,
                "inner.x: is unknown; the fields are number, list, inner, text",
            ),
        ] {
            assert_eq!(reason(text), expected, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_json_is_a_syntax_error() {
        for text in [
            "",
            "{",
            "{\"number\":01}",
            "{\"number\":1}}",
            "nonsense",
            "{\"a\":\"\n\"}",
        ] {
            assert!(matches!(sample(text), Err(Invalid::Syntax(_))), "{text}");
        }
        let bytes = read::<Sample>("body", b"{\"\xff\":1}");
        assert!(matches!(bytes, Err(Invalid::Syntax(_))), "{bytes:?}");
        let deep = format!(
            "{{\"number\":1,\"text\":{}{}}}",
            "[".repeat(9_000),
            "]".repeat(9_000)
        );
        assert_eq!(
            sample(&deep).unwrap().text.map(|text| text.len()),
            Some(18_000)
        );
    }

    #[test]
    fn a_message_has_at_most_256_bytes_and_ends_at_a_character() {
        let long = format!(r#"{{"number":1,"{}":1}}"#, "ü".repeat(30_000));
        let message = reason(&long);
        assert!(message.starts_with(&"ü".repeat(30)), "{message}");
        assert!(message.contains("...: is unknown"), "{message}");
        assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
        assert_eq!(
            shortened(&"ü".repeat(200)),
            format!("{}...", "ü".repeat(126))
        );
    }
}
