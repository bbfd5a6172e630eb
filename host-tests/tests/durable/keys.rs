//! The records of every workspace are sealed again when the state key changes, and a missing key is
//! reported.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawdb_session_durable::{DurableError, Journal, KeyReport, TenantId, TenantLimits, Tenants};
use clawdb_session_host::{Change, Grant};
use serde_json::Value;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::fixture::{DurableFixture, assert_lives, create, keyed, until};
use crate::journal::{JournalMode, TestJournal};

fn tenant(n: u128) -> TenantId {
    TenantId::new(Uuid::from_u128(n))
}

/// Returns tenants with this state key and these previous ones.
fn tenants(fixture: &mut DurableFixture, key: u8, previous: &[u8]) -> Tenants {
    fixture.options.config = keyed(key);
    let previous = previous.iter().map(|byte| vec![*byte; 32]);
    fixture.options.config.previous_state_keys = previous.collect();
    let limits = TenantLimits::default();
    Tenants::new(fixture.options.clone(), fixture.shared_journal(), limits).unwrap()
}

/// Creates a session in each of these tenants, with records under this key.
async fn sessions(fixture: &mut DurableFixture, key: u8, ids: &[u128]) -> Vec<(TenantId, Grant)> {
    let tenants = tenants(fixture, key, &[]);
    let mut grants = Vec::new();
    for id in ids {
        let host = tenants.tenant(tenant(*id)).await.unwrap();
        grants.push((tenant(*id), create(&host).await));
    }
    tenants.shutdown().await;
    grants
}

async fn assert_all_live(tenants: &Tenants, grants: &[(TenantId, Grant)]) {
    for (id, grant) in grants {
        assert_lives(&tenants.tenant(*id).await.unwrap(), grant).await;
    }
}

async fn rotated(tenants: &Tenants) -> KeyReport {
    until("the previous key can be dropped", async || {
        tenants.keys().can_drop_previous_keys()
    })
    .await;
    tenants.keys()
}

#[tokio::test]
async fn r24_every_tenant_is_resealed_in_the_background_and_unloaded_again() {
    let mut fixture = DurableFixture::new();
    let grants = sessions(&mut fixture, 1, &[1, 2, 3]).await;
    let reports = Arc::new(Mutex::new(Vec::new()));
    fixture.options.key_progress = Some(Arc::new({
        let reports = Arc::clone(&reports);
        move |report: &KeyReport| reports.lock().unwrap().push(report.clone())
    }));
    let rotating = tenants(&mut fixture, 2, &[1]);
    let report = rotated(&rotating).await;
    assert_eq!((report.workspaces, report.records), (3, 6));
    assert_eq!(report.resealed_records, 6);
    until("no tenant is loaded", async || rotating.loaded() == 0).await;
    rotating.shutdown().await;
    {
        let reports = reports.lock().unwrap();
        let first = reports.first().unwrap();
        assert_eq!((first.previous_records, first.previous_workspaces), (6, 3));
        assert!(first.to_string().contains("keep that key"), "{first}");
        let last = reports.last().unwrap().to_string();
        assert!(last.contains("may be dropped"), "{last}");
    }
    let after = tenants(&mut fixture, 2, &[]);
    assert_all_live(&after, &grants).await;
    assert_eq!(rotated(&after).await.missing_workspaces, 0);
}

#[tokio::test]
async fn a_tenant_of_another_host_is_resealed_once_that_host_releases_it() {
    let mut fixture = DurableFixture::new();
    let mut grants = sessions(&mut fixture, 1, &[1, 2]).await;
    let owner = tenants(&mut fixture, 1, &[]);
    let held = owner.tenant(tenant(1)).await.unwrap();
    grants.push((tenant(1), create(&held).await));
    let rotating = tenants(&mut fixture, 2, &[1]);
    until("the other tenant is resealed", async || {
        rotating.keys().held_workspaces == 1 && rotating.keys().previous_workspaces == 1
    })
    .await;
    let report = rotating.keys();
    assert!(report.complete && !report.can_drop_previous_keys());
    assert_eq!(report.held, [tenant(1)]);
    assert!(report.to_string().contains("another host"), "{report}");
    create(&held).await;
    owner.shutdown().await;
    rotated(&rotating).await;
    rotating.shutdown().await;
    assert_all_live(&tenants(&mut fixture, 2, &[]), &grants).await;
}

