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
            Ok(PublishOutcome::WrongLastSequence) => {}
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
