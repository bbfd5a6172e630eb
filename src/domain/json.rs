//! The syntax of JSON (RFC 8259), for metadata and for records.

/// The position of a fault in a text that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// How many bytes of the line were read.
    pub column: usize,
}

/// Checks that a text is one JSON value.
///
/// # Errors
/// The position of the first fault.
pub fn check(text: &str) -> Result<(), Fault> {
    let mut reader = Reader::new(text);
    if reader.value().is_some() && reader.is_at_end() {
        return Ok(());
    }
    let read = text.as_bytes().get(..reader.position()).unwrap_or_default();
    let lines = || read.split(|byte| *byte == b'\n');
    Err(Fault {
        line: lines().count(),
        column: lines().next_back().map_or(0, <[u8]>::len),
    })
}

/// A reader of JSON. A function that finds a fault returns `None`, and has then read the unexpected
/// byte. An unescaped control character in a string is not read.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Returns a reader of the text.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let rest = text.as_bytes();
        Self { text, rest }
    }

    /// Reads a value and returns its text. Values can be nested to any depth.
    pub fn value(&mut self) -> Option<&'a str> {
        self.skip_space();
        let start = self.position();
        // The ends of the objects and lists that the next value is in.
        let mut ends = Vec::new();
        loop {
            match self.symbol()? {
                b'{' if !self.take(b'}') => {
                    ends.push(b'}');
                    self.name()?;
                    continue;
                }
                b'[' if !self.take(b']') => {
                    ends.push(b']');
                    continue;
                }
                b'{' | b'[' => {}
                b'"' => {
                    self.string()?;
                }
                b't' => self.literal(b"rue")?,
                b'f' => self.literal(b"alse")?,
                b'n' => self.literal(b"ull")?,
                b'-' => {
                    let digit = self.byte()?;
                    self.number(digit)?;
                }
                digit => self.number(digit)?,
            }
            loop {
                let Some(end) = ends.last() else {
                    return self.text.get(start..self.position());
                };
                match self.symbol()? {
                    b',' => break,
                    byte if byte == *end => ends.pop(),
                    _ => return None,
                };
            }
            if ends.last() == Some(&b'}') {
                self.name()?;
            }
        }
    }

    /// Reads the name of a member and the colon after it. Returns the name without its quotation
    /// marks; escapes are not replaced.
    pub fn name(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let name = self.string()?;
        self.expect(b':')?;
        Some(name)
    }

    /// Reads this byte after white space.
    pub fn expect(&mut self, expected: u8) -> Option<()> {
        (self.symbol()? == expected).then_some(())
    }

    /// Skips white space, and reads this byte if it is the next one. Returns whether it was.
    pub fn take(&mut self, wanted: u8) -> bool {
        self.skip_space();
        self.take_if(|byte| byte == wanted)
    }

    /// Returns whether only white space is left. Otherwise it reads the byte after that.
    pub fn is_at_end(&mut self) -> bool {
        self.symbol().is_none()
    }

    /// Returns how many bytes were read.
    fn position(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn symbol(&mut self) -> Option<u8> {
        self.skip_space();
        self.byte()
    }

    fn take_if(&mut self, is_wanted: impl Fn(u8) -> bool) -> bool {
        match self.rest.split_first() {
            Some((byte, rest)) if is_wanted(*byte) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn skip_space(&mut self) {
        while self.take_if(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {}
    }

    fn literal(&mut self, expected: &[u8]) -> Option<()> {
        let mut expected = expected.iter();
        expected
            .all(|byte| self.byte() == Some(*byte))
            .then_some(())
    }

    /// Reads the rest of a number after its sign and this byte, which must be a digit.
    fn number(&mut self, first: u8) -> Option<()> {
        match first {
            // A zero is not followed by a digit.
            b'0' => (!self.take_if(|byte| byte.is_ascii_digit())).then_some(())?,
            b'1'..=b'9' => self.skip_digits(),
            _ => return None,
        }
        if self.take_if(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.take_if(|byte| matches!(byte, b'e' | b'E')) {
            self.take_if(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Some(())
    }

    /// Reads at least one digit.
    fn digits(&mut self) -> Option<()> {
        self.byte()?.is_ascii_digit().then(|| self.skip_digits())
    }

    fn skip_digits(&mut self) {
        while self.take_if(|byte| byte.is_ascii_digit()) {}
    }

    /// Reads the rest of a string after its first quotation mark. Returns the text before the
    /// second one.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.position();
        loop {
            while self.take_if(|byte| !matches!(byte, b'"' | b'\\' | 0..b' ')) {}
            let end = self.position();
            if self.take_if(|byte| byte == b'"') {
                return self.text.get(start..end);
            }
            if !self.take_if(|byte| byte == b'\\') {
                return None;
            }
            match self.byte()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => {
                    let split = self.rest.split_at_checked(4);
                    let (digits, rest) = split.unwrap_or((self.rest, &[]));
                    self.rest = rest;
                    let is_valid = split.is_some() && digits.iter().all(u8::is_ascii_hexdigit);
                    is_valid.then_some(())?;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(text: &str) -> Result<(), Fault> {
        let checked = serde_json::from_str::<serde::de::IgnoredAny>(text);
        checked.map(|_| ()).map_err(|error| Fault {
            line: error.line(),
            column: error.column(),
        })
    }

    const TEXTS: [&str; 12] = [
        "null",
        "[true,false,null]",
        " { \"a\" : [ 1 , -2.50e+3 ] ,\n\t\"b\": {} , \"c\":[ ] }\r\n",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\ude00\"",
        "\"\\ud800\"",
        "[0,-0,0.0,10,1e5,1E-5,0.10e+01]",
        "\"\u{e4}\u{1f600}\u{7f}\"",
        "{\"\":{\"\":[[[{}]]]}}",
        "[\n[\n1,\n2\n]\n]",
        "{\"a\":\"b\",\"a\":\"c\"}",
        "-1",
        "[[],[{}],{\"a\":[]}]",
    ];

    #[test]
    fn json_is_accepted_and_faults_have_the_positions_that_serde_json_reports() {
        let strange: Vec<char> = "{}[]\",:\\/-+.eEu01 \n\t\r\u{1}abtfn\u{e4}"
            .chars()
            .collect();
        for text in TEXTS {
            assert_eq!(check(text), Ok(()), "{text}");
            let chars: Vec<char> = text.chars().collect();
            for at in 0..=chars.len() {
                let (before, after) = chars.split_at(at);
                let cut: String = before.iter().collect();
                assert_eq!(check(&cut), expected(&cut), "{cut}");
                for char in &strange {
                    let after = [after, after.get(1..).unwrap_or_default()];
                    for after in after {
                        let changed = before.iter().chain([char]).chain(after);
                        let changed: String = changed.collect();
                        assert_eq!(check(&changed), expected(&changed), "{changed}");
                    }
                }
            }
        }
    }

    #[test]
    fn values_can_be_nested_to_any_depth() {
        let deep = [vec!['['; 8_000], vec![']'; 8_000]].concat();
        let deep: String = deep.into_iter().collect();
        assert_eq!(check(&deep), Ok(()));
        assert_eq!(check(&deep[1..]), expected(&deep[1..]));
    }
}
