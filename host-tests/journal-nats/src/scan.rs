//! Reads the records of a tenant without taking it over.

use async_trait::async_trait;
use clawdb_session_durable::{JournalError, Scan};
use clawdb_session_host::Change;

use crate::acquire::last_message;
use crate::index::Index;
use crate::message::Record;
use crate::reader::Reader;
use crate::stream::TenantStream;

/// The maximum number of records of a page.
const PAGE_ROWS: usize = 1_000;
/// The number of bytes of values after which a page takes no further record.
const PAGE_BYTES: usize = 1 << 20;

/// Returns the current record of a key.
pub(super) async fn record(
    stream: &TenantStream,
    key: &str,
) -> Result<Option<Change>, JournalError> {
    let Some(subject) = stream.names.record_subject(key) else {
        return Ok(None);
    };
    let Some(message) = stream.newest(&subject).await? else {
        return Ok(None);
    };
    let record = Record::read(
        &stream.names,
        &message.subject,
        &message.headers,
        &message.payload,
        message.sequence,
    )?;
    Ok(record.map(|record| record.change))
}

/// A scan of a tenant's records, up to the last message at the beginning of the scan.
pub(super) struct NatsScan {
    /// `None` if the tenant has no stream, or an empty one.
    reader: Option<Reader>,
    /// It has no records. It determines which records have expired: they are skipped, because they
    /// may be deleted or not.
    index: Index,
    /// The page that is being filled. It is kept after an error, so that no record is lost.
    page: Vec<Change>,
    bytes: usize,
}

impl NatsScan {
    /// Begins a scan of a stream, or an empty scan if the tenant has no stream.
    pub(super) async fn begin(stream: Option<TenantStream>) -> Result<Self, JournalError> {
        let mut scan = Self {
            reader: None,
            index: Index::default(),
            page: Vec::new(),
            bytes: 0,
        };
        if let Some(stream) = stream
            && let last_message = last_message(&stream).await?
            && let Some(writer_headers) = last_message.writer_headers
        {
            scan.index = Index::new(writer_headers.digest);
            scan.reader = Some(Reader::new(stream, last_message.sequence));
        }
        Ok(scan)
    }
}

#[async_trait]
impl Scan for NatsScan {
    async fn next(&mut self) -> Result<Vec<Change>, JournalError> {
        let Some(reader) = &mut self.reader else {
            return Ok(Vec::new());
        };
        while self.page.len() < PAGE_ROWS && self.bytes < PAGE_BYTES {
            let Some(record) = reader.next().await? else {
                break;
            };
            if self.index.includes(record.at, record.change.forget_at) {
                self.bytes = self.bytes.saturating_add(record.change.value.len());
                self.page.push(record.change);
            }
        }
        self.bytes = 0;
        Ok(std::mem::take(&mut self.page))
    }
}
