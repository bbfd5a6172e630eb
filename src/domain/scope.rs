//! Scopes: what an agent may do, and which scope covers which (R25, R30).

use crate::domain::error::Error;

/// How many scopes a session can have.
const MAX_SCOPES: usize = 128;
/// How long a scope can be, in bytes.
const MAX_SCOPE: usize = 256;

/// A scope of 1-256 bytes, each of RFC 6749's scope-token characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// Checks a scope.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a wrong length or character.
    pub fn parse(text: String) -> Result<Self, Error> {
        match fault_of(&text) {
            None => Ok(Self(text)),
            Some(fault) => Err(Error::invalid("scope", format!("must {fault}"))),
        }
    }

    /// The scope.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// At most 128 different scopes. Kept as RFC 6749 (section 3.3) writes them: one text with spaces
/// between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Box<str>);

impl Scopes {
    /// Checks scopes and drops duplicates; the first of equal ones keeps its place.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for too many scopes (duplicates counted), or a wrong one.
    pub fn parse(scopes: &[String]) -> Result<Self, Error> {
        const FIELD: &str = "scopes";
        if scopes.len() > MAX_SCOPES {
            return Err(Error::invalid(FIELD, "must be at most 128"));
        }
        let mut distinct: Vec<&str> = Vec::with_capacity(scopes.len());
        for scope in scopes {
            if let Some(fault) = fault_of(scope) {
                return Err(Error::invalid(FIELD, format!("must each {fault}")));
            }
            if !distinct.contains(&scope.as_str()) {
                distinct.push(scope);
            }
        }
        Ok(Self(distinct.join(" ").into()))
    }

    /// The scopes in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            // They are short: looking at each byte beats what `split` prepares.
            let end = rest.bytes().position(|byte| byte == b' ');
            let (scope, behind) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
            rest = behind.get(1..).unwrap_or_default();
            (!scope.is_empty()).then_some(scope)
        })
    }

    /// With spaces between.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Scopes with spaces between, as [`Scopes::as_str`] gives them.
    ///
    /// # Errors
    /// As [`Scopes::parse`].
    pub fn parse_joined(scopes: &str) -> Result<Self, Error> {
        let scopes: Vec<String> = scopes
            .split(' ')
            .filter(|it| !it.is_empty())
            .map(Into::into)
            .collect();
        Self::parse(&scopes)
    }

    /// Whether one of them covers this scope.
    #[must_use]
    pub fn cover(&self, wanted: &str) -> bool {
        self.iter().any(|granted| covers(granted, wanted))
    }

    /// How many bytes the texts take.
    pub(crate) fn size(&self) -> usize {
        self.0.len()
    }
}

/// Whether who has `granted` has `wanted`; the WIT has the truth table. What is wanted may be a
/// pattern too: a pattern is covered by the same prefixes as all that it stands for.
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

/// What is wrong with a scope.
fn fault_of(scope: &str) -> Option<&'static str> {
    if scope.is_empty() || scope.len() > MAX_SCOPE {
        return Some("have 1 to 256 bytes");
    }
    if !scope.bytes().all(is_scope_token_char) {
        return Some(
            "be printable ASCII without space, quotation mark and backslash (RFC 6749, section 3.3)",
        );
    }
    None
}

/// RFC 6749, section 3.3: `%x21 / %x23-5B / %x5D-7E`.
fn is_scope_token_char(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}
