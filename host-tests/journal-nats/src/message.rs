//! The messages of a stream: what is in their headers and bodies.

use std::str::FromStr;
use std::time::Duration;

use async_nats::HeaderMap;
use clawdb_session_durable::{JournalError, Reason};
use clawdb_session_host::Change;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::index::StreamDigest;
use crate::stream::StreamNames;

const WRITER: &str = "Clawdb-Writer";
const OWNER: &str = "Clawdb-Owner";
const DIGEST: &str = "Clawdb-Kept";
const SEQUENCE: &str = "Clawdb-Sequence";
const FORGET_AT: &str = "Clawdb-Forget-At";

/// The format that this host writes. It reads no other.
const FORMAT: u32 = 1;

/// What every message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriterHeaders {
    /// Who published it.
    pub(super) writer: Uuid,
    /// The sequence number of the owner record in force: its own, on an owner record.
    pub(super) owner: u64,
    /// What the stream has to hold, with this message in it.
    pub(super) digest: StreamDigest,
}

impl WriterHeaders {
    pub(super) fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(WRITER, self.writer.to_string());
        headers.insert(OWNER, self.owner.to_string());
        headers.insert(DIGEST, self.digest.to_string());
        headers
    }

    pub(super) fn read(headers: &HeaderMap, sequence: u64) -> Result<Self, JournalError> {
        Ok(Self {
            writer: field(headers, WRITER, sequence)?,
            owner: field(headers, OWNER, sequence)?,
            digest: field(headers, DIGEST, sequence)?,
        })
    }
}

/// Who owns the tenant: the body of an owner record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnerRecord {
    format: u32,
    /// For people, as is the host: what counts is in the headers.
    writer: String,
    pub(super) host: String,
    /// 0: given back.
    lease_ms: u64,
}

impl OwnerRecord {
    pub(super) fn new(writer: Uuid, host: &str, lease: Duration) -> Self {
        Self {
            format: FORMAT,
            writer: writer.to_string(),
            host: host.into(),
            lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(super) fn body(&self) -> Result<Vec<u8>, JournalError> {
        serde_json::to_vec(self).map_err(|error| {
            JournalError::Damaged(Reason::with_source("no owner record can be written", error))
        })
    }

    pub(super) fn read(body: &[u8], sequence: u64) -> Result<Self, JournalError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let foreign = |error: serde_json::Error| {
            let text = format!("message {sequence} is no owner record");
            JournalError::Damaged(Reason::with_source(text, error))
        };
        let Format { format } = serde_json::from_slice(body).map_err(foreign)?;
        if format != FORMAT {
            let text = format!(
                "the stream has format {format}, and this host reads {FORMAT}: use the host that \
                 wrote it"
            );
            return Err(JournalError::Misconfigured(text.into()));
        }
        serde_json::from_slice(body).map_err(foreign)
    }
}

/// A record and its place in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: u64,
    pub(super) change: Change,
}

impl Record {
    /// What a change adds to its message's headers.
    pub(super) fn add_headers(change: &Change, headers: &mut HeaderMap) {
        headers.insert(SEQUENCE, change.sequence.to_string());
        if let Some(time) = change.forget_at {
            headers.insert(FORGET_AT, time.to_string());
        }
    }

    /// The record of a message; none where it is the owner record.
    pub(super) fn read(
        names: &StreamNames,
        subject: &str,
        headers: &HeaderMap,
        body: &[u8],
        at: u64,
    ) -> Result<Option<Self>, JournalError> {
        if subject == names.owner_subject() {
            return Ok(None);
        }
        let Some(key) = names.record_key(subject) else {
            let text = format!("message {at} has the subject {subject}, which is no record's");
            return Err(JournalError::Damaged(text.into()));
        };
        let forget_at = match headers.get(FORGET_AT) {
            Some(_) => Some(field(headers, FORGET_AT, at)?),
            None => None,
        };
        let value = std::str::from_utf8(body).map_err(|error| {
            let text = format!("message {at} is no text");
            JournalError::Damaged(Reason::with_source(text, error))
        })?;
        Ok(Some(Self {
            at,
            change: Change {
                sequence: field(headers, SEQUENCE, at)?,
                key,
                value: value.into(),
                forget_at,
            },
        }))
    }
}

fn field<T: FromStr>(headers: &HeaderMap, name: &str, sequence: u64) -> Result<T, JournalError> {
    headers
        .get(name)
        .and_then(|value| value.as_str().parse().ok())
        .ok_or_else(|| {
            let text = format!(
                "message {sequence} has no {name} that could be read: somebody else wrote it"
            );
            JournalError::Damaged(text.into())
        })
}
