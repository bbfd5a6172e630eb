//! The state key is rotated on NATS: free workspaces, and workspaces of another host.

use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawdb_session_durable::{
    DurableHost, DurableOptions, Journal, LogCallback, TenantId, TenantLimits, Tenants,
};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{Config, CreateRequest, Grant, InstanceOptions, LocalEngine};
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_testkit::nats_server::NatsServer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{journal, options, tenant, until};

const A: u8 = 0xaa;
const B: u8 = 0xbb;

/// Returns tenants with this state key and these previous ones.
async fn tenants(server: &NatsServer, key: u8, previous: &[u8]) -> Tenants {
    tenants_with_report(server, key, previous, None).await
}

async fn tenants_with_report(
    server: &NatsServer,
    key: u8,
    previous: &[u8],
    report: Option<LogCallback>,
) -> Tenants {
    let guard = JwtGuard::new(&[7; 32]).unwrap();
    let config = Config {
        previous_state_keys: previous.iter().map(|byte| vec![*byte; 32]).collect(),
        ..Config::with_state_key([key; 32])
    };
    let instances = InstanceOptions::new(LocalEngine::new().unwrap(), guard);
    let options = DurableOptions {
        tick: Duration::from_millis(100),
        report,
        ..DurableOptions::new(instances, config)
    };
    let journal: Arc<dyn Journal> = Arc::new(journal(server).await);
    Tenants::new(options, journal, TenantLimits::default()).unwrap()
}

async fn create(host: &DurableHost) -> Grant {
    let request = CreateRequest {
        agent_id: "0a9e0000-0000-4000-8000-000000000001".into(),
        role: "worker".into(),
        scopes: Vec::new(),
        task_type: None,
        expires_in: None,
        metadata: None,
        max_uses: None,
    };
    host.create(request).await.unwrap()
}

async fn session(tenants: &Tenants, id: TenantId) -> Grant {
    create(&tenants.tenant(id).await.unwrap()).await
}

async fn assert_lives(tenants: &Tenants, id: TenantId, grant: &Grant) {
    let host = tenants.tenant(id).await.unwrap();
    let session = host.validate(&*grant.token).await.unwrap();
    assert_eq!(session.id, grant.session.id);
}

/// Checks that each session is live with this as the only state key.
async fn assert_all_live_under(key: u8, server: &NatsServer, grants: &[(TenantId, Grant)]) {
    let after = tenants(server, key, &[]).await;
    for (id, grant) in grants {
        assert_lives(&after, *id, grant).await;
    }
    after.shutdown().await;
}

async fn rotated(tenants: &Tenants) {
    until("all records are resealed", async || {
        tenants.keys().can_drop_previous_keys()
    })
    .await;
}

