//! An instance that ends is replaced, and no acknowledged change is lost with it.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_durable::{DurableError, Journal};
use clawdb_session_host::{CreateRequest, Page};
use clawdb_session_testkit::fixture::{AGENT, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

use crate::fixture::{DurableFixture, TENANT, assert_lives, create, keyed, retry, until};
use crate::journal::{JournalMode, TestJournal};

#[tokio::test]
async fn calls_while_the_instance_is_being_replaced_wait_for_the_next_one() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.guard.set(GuardFunction::Validate, GuardMode::Trap);
    retry(host.validate(&*grant.token).await);
    fixture.guard.set_all(GuardMode::Ok);
    let calls = (0..16).map(|_| host.validate(&*grant.token));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap().id, grant.session.id);
    }
}

#[tokio::test]
async fn a_trap_loses_only_changes_that_were_not_acknowledged() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.create(request(AGENT)).await);
    fixture.guard.set(GuardFunction::Validate, GuardMode::Trap);
    retry(host.validate(&*grant.token).await);
    fixture.guard.set_all(GuardMode::Ok);
    fixture.journal.set(JournalMode::Ok);
    assert_lives(&host, &grant).await;
}

#[tokio::test]
async fn an_instance_that_is_out_of_memory_is_replaced() {
    let mut fixture = DurableFixture::new();
    fixture.set_max_memory(9 << 20);
    let host = fixture.host().await;
    let large = CreateRequest {
        metadata: Some(format!("\"{}\"", "m".repeat(16_000))),
        ..request(AGENT)
    };
    let mut grants = Vec::new();
    for _ in 0..300 {
        grants.push(host.create(large.clone()).await.unwrap());
    }
    let page = Page {
        cursor: None,
        limit: Some(1_000),
    };
    // While it runs, each listing takes as much memory as the sessions.
    let listings = (0..8).map(|_| host.list_for_agent(AGENT, page));
    let listings = futures::future::join_all(listings).await;
    let refused = listings.into_iter().find(Result::is_err);
    let reason = retry(refused.expect("the instance exceeds max_memory"));
    assert!(reason.contains("out of memory"), "{reason}");
    for grant in &grants {
        assert_lives(&host, grant).await;
    }
    assert_eq!(host.metrics().restarts, 1);
}

#[tokio::test]
async fn an_instance_that_is_interrupted_is_replaced() {
    let mut fixture = DurableFixture::new();
    let grant = {
        let host = fixture.host().await;
        let grant = create(&host).await;
        host.shutdown().await;
        grant
    };
    // Each instance is interrupted when the periodic check runs while it computes.
    fixture.set_interrupt_after(Duration::ZERO);
    fixture.options.standby = true;
    let host = fixture.host().await;
    let mut reasons = Vec::new();
    until("an instance is interrupted", async || {
        if let Err(error) = host.stats().await {
            reasons.push(error.to_string());
        }
        reasons.iter().any(|reason| reason.contains("interrupted"))
    })
    .await;
    until("the session is live", async || {
        match host.validate(&*grant.token).await {
            Ok(session) => session.id == grant.session.id,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                false
            }
        }
    })
    .await;
}

#[tokio::test]
async fn instances_that_end_without_an_answer_are_replaced_with_growing_delays() {
    let mut fixture = DurableFixture::new();
    let grant = {
        let host = fixture.host().await;
        let grant = create(&host).await;
        host.shutdown().await;
        grant
    };
    fixture.options.tick = Duration::from_hours(1);
    fixture.options.patience = Duration::from_millis(100);
    let host = fixture.host().await;
    fixture.guard.set(GuardFunction::Validate, GuardMode::Trap);
    until("the instance was replaced six times", async || {
        retry(host.validate(&*grant.token).await);
        host.metrics().restarts == 6
    })
    .await;
    for _ in 0..3 {
        retry(host.validate(&*grant.token).await);
    }
    assert_eq!(host.metrics().restarts, 6);
}

#[tokio::test]
async fn an_instance_that_cannot_start_is_retried_without_a_busy_loop() {
    let mut fixture = DurableFixture::new();
    let host = fixture.host().await;
    create(&host).await;
    host.shutdown().await;
    // This is too little memory to start an instance.
    fixture.set_max_memory(1 << 20);
    fixture.options.standby = true;
    fixture.options.patience = Duration::from_millis(100);
    let host = fixture.host().await;
    let answer = host.active_count().await;
    assert!(matches!(answer, Err(DurableError::Retry(_))), "{answer:?}");
    assert!(fixture.journal.take_overs() < 20);
}

#[tokio::test]
async fn a_callback_that_panics_does_not_stop_the_host() {
    let mut fixture = DurableFixture::new();
    fixture.options.report = Some(Arc::new(|_, text| panic!("{text}")));
    fixture.options.progress = Some(Arc::new(|progress| panic!("{progress:?}")));
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.guard.set(GuardFunction::Validate, GuardMode::Trap);
    retry(host.validate(&*grant.token).await);
    fixture.guard.set_all(GuardMode::Ok);
    assert_lives(&host, &grant).await;
    assert_eq!(host.metrics().restarts, 1);
}

#[tokio::test]
async fn a_host_that_is_shut_down_while_it_restores_gives_the_tenant_back() {
    let mut fixture = DurableFixture::on(TestJournal::with_leases(Duration::from_hours(1)));
    let host = fixture.host().await;
    create(&host).await;
    host.shutdown().await;
    // The host seals the records with the new key before it serves.
    fixture.options.config = keyed(2);
    fixture.options.config.previous_state_keys = vec![vec![1; 32]];
    fixture.options.standby = true;
    fixture.journal.set(JournalMode::Hold);
    let host = fixture.host().await;
    until("the tenant is taken over", async || {
        fixture.journal.take_overs() == 2
    })
    .await;
    host.shutdown().await;
    assert_eq!(fixture.journal.is_held(TENANT).await, Ok(false));
}

#[tokio::test]
async fn a_host_whose_journal_panics_answers_that_it_has_ended() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.journal.set(JournalMode::Panics);
    retry(host.create(request(AGENT)).await);
    let reason = retry(host.validate(&*grant.token).await);
    assert_eq!(reason, "the host was shut down");
}
