//! The headers and bodies of the messages of a stream.

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

/// The format of the stream. This version reads and writes no other.
const FORMAT: u32 = 1;

/// The headers of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriterHeaders {
    /// The id of the writer that published the message.
    pub(super) writer: Uuid,
    /// The sequence number of the owner record in force. An owner record names itself.
    pub(super) owner: u64,
    /// The digest of the stream with this message.
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

/// The body of an owner record: the owner of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnerRecord {
    format: u32,
    /// The id of the writer, for people. The header is authoritative.
    writer: String,
    /// The name of the host, for people.
    pub(super) host: String,
    /// The duration of the lease in milliseconds; 0 if the tenant was given back.
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
            let text = "the owner record cannot be encoded";
            JournalError::Damaged(Reason::with_source(text, error))
        })
    }

    pub(super) fn read(body: &[u8], sequence: u64) -> Result<Self, JournalError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let foreign = |error: serde_json::Error| {
            let text = format!("message {sequence} is not an owner record");
            JournalError::Damaged(Reason::with_source(text, error))
        };
        let Format { format } = serde_json::from_slice(body).map_err(foreign)?;
        if format != FORMAT {
            let text = format!(
                "the stream has format {format}, but this host reads only format {FORMAT}: use the \
                 version of the host that wrote it"
            );
            return Err(JournalError::Misconfigured(text.into()));
        }
        serde_json::from_slice(body).map_err(foreign)
    }
}

/// A record and its sequence number in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: u64,
    pub(super) change: Change,
}

impl Record {
    /// Adds the fields of a change to the headers of its message.
    pub(super) fn add_headers(change: &Change, headers: &mut HeaderMap) {
        headers.insert(SEQUENCE, change.sequence.to_string());
        if let Some(time) = change.forget_at {
            headers.insert(FORGET_AT, time.to_string());
        }
    }

    /// Returns the record of a message, or `None` for the owner record.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if the message is neither.
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
            let text = format!("message {at} has the subject {subject}, which no record has");
            return Err(JournalError::Damaged(text.into()));
        };
        let forget_at = match headers.get(FORGET_AT) {
            Some(_) => Some(field(headers, FORGET_AT, at)?),
            None => None,
        };
        let value = std::str::from_utf8(body).map_err(|error| {
            let text = format!("message {at} is not UTF-8");
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

/// Returns the value of a header.
fn field<T: FromStr>(headers: &HeaderMap, name: &str, sequence: u64) -> Result<T, JournalError> {
    headers
        .get(name)
        .and_then(|value| value.as_str().parse().ok())
        .ok_or_else(|| {
            let text =
                format!("message {sequence} has no valid header {name}: another program wrote it");
            JournalError::Damaged(text.into())
        })
}

#[cfg(test)]
mod tests {
    use clawdb_session_durable::TenantId;

    use super::*;

    fn names() -> StreamNames {
        StreamNames::new("p", TenantId::new(Uuid::nil()))
    }

    fn change(forget_at: Option<u64>) -> Change {
        Change {
            sequence: 5,
            key: "agent/1".into(),
            value: "{}".into(),
            forget_at,
        }
    }

    fn read(subject: &str, headers: &HeaderMap, body: &[u8]) -> Result<Option<Record>, String> {
        Record::read(&names(), subject, headers, body, 9).map_err(|error| error.to_string())
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for forget_at in [None, Some(70)] {
            let mut headers = HeaderMap::new();
            Record::add_headers(&change(forget_at), &mut headers);
            let subject = names().record_subject("agent/1").unwrap();
            let record = Record {
                at: 9,
                change: change(forget_at),
            };
            assert_eq!(read(&subject, &headers, b"{}"), Ok(Some(record)));
            let error = read(&subject, &headers, b"\xff").unwrap_err();
            assert!(error.contains("message 9 is not UTF-8"), "{error}");
            let error = read("p.other", &headers, b"{}").unwrap_err();
            assert!(error.contains("the subject p.other"), "{error}");
            assert_eq!(read(&names().owner_subject(), &headers, b"{}"), Ok(None));
        }
    }

    #[test]
    fn a_record_without_a_valid_header_is_damaged() {
        let subject = names().record_subject("agent/1").unwrap();
        for (header, value) in [(SEQUENCE, "x"), (FORGET_AT, "x"), (FORGET_AT, "-1")] {
            let mut headers = HeaderMap::new();
            Record::add_headers(&change(None), &mut headers);
            headers.insert(header, value);
            let error = read(&subject, &headers, b"{}").unwrap_err();
            assert!(error.contains(header), "{error}");
        }
        let error = read(&subject, &HeaderMap::new(), b"{}").unwrap_err();
        assert!(error.contains(SEQUENCE), "{error}");
    }

    #[test]
    fn the_headers_of_a_writer_are_read_as_they_were_written() {
        let headers = WriterHeaders {
            writer: Uuid::from_u128(7),
            owner: 3,
            digest: "1 8 10 7".parse().unwrap(),
        };
        assert_eq!(WriterHeaders::read(&headers.headers(), 9), Ok(headers));
        for missing in [WRITER, OWNER, DIGEST] {
            let mut rest = HeaderMap::new();
            for (name, values) in headers.headers().iter() {
                if name.as_ref() as &str != missing {
                    rest.insert(name.clone(), values[0].clone());
                }
            }
            let error = WriterHeaders::read(&rest, 9).unwrap_err();
            assert!(matches!(error, JournalError::Damaged(_)), "{error}");
            assert!(error.to_string().contains(missing), "{error}");
        }
    }

    #[test]
    fn an_owner_record_is_read_as_it_was_written() {
        let lease = Duration::from_millis(1_500);
        let owner = OwnerRecord::new(Uuid::nil(), "host", lease);
        assert_eq!(owner.lease(), lease);
        let body = owner.body().unwrap();
        assert_eq!(OwnerRecord::read(&body, 9), Ok(owner));
        let error = OwnerRecord::read(b"{}", 9).unwrap_err();
        assert!(matches!(error, JournalError::Damaged(_)), "{error}");
        let error = OwnerRecord::read(br#"{"format":2}"#, 9).unwrap_err();
        assert!(matches!(error, JournalError::Misconfigured(_)), "{error}");
    }
}