/// Returns `rekey` with this lease in seconds. It waits for workspaces of another host for 3/2 of
/// the lease.
fn rekey(server: &NatsServer, lease: &str) -> Command {
    let digits = |byte: u8| format!("{byte:02x}").repeat(32);
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawdb-session"));
    command
        .args([
            "rekey",
            "--single",
            "--lease",
            lease,
            "--nats",
            &server.url(),
        ])
        .env("CLAWDB_SESSION_STATE_KEY", digits(B))
        .env("CLAWDB_SESSION_PREVIOUS_STATE_KEYS", digits(A))
        .env_remove("CLAW_GUARD_JWT_SECRET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command without blocking the other tasks, and returns its output.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_workspace_is_resealed_and_one_of_another_host_once_it_is_released() {
    let server = NatsServer::start().await;
    let (first, second) = (tenant(), tenant());
    let owner = tenants(&server, A, &[]).await;
    let grants = [
        (first, session(&owner, first).await),
        (second, session(&owner, second).await),
    ];
    owner.tenant(second).await.unwrap().shutdown().await;

    let rotating = tenants(&server, B, &[A]).await;
    until("the free workspace is resealed", async || {
        let keys = rotating.keys();
        keys.complete && (keys.previous_workspaces, keys.held_workspaces) == (1, 1)
    })
    .await;
    assert!(!rotating.keys().can_drop_previous_keys());
    assert_lives(&owner, first, &grants[0].1).await;
    owner.shutdown().await;
    rotated(&rotating).await;
    rotating.shutdown().await;

    assert_all_live_under(B, &server, &grants).await;
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rekey_reseals_free_workspaces_and_reports_those_of_another_host() {
    let server = NatsServer::start().await;
    let (first, second) = (tenant(), tenant());
    let owner = tenants(&server, A, &[]).await;
    let grants = [
        (first, session(&owner, first).await),
        (second, session(&owner, second).await),
    ];
    owner.tenant(second).await.unwrap().shutdown().await;

    let held = output(rekey(&server, "1")).await;
    let err = String::from_utf8_lossy(&held.stderr);
    assert!(!held.status.success(), "{held:?}");
    let holder = format!("another host has {first}, which it has to reseal");
    for phrase in ["of 1 workspaces", &holder] {
        assert!(err.contains(phrase), "{phrase} is missing in: {err}");
    }
    assert_lives(&owner, first, &grants[0].1).await;
    owner.shutdown().await;

    let done = output(rekey(&server, "1")).await;
    assert!(done.status.success(), "{done:?}");
    let stdout = String::from_utf8_lossy(&done.stdout);
    assert!(stdout.contains("may be dropped"), "{stdout}");
    assert_all_live_under(B, &server, &grants).await;
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rekey_reseals_the_workspaces_of_a_host_that_died_in_one_run() {
    let server = NatsServer::start().await;
    let owner = tenants(&server, A, &[]).await;
    let mut grants = Vec::new();
    for id in [tenant(), tenant(), tenant()] {
        grants.push((id, session(&owner, id).await));
    }
    owner.shutdown().await;
    // The lease is longer than a tick of `rekey`, which is 1 s.
    let lease = Duration::from_secs(4);
    let options = NatsOptions {
        lease,
        ..options(server.url()).single()
    };
    let dead = NatsJournal::connect(options).await.unwrap();
    for (id, _) in &grants {
        // A dropped writer does not release its tenant.
        drop(dead.take_over(*id).await.unwrap());
    }

    let done = output(rekey(&server, "4")).await;
    assert!(done.status.success(), "{done:?}");
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(
        err.contains("another host has") && !err.contains("until another host's lease expires"),
        "{err}"
    );
    assert_all_live_under(B, &server, &grants).await;
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_of_another_host_is_logged_once_however_often_it_is_tried() {
    let server = NatsServer::start().await;
    let ids = [tenant(), tenant()];
    let owner = tenants(&server, A, &[]).await;
    for id in ids {
        session(&owner, id).await;
    }
    let lines = Arc::new(Mutex::new(Vec::new()));
    let report: LogCallback = Arc::new({
        let lines = Arc::clone(&lines);
        move |id, text: &str| lines.lock().unwrap().push(format!("{id} {text}"))
    });
    let rotating = tenants_with_report(&server, B, &[A], Some(report)).await;
    until("four rounds have run", async || rotating.keys().rounds >= 4).await;
    let report = rotating.keys();
    assert_eq!(report.held_workspaces, 2);
    assert!(report.held_for > Duration::ZERO, "{report:?}");
    let lines = lines.lock().unwrap().clone();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for id in ids {
        let line = lines.iter().find(|line| line.contains(&id.to_string()));
        assert!(line.unwrap().contains("another host has"), "{lines:?}");
    }
    rotating.shutdown().await;
    owner.shutdown().await;
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rekey_that_is_interrupted_reports_the_remaining_records() {
    let server = NatsServer::start().await;
    let id = tenant();
    let owner = tenants(&server, A, &[]).await;
    let grant = session(&owner, id).await;
    let mut child = rekey(&server, "600").spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap());
    let ended = tokio::task::spawn_blocking(move || {
        use std::io::{BufRead, Read};
        let mut err = String::new();
        while !err.contains("another host has") {
            assert!(lines.read_line(&mut err).unwrap() > 0, "{err}");
        }
        let pid = i32::try_from(child.id()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
        lines.read_to_string(&mut err).unwrap();
        (child.wait().unwrap(), err)
    });
    let (status, err) = ended.await.unwrap();
    assert!(!status.success());
    assert!(
        err.contains("interrupted; run it again") && err.contains("still sealed"),
        "{err}"
    );
    assert_lives(&owner, id, &grant).await;
    owner.shutdown().await;
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_another_prefix_is_not_a_tenant() {
    let server = NatsServer::start().await;
    let context = server.context().await;
    let digits = tenant().workspace().as_simple().to_string();
    for name in [
        format!("clawdb-session-other-{digits}"),
        format!("other-{digits}"),
        format!("clawdb-session-{}", digits.to_uppercase()),
        "clawdb-session-notes".into(),
    ] {
        let config = async_nats::jetstream::stream::Config {
            subjects: vec![format!("{name}.>")],
            name,
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
    }
    let journal = journal(&server).await;
    let id = tenant();
    journal
        .take_over(id)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    assert_eq!(journal.tenants().await.unwrap(), [id]);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_tenants_than_a_server_lists_at_a_time_are_all_listed() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let mut ids: Vec<TenantId> = (0..1_050).map(|_| tenant()).collect();
    for part in ids.chunks(16) {
        let making = part.iter().map(|id| journal.take_over(*id));
        for writer in futures::future::join_all(making).await {
            drop(writer.unwrap());
        }
    }
    ids.sort_unstable();
    assert_eq!(journal.tenants().await.unwrap(), ids);
}
