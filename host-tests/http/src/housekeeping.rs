//! Periodic work: ends expired sessions and asks the guard again for unconfirmed revocations.

use std::time::Duration;

use clawdb_session_durable::{DurableError, DurableHost, TenantId, Tenants};
use futures::StreamExt;
use futures::stream;
use tokio::time::MissedTickBehavior;

use crate::clock::{LagWarnings, lag_of};

/// How many tenants are tended at a time.
const CONCURRENT_TENANTS: usize = 8;
/// How many sessions one call ends; as many as it can.
const PRUNE_LIMIT: u32 = 10_000;
/// How often a tenant is asked in one round at most, so that one with very many does not hold up all.
const MAX_CALLS_PER_ROUND: usize = 100;

/// Visits the loaded tenants again and again: ends their expired sessions, has the
/// guard asked again for revocations that it has not confirmed, and reports once a minute those whose
/// clock is behind. The first round begins at once, and loads the default tenant, so that it is there
/// when the first request comes.
///
/// It keeps no tenant loaded, but for those of whom the guard has still to confirm something.
pub async fn housekeeping(tenants: Tenants, every: Duration) {
    // Whatever is wrong with it is told to whoever calls it.
    let _ = tenants.tenant(TenantId::default()).await;
    let mut rounds = tokio::time::interval(every.max(Duration::from_millis(1)));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let warnings = LagWarnings::default();
    loop {
        rounds.tick().await;
        let hosts = tenants.loaded_hosts();
        warnings.retain(hosts.iter().map(|(id, _)| *id));
        stream::iter(hosts)
            .for_each_concurrent(CONCURRENT_TENANTS, async |(id, host)| {
                if let Ok(stats) = host.stats().await
                    && let Some(line) = warnings.due_warning(id, lag_of(&stats))
                {
                    tenants.report(id, &line);
                }
                // A tenant that does not answer now is tended in another round.
                if let Ok(true) = prune_and_flush(&host).await {
                    let _ = tenants.tenant(id).await;
                }
            })
            .await;
    }
}

/// Whether the guard has still to confirm something.
async fn prune_and_flush(host: &DurableHost) -> Result<bool, DurableError> {
    for _ in 0..MAX_CALLS_PER_ROUND {
        if host.prune_expired(Some(PRUNE_LIMIT)).await? < PRUNE_LIMIT {
            break;
        }
    }
    // What makes no progress is tried again in the next round.
    for _ in 0..MAX_CALLS_PER_ROUND {
        let report = host.flush_guard_revocations().await?;
        if report.pending == 0 {
            return Ok(false);
        }
        if report.settled == 0 {
            break;
        }
    }
    Ok(true)
}
