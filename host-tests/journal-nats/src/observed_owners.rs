//! The owner records that this host observes until their leases have expired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdb_session_durable::{JournalError, Lease, TenantId};
use uuid::Uuid;

use crate::message::{OwnerRecord, WriterHeaders};
use crate::stream::TenantStream;

/// The observed owner records, one for each tenant that another host has. Clones share them.
///
/// An observation is kept when the take-over that began it is cancelled, so that the next attempt
/// does not wait for the whole lease again.
#[derive(Clone, Debug, Default)]
pub(super) struct ObservedOwners(Arc<Mutex<HashMap<TenantId, ObservedOwner>>>);

/// An observed owner record.
#[derive(Clone, Copy, Debug)]
struct ObservedOwner {
    /// Its sequence number in the stream.
    sequence: u64,
    writer: Uuid,
    lease: Duration,
    /// The time of the first observation, since boot.
    observed_at: Duration,
}

impl ObservedOwner {
    /// Returns whether the lease has expired for its owner too.
    fn is_lease_expired(&self) -> bool {
        // A quarter is added, because the clocks of two machines can differ in their rate.
        Lease::now().saturating_sub(self.observed_at) >= self.lease + self.lease / 4
            || self.lease.is_zero()
    }
}

impl ObservedOwners {
    /// Observes the owner record in force, which the last message of the stream names. Returns the
    /// time to wait before the next observation, or `None` if the lease has expired.
    pub(super) async fn observe(
        &self,
        tenant: TenantId,
        stream: &TenantStream,
        last: WriterHeaders,
    ) -> Result<Option<Duration>, JournalError> {
        let known = self.lock().get(&tenant).copied();
        // The writer is compared too, because a stream that was deleted and created again numbers
        // its messages from 1.
        let known = known.filter(|it| (it.sequence, it.writer) == (last.owner, last.writer));
        let observed = match known {
            Some(observed) => observed,
            None => match start_observation(stream, last).await? {
                Some(observed) => observed,
                // The owner has renewed its lease, which replaced the record.
                None => return Ok(Some(stream.patience / 20)),
            },
        };
        if observed.lease.is_zero() {
            // The tenant was given back.
            self.forget(tenant);
        } else {
            self.lock().insert(tenant, observed);
        }
        Ok((!observed.is_lease_expired()).then(|| observed.lease / 5))
    }

    /// Drops the observation of a tenant.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.lock().remove(&tenant);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, ObservedOwner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an owner record. Returns `None` if a newer one has replaced it.
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
