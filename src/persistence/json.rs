//! The JSON of records (RFC 8259): objects of texts, whole numbers, `true`, objects, and lists of
//! objects.
//!
//! Reading copies no text without escapes, and writing builds no tree. An object within another one
//! is parsed when it is asked for. The same with `serde` makes the component about 100 kB larger,
//! because it includes numbers with a fraction, which no record has. The component checks the seal
//! of a record before it parses the record.

use std::borrow::Cow;

use crate::domain::json::Reader;
use crate::domain::text::Text;
use crate::persistence::hex;

/// A writer of an object. The names of members are written without escapes.
#[derive(Debug)]
pub struct Writer {
    text: String,
}

impl Writer {
    /// Returns a writer of an object without members.
    #[must_use]
    pub fn new() -> Self {
        Self { text: "{".into() }
    }

    /// Adds a member that is a text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.text.push('"');
        self.escaped(text);
        self.text.push('"');
    }

    /// Adds a member that is a text in pieces.
    pub fn pieces(&mut self, name: &str, text: &Text) {
        self.name(name);
        self.text.push('"');
        for piece in text.pieces() {
            self.escaped(piece);
        }
        self.text.push('"');
    }

    fn escaped(&mut self, text: &str) {
        for char in text.chars() {
            match char {
                '"' | '\\' => self.text.extend(['\\', char]),
                '\0'..' ' => {
                    self.text.push_str("\\u00");
                    self.text.push_str(&hex::encode(&[char as u8]));
                }
                _ => self.text.push(char),
            }
        }
    }

    /// Adds a member that is a number.
    pub fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        self.text.push_str(&number.to_string());
    }

    /// Adds a member that is true, or nothing if the flag is false.
    pub fn flag(&mut self, name: &str, flag: bool) {
        if flag {
            self.name(name);
            self.text.push_str("true");
        }
    }

    /// Adds a member that is an object.
    pub fn object(&mut self, name: &str, object: Self) {
        self.name(name);
        self.text.push_str(&object.finish());
    }

    /// Adds a member that is a list of objects, or nothing if the list is empty.
    pub fn list(&mut self, name: &str, objects: impl Iterator<Item = Self>) {
        let objects: Vec<String> = objects.map(Self::finish).collect();
        if !objects.is_empty() {
            self.name(name);
            self.text.push('[');
            self.text.push_str(&objects.join(","));
            self.text.push(']');
        }
    }

    /// Returns the JSON text of the object.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }
}

/// An object that was read.
#[derive(Debug)]
pub struct Object<'a>(Vec<(&'a str, Value<'a>)>);

#[derive(Debug)]
enum Value<'a> {
    Text(Cow<'a, str>),
    /// The JSON text of a value of another kind.
    Other(&'a str),
}

impl<'a> Object<'a> {
    /// Parses a text that is one object, or returns `None`.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut reader = Reader::new(text);
        let mut members = Vec::new();
        reader.expect(b'{')?;
        while !reader.take(b'}') {
            if !members.is_empty() {
                reader.expect(b',')?;
            }
            members.push((reader.name()?, Value::parse(reader.value()?)?));
        }
        reader.is_at_end().then_some(Self(members))
    }

    /// Returns the member with this name, if it is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            Value::Other(_) => None,
        }
    }

    /// Returns the member with this name, if it is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.other(name)?.parse().ok()
    }

    /// Returns the member with this name, if it is a number of at most 63 bits: an instance counts
    /// on from it, and does not get to the end of its range.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.number(name).filter(|number| *number <= u64::MAX / 2)
    }

    /// Returns whether the member with this name is true.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.other(name) == Some("true")
    }

    /// Parses the member with this name, if it is an object.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.other(name)?)
    }

    /// Parses the objects in the member with this name, if it is a list.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<Self> {
        let mut reader = Reader::new(self.other(name).unwrap_or_default());
        let mut objects = Vec::new();
        // A list has a value after its `[` and after each `,`, unless it is empty.
        while reader.take(b'[') || reader.take(b',') {
            let value = reader.value().unwrap_or_default();
            objects.extend(Self::parse(value));
        }
        objects
    }

    /// Returns the JSON text of the member with this name, if it is not a text.
    fn other(&self, name: &str) -> Option<&'a str> {
        match self.get(name)? {
            Value::Text(_) => None,
            Value::Other(json) => Some(json),
        }
    }

    fn get(&self, name: &str) -> Option<&Value<'a>> {
        let member = self.0.iter().find(|(other, _)| *other == name);
        member.map(|(_, value)| value)
    }
}

