//! The one writer of a tenant: what it appends, and how it finds out that it is the writer no longer.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_trait::async_trait;
use clawdb_session_durable::{JournalError, Lease, Reason, Writer};
use clawdb_session_host::Change;
use futures::future::join_all;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use crate::index::{Index, StreamDigest};
use crate::message::{OwnerRecord, Record, WriterHeaders};
use crate::options::{NatsOptions, TRIES};
use crate::reader::Reader;
use crate::stream::{PublishOutcome, TenantStream};

/// How many records a call stops counting because they have expired.
const MAX_EXPIRED_PER_CALL: usize = 1_000;

/// How many messages a call deletes.
const MAX_DELETED_PER_CALL: usize = 64;

/// What one read gives at most, in records and in bytes of keys and values.
const PAGE_ROWS: usize = 1_000;
const PAGE_BYTES: usize = 1024 * 1024;

/// What is published.
#[derive(Clone, Copy)]
enum Outgoing<'a> {
    /// The owner record, with this lease.
    Owner(Duration),
    Record(&'a Change),
}

/// The writer of a tenant.
pub(super) struct NatsWriter {
    stream: TenantStream,
    options: NatsOptions,
    id: Uuid,
    lease: Lease,
    /// The last message of the stream, as far as is known.
    last: u64,
    /// Whether another message of ours may have been taken, or may be yet.
    in_doubt: bool,
    /// The owner record in force.
    owner: u64,
    /// Who the tenant was lost to.
    fenced: Option<Reason>,
    /// What the stream has to hold, as the last message says.
    digest: StreamDigest,
    /// What it does hold, as far as it was read.
    index: Index,
    /// Whether the index has all.
    indexed: bool,
    /// How many records there were at the take-over.
    count: u64,
    reader: Reader,
    /// The page that is being read. It stays here, so that a call that fails or is dropped loses
    /// nothing of it.
    page: Vec<Change>,
    page_bytes: usize,
    /// What came and did not fit into the page before.
    carried_over: Option<Change>,
}

impl NatsWriter {
    /// `at` is the sequence number of the take-over.
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

    /// Publishes a message as the next of the stream.
    ///
    /// An error leaves open whether it was taken; the next call finds that out first.
    async fn publish(&mut self, outgoing: Outgoing<'_>) -> Result<(), JournalError> {
        let mut refused = 0;
        loop {
            if self.in_doubt {
                self.resolve_doubt().await?;
            }
            let at = self.last.saturating_add(1);
            let (subject, headers, body) = self.message(outgoing, at)?;
            // Until there is an answer, which may be never: this future can be dropped.
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
                    refused += 1;
                    if refused == TRIES {
                        return Err(JournalError::Unavailable(
                            "the servers do not agree on what the last message is".into(),
                        ));
                    }
                    if refused > 1 {
                        sleep(self.stream.patience / 20).await;
                    }
                }
            }
        }
    }

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
                    let text = format!("{} is no key of a record", json!(change.key));
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

    /// A message of ours is the last one now.
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

    /// Finds out which message is the last, and whether the tenant is still ours.
    async fn resolve_doubt(&mut self) -> Result<(), JournalError> {
        let last = self.stream.last().await?;
        if last < self.last {
            let text = format!(
                "the server knows messages up to {last}, and {} was acknowledged",
                self.last
            );
            return Err(JournalError::Unavailable(text.into()));
        }
        if last > self.last {
            let Some(message) = self.stream.message(last).await? else {
                return Err(JournalError::Unavailable(
                    "the last message is not there yet, or not any more".into(),
                ));
            };
            let writer_headers = WriterHeaders::read(&message.headers, last)?;
            // All that is under way of ours expects the message that we know, so one of it at most was
            // taken, as the next.
            if writer_headers.writer != self.id || last != self.last.saturating_add(1) {
                return Err(self.fence(&writer_headers).await);
            }
            self.adopt(&writer_headers, &message)?;
        }
        self.in_doubt = false;
        Ok(())
    }

    /// A message of ours was taken, and nobody told us.
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
        // The index may have forgotten more since that was sent.
        self.digest = writer_headers.digest;
        Ok(())
    }

    /// Ends the lease: somebody else has the tenant.
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

    /// Publishes the owner record anew.
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

    /// All was read: is it what there has to be?
    fn verify(&mut self) -> Result<(), JournalError> {
        let found = self.index.digest();
        if found != self.digest {
            let text = format!(
                "the stream has {} records where there were {}, or old ones in their place",
                found.count, self.digest.count
            );
            return Err(JournalError::Damaged(text.into()));
        }
        self.indexed = true;
        Ok(())
    }

    /// Before anything can be appended, it has to be known what it replaces. Whoever appends before
    /// they have read all pays for it with another look at the rest.
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

    /// Deletes some of what has expired. What fails is tried again another time.
    async fn delete_expired(&mut self) {
        let (now, last): (Vec<u64>, Vec<u64>) = self
            .index
            .take_deletable(self.digest, MAX_DELETED_PER_CALL)
            .into_iter()
            // The last message stays: without it the stream would not tell who wrote it.
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

    /// Puts records into the page until it is full; gives whether it is.
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
            // Each record is a round trip, so that many take longer than the lease runs.
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
        // First: nobody here may count on what is about to be given away.
        self.lease.end();
        self.publish(Outgoing::Owner(Duration::ZERO)).await
    }
}
