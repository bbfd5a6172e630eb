//! `$id1` and `$token1` in inputs: the id and the token of the first grant, and so on. So an input
//! can name what the host chooses at random.

use serde_json::Value;

/// The ids and tokens of the grants so far.
#[derive(Default)]
pub struct Placeholders {
    ids: Vec<String>,
    tokens: Vec<String>,
}

impl Placeholders {
    /// Adds the session of a grant.
    pub fn add(&mut self, id: &Value, token: &Value) {
        if let (Some(id), Some(token)) = (id.as_str(), token.as_str()) {
            self.ids.push(id.into());
            self.tokens.push(token.into());
        }
    }

    /// Returns the tokens of the grants.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Replaces the placeholders. One without a grant stays as it is.
    pub fn replace(&self, input: &[u8]) -> Vec<u8> {
        let mut replaced = Vec::with_capacity(input.len());
        let mut rest = input;
        while let Some((first, after)) = rest.split_first() {
            if *first == b'$'
                && let Some((value, left)) = self.value(after)
            {
                replaced.extend_from_slice(value.as_bytes());
                rest = left;
            } else {
                replaced.push(*first);
                rest = after;
            }
        }
        replaced
    }

    /// Returns the value of the placeholder at the beginning, and what comes after it.
    fn value<'a>(&self, input: &'a [u8]) -> Option<(&str, &'a [u8])> {
        let (values, rest) = match input.strip_prefix(b"token") {
            Some(rest) => (&self.tokens, rest),
            None => (&self.ids, input.strip_prefix(b"id")?),
        };
        let (digit, rest) = rest.split_first()?;
        let number = usize::from(digit.checked_sub(b'1')?);
        Some((values.get(number)?, rest))
    }
}
