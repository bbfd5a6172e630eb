//! Ids: UUIDs in the hyphenated form of RFC 9562 (R1).

use std::fmt;

use uuid::{Builder, Uuid};

use crate::domain::error::Error;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Parses the hyphenated form, in either letter case.
            ///
            /// # Errors
            /// [`Error::InvalidArgument`] with the name `field` for any other text.
            pub fn parse(field: &'static str, text: &str) -> Result<Self, Error> {
                parse_hyphenated(field, text).map(Self)
            }
        }

        impl From<$name> for String {
            /// Returns the hyphenated form in lower case.
            fn from(id: $name) -> Self {
                let mut buffer = Uuid::encode_buffer();
                (&*id.0.as_hyphenated().encode_lower(&mut buffer)).into()
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            /// Writes the hyphenated form in lower case.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

uuid_id! {
    /// A session's id.
    SessionId
}
uuid_id! {
    /// An agent's id.
    AgentId
}
uuid_id! {
    /// A workspace's id.
    WorkspaceId
}

impl SessionId {
    /// Returns an id made of random bytes: a UUID of version 4 (RFC 9562).
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Returns the id as the key of a hash table. Ids are random, so a caller cannot make them
    /// collide (R20).
    #[must_use]
    pub fn key(self) -> u64 {
        let (high, low) = self.0.as_u64_pair();
        high ^ low
    }
}

impl WorkspaceId {
    /// The workspace of an instance for which none is configured.
    pub const NIL: Self = Self(Uuid::nil());
}

/// Parses a UUID in the hyphenated form only. The crate `uuid` also accepts braces, URNs and bare
/// digits, but with one form for each id, logs and keys can be compared.
fn parse_hyphenated(field: &'static str, text: &str) -> Result<Uuid, Error> {
    const HYPHENATED: usize = uuid::fmt::Hyphenated::LENGTH;
    if text.len() == HYPHENATED
        && let Ok(id) = Uuid::try_parse(text)
    {
        return Ok(id);
    }
    Err(Error::invalid(
        field,
        "must be a UUID of 36 characters with hyphens, such as \
         00000000-0000-4000-8000-000000000000",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_ids_that_differ_in_one_bit_have_different_keys() {
        let key_of = |id: u128| SessionId(Uuid::from_u128(id)).key();
        let id = 0x5e55_0000_0000_4000_8000_ffff_ffff_0001;
        for bit in 0..128 {
            assert_ne!(key_of(id), key_of(id ^ (1 << bit)), "bit {bit}");
        }
    }
}
