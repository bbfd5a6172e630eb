//! The writer of a tenant.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_trait::async_trait;
use clawdb_session_durable::{JournalError, Lease, Reason, Writer};
use clawdb_session_host::Change;
use futures::future::join_all;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use crate::attempts::Attempts;
use crate::index::{Index, StreamDigest};
use crate::message::{OwnerRecord, Record, WriterHeaders};
use crate::options::NatsOptions;
use crate::reader::Reader;
use crate::stream::{PublishOutcome, TenantStream};

/// The maximum number of expired records that one call stops counting.
const MAX_EXPIRED_PER_CALL: usize = 1_000;

/// The maximum number of messages that one call deletes.
const MAX_DELETED_PER_CALL: usize = 64;

/// The maximum number of records of a page.
const PAGE_ROWS: usize = 1_000;
/// The maximum number of bytes of keys and values of a page with more than one record.
const PAGE_BYTES: usize = 1024 * 1024;

/// A message to publish.
#[derive(Clone, Copy)]
enum Outgoing<'a> {
    /// The owner record, with this lease. A lease of zero gives the tenant back.
    Owner(Duration),
    Record(&'a Change),
}

/// The writer of a tenant.
pub(super) struct NatsWriter {
    stream: TenantStream,
    options: NatsOptions,
    id: Uuid,
    lease: Lease,
    /// The sequence number of the last message that this writer has seen.
    last: u64,
    /// Whether a published message may have been accepted without an answer, or may still be.
    in_doubt: bool,
    /// The sequence number of the owner record in force.
    owner: u64,
    /// Why this writer is fenced; `None` while it is not.
    fenced: Option<Reason>,
    /// The digest of the stream in its last message.
    digest: StreamDigest,
    /// The index of the records that were read or published.
    index: Index,
    /// Whether the index has all records.
    indexed: bool,
    /// The number of records at the take-over.
    count: u64,
    reader: Reader,
    /// The page that is being filled. It is kept if a call fails or is cancelled, so that no record
    /// is lost.
    page: Vec<Change>,
    page_bytes: usize,
    /// The record that did not fit into the previous page.
    carried_over: Option<Change>,
}

impl NatsWriter {
    /// Returns the writer of a take-over. `at` is the sequence number of its owner record.
    pub(super) fn new(
        stream: TenantStream,
        options: &NatsOptions,
        id: Uuid,
        lease: Lease,
        at: u64,
        digest: StreamDigest,
    ) -> Self {
        Self {
            reader: Reader::new(stream.clone(), at),
            stream,
            options: options.clone(),
            id,
            lease,
            last: at,
            in_doubt: false,
            owner: at,
            fenced: None,
            digest,
            index: Index::new(digest),
            indexed: false,
            count: digest.count,
            page: Vec::new(),
            page_bytes: 0,
            carried_over: None,
        }
    }

    /// Publishes a message as the next one of the stream.
    ///
    /// After an error it is unknown whether the message was accepted. The next call determines this
    /// first.
    async fn publish(&mut self, outgoing: Outgoing<'_>) -> Result<(), JournalError> {
        let mut attempts = Attempts::default();
        let mut pause = Duration::ZERO;
        loop {
            if self.in_doubt {
                self.resolve_doubt().await?;
            }
            let at = self.last.saturating_add(1);
            let (subject, headers, body) = self.message(outgoing, at)?;
            // It is set before the wait, because this future can be dropped during it.
            self.in_doubt = true;
            match self
                .stream
                .publish(subject, headers, body, self.last)
                .await?
            {
                PublishOutcome::Accepted => {
                    self.in_doubt = false;
                    self.note_published(outgoing, at);
                    return Ok(());
                }
                PublishOutcome::WrongLastSequence => {
                    let text = "the servers do not agree on what the last message is";
                    attempts.count(JournalError::Unavailable(text.into()))?;
                    sleep(pause).await;
                    pause = self.stream.patience / 20;
                }
            }
        }
    }

