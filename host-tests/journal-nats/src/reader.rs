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
use crate::stream::{TenantStream, unavailable, within};

/// How many messages are asked for at once: they are all in memory then, 300 KiB at most each.
const BATCH: usize = 128;

/// How often a new consumer is tried before the reader says that there is something wrong.
const TRIES: u32 = 3;

/// How long the server keeps a consumer that nobody asks.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Reads the records up to a message. It can be asked again after an error, and goes on where it was.
pub(super) struct Reader {
    stream: TenantStream,
    /// The sequence number from which on nothing was read yet.
    next: u64,
    /// The last one to read. There is a message with this number or behind it.
    until: u64,
    /// Leaves the values out.
    headers_only: bool,
    source: Option<Source>,
}

/// A consumer, and what it was asked for.
struct Source {
    consumer: Consumer<Config>,
    batch: Option<Batch>,
    /// How many messages came of it. They are numbered, so that one that was lost on the way is
    /// noticed.
    came: u64,
    /// How many had come when the batch was asked for.
    before: u64,
}

impl Reader {
    pub(super) fn new(stream: TenantStream, until: u64) -> Self {
        Self {
            stream,
            next: 1,
            until,
            headers_only: false,
            source: None,
        }
    }

    /// Another, of what this one has not read yet, that leaves the values out.
    pub(super) fn rest_of_headers(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            next: self.next,
            until: self.until,
            headers_only: true,
            source: None,
        }
    }

    /// The next record; none when all were read.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, JournalError> {
        let mut tries = 0;
        while self.next <= self.until {
            let message = match self.message().await {
                Ok(message) => message,
                Err(error) => {
                    self.source = None;
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                    sleep(self.stream.patience / 10).await;
                    continue;
                }
            };
            let at = message
                .info()
                .map_err(|error| unavailable(error.as_ref()))?
                .stream_sequence;
            if at > self.until {
                self.next = at;
                break;
            }
            let headers = message.headers.clone().unwrap_or_default();
            let place = &self.stream.place;
            let record = Record::read(place, &message.subject, &headers, &message.payload, at)
                // It must not be passed over the next time.
                .inspect_err(|_| self.source = None)?;
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
        let broken = |text: &str| JournalError::Unavailable(format!("reading the stream: {text}"));
        if self.source.is_none() {
            self.source = Some(self.open().await?);
        }
        let Some(source) = &mut self.source else {
            return Err(broken("no consumer"));
        };
        loop {
            let batch = if let Some(batch) = &mut source.batch {
                batch
            } else {
                let request = source
                    .consumer
                    .batch()
                    .max_messages(BATCH)
                    .expires(patience)
                    .messages();
                let batch = within(patience, request)
                    .await?
                    .map_err(|error| unavailable(&error))?;
                source.before = source.came;
                source.batch.insert(batch)
            };
            match within(patience, batch.next()).await? {
                Some(Ok(message)) => {
                    let number = message
                        .info()
                        .map_err(|error| unavailable(error.as_ref()))?
                        .consumer_sequence;
                    source.came += 1;
                    if number != source.came {
                        return Err(broken("a message was lost on the way"));
                    }
                    return Ok(message);
                }
                Some(Err(error)) => return Err(unavailable(error.as_ref())),
                None if source.came == source.before => return Err(broken("nothing comes")),
                // All came that it asked for, or its time is over.
                None => source.batch = None,
            }
        }
    }

    async fn open(&self) -> Result<Source, JournalError> {
        let config = Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.next,
            },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            headers_only: self.headers_only,
            inactive_threshold: FORGOTTEN_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let consumer = within(
            self.stream.patience,
            self.stream.handle().create_consumer(config),
        )
        .await?
        .map_err(|error| unavailable(&error))?;
        Ok(Source {
            consumer,
            batch: None,
            came: 0,
            before: 0,
        })
    }

    /// Spares the server the time until it forgets the consumer.
    async fn close(&mut self) {
        if let Some(source) = self.source.take() {
            let name = &source.consumer.cached_info().name;
            let _ = within(
                self.stream.patience,
                self.stream.handle().delete_consumer(name),
            )
            .await;
        }
    }
}
