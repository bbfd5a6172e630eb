//! Periodic work: ending expired sessions and flushing revocations that the guard has not
//! confirmed.

use std::time::Duration;

use clawdb_session_durable::{DurableError, DurableHost, TenantId, Tenants};
use futures::StreamExt;
use futures::stream;
use tokio::time::MissedTickBehavior;

use crate::clock::{LagWarnings, lag_of};

/// The number of tenants that are visited at a time.
const CONCURRENT_TENANTS: usize = 8;
/// The maximum number of expired sessions that one call can end.
const PRUNE_LIMIT: u32 = 10_000;
/// The maximum number of calls on a tenant in a round, so that a tenant with many expired sessions
/// does not delay the others.
const MAX_CALLS_PER_ROUND: usize = 100;

/// Visits all loaded tenants in rounds and never returns; drop the future to end it.
///
/// In a round it ends expired sessions and those that a kill switch has left, asks the guard again
/// for revocations that it has not confirmed, and reports tenants whose time the clock is behind,
/// once a minute each. It first loads the default tenant. The first round begins at once, the next
/// ones after `every` (at least 1 ms).
///
/// A visit does not keep a tenant loaded, unless the tenant has unconfirmed revocations.
pub async fn housekeeping(tenants: Tenants, every: Duration) {
    // An error is reported to the requests for this tenant.
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
                // A tenant that does not answer now is visited again in the next round.
                if let Ok(true) = prune_and_flush(&host).await {
                    let _ = tenants.tenant(id).await;
                }
            })
            .await;
    }
}

/// Ends expired sessions and flushes revocations. Returns whether revocations are still pending.
async fn prune_and_flush(host: &DurableHost) -> Result<bool, DurableError> {
    for _ in 0..MAX_CALLS_PER_ROUND {
        if host.prune_expired(Some(PRUNE_LIMIT)).await? < PRUNE_LIMIT {
            break;
        }
    }
    // Without progress, the next round tries again.
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
