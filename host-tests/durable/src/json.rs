//! Errors as JSON.

use clawdb_session_host::json::ToJson;
use serde_json::{Value, json};

use crate::error::DurableError;

impl ToJson for DurableError {
    fn to_json(&self) -> Value {
        let kind = match self {
            Self::Session(error) => return error.to_json(),
            Self::Retry(_) => "retry",
            Self::NotOwner(_) => "not-owner",
            Self::Journal(_) => "journal",
            Self::StateKeyMissing(_) => "state-key-missing",
            Self::Upgrade(_) => "upgrade",
            Self::Settings(_) => "settings",
        };
        json!({ "kind": kind, "reason": self.to_string() })
    }
}
