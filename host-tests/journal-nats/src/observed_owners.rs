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
    /// The time of the first observation, since boot; `Duration::MAX` without a clock.
    observed_at: Duration,
}

impl ObservedOwner {
    /// Returns how long the owner may still have the lease at `now`, a time of [`Lease::now`].
    fn remaining(&self, now: Duration) -> Duration {
        // A quarter is added, because the clocks of two machines can differ in their rate.
        let lease = self.lease.saturating_add(self.lease / 4);
        if now == Duration::MAX {
            // Without a clock, it is unknown whether any of the lease has passed.
            return lease;
        }
        let expires_at = self.observed_at.saturating_add(lease);
        expires_at.saturating_sub(now)
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
        // its messages from 1. An observation that began without a clock begins again.
        let known = known.filter(|it| {
            (it.sequence, it.writer) == (last.owner, last.writer) && it.observed_at != Duration::MAX
        });
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
        let is_held = !observed.remaining(Lease::now()).is_zero();
        Ok(is_held.then(|| observed.lease / 5))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_for_others_when_five_quarters_of_it_have_passed() {
        let seconds = Duration::from_secs;
        let owner = |lease| ObservedOwner {
            sequence: 1,
            writer: Uuid::nil(),
            lease: seconds(lease),
            observed_at: seconds(100),
        };
        for (lease, now, remaining) in [
            (8, 100, 10),
            (8, 109, 1),
            (8, 110, 0),
            (8, 200, 0),
            (0, 100, 0),
        ] {
            assert_eq!(owner(lease).remaining(seconds(now)), seconds(remaining));
        }
        let endless = ObservedOwner {
            lease: Duration::MAX,
            ..owner(0)
        };
        assert!(!endless.remaining(seconds(100)).is_zero());
    }

    #[test]
    fn without_a_clock_the_whole_lease_remains_for_others() {
        let no_clock = Duration::MAX;
        for observed_at in [Duration::from_secs(100), no_clock] {
            for (lease, remaining) in [(8, 10), (0, 0)] {
                let owner = ObservedOwner {
                    sequence: 1,
                    writer: Uuid::nil(),
                    lease: Duration::from_secs(lease),
                    observed_at,
                };
                assert_eq!(owner.remaining(no_clock), Duration::from_secs(remaining));
            }
        }
    }
}
