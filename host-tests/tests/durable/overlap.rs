//! Calls in flight wait for the guard. Only in the world `session` can a call of the instance end
//! while another one waits.

use std::time::Duration;

use clawdb_session_durable::{DurableError, DurableHost};
use clawdb_session_host::{Grant, Session};
use clawdb_session_testkit::fixture::{AGENT, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};
use tokio::task::JoinHandle;

use crate::events::event;
use crate::fencing::is_not_owner;
use crate::fixture::{DurableFixture, assert_dead, assert_lives, create, engine, retry, until};
use crate::tenants::{limits, tenant, tenants};

/// Holds the guard and begins a create, which asks it for the token with this number. Returns when
/// the guard is asked.
async fn start_create(
    fixture: &DurableFixture,
    host: &DurableHost,
    number: u64,
) -> JoinHandle<Result<Grant, DurableError>> {
    fixture.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let host = host.clone();
    let creating = tokio::spawn(async move { host.create(request(AGENT)).await });
    until("the guard is asked", async || {
        fixture.guard.calls().issue == number
    })
    .await;
    creating
}

#[tokio::test]
async fn a_shutdown_that_abandons_calls_does_not_close_the_run() {
    let mut fixture = DurableFixture::new();
    fixture.options.drain = Duration::from_millis(20);
    let host = fixture.host().await;
    let (run, _) = event(&host).await;
    let creating = start_create(&fixture, &host, 2).await;
    host.shutdown().await;
    creating.await.unwrap().unwrap_err();
    fixture.guard.set_all(GuardMode::Ok);
    let next = fixture.host().await;
    assert_ne!(next.stats().await.unwrap().event_run, run);
}

#[tokio::test]
async fn a_call_that_was_in_flight_when_the_tenant_was_lost_is_not_answered() {
    let fixture = DurableFixture::new();
    let first = fixture.host().await;
    let creating = start_create(&fixture, &first, 1).await;
    let second = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    // The guard has not answered the create yet.
    assert!(is_not_owner(&creating.await.unwrap()));
    fixture.guard.set_all(GuardMode::Ok);
    assert_eq!(second.active_count().await, Ok(0));
}

#[tokio::test]
async fn a_read_that_was_in_flight_when_the_tenant_was_lost_is_not_answered() {
    let fixture = DurableFixture::new();
    let first = fixture.host().await;
    let grant = create(&first).await;
    fixture.guard.set(GuardFunction::Validate, GuardMode::Hold);
    let validating = tokio::spawn({
        let (first, token) = (first.clone(), grant.token.clone());
        async move { first.validate(token).await }
    });
    until("the guard is asked", async || {
        fixture.guard.calls().validate == 1
    })
    .await;
    let second = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    second.revoke(&*grant.session.id).await.unwrap();
    fixture.guard.set_all(GuardMode::Ok);
    let answer: Result<Session, _> = validating.await.unwrap();
    assert!(is_not_owner(&answer), "{answer:?}");
}

#[tokio::test]
async fn after_a_trap_calls_in_flight_return_retry_and_later_ones_succeed() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (grant, revoked) = (create(&host).await, create(&host).await);
    host.revoke(&*revoked.session.id).await.unwrap();
    let in_flight = start_create(&fixture, &host, 3).await;
    fixture.guard.set(GuardFunction::Validate, GuardMode::Trap);
    assert!(retry(host.validate(&*grant.token).await).contains("the guard is broken"));
    assert!(retry(in_flight.await.unwrap()).contains("the guard is broken"));
    fixture.guard.set_all(GuardMode::Ok);
    assert_lives(&host, &grant).await;
    assert_dead(&host, &revoked).await;
    let later = create(&host).await;
    assert_lives(&host, &later).await;
    let figures = host.metrics();
    assert_eq!(figures.restarts, 1);
    assert!(figures.last_recovery.is_some());
}

#[tokio::test]
async fn no_further_tenant_is_loaded_while_all_are_busy() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(1));
    let first = tenants.tenant(tenant(1)).await.unwrap();
    let creating = start_create(&fixture, &first, 1).await;
    let refused = tenants.tenant(tenant(2)).await.map(|_| ());
    assert!(retry(refused).contains("busy"));
    fixture.guard.set_all(GuardMode::Ok);
    creating.await.unwrap().unwrap();
    tenants.tenant(tenant(2)).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_fails_if_calls_exceed_the_drain_time_and_the_old_instance_continues() {
    let mut fixture = DurableFixture::new();
    fixture.options.drain = Duration::from_millis(20);
    let host = fixture.host().await;
    let grant = create(&host).await;
    let creating = start_create(&fixture, &host, 2).await;
    let answer = host.upgrade(engine()).await;
    assert!(
        matches!(answer, Err(DurableError::Upgrade(_))),
        "{answer:?}"
    );
    assert_lives(&host, &grant).await;
    fixture.guard.set_all(GuardMode::Ok);
    let late = creating.await.unwrap().unwrap();
    assert_lives(&host, &late).await;
    assert_eq!(host.metrics().upgrades, 0);
}
