//! A durable host replaces its component while it serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawdb_session_component::{NEXT, SYNC_NEXT};
use clawdb_session_durable::{DurableError, DurableHost, TenantId};
use clawdb_session_host::{AnyEngine, Change, Grant, LocalEngine, SessionEngine, World};
use clawdb_session_testkit::fixture::{AGENT, request};
use futures::future::join_all;

use crate::WORLD;
use crate::fixture::{
    DurableFixture, assert_dead, assert_lives, create, engine, keyed, retry, until,
};
use crate::journal::JournalMode;

fn agent(n: usize) -> String {
    format!("0a9e0000-0000-4000-8000-{n:012x}")
}

/// Returns a build of the next version.
fn next() -> AnyEngine {
    match WORLD {
        World::Session => SessionEngine::from_bytes(NEXT).unwrap().into(),
        World::SessionSync => LocalEngine::from_bytes(SYNC_NEXT).unwrap().into(),
        world => panic!("{world}"),
    }
}

/// Records in format 1, made by an earlier version.
const FORMAT_1: &str = include_str!("../fixtures/records-of-format-1.jsonl");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_in_an_older_format_is_restored_and_upgraded_by_the_next_build() {
    let mut fixture = DurableFixture::new();
    fixture.options.config = keyed(3);
    let tenant = TenantId::default();
    let journal = fixture.shared_journal();
    let records = FORMAT_1.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        Change {
            sequence: record["sequence"].as_u64().unwrap(),
            key: record["key"].as_str().unwrap().into(),
            value: line.into(),
            forget_at: None,
        }
    });
    let mut writer = journal.take_over(tenant).await.unwrap();
    writer
        .append(&records.collect::<Vec<_>>(), 0)
        .await
        .unwrap();
    writer.release().await.unwrap();

    let options = fixture.options.clone();
    let host = DurableHost::start(options, journal.clone(), tenant)
        .await
        .unwrap();
    let id = "7d4c1a52-0d0e-4f61-9a43-2f0b8d1c5e01";
    host.upgrade(next()).await.unwrap();
    assert_eq!(host.get(id).await.unwrap().metadata, "{\"team\":\"blue\"}");
    assert_eq!(
        host.active_count().await.unwrap(),
        1,
        "the other session has ended"
    );
    let grant = create(&host).await;
    host.shutdown().await;

    let mut writer = journal.take_over(tenant).await.unwrap();
    let kept = writer.read().await.unwrap();
    assert_eq!(kept.len(), 4);
    for change in kept {
        let record: serde_json::Value = serde_json::from_str(&change.value).unwrap();
        assert_eq!(record["format"], 2, "{}", change.key);
    }
    writer.release().await.unwrap();
    let host = DurableHost::start(fixture.options.clone(), journal, tenant)
        .await
        .unwrap();
    assert_lives(&host, &grant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_load_loses_no_session_and_restores_no_ended_one() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let builds = [next(), engine()];
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..16)
        .map(|n| {
            let (host, stop) = (host.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut live, mut dead): (Vec<Grant>, Vec<Grant>) = Default::default();
                while !stop.load(Ordering::SeqCst) {
                    let grant = host.create(request(&agent(n))).await.unwrap();
                    live.push(host.refresh(&*grant.session.id).await.unwrap());
                    dead.push(grant);
                    let grant = host.create(request(&agent(n))).await.unwrap();
                    host.revoke(&*grant.session.id).await.unwrap();
                    dead.push(grant);
                    if live.len() > 500 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                (live, dead)
            })
        })
        .collect();
    for upgrades in 1..=5 {
        let before = host.stats().await.unwrap().created;
        until("there is load", async || {
            host.stats().await.unwrap().created > before + 50
        })
        .await;
        let build = usize::try_from(upgrades - 1).unwrap() % 2;
        host.upgrade(builds[build].clone()).await.unwrap();
        assert_eq!(host.metrics().upgrades, upgrades);
        let version = host.stats().await.unwrap().version;
        assert_eq!(version.ends_with("-next"), build == 0, "{version}");
    }
    stop.store(true, Ordering::SeqCst);
    let outcome = join_all(workers).await;
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    for outcome in outcome {
        let (live, dead) = outcome.unwrap();
        for grant in &live {
            assert_lives(&next, grant).await;
        }
        for grant in &dead {
            assert_dead(&next, grant).await;
        }
    }
}

#[tokio::test]
async fn changes_after_an_upgrade_are_durable() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let before = create(&host).await;
    host.upgrade(engine()).await.unwrap();
    let after = create(&host).await;
    host.revoke(&*before.session.id).await.unwrap();
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_dead(&next, &before).await;
    assert_lives(&next, &after).await;
}

#[tokio::test]
async fn an_upgrade_keeps_changes_that_are_not_durable_yet() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let revoked = create(&host).await;
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.revoke(&*revoked.session.id).await);
    retry(host.create(request(AGENT)).await);
    host.upgrade(engine()).await.unwrap();
    fixture.journal.set(JournalMode::Ok);
    let later = create(&host).await;
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_dead(&next, &revoked).await;
    assert_lives(&next, &later).await;
    assert_eq!(next.active_count().await, Ok(2));
}

#[tokio::test]
async fn bytes_that_are_not_a_component_are_refused() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    assert!(SessionEngine::from_bytes(b"not a component").is_err());
    assert_lives(&host, &grant).await;
}

#[tokio::test]
async fn only_one_upgrade_runs_at_a_time() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (first, second) = tokio::join!(host.upgrade(engine()), host.upgrade(engine()));
    assert_eq!(first, Ok(()));
    assert!(
        matches!(second, Err(DurableError::Upgrade(_))),
        "{second:?}"
    );
    assert_eq!(host.metrics().upgrades, 1);
    assert_eq!(host.upgrade(engine()).await, Ok(()));
}

#[tokio::test]
async fn events_continue_in_the_new_instance() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let mut events = host.subscribe(0).await.unwrap();
    create(&host).await;
    let (run, last) = (events.run(), events.next().await.unwrap().sequence);
    assert_eq!(run, 0, "no event had occurred yet");
    let run = host.stats().await.unwrap().event_run;
    host.upgrade(engine()).await.unwrap();
    assert_eq!(events.next().await, None);
    let mut events = host.subscribe(last).await.unwrap();
    let grant = create(&host).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.session_id, grant.session.id);
    assert_eq!((events.run(), event.run), (run, run));
    assert_eq!((event.sequence, event.missed), (last + 1, 0));
}

#[tokio::test]
async fn a_host_that_was_shut_down_is_not_upgraded() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    host.shutdown().await;
    retry(host.upgrade(engine()).await);
}
