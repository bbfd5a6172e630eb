//! The owner records that contenders watch until their owners can count on their leases no longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdb_session_durable::{JournalError, Lease, TenantId};
use uuid::Uuid;

use crate::message::{OwnerRecord, WriterHeaders};
use crate::stream::TenantStream;

/// The owner records that are watched, one for each tenant that another host has. Clones share
/// them.
///
/// An observation is kept when the take-over that began it is given up. So the next attempt does
/// not wait for the whole lease again.
#[derive(Clone, Debug, Default)]
pub(super) struct ObservedOwners(Arc<Mutex<HashMap<TenantId, ObservedOwner>>>);

/// An owner record.
#[derive(Clone, Copy, Debug)]
struct ObservedOwner {
    /// Its sequence number.
    sequence: u64,
    writer: Uuid,
    lease: Duration,
    /// When it was seen first, in time since boot.
    observed_at: Duration,
}

impl ObservedOwner {
    /// Whether its owner can count on the tenant no longer.
    fn is_lease_expired(&self) -> bool {
        // A quarter more: the clocks of two machines need not go at quite the same rate.
        Lease::now().saturating_sub(self.observed_at) >= self.lease + self.lease / 4
            || self.lease.is_zero()
    }
}

impl ObservedOwners {
    /// Watches the owner record in force, which the last message of the stream names. Returns how
    /// long to wait before the next look; none where its owner can count on the tenant no longer.
    pub(super) async fn observe(
        &self,
        tenant: TenantId,
        stream: &TenantStream,
        last: WriterHeaders,
    ) -> Result<Option<Duration>, JournalError> {
        let known = self.lock().get(&tenant).copied();
        // The writer too: a stream that was removed and made anew counts from 1 again.
        let known = known.filter(|it| (it.sequence, it.writer) == (last.owner, last.writer));
        let observed = match known {
            Some(observed) => observed,
            None => match start_observation(stream, last).await? {
                Some(observed) => observed,
                // It was renewed since the look.
                None => return Ok(Some(stream.patience / 20)),
            },
        };
        if observed.lease.is_zero() {
            // It was given back.
            self.forget(tenant);
        } else {
            self.lock().insert(tenant, observed);
        }
        Ok((!observed.is_lease_expired()).then(|| observed.lease / 5))
    }

    /// Drops the observation of a tenant that this host has now.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.lock().remove(&tenant);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, ObservedOwner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start_observation(
    stream: &TenantStream,
    last: WriterHeaders,
) -> Result<Option<ObservedOwner>, JournalError> {
    let Some(message) = stream.message(last.owner).await? else {
        return Ok(None);
    };
    let owner = OwnerRecord::read(&message.payload, last.owner)?;
    Ok(Some(ObservedOwner {
        sequence: last.owner,
        writer: last.writer,
        lease: owner.lease(),
        observed_at: Lease::now(),
    }))
}
