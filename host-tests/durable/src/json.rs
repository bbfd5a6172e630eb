//! Errors as JSON.

use clawdb_session_host::json::{Failure, Serializer, Style, ToJson};
use clawdb_session_host::name;

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
        let reason = Some(self.to_string());
        Failure { kind, reason }.write::<S, Z>(serializer)
    }
}