#[tokio::test]
async fn a_tenant_that_no_key_opens_is_reported_and_unchanged_and_the_others_are_resealed() {
    let mut fixture = DurableFixture::new();
    let foreign = sessions(&mut fixture, 9, &[2]).await;
    let ours = sessions(&mut fixture, 1, &[1, 3]).await;
    let before = fixture.journal.records(tenant(2));
    let rotating = tenants(&mut fixture, 2, &[1]);
    rotating.keys_checked().await;
    assert_eq!(rotating.keys().missing_workspaces, 1);
    until("the others are resealed", async || {
        rotating.keys().complete && rotating.keys().previous_records == 0
    })
    .await;
    let report = rotating.keys();
    assert!(!report.can_drop_previous_keys());
    assert_eq!(report.missing.len(), 1);
    let missing = report.missing.first().unwrap();
    assert_eq!((missing.tenant, missing.unopened), (tenant(2), 2));
    assert!(
        report.to_string().contains(&tenant(2).to_string()),
        "{report}"
    );
    let refused = match rotating.tenant(tenant(2)).await {
        Ok(host) => host.active_count().await.err(),
        Err(error) => Some(error),
    };
    let Some(DurableError::StateKeyMissing(refused)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.tenant, tenant(2));
    assert_all_live(&rotating, &ours).await;
    rotating.shutdown().await;
    assert_eq!(fixture.journal.records(tenant(2)), before);
    // With its key, the tenant is resealed too.
    let with_all = tenants(&mut fixture, 2, &[1, 9]);
    assert_eq!(rotated(&with_all).await.missing_workspaces, 0);
    assert_all_live(&with_all, &foreign).await;
}

#[tokio::test]
async fn previous_keys_are_needed_until_a_damaged_record_is_repaired() {
    let mut fixture = DurableFixture::new();
    let grants = sessions(&mut fixture, 1, &[1, 2]).await;
    let records = fixture.journal.records(tenant(2));
    let session = records.iter().find(|it| it.key != "meta").unwrap();
    fixture.journal.damage(tenant(2), &session.key);
    let rotating = tenants(&mut fixture, 2, &[1]);
    until("the other tenant is resealed", async || {
        rotating.keys().rounds > 0 && rotating.keys().resealed_records == 2
    })
    .await;
    let report = rotating.keys();
    assert!(report.complete && !report.can_drop_previous_keys());
    assert_eq!((report.damaged_records, report.damaged_workspaces), (1, 1));
    assert_eq!(
        (report.damaged.clone(), report.problem.clone()),
        (vec![tenant(2)], None)
    );
    let named = format!("1 records of {} are damaged", tenant(2));
    assert!(report.to_string().contains(&named), "{report}");
    put(&fixture.journal, tenant(2), session.clone()).await;
    assert_eq!(rotated(&rotating).await.damaged_records, 0);
    assert_all_live(&rotating, &grants).await;
}

#[tokio::test]
async fn an_interrupted_reseal_is_completed_by_the_next_one() {
    let mut fixture = DurableFixture::new();
    let grants = sessions(&mut fixture, 1, &[1]).await;
    let old = fixture.journal.records(tenant(1));
    let rotating = tenants(&mut fixture, 2, &[1]);
    rotated(&rotating).await;
    rotating.shutdown().await;
    // As if only the `meta` record had been resealed.
    let session = old.iter().find(|it| it.key != "meta").unwrap().clone();
    put(&fixture.journal, tenant(1), session).await;
    let without = tenants(&mut fixture, 2, &[]);
    until("all tenants are checked", async || without.keys().complete).await;
    let report = without.keys();
    let missing = report.missing.first().unwrap();
    assert_eq!((missing.unopened, missing.records), (1, 2));
    assert!(missing.first.starts_with("session/"), "{missing}");
    without.shutdown().await;
    let again = tenants(&mut fixture, 2, &[1]);
    assert_eq!(rotated(&again).await.records, 2);
    again.shutdown().await;
    assert_all_live(&tenants(&mut fixture, 2, &[]), &grants).await;
}

