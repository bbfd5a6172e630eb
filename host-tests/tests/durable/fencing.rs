//! One host has the tenant at a time. One that lost it refuses, restores, and follows.

use std::time::Duration;

use clawdb_session_durable::DurableError;
use clawdb_session_host::Session;
use clawdb_session_testkit::scene::{AGENT, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

use crate::journal::{Mood, TestJournal};
use crate::stage::{Stage, TENANT, assert_dead, assert_lives, create, until};

fn is_not_owner<T>(answer: &Result<T, DurableError>) -> bool {
    matches!(answer, Err(DurableError::NotOwner(_)))
}

#[tokio::test]
async fn a_host_that_lost_the_tenant_refuses_and_follows() {
    let stage = Stage::new();
    let first = stage.host().await;
    let (grant, revoked) = (create(&first).await, create(&first).await);
    let second = stage.host_on(stage.journal.seizing()).await.unwrap();
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
async fn a_call_that_was_in_flight_when_the_tenant_was_lost_is_not_answered() {
    let stage = Stage::new();
    let first = stage.host().await;
    stage.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let creating = tokio::spawn({
        let first = first.clone();
        async move { first.create(request(AGENT)).await }
    });
    until("the guard is asked", async || {
        stage.guard.calls().issue == 1
    })
    .await;
    let second = stage.host_on(stage.journal.seizing()).await.unwrap();
    // The guard still holds it.
    assert!(is_not_owner(&creating.await.unwrap()));
    stage.guard.set_all(GuardMode::Ok);
    assert_eq!(second.active_count().await, Ok(0));
}

#[tokio::test]
async fn a_read_that_was_in_flight_when_the_tenant_was_lost_is_not_answered() {
    let stage = Stage::new();
    let first = stage.host().await;
    let grant = create(&first).await;
    stage.guard.set(GuardFunction::Validate, GuardMode::Hold);
    let validating = tokio::spawn({
        let (first, token) = (first.clone(), grant.token.clone());
        async move { first.validate(token).await }
    });
    until("the guard is asked", async || {
        stage.guard.calls().validate == 1
    })
    .await;
    let second = stage.host_on(stage.journal.seizing()).await.unwrap();
    second.revoke(&*grant.session.id).await.unwrap();
    stage.guard.set_all(GuardMode::Ok);
    let answer: Result<Session, _> = validating.await.unwrap();
    assert!(is_not_owner(&answer), "{answer:?}");
}

#[tokio::test]
async fn a_standby_starts_at_once_refuses_and_serves_when_the_tenant_is_free() {
    let mut stage = Stage::new();
    let owner = stage.host().await;
    let grant = create(&owner).await;
    stage.options.standby = true;
    let standby = stage.host().await;
    assert!(is_not_owner(&standby.validate(&*grant.token).await));
    assert_lives(&owner, &grant).await;
    owner.shutdown().await;
    until("the standby serves", async || {
        standby.validate(&*grant.token).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_standby_that_is_shut_down_leaves_the_tenant_alone() {
    let mut stage = Stage::new();
    let owner = stage.host().await;
    stage.options.standby = true;
    let standby = stage.host().await;
    standby.shutdown().await;
    create(&owner).await;
    assert_eq!(stage.journal.take_overs(), 1);
}

#[tokio::test]
async fn a_lease_is_renewed_while_nobody_calls() {
    let stage = Stage::on(TestJournal::with_leases(Duration::from_millis(600)));
    let host = stage.host().await;
    let grant = create(&host).await;
    until("the lease is renewed twice", async || {
        stage.journal.renewals() >= 2
    })
    .await;
    assert_lives(&host, &grant).await;
    assert_eq!(stage.journal.take_overs(), 1);
}

#[tokio::test]
async fn without_a_lease_nothing_is_answered_until_it_is_renewed() {
    let stage = Stage::new();
    let host = stage.host().await;
    let grant = create(&host).await;
    stage.journal.set(Mood::Away);
    stage.journal.lapse(TENANT);
    assert!(is_not_owner(&host.validate(&*grant.token).await));
    assert!(host.create(request(AGENT)).await.is_err());
    stage.journal.set(Mood::Well);
    until("the lease is renewed", async || {
        host.validate(&*grant.token).await.is_ok()
    })
    .await;
    assert_eq!(host.metrics().losses, 0);
}
