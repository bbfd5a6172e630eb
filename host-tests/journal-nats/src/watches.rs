//! The owner records that contenders watch until their owners can count on their leases no longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdb_session_durable::{JournalError, Lease, TenantId};
use uuid::Uuid;

use crate::message::{Owner, Stamp};
use crate::stream::TenantStream;

/// The owner records that are watched, one for each tenant that another host has. Clones share
/// them.
///
/// An observation is kept when the take-over that began it is given up. So the next attempt does
/// not wait for the whole lease again.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches(Arc<Mutex<HashMap<TenantId, Watched>>>);

/// An owner record.
#[derive(Clone, Copy, Debug)]
struct Watched {
    /// Its sequence number.
    at: u64,
    writer: Uuid,
    lease: Duration,
    /// When it was seen first, in time since boot.
    since: Duration,
}

impl Watched {
    /// Whether its owner can count on the tenant no longer.
    fn is_over(&self) -> bool {
        // A quarter more: the clocks of two machines need not go at quite the same rate.
        Lease::now().saturating_sub(self.since) >= self.lease + self.lease / 4
            || self.lease.is_zero()
    }
}

impl Watches {
    /// Watches the owner record in force, which the last message of the stream names. Returns how
    /// long to wait before the next look; none where its owner can count on the tenant no longer.
    pub(super) async fn watch(
        &self,
        tenant: TenantId,
        stream: &TenantStream,
        last: Stamp,
    ) -> Result<Option<Duration>, JournalError> {
        let known = self.lock().get(&tenant).copied();
        // The writer too: a stream that was removed and made anew counts from 1 again.
        let known = known.filter(|it| (it.at, it.writer) == (last.owner, last.writer));
        let watched = match known {
            Some(watched) => watched,
            None => match begin(stream, last).await? {
                Some(watched) => watched,
                // It was renewed since the look.
                None => return Ok(Some(stream.patience / 20)),
            },
        };
        if watched.lease.is_zero() {
            // It was given back.
            self.forget(tenant);
        } else {
            self.lock().insert(tenant, watched);
        }
        Ok((!watched.is_over()).then(|| watched.lease / 5))
    }

    /// Drops the observation of a tenant that this host has now.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.lock().remove(&tenant);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn begin(stream: &TenantStream, last: Stamp) -> Result<Option<Watched>, JournalError> {
    let Some(message) = stream.message(last.owner).await? else {
        return Ok(None);
    };
    let owner = Owner::read(&message.payload, last.owner)?;
    Ok(Some(Watched {
        at: last.owner,
        writer: last.writer,
        lease: owner.lease(),
        since: Lease::now(),
    }))
}
