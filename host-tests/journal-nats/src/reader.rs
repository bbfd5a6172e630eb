//! Reads the records of a stream up to a message, in the order of their sequence numbers.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use clawdb_session_durable::JournalError;
use futures::StreamExt;
use tokio::time::sleep;

use crate::attempts::Attempts;
use crate::message::Record;
use crate::stream::{TenantStream, unavailable, with_timeout};

/// The number of messages that are requested at a time. All of them can be in memory, with up to
/// 300 KiB each.
const BATCH: usize = 128;

/// The number of consumers that are tried before the reader fails.
const CONSUMERS: u32 = 3;

/// The time after which the server deletes an unused consumer.
const CONSUMER_TTL: Duration = Duration::from_secs(30);

/// A reader of the records up to a message. After an error, the next call continues at the same
/// record.
pub(super) struct Reader {
    stream: TenantStream,
    /// The sequence number of the next message to read.
    next: u64,
    /// The sequence number of the last message to read. A message with this number or a higher one
    /// exists.
    until: u64,
    /// Whether the values are omitted.
    headers_only: bool,
    consumer_state: Option<ConsumerState>,
}

/// A consumer and its current request.
struct ConsumerState {
    consumer: Consumer<Config>,
    batch: Option<Batch>,
    /// The number of messages that the consumer has delivered. The server numbers them, so a lost
    /// message is detected.
    received: u64,
    /// The value of `received` when the current batch was requested.
    received_before: u64,
}

impl Reader {
    pub(super) fn new(stream: TenantStream, until: u64) -> Self {
        Self {
            stream,
            next: 1,
            until,
            headers_only: false,
            consumer_state: None,
        }
    }

    /// Returns a reader of the records that this one has not read yet, without their values.
    pub(super) fn remaining_headers(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            next: self.next,
            until: self.until,
            headers_only: true,
            consumer_state: None,
        }
    }

    /// Returns the next record, or `None` when all were read.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, JournalError> {
        let mut attempts = Attempts::new(CONSUMERS);
        while self.next <= self.until {
            let message = match self.message().await {
                Ok(message) => message,
                Err(error) => {
                    self.consumer_state = None;
                    attempts.count(error)?;
                    sleep(self.stream.patience / 10).await;
                    continue;
                }
            };
            let at = message.info().map_err(unavailable)?.stream_sequence;
            if at > self.until {
                self.next = at;
                break;
            }
            let headers = message.headers.clone().unwrap_or_default();
            let names = &self.stream.names;
            let record = Record::read(names, &message.subject, &headers, &message.payload, at)
                // The next call must read this message again, and not the one after it.
                .inspect_err(|_| self.consumer_state = None)?;
            self.next = at.saturating_add(1);
            if record.is_some() {
                return Ok(record);
            }
        }
        self.close().await;
        Ok(None)
    }

    /// Returns the next message of the stream.
    async fn message(&mut self) -> Result<Message, JournalError> {
        let patience = self.stream.patience;
        let broken = |text: &str| {
            JournalError::Unavailable(format!("reading the stream failed: {text}").into())
        };
        if self.consumer_state.is_none() {
            self.consumer_state = Some(self.open().await?);
        }
        let Some(consumer_state) = &mut self.consumer_state else {
            return Err(broken("it has no consumer"));
        };
        loop {
            let batch = if let Some(batch) = &mut consumer_state.batch {
                batch
            } else {
                let request = consumer_state
                    .consumer
                    .batch()
                    .max_messages(BATCH)
                    .expires(patience)
                    .messages();
                let batch = with_timeout(patience, request)
                    .await?
                    .map_err(unavailable)?;
                consumer_state.received_before = consumer_state.received;
                consumer_state.batch.insert(batch)
            };
            match with_timeout(patience, batch.next()).await? {
                Some(Ok(message)) => {
                    let number = message.info().map_err(unavailable)?.consumer_sequence;
                    consumer_state.received += 1;
                    if number != consumer_state.received {
                        return Err(broken("a message was not delivered"));
                    }
                    return Ok(message);
                }
                Some(Err(error)) => return Err(unavailable(error)),
                None if consumer_state.received == consumer_state.received_before => {
                    return Err(broken("no message was delivered"));
                }
                // The batch is complete, or its time has expired.
                None => consumer_state.batch = None,
            }
        }
    }

    /// Creates a consumer of the messages from `next` on.
    async fn open(&self) -> Result<ConsumerState, JournalError> {
        let config = Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.next,
            },
            ack_policy: AckPolicy::None,
            headers_only: self.headers_only,
            inactive_threshold: CONSUMER_TTL,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let consumer = with_timeout(
            self.stream.patience,
            self.stream.handle().create_consumer(config),
        )
        .await?
        .map_err(unavailable)?;
        Ok(ConsumerState {
            consumer,
            batch: None,
            received: 0,
            received_before: 0,
        })
    }

    /// Deletes the consumer. If that fails, the server deletes it after `CONSUMER_TTL`.
    async fn close(&mut self) {
        if let Some(consumer_state) = self.consumer_state.take() {
            let name = &consumer_state.consumer.cached_info().name;
            let _ = with_timeout(
                self.stream.patience,
                self.stream.handle().delete_consumer(name),
            )
            .await;
        }
    }
}
