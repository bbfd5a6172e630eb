//! Traps, an unavailable journal, lost tenants and upgrades together, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use clawdb_session_durable::{DurableError, DurableHost, Journal};
use clawdb_session_host::Grant;
use clawdb_session_testkit::fixture::{AGENT, NOBODY, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};
use futures::future::join_all;

use crate::fixture::{DurableFixture, TENANT, assert_dead, assert_lives, engine, until};
use crate::journal::JournalMode;

/// The sessions whose state an answer has confirmed to a worker.
#[derive(Default)]
struct Acknowledged {
    live: Vec<Grant>,
    dead: Vec<Grant>,
}

impl Acknowledged {
    /// Does one round of work. A session whose call failed is in neither list, because its state is
    /// unknown.
    async fn work(&mut self, host: &DurableHost, agent: &str) -> Result<(), DurableError> {
        let grant = host.create(request(agent)).await?;
        let renewed = host.refresh(&*grant.session.id).await?;
        self.dead.push(grant);
        if self.live.len().is_multiple_of(2) {
            self.live.push(renewed);
        } else {
            host.revoke(&*renewed.session.id).await?;
            self.dead.push(renewed);
            if let Some(old) = self.live.pop() {
                host.validate(&*old.token).await?;
                self.live.push(old);
            }
            let grant = host.create(request(agent)).await?;
            self.live.push(grant);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_change_survives_traps_outages_lost_tenants_and_upgrades() {
    let mut fixture = DurableFixture::new();
    fixture.options.patience = Duration::from_secs(30);
    let host = fixture.host().await;
    let stop = Arc::new(AtomicBool::new(false));
    let worked = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..16)
        .map(|n| {
            let (host, stop, worked) = (host.clone(), stop.clone(), worked.clone());
            let agent = format!("0a9e0000-0000-4000-9000-{n:012x}");
            tokio::spawn(async move {
                let mut acknowledged = Acknowledged::default();
                while !stop.load(Ordering::SeqCst) {
                    match acknowledged.work(&host, &agent).await {
                        Ok(()) => _ = worked.fetch_add(1, Ordering::SeqCst),
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                    // Avoids a busy loop of refused calls, and the limit of sessions for each
                    // agent.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                acknowledged
            })
        })
        .collect();
    for round in 0..8 {
        let before = host.metrics();
        let rounds = worked.load(Ordering::SeqCst);
        until("the workers make progress", async || {
            worked.load(Ordering::SeqCst) >= rounds + 20
        })
        .await;
        // The instance traps during a create or a revocation.
        let function = [GuardFunction::Issue, GuardFunction::Revoke][round % 2];
        fixture.guard.set(function, GuardMode::Trap);
        until("the instance traps", async || {
            let _ = host.create(request(AGENT)).await;
            let _ = host.revoke_all_for_agent(AGENT).await;
            host.metrics().restarts > before.restarts
        })
        .await;
        fixture.guard.set_all(GuardMode::Ok);
        serves(&host).await;

        // The journal is unavailable for some time.
        fixture.journal.set(JournalMode::Unavailable);
        until("a call is refused", async || {
            host.revoke(NOBODY)
                .await
                .is_err_and(|error| error.is_retryable())
        })
        .await;
        fixture.journal.set(JournalMode::Ok);
        serves(&host).await;

        // Another host has the tenant for some time.
        let other = fixture
            .journal
            .ignoring_leases()
            .take_over(TENANT)
            .await
            .unwrap();
        until("the tenant is lost", async || {
            host.metrics().losses > before.losses
        })
        .await;
        other.release().await.unwrap();
        serves(&host).await;

        let upgraded = host.upgrade(engine()).await;
        assert_eq!(upgraded, Ok(()));
        serves(&host).await;
    }
    stop.store(true, Ordering::SeqCst);
    let acknowledged = join_all(workers).await;
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    for acknowledged in acknowledged {
        let acknowledged = acknowledged.unwrap();
        for grant in &acknowledged.live {
            assert_lives(&next, grant).await;
        }
        for grant in &acknowledged.dead {
            assert_dead(&next, grant).await;
        }
    }
}

async fn serves(host: &DurableHost) {
    until("the host serves", async || {
        host.active_count().await.is_ok()
    })
    .await;
}