impl<'a> Value<'a> {
    fn parse(json: &'a str) -> Option<Self> {
        let Some(quoted) = json.strip_prefix('"') else {
            return Some(Self::Other(json));
        };
        let text = quoted.strip_suffix('"')?;
        Some(Self::Text(if text.as_bytes().contains(&b'\\') {
            Cow::Owned(unescaped(text)?)
        } else {
            Cow::Borrowed(text)
        }))
    }
}

/// Returns a string with its escapes replaced (RFC 8259, section 7).
fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = escape.chars();
        plain.push(match chars.next()? {
            same @ ('"' | '\\' | '/') => same,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = code_unit(&mut chars)?;
                match char::from_u32(unit) {
                    Some(char) => char,
                    // The first half of a surrogate pair: the second half must follow.
                    None if chars.next()? == '\\' && chars.next()? == 'u' => {
                        let pair = [unit, code_unit(&mut chars)?];
                        let pair = pair.map(|unit| u16::try_from(unit).unwrap_or_default());
                        char::decode_utf16(pair).next()?.ok()?
                    }
                    None => return None,
                }
            }
            _ => return None,
        });
        rest = chars.as_str();
    }
    plain.push_str(rest);
    Some(plain)
}

/// Takes four hexadecimal digits and returns their value.
fn code_unit(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let digits = chars.as_str().get(..4)?;
    *chars = chars.as_str().get(4..)?.chars();
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_escape_of_rfc_8259_is_parsed() {
        let object = r#"{"t":"\b\f\n\r\t\/\\\"\u0041\ud83d\ude00"}"#;
        let expected: serde_json::Value = serde_json::from_str(object).unwrap();
        let parsed = Object::parse(object).unwrap();
        assert_eq!(parsed.text("t"), expected["t"].as_str());
        for unknown in ["\\a", "\\", "\\u12"] {
            let object = format!("{{\"t\":\"{unknown}\"}}");
            assert!(Object::parse(&object).is_none(), "{object}");
        }
    }

    #[test]
    fn written_objects_are_json_and_parse_to_the_same_members() {
        let texts = [
            "",
            "plain",
            "\"\\/\u{0}\u{1f}\n\t",
            "ä 😀 \u{7f}",
            "{\"a\":[1,2]}",
            "\\",
            "\\\\\"",
        ];
        for text in texts {
            let mut inner = Writer::new();
            inner.number("n", u64::MAX);
            let mut writer = Writer::new();
            writer.text("t", text);
            writer.flag("yes", true);
            writer.flag("no", false);
            writer.list("none", std::iter::empty());
            writer.list("some", [inner, Writer::new()].into_iter());
            writer.object("o", Writer::new());
            let written = writer.finish();
            let json: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert_eq!(json["t"], text);
            assert_eq!(json["some"], serde_json::json!([{ "n": u64::MAX }, {}]));
            assert!(json.get("no").is_none() && json.get("none").is_none());
            let read = Object::parse(&written).unwrap();
            assert_eq!(read.text("t"), Some(text));
            assert!(read.flag("yes") && !read.flag("no"));
            assert_eq!(read.list("some")[0].number("n"), Some(u64::MAX));
            assert_eq!((read.list("some").len(), read.list("none").len()), (2, 0));
            assert!(read.object("o").is_some() && read.object("t").is_none());
        }
    }

    #[test]
    fn any_json_object_is_parsed_and_other_texts_are_none() {
        let text = " { \"a\" : 1 , \"b\":[ ], \"c\":null,\"d\":-1,\"e\":1.5e3,\
                    \"f\":\"\\u00e4\\ud83d\\ude00\" ,\"g\":false}\n";
        let read = Object::parse(text).unwrap();
        assert_eq!((read.number("a"), read.text("f")), (Some(1), Some("ä😀")));
        for name in ["c", "d", "e", "g", "h"] {
            assert!(read.number(name).is_none() && !read.flag(name), "{name}");
        }
        let deep = format!("{{\"a\":{}}}", "[".repeat(1_000));
        for wrong in [
            "",
            "1",
            "[]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1}}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{\"a\":\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":[1 2]}",
            "{,}",
            &deep,
        ] {
            assert!(Object::parse(wrong).is_none(), "{wrong}");
        }
    }
}
