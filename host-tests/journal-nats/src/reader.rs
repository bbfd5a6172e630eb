//! Reads a stream up to a message, in the order of the sequence numbers, with a consumer that the server
//! forgets by itself.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, ReplayPolicy};
use clawdb_session_durable::JournalError;
use futures::StreamExt;
use tokio::time::sleep;

use crate::message::Record;
use crate::stream::{TenantStream, unavailable, with_timeout};

/// How many messages are asked for at once: they are all in memory then, 300 KiB at most each.
const BATCH: usize = 128;

/// How often a new consumer is tried before the reader says that there is something wrong.
const TRIES: u32 = 3;

/// How long the server keeps a consumer that nobody asks.
const CONSUMER_TTL: Duration = Duration::from_secs(30);

/// Reads the records up to a message. It can be asked again after an error, and goes on where it was.
pub(super) struct Reader {
    stream: TenantStream,
    /// The sequence number from which on nothing was read yet.
    next: u64,
    /// The last one to read. There is a message with this number or behind it.
    until: u64,
    /// Leaves the values out.
    headers_only: bool,
    consumer_state: Option<ConsumerState>,
}

/// A consumer, and what it was asked for.
struct ConsumerState {
    consumer: Consumer<Config>,
    batch: Option<Batch>,
    /// How many messages came of it. They are numbered, so that one that was lost on the way is
    /// noticed.
    received: u64,
    /// How many had come when the batch was asked for.
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

    /// Another, of what this one has not read yet, that leaves the values out.
    pub(super) fn remaining_headers(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            next: self.next,
            until: self.until,
            headers_only: true,
            consumer_state: None,
        }
    }

    /// The next record; none when all were read.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, JournalError> {
        let mut tries = 0;
        while self.next <= self.until {
            let message = match self.message().await {
                Ok(message) => message,
                Err(error) => {
                    self.consumer_state = None;
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
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
                // It must not be passed over the next time.
                .inspect_err(|_| self.consumer_state = None)?;
            self.next = at.saturating_add(1);
            if record.is_some() {
                return Ok(record);
            }
        }
        self.close().await;
        Ok(None)
    }

    /// The next message of the stream.
    async fn message(&mut self) -> Result<Message, JournalError> {
        let patience = self.stream.patience;
        let broken =
            |text: &str| JournalError::Unavailable(format!("reading the stream: {text}").into());
        if self.consumer_state.is_none() {
            self.consumer_state = Some(self.open().await?);
        }
        let Some(consumer_state) = &mut self.consumer_state else {
            return Err(broken("no consumer"));
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
                        return Err(broken("a message was lost on the way"));
                    }
                    return Ok(message);
                }
                Some(Err(error)) => return Err(unavailable(error)),
                None if consumer_state.received == consumer_state.received_before => {
                    return Err(broken("nothing comes"));
                }
                // All came that it asked for, or its time is over.
                None => consumer_state.batch = None,
            }
        }
    }

    async fn open(&self) -> Result<ConsumerState, JournalError> {
        let config = Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.next,
            },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
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

    /// Spares the server the time until it forgets the consumer.
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
