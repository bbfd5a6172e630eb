//! The keys of the guard: the current one, which signs, and previous ones, which only verify.
//!
//! A token is a JSON Web Signature in the compact form (RFC 7515). The algorithm is always HS256
//! (RFC 7518, section 3.2): the header of a token cannot choose another.

use std::error::Error;
use std::fmt;
use std::hint::black_box;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::Sha256;

/// The fewest bytes of a key. HS256 requires a key that is as long as the hash (RFC 7518, section
/// 3.2).
pub const MIN_KEY: usize = 32;

/// The maximum number of previous keys. A token that none of them signed costs one signature for
/// each.
pub const MAX_PREVIOUS: usize = 8;

/// The header of a token that is issued. `typ` is optional (RFC 7519, section 5.1), and the guard
/// does not read it.
const HEADER: &str = r#"{"alg":"HS256"}"#;

/// The bytes of the stack that a function with a key uses, at most.
const MAX_STACK: usize = 4_096;

/// The key has fewer than 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShortKey {
    /// The length of the key, in bytes.
    pub bytes: usize,
}

impl fmt::Display for ShortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes } = self;
        write!(
            f,
            "the key has {bytes} bytes and must have at least {MIN_KEY} bytes"
        )
    }
}

impl Error for ShortKey {}

/// A key of HMAC-SHA256, prepared for use.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// Returns the key with these bytes.
    ///
    /// # Errors
    /// [`ShortKey`] for fewer than 32 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, ShortKey> {
        let short = ShortKey { bytes: bytes.len() };
        if bytes.len() < MIN_KEY {
            return Err(short);
        }
        // HMAC takes keys of every length.
        with_stack_wiped(|| Hmac::new_from_slice(bytes).map(Self).map_err(|_| short))
    }

    /// Returns the code of a message, which is not finished yet.
    fn code(&self, message: &str) -> Hmac<Sha256> {
        let mut code = self.0.clone();
        code.update(message.as_bytes());
        code
    }

    /// Returns whether both keys sign alike. The comparison takes the same time for all keys.
    fn is_same(&self, other: &Self) -> bool {
        with_stack_wiped(|| self.code("").finalize() == other.code("").finalize())
    }
}

/// The keys with which tokens are signed and verified.
pub struct Keys {
    current: Key,
    previous: Vec<Key>,
}

impl Keys {
    /// Returns keys without previous ones.
    #[must_use]
    pub fn new(current: Key) -> Self {
        let previous = Vec::new();
        Self { current, previous }
    }

    /// Replaces the previous keys with the first [`MAX_PREVIOUS`] of these.
    pub fn set_previous(&mut self, mut keys: Vec<Key>) {
        keys.truncate(MAX_PREVIOUS);
        self.previous = keys;
    }

    /// Makes a key the current one. The key that it replaces becomes the first of the previous
    /// keys, of which the last is dropped if there are too many. A key is kept once.
    pub fn replace(&mut self, key: Key) {
        self.previous.retain(|previous| !previous.is_same(&key));
        if !self.current.is_same(&key) {
            self.previous.truncate(MAX_PREVIOUS.saturating_sub(1));
            let replaced = std::mem::replace(&mut self.current, key);
            self.previous.insert(0, replaced);
        }
    }

    /// Drops the previous keys, and returns how many there were.
    pub fn drop_previous(&mut self) -> usize {
        std::mem::take(&mut self.previous).len()
    }

    /// Returns the token with these claims, signed with the current key; `None` if they cannot be
    /// written as JSON.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let mut token = encode(HEADER.as_bytes());
        token.push('.');
        token.push_str(&encode(&serde_json::to_vec(claims).ok()?));
        let code = |message: &str| self.current.code(message).finalize().into_bytes();
        let signature = with_stack_wiped(|| encode(&code(&token)));
        token.push('.');
        token.push_str(&signature);
        Some(token)
    }

    /// Returns the claims of a token that one of the keys signed; `None` for any other token. A
    /// token is not read before its signature has been verified.
    pub(crate) fn verify(&self, token: &str) -> Option<Map<String, Value>> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let signature = decode(signature)?;
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        // The comparison takes the same time for all signatures.
        let signs = |key: &&Key| key.code(message).verify_slice(&signature).is_ok();
        with_stack_wiped(|| keys.find(signs))?;
        let header = object(header)?;
        // Extensions that the guard does not know must be refused (RFC 7515, section 4.1.11).
        if header.get("alg")?.as_str()? != "HS256" || header.contains_key("crit") {
            return None;
        }
        object(claims)
    }
}

/// Returns what a function returns. Overwrites the stack that it has used: keys and signatures
/// would stay there until later calls happen to overwrite them.
fn with_stack_wiped<T>(function: impl FnOnce() -> T) -> T {
    let result = call(function);
    wipe_stack();
    result
}

/// Calls a function in a frame of its own, below that of the caller.
#[inline(never)]
fn call<T>(function: impl FnOnce() -> T) -> T {
    function()
}

/// Overwrites the stack below the frame of the caller.
#[inline(never)]
fn wipe_stack() {
    black_box(&mut [0_u8; MAX_STACK]);
}