    /// Returns the subject, the headers and the body of a message with the sequence number `at`.
    fn message(
        &self,
        outgoing: Outgoing<'_>,
        at: u64,
    ) -> Result<(String, async_nats::HeaderMap, Vec<u8>), JournalError> {
        let writer_headers = WriterHeaders {
            writer: self.id,
            owner: self.owner,
            digest: self.digest,
        };
        match outgoing {
            Outgoing::Owner(lease) => {
                let headers = WriterHeaders {
                    owner: at,
                    ..writer_headers
                }
                .headers();
                let body = OwnerRecord::new(self.id, &self.options.host, lease).body()?;
                Ok((self.stream.names.owner_subject(), headers, body))
            }
            Outgoing::Record(change) => {
                let Some(subject) = self.stream.names.record_subject(&change.key) else {
                    let text = format!("{} is not the key of a record", json!(change.key));
                    return Err(JournalError::Damaged(text.into()));
                };
                let digest = self.index.digest_with(&change.key, at, change.forget_at);
                let mut headers = WriterHeaders {
                    digest,
                    ..writer_headers
                }
                .headers();
                Record::add_headers(change, &mut headers);
                Ok((subject, headers, change.value.clone().into_bytes()))
            }
        }
    }

    /// Records that a message of this writer is the last one of the stream.
    fn note_published(&mut self, outgoing: Outgoing<'_>, at: u64) {
        self.last = at;
        match outgoing {
            Outgoing::Owner(_) => self.owner = at,
            Outgoing::Record(change) => {
                self.index.put(&change.key, at, change.forget_at);
                self.digest = self.index.digest();
            }
        }
    }

    /// Determines whether the last published message was accepted, and whether this writer still
    /// has the tenant.
    async fn resolve_doubt(&mut self) -> Result<(), JournalError> {
        let last = self.stream.last().await?;
        if last < self.last {
            let text = format!(
                "the server reports {last} as its last message, but message {} was acknowledged",
                self.last
            );
            return Err(JournalError::Unavailable(text.into()));
        }
        if last > self.last {
            let Some(message) = self.stream.message(last).await? else {
                return Err(JournalError::Unavailable(
                    "the last message cannot be read: it is not stored yet, or was replaced".into(),
                ));
            };
            let writer_headers = WriterHeaders::read(&message.headers, last)?;
            // All messages of this writer that are in flight expect `self.last`. So at most one of
            // them was accepted, as the message after it.
            if writer_headers.writer != self.id || last != self.last.saturating_add(1) {
                return Err(self.fence(&writer_headers).await);
            }
            self.adopt(&writer_headers, &message)?;
        }
        self.in_doubt = false;
        Ok(())
    }

    /// Adopts a message of this writer that was accepted, but whose answer was lost.
    fn adopt(
        &mut self,
        writer_headers: &WriterHeaders,
        message: &StreamMessage,
    ) -> Result<(), JournalError> {
        let at = message.sequence;
        let record = Record::read(
            &self.stream.names,
            &message.subject,
            &message.headers,
            &message.payload,
            at,
        )?;
        match record {
            Some(record) => self.note_published(Outgoing::Record(&record.change), at),
            None => self.note_published(Outgoing::Owner(Duration::ZERO), at),
        }
        // The index may have expired more records since the message was sent.
        self.digest = writer_headers.digest;
        Ok(())
    }

    /// Ends the lease and returns the error: another writer has the tenant.
    async fn fence(&mut self, writer_headers: &WriterHeaders) -> JournalError {
        self.lease.end();
        let owner = match self.stream.message(writer_headers.owner).await {
            Ok(Some(message)) => OwnerRecord::read(&message.payload, writer_headers.owner).ok(),
            _ => None,
        };
        let text = match owner {
            Some(owner) => format!("{} has taken it over", owner.host),
            None => format!("writer {} has taken it over", writer_headers.writer),
        };
        let reason = Reason::from(text);
        self.fenced = Some(reason.clone());
        JournalError::Fenced(reason)
    }

    fn check_fence(&self) -> Result<(), JournalError> {
        match &self.fenced {
            Some(reason) => Err(JournalError::Fenced(reason.clone())),
            None => Ok(()),
        }
    }

