//! The take-over of a tenant: a host observes the owner record until the owner's lease has expired,
//! and then publishes its own.

use std::time::Duration;

use clawdb_session_durable::{JournalError, Lease, TenantId};
use tokio::time::sleep;
use uuid::Uuid;

use crate::attempts::Attempts;
use crate::message::{OwnerRecord, WriterHeaders};
use crate::observed_owners::ObservedOwners;
use crate::options::NatsOptions;
use crate::stream::{PublishOutcome, TenantStream};
use crate::writer::NatsWriter;

/// The last message of a stream.
#[derive(Clone, Copy)]
pub(super) struct LastMessage {
    /// Its sequence number; 0 in an empty stream.
    pub(super) sequence: u64,
    /// Its headers; `None` in an empty stream.
    pub(super) writer_headers: Option<WriterHeaders>,
}

/// Takes a tenant over when no other writer has its lease.
///
/// # Errors
/// [`JournalError::Unavailable`] if the servers cannot be reached, or if they refuse the owner
/// record again and again, because they do not agree on what the last message is.
pub(super) async fn acquire(
    tenant: TenantId,
    stream: TenantStream,
    options: &NatsOptions,
    observed_owners: &ObservedOwners,
) -> Result<NatsWriter, JournalError> {
    let lease = Lease::expired();
    // Each message has its own id. So if the answer to one was lost, but it is found in the stream,
    // its time is known.
    let mut published: Vec<(Uuid, Duration)> = Vec::new();
    let mut attempts = Attempts::default();
    // The attempts that may still be refused before another owner is observed.
    let mut refusals = Attempts::default();
    let mut pause = Duration::ZERO;
    loop {
        let last_message = last_message(&stream).await?;
        let digest = last_message
            .writer_headers
            .map(|writer_headers| writer_headers.digest)
            .unwrap_or_default();
        let is_mine = |(id, _): &&(Uuid, Duration)| {
            last_message
                .writer_headers
                .is_some_and(|it| it.writer == *id)
        };
        if let Some((id, asked_at)) = published.iter().find(is_mine).copied() {
            // This message was accepted, but its answer was lost.
            lease.extend(asked_at, options.lease);
            observed_owners.forget(tenant);
            return Ok(NatsWriter::new(
                stream,
                options,
                id,
                lease,
                last_message.sequence,
                digest,
            ));
        }
        if let Some(writer_headers) = last_message.writer_headers
            && let Some(wait) = observed_owners
                .observe(tenant, &stream, writer_headers)
                .await?
        {
            sleep(wait).await;
            refusals = Attempts::default();
            pause = Duration::ZERO;
            continue;
        }

        // The observed owner record was in force at the last message. If another message has come
        // after that, this one is refused.
        let (id, asked_at) = (Uuid::new_v4(), Lease::now());
        published.push((id, asked_at));
        let at = last_message.sequence.saturating_add(1);
        let writer_headers = WriterHeaders {
            writer: id,
            owner: at,
            digest,
        };
        let body = OwnerRecord::new(id, &options.host, options.lease).body()?;
        let subject = stream.names.owner_subject();
        match stream
            .publish(
                subject,
                writer_headers.headers(),
                body,
                last_message.sequence,
            )
            .await
        {
            Ok(PublishOutcome::Accepted) => {
                lease.extend(asked_at, options.lease);
                observed_owners.forget(tenant);
                return Ok(NatsWriter::new(stream, options, id, lease, at, digest));
            }
            // Another message came first, or an earlier one of this take-over was accepted. The
            // next iteration reads the last message.
            Ok(PublishOutcome::WrongLastSequence) => {
                let text = "the servers do not agree on what the last message is";
                refusals.count(JournalError::Unavailable(text.into()))?;
                sleep(pause).await;
                pause = stream.patience / 20;
            }
            Err(error @ JournalError::Unavailable(_)) => attempts.count(error)?,
            Err(error) => return Err(error),
        }
    }
}

/// Returns whether a writer may still have the lease of a tenant. Does not wait for its end.
pub(super) async fn is_held(
    tenant: TenantId,
    stream: &TenantStream,
    observed_owners: &ObservedOwners,
) -> Result<bool, JournalError> {
    match last_message(stream).await?.writer_headers {
        Some(writer_headers) => Ok(observed_owners
            .observe(tenant, stream, writer_headers)
            .await?
            .is_some()),
        None => Ok(false),
    }
}

/// Returns the last message of a stream. It reads the number of the message first, and reads both
/// again if a newer message of the same subject has replaced the message in between.
///
/// # Errors
/// [`JournalError::Damaged`] if the message is still missing after some attempts and no newer one
/// has come.
pub(super) async fn last_message(stream: &TenantStream) -> Result<LastMessage, JournalError> {
    let mut missing = 0;
    let mut attempts = Attempts::default();
    loop {
        let last = stream.last().await?;
        if last == 0 {
            return Ok(LastMessage {
                sequence: last,
                writer_headers: None,
            });
        }
        if let Some(message) = stream.message(last).await? {
            let writer_headers = Some(WriterHeaders::read(&message.headers, last)?);
            return Ok(LastMessage {
                sequence: last,
                writer_headers,
            });
        }
        if missing != last {
            missing = last;
            attempts = Attempts::default();
        }
        let text = format!("the stream's last message, {last}, is missing");
        attempts.count(JournalError::Damaged(text.into()))?;
        sleep(stream.patience / 20).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_nats::jetstream::ErrorCode;
    use clawdb_session_durable::Journal;
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::journal::NatsJournal;
    use crate::scripted_server::{error, start};

    /// The number of owner records that the server has refused.
    static REFUSED: AtomicUsize = AtomicUsize::new(0);

    /// Returns the answers of a server that reports an empty stream, and expects another message as
    /// the last one.
    fn disagreeing(subject: &str) -> String {
        if subject.rsplit('.').next() == Some("owner") {
            REFUSED.fetch_add(1, Ordering::SeqCst);
            return error(ErrorCode::STREAM_WRONG_LAST_SEQUENCE);
        }
        let time = "2026-01-01T00:00:00Z";
        json!({
            "config": {
                "name": "clawdb-session-00000000000000000000000000000000",
                "subjects": ["clawdb-session.00000000-0000-0000-0000-000000000000.>"],
                "retention": "limits",
                "discard": "new",
                "storage": "file",
                "num_replicas": 1,
                "max_msgs_per_subject": 1,
            },
            "created": time,
            "state": {
                "messages": 0,
                "bytes": 0,
                "first_seq": 0,
                "first_ts": time,
                "last_seq": 0,
                "last_ts": time,
                "consumer_count": 0,
            },
        })
        .to_string()
    }

    #[tokio::test]
    async fn a_take_over_ends_if_the_servers_do_not_agree_on_the_last_message() {
        let options = NatsOptions {
            patience: Duration::from_secs(2),
            ..NatsOptions::new(start(disagreeing).await).single()
        };
        let journal = NatsJournal::connect(options).await.unwrap();
        let take_over = journal.take_over(TenantId::default());
        let taken = timeout(Duration::from_mins(1), take_over).await;
        match taken.expect("the take-over ends").err() {
            Some(JournalError::Unavailable(reason)) => {
                assert!(reason.as_str().contains("do not agree"), "{reason}");
            }
            other => panic!("expected a refusal, not {other:?}"),
        }
        assert_eq!(REFUSED.load(Ordering::SeqCst), 8);
    }
}
