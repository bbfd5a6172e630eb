//! One durable host for each workspace, loaded while it is used.

use std::time::Duration;

use clawdb_session_durable::{DurableError, TenantId, TenantLimits, Tenants};
use clawdb_session_testkit::fixture::{AGENT, request};
use futures::future::join_all;
use futures::poll;
use tokio::time::timeout;
use uuid::Uuid;

use crate::fixture::{DurableFixture, assert_dead, assert_lives, create, engine, retry, until};
use crate::journal::JournalMode;

pub fn tenant(n: u128) -> TenantId {
    TenantId::new(Uuid::from_u128(n))
}

pub fn limits(max_loaded: usize) -> TenantLimits {
    TenantLimits {
        max_loaded,
        ..TenantLimits::default()
    }
}

pub fn tenants(fixture: &DurableFixture, limits: TenantLimits) -> Tenants {
    Tenants::new(fixture.options.clone(), fixture.shared_journal(), limits).unwrap()
}

#[tokio::test]
async fn tenants_are_isolated() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(10));
    let first = tenants.tenant(tenant(1)).await.unwrap();
    let second = tenants.tenant(tenant(2)).await.unwrap();
    let grant = create(&first).await;
    assert_eq!(grant.session.workspace_id, tenant(1).to_string());
    assert_dead(&second, &grant).await;
    assert_eq!(second.revoke_all_for_agent(AGENT).await, Ok(0));
    assert_lives(&first, &grant).await;
}

#[tokio::test]
async fn concurrent_first_calls_load_a_tenant_once() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(10));
    let handles = join_all((0..32).map(|_| tenants.tenant(tenant(1)))).await;
    for handle in handles {
        create(&handle.unwrap()).await;
    }
    assert_eq!(tenants.loaded(), 1);
    assert_eq!(fixture.journal.take_overs(), 1);
}

#[tokio::test]
async fn at_the_limit_the_tenant_that_is_idle_for_longest_is_unloaded() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(2));
    let first = tenants.tenant(tenant(1)).await.unwrap();
    let grant = create(&first).await;
    let second = tenants.tenant(tenant(2)).await.unwrap();
    let other = create(&second).await;
    assert_lives(&first, &grant).await;
    tenants.tenant(tenant(3)).await.unwrap();
    assert_eq!(tenants.loaded(), 2);
    assert_eq!(fixture.journal.take_overs(), 3);
    // The first tenant is still loaded. The second one is loaded again.
    assert_lives(&first, &grant).await;
    assert_eq!(fixture.journal.take_overs(), 3);
    assert_lives(&second, &other).await;
    assert_eq!(fixture.journal.take_overs(), 4);
    assert_eq!(tenants.loaded(), 2);
}

#[tokio::test]
async fn a_call_does_not_wait_longer_than_patience_for_another_tenant_to_be_unloaded() {
    let mut fixture = DurableFixture::new();
    fixture.options.patience = Duration::from_millis(100);
    let tenants = tenants(&fixture, limits(1));
    let first = tenants.tenant(tenant(1)).await.unwrap();
    let grant = create(&first).await;
    // The last changes of the first tenant are not stored.
    fixture.journal.set(JournalMode::Hold);
    let loading = join_all((2..=5).map(|n| tenants.tenant(tenant(n))));
    let loaded = timeout(Duration::from_secs(20), loading).await;
    for loaded in loaded.expect("the calls are answered") {
        retry(loaded.map(|_| ()));
    }
    fixture.journal.set(JournalMode::Ok);
    until("another tenant is loaded", async || {
        tenants.tenant(tenant(2)).await.is_ok()
    })
    .await;
    assert_eq!(tenants.loaded(), 1);
    assert_lives(&first, &grant).await;
}

#[tokio::test]
async fn a_reader_of_events_keeps_its_tenant_loaded() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(1));
    let first = tenants.tenant(tenant(1)).await.unwrap();
    let events = first.subscribe(0).await.unwrap();
    assert!(retry(tenants.tenant(tenant(2)).await.map(|_| ())).contains("busy"));
    drop(events);
    tenants.tenant(tenant(2)).await.unwrap();
}

#[tokio::test]
async fn an_idle_tenant_is_unloaded_and_released_and_the_next_call_loads_it_again() {
    let fixture = DurableFixture::new();
    let brief = TenantLimits {
        idle_after: Duration::from_millis(20),
        ..TenantLimits::default()
    };
    let tenants = tenants(&fixture, brief);
    let handle = tenants.tenant(tenant(1)).await.unwrap();
    let grant = create(&handle).await;
    until("the tenant is unloaded", async || tenants.loaded() == 0).await;
    assert_lives(&handle, &grant).await;
    assert_eq!(fixture.journal.take_overs(), 2);
}