    /// Publishes the owner record again, which extends the lease.
    async fn extend_lease(&mut self) -> Result<(), JournalError> {
        let asked_at = Lease::now();
        self.publish(Outgoing::Owner(self.options.lease)).await?;
        self.lease.extend(asked_at, self.options.lease);
        Ok(())
    }

    /// Puts a record that was read into the index.
    fn index_record(&mut self, record: &Record) {
        self.index
            .put(&record.change.key, record.at, record.change.forget_at);
    }

    /// Checks that all records that were read are those that the stream must contain.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if a record is missing or an old one is in its place.
    fn verify(&mut self) -> Result<(), JournalError> {
        let found = self.index.digest();
        if found != self.digest {
            let text = format!(
                "the stream has {} records instead of {}, or old records in place of newer ones",
                found.count, self.digest.count
            );
            return Err(JournalError::Damaged(text.into()));
        }
        self.indexed = true;
        Ok(())
    }

    /// Completes the index, because an append needs the record that it replaces. Reads the headers
    /// of the records that were not read yet.
    async fn complete_index(&mut self) -> Result<(), JournalError> {
        if self.indexed {
            return Ok(());
        }
        let mut rest = self.reader.remaining_headers();
        while let Some(record) = rest.next().await? {
            self.index_record(&record);
        }
        self.verify()
    }

    /// Deletes some expired records. A failed deletion is retried by a later call.
    async fn delete_expired(&mut self) {
        let (now, last): (Vec<u64>, Vec<u64>) = self
            .index
            .take_deletable(self.digest, MAX_DELETED_PER_CALL)
            .into_iter()
            // The last message is kept, because it identifies the writer and the owner record.
            .partition(|at| *at < self.last);
        let stream = &self.stream;
        let deleted = join_all(now.iter().map(|at| stream.delete(*at))).await;
        for (at, deleted) in now.into_iter().zip(deleted) {
            if deleted.is_err() {
                self.index.retry_deletion(at);
            }
        }
        for at in last {
            self.index.retry_deletion(at);
        }
    }

    /// Reads records into the page until it is full or all were read. Returns whether it is full.
    async fn fill_page(&mut self) -> Result<bool, JournalError> {
        loop {
            let change = match self.carried_over.take() {
                Some(change) => change,
                None => match self.reader.next().await? {
                    None => return Ok(false),
                    Some(record) => {
                        if !self.indexed {
                            self.index_record(&record);
                        }
                        if !self.index.includes(record.at, record.change.forget_at) {
                            continue;
                        }
                        record.change
                    }
                },
            };
            let bytes = change.key.len() + change.value.len();
            if !self.page.is_empty() && self.page_bytes + bytes > PAGE_BYTES {
                self.carried_over = Some(change);
                return Ok(true);
            }
            self.page.push(change);
            self.page_bytes += bytes;
            if self.page.len() == PAGE_ROWS {
                return Ok(true);
            }
        }
    }
}

#[async_trait]
impl Writer for NatsWriter {
    fn len(&self) -> u64 {
        self.count
    }

    async fn read(&mut self) -> Result<Vec<Change>, JournalError> {
        if !self.fill_page().await? && !self.indexed {
            self.verify()?;
        }
        self.page_bytes = 0;
        Ok(std::mem::take(&mut self.page))
    }

    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError> {
        self.check_fence()?;
        self.complete_index().await?;
        self.index.expire(now, MAX_EXPIRED_PER_CALL);
        for change in changes {
            // Each record takes a round trip, so many records can take longer than the lease.
            if self.lease.remaining() < self.options.lease / 2 {
                self.extend_lease().await?;
            }
            self.publish(Outgoing::Record(change)).await?;
        }
        self.delete_expired().await;
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), JournalError> {
        self.check_fence()?;
        self.extend_lease().await?;
        self.delete_expired().await;
        Ok(())
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    async fn release(mut self: Box<Self>) -> Result<(), JournalError> {
        self.check_fence()?;
        // The lease ends first, so that this host does not use it after another one can have it.
        self.lease.end();
        self.publish(Outgoing::Owner(Duration::ZERO)).await
    }
}
