//! Scopes: the permissions of an agent, and which scope covers which other one (R25, R30).

use crate::domain::error::Error;
use crate::domain::text::Text;

/// The maximum number of scopes of a session.
const MAX_SCOPES: usize = 128;
/// The longest scope, in bytes.
const MAX_SCOPE: usize = 256;

/// A scope: 1-256 of RFC 6749's scope-token characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// Checks the length and the characters.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the length is not 1 to 256 bytes, or a character is not one of
    /// a scope token.
    pub fn parse(text: String) -> Result<Self, Error> {
        match violated_rule(&text) {
            None => Ok(Self(text)),
            Some(rule) => Err(Error::invalid("scope", format!("must {rule}"))),
        }
    }

    /// Returns the text of the scope.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// At most 128 different scopes. They are stored in the form of RFC 6749 (section 3.3): one text,
/// with a space between two scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Text);

impl Scopes {
    /// Checks scopes and drops duplicates. The first of equal scopes keeps its position.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 128 scopes, duplicates included, or for a scope
    /// that [`Scope::parse`] refuses.
    pub fn parse(scopes: &[String]) -> Result<Self, Error> {
        const FIELD: &str = "scopes";
        if scopes.len() > MAX_SCOPES {
            let given = scopes.len();
            return Err(Error::invalid(
                FIELD,
                format!("must be at most {MAX_SCOPES}, not {given}"),
            ));
        }
        let mut distinct: Vec<&str> = Vec::with_capacity(scopes.len());
        for scope in scopes {
            if let Some(rule) = violated_rule(scope) {
                return Err(Error::invalid(FIELD, format!("must each {rule}")));
            }
            if !distinct.contains(&scope.as_str()) {
                distinct.push(scope);
            }
        }
        Ok(Self(Text::new(distinct.join(" "))))
    }

    /// Returns the scopes in the order of the request.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (mut left, mut following) = (self.0.piece(), self.0.rest());
        std::iter::from_fn(move || {
            if left.is_empty() {
                let text = following?;
                (left, following) = (text.piece(), text.rest());
            }
            // No scope is in two pieces. Scopes are short: a scan over the bytes is faster than
            // setting up `split`.
            let end = left.bytes().position(|byte| byte == b' ');
            let (scope, after) = left.split_at_checked(end.unwrap_or(left.len()))?;
            left = after.get(1..).unwrap_or_default();
            Some(scope)
        })
    }

    /// Returns the scopes as a list.
    #[must_use]
    pub fn to_list(&self) -> Vec<String> {
        self.iter().map(Into::into).collect()
    }

    /// Returns all scopes in one text, with a space between two scopes.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.0
    }

    /// Parses the form that [`Scopes::text`] returns.
    ///
    /// # Errors
    /// Those of [`Scopes::parse`].
    pub fn parse_joined(scopes: &str) -> Result<Self, Error> {
        let scopes: Vec<String> = scopes
            .split(' ')
            .filter(|it| !it.is_empty())
            .map(Into::into)
            .collect();
        Self::parse(&scopes)
    }

    /// Returns whether one of the scopes covers the wanted one.
    #[must_use]
    pub fn cover(&self, wanted: &str) -> bool {
        self.iter().any(|granted| covers(granted, wanted))
    }
}

/// Returns whether the granted scope covers the wanted one, as the truth table of the WIT interface
/// `sessions` says. The wanted scope may be a pattern: a prefix covers a pattern if it covers
/// everything that the pattern stands for.
fn covers(granted: &str, wanted: &str) -> bool {
    if granted == "*" || granted == wanted {
        return true;
    }
    let Some(prefix) = granted.strip_suffix('*') else {
        return false;
    };
    prefix.ends_with(':')
        && wanted
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty())
}

/// Returns the rule that a scope violates, worded to follow "must", or `None` for a valid scope.
fn violated_rule(scope: &str) -> Option<&'static str> {
    if scope.is_empty() || scope.len() > MAX_SCOPE {
        return Some("have 1 to 256 bytes");
    }
    if !scope.bytes().all(is_scope_token_char) {
        return Some(
            "be printable ASCII without space, quotation mark and backslash \
             (RFC 6749, section 3.3)",
        );
    }
    None
}

/// Returns whether a scope token may contain this byte (RFC 6749, section 3.3).
fn is_scope_token_char(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r30_scopes_cover_each_other_as_the_truth_table_says() {
        let wit = include_str!("../../wit/sessions.wit");
        let mut rows = 0;
        for line in wit.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["///", granted, wanted, covered @ ("yes" | "no"), ""] = cells[..] else {
                continue;
            };
            let scope = |cell: &str| cell.trim_matches('`').to_owned();
            let granted = Scopes::parse(&["unrelated".into(), scope(granted)]).unwrap();
            let is_covered = granted.cover(&scope(wanted));
            assert_eq!(is_covered, covered == "yes", "{granted:?} {wanted}");
            rows += 1;
        }
        assert_eq!(rows, 23);
    }

    #[test]
    fn r2_a_scope_has_1_to_256_bytes_of_a_scope_token() {
        for (len, is_valid) in [(0, false), (1, true), (256, true), (257, false)] {
            let scope = "x".repeat(len);
            assert_eq!(
                Scopes::parse(std::slice::from_ref(&scope)).is_ok(),
                is_valid,
                "{len} bytes"
            );
            let parsed = Scope::parse(scope.clone());
            assert_eq!(parsed.is_ok(), is_valid, "{len} bytes");
            assert!(parsed.is_ok_and(|it| it.as_str() == scope) || !is_valid);
        }
        for char in '\0'..='\u{ff}' {
            let is_valid = char.is_ascii_graphic() && char != '"' && char != '\\';
            let scope = format!("a{char}");
            assert_eq!(Scope::parse(scope.clone()).is_ok(), is_valid, "{char:?}");
            assert_eq!(Scopes::parse(&[scope]).is_ok(), is_valid, "{char:?}");
        }
    }

    #[test]
    fn r2_a_session_has_at_most_128_scopes_each_of_which_is_kept_once_and_in_order() {
        let numbered = |count: usize| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>();
        let scopes = Scopes::parse(&numbered(128)).unwrap();
        assert_eq!(scopes.to_list(), numbered(128));
        let longest: Vec<String> = (0..128).map(|n| format!("{n:x<256}")).collect();
        let scopes = Scopes::parse(&longest).unwrap();
        assert_eq!(scopes.to_list(), longest);
        assert!(scopes.cover(&longest[127]) && !scopes.cover("x"));
        assert!(Scopes::parse(&numbered(129)).is_err());
        let repeated = ["b", "a", "b", "c", "a"].map(String::from);
        let scopes = Scopes::parse(&repeated).unwrap();
        assert_eq!(scopes.to_list(), ["b", "a", "c"]);
        let joined = String::from(scopes.text());
        assert_eq!(joined, "b a c");
        assert_eq!(Scopes::parse_joined(&joined), Ok(scopes));
        let none = Scopes::parse(&[]).unwrap();
        assert!(none.to_list().is_empty() && !none.cover("a"));
        assert_eq!(Scopes::parse_joined(""), Ok(none));
    }
}
