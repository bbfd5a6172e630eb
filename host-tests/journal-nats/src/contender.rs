//! How a host becomes the writer of a tenant: it watches the owner until that can count on its lease no
//! longer, and takes over.

use std::time::Duration;

use clawdb_session_durable::{JournalError, Lease, TenantId};
use tokio::time::sleep;
use uuid::Uuid;

use crate::message::{Owner, Stamp};
use crate::options::{NatsOptions, TRIES};
use crate::stream::{Answer, TenantStream};
use crate::watches::Watches;
use crate::writer::NatsWriter;

/// What the last message of a stream says.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// Its sequence number; 0 in an empty stream, which says nothing.
    pub(super) last: u64,
    pub(super) stamp: Option<Stamp>,
}

/// Becomes the writer, when nobody else is.
pub(super) async fn take_over(
    tenant: TenantId,
    stream: TenantStream,
    options: &NatsOptions,
    watches: &Watches,
) -> Result<NatsWriter, JournalError> {
    let lease = Lease::over();
    // Each attempt has an id of its own, so that one that was taken unheard is known by when it was made.
    let mut attempts: Vec<(Uuid, Duration)> = Vec::new();
    let mut failures = 0;
    loop {
        let seen = look(&stream).await?;
        let kept = seen.stamp.map(|stamp| stamp.kept).unwrap_or_default();
        let is_mine = |(id, _): &&(Uuid, Duration)| seen.stamp.is_some_and(|it| it.writer == *id);
        if let Some((id, asked_at)) = attempts.iter().find(is_mine).copied() {
            // It was taken, though no answer came.
            lease.extend(asked_at, options.lease);
            watches.forget(tenant);
            return Ok(NatsWriter::new(stream, options, id, lease, seen.last, kept));
        }
        if let Some(stamp) = seen.stamp
            && let Some(wait) = watches.watch(tenant, &stream, stamp).await?
        {
            sleep(wait).await;
            continue;
        }

        // The owner record that was watched is the one in force at the message that is expected here.
        // Whatever came in between has this refused.
        let (id, asked_at) = (Uuid::new_v4(), Lease::now());
        attempts.push((id, asked_at));
        let at = seen.last.saturating_add(1);
        let stamp = Stamp {
            writer: id,
            owner: at,
            kept,
        };
        let body = Owner::new(id, &options.host, options.lease).body()?;
        let subject = stream.place.owner();
        match stream
            .publish(subject, stamp.headers(), body, seen.last)
            .await
        {
            Ok(Answer::Taken) => {
                lease.extend(asked_at, options.lease);
                watches.forget(tenant);
                return Ok(NatsWriter::new(stream, options, id, lease, at, kept));
            }
            // Somebody was faster, or it was this very message, sent before. The next look tells.
            Ok(Answer::Refused) => {}
            Err(error @ JournalError::Unavailable(_)) => {
                failures += 1;
                if failures == TRIES {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns whether the lease of another host may still run. Does not wait for its end.
pub(super) async fn is_held(
    tenant: TenantId,
    stream: &TenantStream,
    watches: &Watches,
) -> Result<bool, JournalError> {
    match look(stream).await?.stamp {
        Some(stamp) => Ok(watches.watch(tenant, stream, stamp).await?.is_some()),
        None => Ok(false),
    }
}

/// The last message. Its number comes first and then itself, and it may have gone in between, because
/// another with its subject came.
pub(super) async fn look(stream: &TenantStream) -> Result<Seen, JournalError> {
    let mut missing = (0, 0);
    loop {
        let last = stream.last().await?;
        if last == 0 {
            return Ok(Seen { last, stamp: None });
        }
        if let Some(message) = stream.message(last).await? {
            let stamp = Some(Stamp::read(&message.headers, last)?);
            return Ok(Seen { last, stamp });
        }
        missing = match missing {
            (before, times) if before == last => (last, times + 1),
            _ => (last, 1),
        };
        if missing.1 == TRIES {
            return Err(JournalError::Damaged(format!(
                "the stream's last message, {last}, is missing"
            )));
        }
        sleep(stream.patience / 20).await;
    }
}