/// Returns bytes in base64url without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Returns the bytes that [`encode`] encodes as this text; `None` if there are none.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}

/// Returns the members of a JSON object in base64url. Of members with the same name, the last one
/// counts (RFC 7519, section 4).
fn object(text: &str) -> Option<Map<String, Value>> {
    // A `Value` accepts any JSON, so that the code that describes unexpected types is not linked.
    // It is a quarter of the component.
    match serde_json::from_slice(&decode(text)?).ok()? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32]).unwrap()
    }

    /// Returns a token with this header and these claims, signed with the key.
    fn signed(key: &Key, header: &str, claims: &str) -> String {
        let (header, claims) = (encode(header.as_bytes()), encode(claims.as_bytes()));
        let message = format!("{header}.{claims}");
        let signature = key.code(&message).finalize().into_bytes();
        format!("{message}.{}", encode(&signature))
    }

    #[test]
    fn the_token_of_rfc_7515_is_verified() {
        let bytes = decode(concat!(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75",
            "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
        ));
        let keys = Keys::new(Key::new(&bytes.unwrap()).unwrap());
        let token = concat!(
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.",
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p",
            "c19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
        let claims = keys.verify(token).unwrap();
        assert_eq!(claims["iss"], "joe");
        // The last character has two bits that are not part of the signature.
        let other = token.strip_suffix('k').unwrap().to_owned() + "l";
        assert_eq!(keys.verify(&other), None);
    }

    #[test]
    fn tokens_are_those_of_the_crate_jsonwebtoken() {
        use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

        let claims = json!({ "iss": "clawdb-session", "exp": 1, "jti": "x" });
        let keys = Keys::new(key(7));
        let token = keys.sign(&claims).unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        let decoding = DecodingKey::from_secret(&[7; 32]);
        let decoded = jsonwebtoken::decode::<Value>(&token, &decoding, &validation).unwrap();
        assert_eq!(decoded.claims, claims);

        let encoding = EncodingKey::from_secret(&[7; 32]);
        let header = Header {
            typ: None,
            ..Header::new(Algorithm::HS256)
        };
        let theirs = jsonwebtoken::encode(&header, &claims, &encoding).unwrap();
        assert_eq!(theirs, token);
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let header = Header::new(algorithm);
            let theirs = jsonwebtoken::encode(&header, &claims, &encoding).unwrap();
            assert_eq!(keys.verify(&theirs), None);
        }
    }

    #[test]
    fn a_token_whose_header_names_another_algorithm_is_refused_though_its_code_is_right() {
        let keys = Keys::new(key(7));
        for (header, accepted) in [
            (r#"{"alg":"HS256"}"#, true),
            (r#"{"alg":"HS256","typ":"JWT","kid":"x"}"#, true),
            (r#"{"alg":"HS256","crit":["exp"]}"#, false),
            (r#"{"alg":"HS256","alg":"none"}"#, false),
            (r#"{"alg":["HS256"]}"#, false),
            (r#"{"alg":"none"}"#, false),
            (r#"{"alg":"hs256"}"#, false),
            (r#"{"typ":"JWT"}"#, false),
            ("[]", false),
            ("", false),
        ] {
            let token = signed(&key(7), header, "{}");
            let claims = keys.verify(&token);
            assert_eq!(claims.is_some(), accepted, "{header}");
        }
    }

    #[test]
    fn a_signature_of_another_length_is_refused() {
        let keys = Keys::new(key(7));
        let token = keys.sign(&json!({})).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = decode(signature).unwrap();
        for bytes in [&signature[..0], &signature[..16], &signature[..31]] {
            let token = format!("{message}.{}", encode(bytes));
            assert_eq!(keys.verify(&token), None);
        }
        let token = format!("{message}.{}A", encode(&signature));
        assert_eq!(keys.verify(&token), None);
    }

    #[test]
    fn a_replaced_key_verifies_until_eight_later_ones_have_been_replaced() {
        let mut keys = Keys::new(key(0));
        let token = keys.sign(&json!({})).unwrap();
        for byte in 1..=8 {
            keys.replace(key(byte));
            assert!(keys.verify(&token).is_some(), "{byte}");
        }
        keys.replace(key(9));
        assert_eq!(keys.verify(&token), None);
        assert_eq!(keys.drop_previous(), 8);
        assert_eq!(keys.drop_previous(), 0);
    }

    #[test]
    fn a_key_that_is_set_again_is_kept_once() {
        let mut keys = Keys::new(key(1));
        keys.replace(key(1));
        assert_eq!(keys.previous.len(), 0);
        keys.replace(key(2));
        keys.replace(key(1));
        let previous = &keys.previous;
        assert!(previous.len() == 1 && previous[0].is_same(&key(2)));
        assert!(keys.current.is_same(&key(1)));
    }

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(Key::new(&[1; 31]).err(), Some(ShortKey { bytes: 31 }));
        assert!(Key::new(&[1; 32]).is_ok());
        assert!(Key::new(&[1; 10_000]).is_ok());
    }
}
