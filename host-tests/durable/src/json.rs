//! The JSON form of [`DurableError`].

use clawdb_session_host::json::{Failure, Serializer, Style, ToJson};
use clawdb_session_host::{full_text, name};

use crate::error::DurableError;

impl ToJson for DurableError {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let kind = match self {
            Self::Session(error) => return error.write::<S, Z>(serializer),
            Self::Retry(_) => name!(retry),
            Self::NotOwner(_) => name!(not_owner),
            Self::Journal(_) => name!(journal),
            Self::StateKeyMissing(_) => name!(state_key_missing),
            Self::Upgrade(_) => name!(upgrade),
            Self::Settings(_) => name!(settings),
        };
        let reason = Some(full_text(self));
        Failure { kind, reason }.write::<S, Z>(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::reason::Reason;

    #[test]
    fn the_reason_of_an_error_has_the_text_of_its_source() {
        let source = io::Error::other("the disk is full");
        let error = DurableError::Retry(Reason::with_source("the file cannot be written", source));
        let reason = "not available now: the file cannot be written: the disk is full";
        assert_eq!(error.to_json()["reason"], reason);
    }
}
