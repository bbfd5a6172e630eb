//! What nobody calls for: ending sessions whose time is over, and asking the guard again.

use std::time::Duration;

use clawdb_session_durable::{DurableError, DurableHost, TenantId, Tenants};
use futures::StreamExt;
use futures::stream;
use tokio::time::MissedTickBehavior;

use crate::clock::{Warnings, lag_of};

/// How many tenants are tended at a time.
const AT_A_TIME: usize = 8;
/// How many sessions one call ends; as many as it can.
const PRUNED_AT_A_TIME: u32 = 10_000;
/// How often a tenant is asked in one round at most, so that one with very many does not hold up all.
const CALLS_IN_A_ROUND: usize = 100;

/// Goes round the tenants that are loaded, for ever: ends their sessions whose time is over, has the
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
    let warnings = Warnings::default();
    loop {
        rounds.tick().await;
        let hosts = tenants.loaded_hosts();
        warnings.retain(hosts.iter().map(|(id, _)| *id));
        stream::iter(hosts)
            .for_each_concurrent(AT_A_TIME, async |(id, host)| {
                if let Ok(stats) = host.stats().await
                    && let Some(line) = warnings.line(id, lag_of(&stats))
                {
                    tenants.report(id, &line);
                }
                // A tenant that does not answer now is tended in another round.
                if let Ok(true) = tend(&host).await {
                    let _ = tenants.tenant(id).await;
                }
            })
            .await;
    }
}

/// Whether the guard has still to confirm something.
async fn tend(host: &DurableHost) -> Result<bool, DurableError> {
    for _ in 0..CALLS_IN_A_ROUND {
        if host.prune_expired(Some(PRUNED_AT_A_TIME)).await? < PRUNED_AT_A_TIME {
            break;
        }
    }
    // What makes no progress is tried again in the next round.
    for _ in 0..CALLS_IN_A_ROUND {
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
