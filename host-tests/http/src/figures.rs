//! The figures of the loaded tenants, which `/metrics` and `/healthz` report.
//!
//! Anyone may request these routes, and each tenant is asked for its figures. So requests that wait
//! at the same time share the answers. However many there are, each tenant is asked once at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_durable::{HostMetrics, TenantId, Tenants};
use clawdb_session_host::Statistics;
use futures::future::join_all;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

/// The time limit for the statistics of a tenant. Probes and scrapers have short timeouts.
const STATS_TIMEOUT: Duration = Duration::from_secs(2);

/// The figures of a tenant.
pub struct TenantFigures {
    pub id: TenantId,
    /// `None` if the tenant did not answer in time.
    pub stats: Option<Statistics>,
    pub metrics: HostMetrics,
}

/// The figures of all loaded tenants.
#[derive(Default)]
pub struct Figures(Shared<Arc<[TenantFigures]>>);

impl Figures {
    /// Returns figures that are not older than this call.
    pub async fn current(&self, tenants: &Tenants) -> Arc<[TenantFigures]> {
        self.0.get(async || gather(tenants).await).await
    }
}

async fn gather(tenants: &Tenants) -> Arc<[TenantFigures]> {
    let hosts = tenants.loaded_hosts();
    let asking = hosts.iter().map(async |(id, host)| {
        let stats = timeout(STATS_TIMEOUT, host.stats()).await;
        TenantFigures {
            id: *id,
            stats: stats.ok().and_then(Result::ok),
            metrics: host.metrics(),
        }
    });
    join_all(asking).await.into()
}

/// A result that is computed once for all callers that wait for it.
struct Shared<T> {
    /// The last result, and when its computation began.
    last: watch::Sender<Option<(Instant, T)>>,
    /// Held by the caller that computes.
    computing: Mutex<()>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self {
            last: watch::Sender::default(),
            computing: Mutex::default(),
        }
    }
}

impl<T: Clone> Shared<T> {
    /// Returns a result whose computation began after this call. Callers that wait for a
    /// computation in progress share the next one.
    async fn get(&self, compute: impl AsyncFnOnce() -> T) -> T {
        let called = Instant::now();
        let mut results = self.last.subscribe();
        let next = async {
            let next = results.wait_for(|last| began_after(last.as_ref(), called));
            next.await.ok().and_then(|last| (*last).clone())
        };
        tokio::select! {
            biased;
            Some((_, result)) = next => result,
            _alone = self.computing.lock() => {
                let began = Instant::now();
                let result = compute().await;
                self.last.send_replace(Some((began, result.clone())));
                result
            }
        }
    }
}

fn began_after<T>(result: Option<&(Instant, T)>, call: Instant) -> bool {
    result.is_some_and(|(began, _)| *began > call)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::future::join;

    use super::*;

    #[tokio::test]
    async fn callers_that_wait_for_a_computation_share_the_next_one() {
        let shared = Shared::default();
        let computations = Cell::new(0);
        let compute = async || {
            tokio::task::yield_now().await;
            computations.set(computations.get() + 1);
            computations.get()
        };
        let callers = (0..1_000).map(|_| shared.get(compute));
        let (first, others) = join(shared.get(compute), join_all(callers)).await;
        assert_eq!(first, 1);
        assert!(others.iter().all(|result| *result == 2), "{others:?}");
        assert_eq!(shared.get(compute).await, 3);
    }

    #[tokio::test]
    async fn a_computation_that_is_cancelled_is_begun_again_by_the_next_caller() {
        let shared = Shared::default();
        let never = timeout(
            Duration::ZERO,
            shared.get(async || std::future::pending().await),
        );
        assert!(never.await.is_err());
        assert_eq!(shared.get(async || 7).await, 7);
    }
}
