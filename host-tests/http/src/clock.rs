//! Finds and reports workspaces whose time is ahead of the host's clock (R6).

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdb_session_durable::TenantId;
use clawdb_session_host::Statistics;
use tokio::time::Instant;

use crate::figures::TenantFigures;

/// The time between two warnings about a workspace in the log.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);
/// The maximum number of workspaces that a message names.
const MAX_NAMED: usize = 20;

/// Returns the workspaces whose time the clock is behind, each with the lag in milliseconds. Leaves
/// out a workspace that did not answer in time.
pub fn lagging(tenants: &[TenantFigures]) -> Vec<(TenantId, u64)> {
    let lag = |tenant: &TenantFigures| Some((tenant.id, lag_of(tenant.stats.as_ref()?)?));
    tenants.iter().filter_map(lag).collect()
}

/// Returns the lag in milliseconds if it is above the tolerance.
pub fn lag_of(stats: &Statistics) -> Option<u64> {
    stats.clock_behind.then_some(stats.clock_lag)
}

/// Returns a message that names the workspaces and the remedy.
pub fn message(lagging: &[(TenantId, u64)]) -> String {
    let first = lagging.iter().take(MAX_NAMED);
    let first = first.map(|(id, lag)| format!("{id} ({lag} ms)"));
    let mut names = first.collect::<Vec<_>>().join(", ");
    if let Some(more) = lagging
        .len()
        .checked_sub(MAX_NAMED)
        .filter(|more| *more > 0)
    {
        names = format!("{names} and {more} more");
    }
    format!(
        "the host's clock is behind the time of the workspaces {names}: set the clock right, or \
         accept its time with POST /v1/clock/accept, which ends all sessions of a workspace"
    )
}

/// When each workspace whose time the clock is behind was last reported in the log.
#[derive(Default)]
pub struct LagWarnings(Mutex<HashMap<TenantId, Instant>>);

impl LagWarnings {
    /// Removes the workspaces that are not loaded.
    pub fn retain(&self, loaded: impl IntoIterator<Item = TenantId>) {
        let loaded: HashSet<TenantId> = loaded.into_iter().collect();
        self.lock().retain(|id, _| loaded.contains(id));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a line for the log if the workspace lags and was not reported within the last
    /// [`WARNING_INTERVAL`]. `lag` is its lag in milliseconds, or `None` if it is within the
    /// tolerance.
    pub fn due_warning(&self, id: TenantId, lag: Option<u64>) -> Option<String> {
        let mut warned = self.lock();
        let Some(lag) = lag else {
            warned.remove(&id);
            return None;
        };
        let now = Instant::now();
        let last = warned.get(&id);
        if last.is_some_and(|last| now.duration_since(*last) < WARNING_INTERVAL) {
            return None;
        }
        warned.insert(id, now);
        Some(format!(
            "grants no time: its clock is {lag} ms behind the time of the sessions; set the clock \
             right, or accept its time with POST /v1/clock/accept"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lagging_workspace_is_reported_once_a_minute_and_at_once_when_it_lags_again() {
        let warnings = LagWarnings::default();
        let [one, other] = [TenantId::default(), TenantId::new(uuid::Uuid::from_u128(7))];
        let is_warned = |id, lag| warnings.due_warning(id, lag).is_some();
        assert!(is_warned(one, Some(61_000)) && is_warned(other, Some(1)));
        tokio::time::advance(Duration::from_millis(59_999)).await;
        assert!(!is_warned(one, Some(61_000)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(is_warned(one, Some(61_000)));
        assert!(!is_warned(one, None) && is_warned(one, Some(61_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lagging_workspace_that_is_unloaded_is_removed() {
        let warnings = LagWarnings::default();
        let [one, other] = [TenantId::default(), TenantId::new(uuid::Uuid::from_u128(7))];
        for id in [one, other] {
            assert!(warnings.due_warning(id, Some(61_000)).is_some());
        }
        warnings.retain([other]);
        assert_eq!(warnings.lock().len(), 1);
        assert!(warnings.due_warning(other, Some(61_000)).is_none());
    }

    #[test]
    fn a_message_names_at_most_20_workspaces() {
        let lagging = |count: u128| -> Vec<_> {
            (0..count)
                .map(|id| (TenantId::new(uuid::Uuid::from_u128(id)), 60_001))
                .collect()
        };
        let twenty = message(&lagging(20));
        assert!(
            twenty.contains("00000000-0000-0000-0000-000000000013 (60001 ms):"),
            "{twenty}"
        );
        assert!(message(&lagging(22)).contains(" and 2 more:"));
    }
}