#[tokio::test]
async fn calls_succeed_although_their_tenants_are_unloaded_repeatedly() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(1));
    let work = (1..=4).map(|n| {
        let tenants = tenants.clone();
        tokio::spawn(async move {
            let mut grants = Vec::new();
            while grants.len() < 10 {
                let created = match tenants.tenant(tenant(n)).await {
                    Ok(handle) => handle.create(request(AGENT)).await,
                    Err(error) => Err(error),
                };
                match created {
                    Ok(grant) => grants.push(grant),
                    // All loaded tenants were busy.
                    Err(DurableError::Retry(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
            (n, grants)
        })
    });
    for outcome in join_all(work.collect::<Vec<_>>()).await {
        let (n, grants) = outcome.unwrap();
        let handle = tenants.tenant(tenant(n)).await.unwrap();
        for grant in &grants {
            assert_lives(&handle, grant).await;
        }
        assert_eq!(handle.active_count().await, Ok(10));
    }
}

#[tokio::test]
async fn an_upgrade_replaces_the_instances_of_all_loaded_tenants() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(2));
    let first = tenants.tenant(tenant(1)).await.unwrap();
    let second = tenants.tenant(tenant(2)).await.unwrap();
    let grant = create(&first).await;
    tenants.upgrade(engine()).await.unwrap();
    assert_eq!(first.metrics().upgrades, 1);
    assert_eq!(second.metrics().upgrades, 1);
    assert_lives(&first, &grant).await;
}

#[tokio::test]
async fn a_tenant_of_another_host_is_refused_and_does_not_stop_an_upgrade() {
    let fixture = DurableFixture::new();
    let (owner, others) = (tenants(&fixture, limits(2)), tenants(&fixture, limits(2)));
    let own = owner.tenant(tenant(1)).await.unwrap();
    let refused = others.tenant(tenant(1)).await.map(|_| ());
    assert!(
        matches!(refused, Err(DurableError::NotOwner(_))),
        "{refused:?}"
    );
    others.tenant(tenant(2)).await.unwrap();
    others.upgrade(engine()).await.unwrap();
    create(&own).await;
    owner.shutdown().await;
    until("the tenant is free", async || {
        others.tenant(tenant(1)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_unloads_and_releases_all_tenants() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(10));
    let handle = tenants.tenant(tenant(1)).await.unwrap();
    let grant = create(&handle).await;
    tenants.shutdown().await;
    assert_eq!(tenants.loaded(), 0);
    retry(handle.validate(&*grant.token).await);
    retry(tenants.tenant(tenant(2)).await.map(|_| ()));
    let others = self::tenants(&fixture, limits(10));
    assert_lives(&others.tenant(tenant(1)).await.unwrap(), &grant).await;
}

#[tokio::test]
async fn a_limit_of_0_tenants_is_refused() {
    let fixture = DurableFixture::new();
    let refused = Tenants::new(fixture.options.clone(), fixture.shared_journal(), limits(0));
    let error = refused.err().unwrap();
    assert_eq!(error.to_string(), "max_loaded (0) must be at least 1");
}

#[tokio::test]
async fn a_tenant_whose_journal_panics_is_loaded_again_by_a_later_call() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(10));
    let host = tenants.tenant(tenant(1)).await.unwrap();
    let grant = create(&host).await;
    fixture.journal.set(JournalMode::Panics);
    retry(host.create(request(AGENT)).await);
    // Each load panics as well, and a call does not repeat it without an end.
    let reason = retry(host.validate(&*grant.token).await);
    assert!(reason.contains("was unloaded each time"), "{reason}");
    // The lease of the host that ended in this way has to expire first.
    fixture.journal.expire_lease(tenant(1));
    fixture.journal.set(JournalMode::Ok);
    assert_lives(&host, &grant).await;
}

#[tokio::test]
async fn upgrades_of_all_tenants_do_not_overlap() {
    let fixture = DurableFixture::new();
    let tenants = tenants(&fixture, limits(10));
    let host = tenants.tenant(tenant(1)).await.unwrap();
    fixture.journal.set(JournalMode::Hold);
    let mut creating = Box::pin(host.create(request(AGENT)));
    assert!(poll!(&mut creating).is_pending());
    let mut upgrading = Box::pin(tenants.upgrade(engine()));
    assert!(poll!(&mut upgrading).is_pending());
    let other = tenants.upgrade(engine()).await;
    let reason = "another upgrade is in progress";
    assert_eq!(other, Err(DurableError::Upgrade(reason.into())));
    fixture.journal.set(JournalMode::Ok);
    let (created, upgraded) = tokio::join!(creating, upgrading);
    assert!(created.is_ok() && upgraded.is_ok());
}
