//! One host at a time owns a tenant. A host that loses it refuses calls until it owns it again.

use std::time::Duration;

use clawdb_session_durable::DurableError;
use clawdb_session_testkit::fixture::{AGENT, request};

use crate::fixture::{DurableFixture, TENANT, assert_dead, assert_lives, create, until};
use crate::journal::{JournalMode, TestJournal};

pub fn is_not_owner<T>(answer: &Result<T, DurableError>) -> bool {
    matches!(answer, Err(DurableError::NotOwner(_)))
}

#[tokio::test]
async fn a_host_that_lost_the_tenant_refuses_calls_until_it_owns_it_again() {
    let fixture = DurableFixture::new();
    let first = fixture.host().await;
    let (grant, revoked) = (create(&first).await, create(&first).await);
    let second = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert!(is_not_owner(&first.validate(&*grant.token).await));
    assert!(is_not_owner(&first.create(request(AGENT)).await));
    second.revoke(&*revoked.session.id).await.unwrap();
    let later = create(&second).await;
    assert!(is_not_owner(&first.get(&*grant.session.id).await));

    second.shutdown().await;
    until("the first has the tenant again", async || {
        first.validate(&*grant.token).await.is_ok()
    })
    .await;
    assert_dead(&first, &revoked).await;
    assert_lives(&first, &later).await;
    assert_eq!(first.active_count().await, Ok(2));
    assert_eq!(first.metrics().losses, 1);
}

#[tokio::test]
async fn a_standby_refuses_calls_and_serves_once_the_tenant_is_free() {
    let mut fixture = DurableFixture::new();
    let owner = fixture.host().await;
    let grant = create(&owner).await;
    fixture.options.standby = true;
    let standby = fixture.host().await;
    assert!(is_not_owner(&standby.validate(&*grant.token).await));
    assert_lives(&owner, &grant).await;
    owner.shutdown().await;
    until("the standby serves", async || {
        standby.validate(&*grant.token).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_call_waits_for_a_slow_take_over_if_no_other_host_has_the_tenant() {
    let mut fixture = DurableFixture::new();
    fixture.journal.set(JournalMode::HoldTakeOvers);
    fixture.options.standby = true;
    let host = fixture.host().await;
    let creating = tokio::spawn({
        let host = host.clone();
        async move { create(&host).await }
    });
    // The journal is asked once in a tick.
    until("the take-over takes several ticks", async || {
        fixture.journal.held_checks() >= 3 || creating.is_finished()
    })
    .await;
    fixture.journal.set(JournalMode::Ok);
    let grant = creating.await.expect("the call is not refused");
    assert_lives(&host, &grant).await;
}

#[tokio::test]
async fn a_standby_that_is_shut_down_does_not_affect_the_owner() {
    let mut fixture = DurableFixture::new();
    let owner = fixture.host().await;
    fixture.options.standby = true;
    let standby = fixture.host().await;
    standby.shutdown().await;
    create(&owner).await;
    assert_eq!(fixture.journal.take_overs(), 1);
}

#[tokio::test]
async fn a_lease_is_renewed_while_no_calls_run() {
    let fixture = DurableFixture::on(TestJournal::with_leases(Duration::from_millis(600)));
    let host = fixture.host().await;
    let grant = create(&host).await;
    until("the lease is renewed twice", async || {
        fixture.journal.renewals() >= 2
    })
    .await;
    assert_lives(&host, &grant).await;
    assert_eq!(fixture.journal.take_overs(), 1);
}

#[tokio::test]
async fn a_host_whose_lease_has_expired_answers_no_call_until_it_is_renewed() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.journal.set(JournalMode::Unavailable);
    fixture.journal.expire_lease(TENANT);
    assert!(is_not_owner(&host.validate(&*grant.token).await));
    assert!(host.create(request(AGENT)).await.is_err());
    fixture.journal.set(JournalMode::Ok);
    until("the lease is renewed", async || {
        host.validate(&*grant.token).await.is_ok()
    })
    .await;
    assert_eq!(host.metrics().losses, 0);
}