async fn put(journal: &TestJournal, tenant: TenantId, change: Change) {
    let mut writer = journal.take_over(tenant).await.unwrap();
    writer.append(&[change], 0).await.unwrap();
    writer.release().await.unwrap();
}

#[tokio::test]
async fn resealing_is_retried_while_the_journal_is_unavailable() {
    let mut fixture = DurableFixture::new();
    let grants = sessions(&mut fixture, 1, &[1, 2]).await;
    fixture.journal.set(JournalMode::Unavailable);
    let rotating = tenants(&mut fixture, 2, &[1]);
    until("a round has failed", async || rotating.keys().rounds > 0).await;
    let report = rotating.keys();
    assert!(!report.meta_checked && !report.can_drop_previous_keys());
    assert!(
        report
            .problem
            .unwrap()
            .contains("the test journal is unavailable")
    );
    fixture.journal.set(JournalMode::Ok);
    rotated(&rotating).await;
    assert_all_live(&rotating, &grants).await;
}

#[tokio::test]
async fn a_tenant_in_use_is_resealed_while_it_serves() {
    let mut fixture = DurableFixture::new();
    let grants = sessions(&mut fixture, 1, &[1, 2]).await;
    let rotating = tenants(&mut fixture, 2, &[1]);
    let host = rotating.tenant(tenant(1)).await.unwrap();
    let events = host.subscribe(0).await.unwrap();
    create(&host).await;
    rotated(&rotating).await;
    assert!(
        rotating.is_loaded(tenant(1)),
        "the reseal unloaded the tenant"
    );
    drop(events);
    rotating.shutdown().await;
    assert_eq!(
        fixture.journal.take_overs(),
        2 + 2,
        "each tenant is loaded once"
    );
    assert_all_live(&tenants(&mut fixture, 2, &[]), &grants).await;
}

#[tokio::test]
async fn records_keep_their_times_when_they_are_resealed_while_the_clock_fails() {
    let mut fixture = DurableFixture::new();
    let grants = sessions(&mut fixture, 1, &[1]).await;
    let at = |change: &Change| serde_json::from_str::<Value>(&change.value).unwrap()["at"].clone();
    let before: Vec<Value> = fixture.journal.records(tenant(1)).iter().map(at).collect();
    let clock = Arc::clone(&fixture.clock);
    let now = clawdb_session_host::Clock::now(&*clock);
    clock.set(clawdb_session_host::Instant {
        seconds: -1,
        nanoseconds: 0,
    });
    let rotating = tenants(&mut fixture, 2, &[1]);
    rotated(&rotating).await;
    rotating.shutdown().await;
    let after: Vec<Value> = fixture.journal.records(tenant(1)).iter().map(at).collect();
    assert_eq!(before, after);
    clock.set(now);
    assert_all_live(&tenants(&mut fixture, 2, &[]), &grants).await;
}

#[tokio::test]
async fn a_tenant_that_cannot_be_restored_does_not_keep_others_from_being_resealed() {
    let mut fixture = DurableFixture::new();
    let grants = sessions(&mut fixture, 1, &[1, 2]).await;
    fixture.journal.fail_reads(Some(tenant(1)));
    let rotating = tenants(&mut fixture, 2, &[1]);
    until("the other tenant is resealed", async || {
        rotating.keys().rounds > 0 && rotating.keys().previous_workspaces == 1
    })
    .await;
    let problem = rotating.keys().problem.unwrap();
    assert!(problem.contains(&tenant(1).to_string()), "{problem}");
    fixture.journal.fail_reads(None);
    rotated(&rotating).await;
    assert_all_live(&rotating, &grants).await;
}

#[tokio::test]
async fn the_check_of_the_keys_ends_with_the_tenants() {
    let fixture = DurableFixture::new();
    // The task that unloads idle tenants ends when it looks for them the next time.
    let limits = TenantLimits {
        idle_after: Duration::from_millis(4),
        ..TenantLimits::default()
    };
    let tasks = || Handle::current().metrics().num_alive_tasks();
    for is_shut_down in [true, false] {
        let (options, journal) = (fixture.options.clone(), fixture.shared_journal());
        let checked = Tenants::new(options, journal, limits).unwrap();
        rotated(&checked).await;
        if is_shut_down {
            checked.shutdown().await;
        }
        drop(checked);
        until("all tasks have ended", async || tasks() == 0).await;
    }
}
