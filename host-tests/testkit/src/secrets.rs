//! Searches bytes for secrets, in each form in which they could leak.

use std::collections::{BTreeMap, HashMap};

/// The shortest form of a secret that is also searched for by halves.
const MIN_HALVED: usize = 32;
/// How many bytes of zeros are skipped at a time.
const CHUNK: usize = 4_096;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Secrets to search for, each with a name for messages.
///
/// Of a long form, the halves are searched for instead of the whole: a rest of freed memory can
/// hold one half only.
#[derive(Debug)]
pub struct Secrets {
    forms: Vec<Form>,
    /// The indexes of the forms that begin with these bytes.
    starts: HashMap<[u8; 4], Vec<usize>>,
    /// A bit for each value of three bytes: whether a form begins with them.
    may_start: Vec<u64>,
}

/// A form of a secret, or half of one.
#[derive(Debug)]
struct Form {
    name: String,
    bytes: Vec<u8>,
}

/// How often each secret was found, by its name.
pub type Found = BTreeMap<String, usize>;

impl Default for Secrets {
    fn default() -> Self {
        Self {
            forms: Vec::new(),
            starts: HashMap::new(),
            may_start: vec![0; 1 << 18],
        }
    }
}

impl Secrets {
    /// Returns one text to search for, to check that a search finds what is there.
    #[must_use]
    pub fn of(name: &str, text: &str) -> Self {
        let mut secrets = Self::default();
        secrets.add(name, text.as_bytes());
        secrets
    }

    /// Adds a token. Of a JSON Web Token, the signature is the secret part: as text and as bytes.
    pub fn add_token(&mut self, name: &str, token: &str) {
        match token.rsplit_once('.') {
            Some((_, signature)) => {
                self.add(&format!("{name}, signature"), signature.as_bytes());
                let bytes = from_base64(signature);
                self.add(&format!("{name}, bytes of the signature"), &bytes);
            }
            None => self.add(name, token.as_bytes()),
        }
    }

    /// Adds a key: its bytes, in hexadecimal, in base64, and as HMAC pads it (RFC 2104).
    pub fn add_key(&mut self, name: &str, key: &[u8]) {
        self.add(&format!("{name}, bytes"), key);
        let digits = key.iter().map(|byte| format!("{byte:02x}"));
        let digits = digits.collect::<String>();
        self.add(&format!("{name}, hexadecimal"), digits.as_bytes());
        let digits = digits.to_uppercase();
        self.add(&format!("{name}, hexadecimal"), digits.as_bytes());
        let text = to_base64(key);
        self.add(&format!("{name}, base64url"), text.as_bytes());
        let text = text.replace('-', "+").replace('_', "/");
        self.add(&format!("{name}, base64"), text.as_bytes());
        for pad in [0x36, 0x5c] {
            let padded: Vec<u8> = key.iter().map(|byte| byte ^ pad).collect();
            self.add(&format!("{name}, padded for HMAC"), &padded);
        }
    }

    /// Adds a text that is searched for as it is.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        let halves = match bytes.len() {
            ..MIN_HALVED => [bytes, &[]],
            length => bytes.split_at(length / 2).into(),
        };
        for half in halves {
            let Some(start) = half.first_chunk() else {
                assert!(half.is_empty(), "a secret is too short to search for");
                continue;
            };
            let entries = self.starts.entry(*start).or_default();
            if entries.iter().any(|at| self.forms[*at].bytes == half) {
                continue;
            }
            entries.push(self.forms.len());
            let (word, bit) = position(*start);
            self.may_start[word] |= bit;
            self.forms.push(Form {
                name: name.into(),
                bytes: half.into(),
            });
        }
    }

    /// Returns how often each secret occurs.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Found {
        let mut found = Found::new();
        let mut at = 0;
        while let Some(start) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            if *start == [0; 4] && bytes[at..].starts_with(&[0; CHUNK]) {
                // A form can begin with the last zeros.
                at += CHUNK - MIN_HALVED;
                continue;
            }
            let (word, bit) = position(*start);
            if self.may_start[word] & bit != 0 {
                for form in self.starts.get(start).into_iter().flatten() {
                    let form = &self.forms[*form];
                    if bytes[at..].starts_with(&form.bytes) {
                        *found.entry(form.name.clone()).or_default() += 1;
                    }
                }
            }
            at += 1;
        }
        found
    }

    /// Checks that no secret occurs.
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "{place}: {found:#?}");
    }
}

/// Returns the word and the bit of the first three bytes.
fn position(start: [u8; 4]) -> (usize, u64) {
    let [first, second, third, _] = start.map(usize::from);
    let number = (first << 16) | (second << 8) | third;
    (number / 64, 1 << (number % 64))
}

/// Returns bytes in base64url without padding.
fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| group.get(at).copied().map_or(0, u32::from);
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for digit in 0..=group.len() {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(BASE64[value as usize].into());
        }
    }
    text
}

/// Returns the bytes of a text in base64url.
fn from_base64(text: &str) -> Vec<u8> {
    let (mut bits, mut count) = (0_u32, 0);
    let mut bytes = Vec::new();
    for digit in text.bytes() {
        let value = BASE64.iter().position(|it| *it == digit);
        let value = value.expect("a digit of base64url");
        bits = (bits << 6) | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_every_form_and_by_halves() {
        let key: Vec<u8> = (100..132).collect();
        let mut secrets = Secrets::default();
        secrets.add_key("key", &key);
        secrets.add_token("token", &format!("a.b.{}", to_base64(&[9; 32])));
        let padded: Vec<u8> = key.iter().map(|byte| byte ^ 0x5c).collect();
        for (name, bytes) in [
            ("key, bytes", &key[..16]),
            ("key, bytes", &key[16..]),
            ("key, hexadecimal", b"6465666768696a6b6c6d6e6f70717273"),
            ("key, base64url", to_base64(&key).as_bytes()),
            ("key, padded for HMAC", &padded),
            ("token, signature", to_base64(&[9; 32]).as_bytes()),
            ("token, bytes of the signature", &[9; 32]),
        ] {
            for zeros in [0, 1, CHUNK, 3 * CHUNK + 5] {
                let place = [&vec![0; zeros], bytes, &vec![0; zeros]].concat();
                let found = secrets.found_in(&place);
                assert!(found.contains_key(name), "{name}: {found:?}");
                assert_eq!(found.len(), 1, "{found:?}");
            }
        }
        assert_eq!(secrets.found_in(&key[..15]), Found::new());
        assert_eq!(from_base64(&to_base64(&key)), key);
    }
}
