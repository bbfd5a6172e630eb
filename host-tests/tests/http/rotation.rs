//! The state key is rotated by `serve` and by `rekey`, and a missing key is reported.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clawdb_session::{RecordKeys, SealedWith};
use clawdb_session_durable::{Journal, JournalError, MemoryJournal, TenantId};
use clawdb_session_host::Change;
use clawdb_session_journal_redb::RedbJournal;
use nix::sys::signal::Signal;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::program::{Program, program, start, with_key};
use crate::service::{ADMIN_KEY, Reply, ServiceSetup, TestService, answer, text, until, worker};

const NIL: &str = "00000000-0000-0000-0000-000000000000";
const SECOND: &str = "22222222-2222-4222-8222-222222222222";
const A: u8 = 0xaa;
const B: u8 = 0xbb;

/// A journal in a temporary folder.
struct JournalFolder(tempfile::TempDir);

impl JournalFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("sessions.redb")
    }

    /// Starts the service with this state key and these previous ones.
    fn serve(&self, key: u8, previous: &[u8]) -> Program {
        let file = self.file();
        start(keyed(with_key(&["--journal", path(&file)]), key, previous))
    }

    fn rekey(&self, key: u8, previous: &[u8]) -> Command {
        let mut command = program("rekey");
        command.arg("--journal").arg(self.file());
        keyed(command, key, previous)
    }

    /// Reads all records, with their workspaces.
    async fn records(&self) -> Vec<(TenantId, Change)> {
        let journal = open(&self.file()).await;
        let mut records = Vec::new();
        for tenant in journal.tenants().await.unwrap() {
            let mut scan = journal.scan(tenant).await.unwrap();
            let page = scan.next().await.unwrap();
            records.extend(page.into_iter().map(|change| (tenant, change)));
        }
        records
    }

    /// Returns the `at` of each record, by workspace and key.
    async fn times(&self) -> BTreeMap<(String, String), u64> {
        let records = self.records().await.into_iter();
        let times = records.map(|(tenant, change)| {
            let record: Value = serde_json::from_str(&change.value).unwrap();
            let at = record["at"].as_u64().unwrap();
            ((tenant.to_string(), change.key), at)
        });
        times.collect()
    }

    /// Returns the numbers of records that are sealed with each of two keys.
    async fn records_under(&self, one: u8, other: u8) -> (usize, usize) {
        let keys = RecordKeys::new(&[one; 32], &[vec![other; 32]]).unwrap();
        let records = self.records().await;
        let sealed = records
            .iter()
            .map(|(_, it)| keys.sealed_with(&it.key, it.sequence, &it.value));
        let count = |key| sealed.clone().filter(|it| *it == key).count();
        (count(SealedWith::Current), count(SealedWith::Previous))
    }

    /// Truncates the record of a session of a workspace.
    async fn damage(&self, workspace: &str) {
        let records = self.records().await;
        let is_session = |(tenant, change): &&(TenantId, Change)| {
            tenant.to_string() == workspace && change.key.starts_with("session/")
        };
        let (tenant, mut change) = records.iter().find(is_session).unwrap().clone();
        change.value.pop();
        let journal = open(&self.file()).await;
        let mut writer = journal.take_over(tenant).await.unwrap();
        writer.append(&[change], 0).await.unwrap();
        writer.release().await.unwrap();
    }
}

fn keyed(mut command: Command, key: u8, previous: &[u8]) -> Command {
    let digits = |byte: u8| format!("{byte:02x}").repeat(32);
    command.env("CLAWDB_SESSION_STATE_KEY", digits(key));
    let previous: Vec<String> = previous.iter().copied().map(digits).collect();
    command.env("CLAWDB_SESSION_PREVIOUS_STATE_KEYS", previous.join(","));
    command
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Opens the journal, once the process before has closed it.
async fn open(file: &Path) -> RedbJournal {
    loop {
        match RedbJournal::open(file).await {
            Err(JournalError::Fenced(_)) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

fn request(program: &Program, method: Method, path: &str, workspace: &str) -> RequestBuilder {
    let request = Client::new().request(method, format!("{}{path}", program.url));
    request.header("X-Workspace-Id", workspace)
}

async fn try_create(program: &Program, workspace: &str) -> Reply {
    let request = request(program, Method::POST, "/v1/sessions", workspace);
    answer(request.header("X-Admin-Key", ADMIN_KEY).json(&worker())).await
}

async fn create(program: &Program, workspace: &str) -> Value {
    let created = try_create(program, workspace).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.body
}

async fn me(program: &Program, workspace: &str, grant: &Value) -> Reply {
    let request = request(program, Method::GET, "/v1/sessions/me", workspace);
    answer(request.bearer_auth(text(&grant["token"]))).await
}

async fn health(program: &Program) -> Reply {
    answer(request(program, Method::GET, "/healthz", NIL)).await
}

async fn metrics(program: &Program) -> String {
    let scrape = request(program, Method::GET, "/metrics", NIL);
    scrape.send().await.unwrap().text().await.unwrap()
}

async fn metric(program: &Program, name: &str) -> u64 {
    let text = metrics(program).await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let figure = line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
    figure.parse().unwrap()
}

async fn until_all_records_are_resealed(program: &Program) {
    until("all records are resealed", async || {
        metric(program, "clawdb_session_state_keys_checked").await == 1
            && metric(program, "clawdb_session_previous_key_records").await == 0
    })
    .await;
}

/// Creates a session in each of two workspaces, with records under the key A.
async fn two_workspaces(folder: &JournalFolder) -> [(&'static str, Value); 2] {
    let program = folder.serve(A, &[]);
    let grants = [
        (NIL, create(&program, NIL).await),
        (SECOND, create(&program, SECOND).await),
    ];
    stop_cleanly(program);
    grants
}

fn stop_cleanly(program: Program) -> String {
    let left = program.end(Signal::SIGTERM);
    assert_eq!(left.code, Some(0), "{}", left.err);
    left.err
}

async fn assert_all_answer(program: &Program, grants: &[(&str, Value)]) {
    for (workspace, grant) in grants {
        let me = me(program, workspace, grant).await;
        assert_eq!(me.status, 200, "{workspace}: {me:?}");
    }
}

fn fails(output: &Output, with: &[&str]) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    for phrase in with {
        assert!(err.contains(phrase), "{phrase} is missing in: {err}");
    }
}

#[tokio::test]
async fn r24_after_a_rotation_every_workspace_is_served_with_the_new_key_only() {
    let folder = JournalFolder::new();
    let grants = two_workspaces(&folder).await;

    let program = folder.serve(B, &[A]);
    assert_eq!(health(&program).await.status, 200);
    until_all_records_are_resealed(&program).await;
    assert!(metric(&program, "clawdb_session_resealed_records").await >= 2);
    let err = stop_cleanly(program);
    assert!(err.contains("may be dropped"), "{err}");

    let program = folder.serve(B, &[]);
    assert_all_answer(&program, &grants).await;
    assert_eq!(health(&program).await.status, 200);
}

#[tokio::test]
async fn a_workspace_whose_key_is_missing_is_reported_and_the_others_are_served() {
    let folder = JournalFolder::new();
    let program = folder.serve(A, &[]);
    let second = create(&program, SECOND).await;
    stop_cleanly(program);

    let program = folder.serve(B, &[]);
    let grant = create(&program, NIL).await;
    assert_eq!(me(&program, NIL, &grant).await.status, 200);
    let refused = try_create(&program, SECOND).await;
    let message = refused.assert_refused(500, "state_key_missing");
    assert!(
        message.contains(SECOND) && message.contains("start the host with the key"),
        "{message}"
    );
    let agent = me(&program, SECOND, &second).await;
    let message = agent.assert_refused(500, "state_key_missing");
    assert_eq!(message, "the service cannot answer this now");
    let health = health(&program).await;
    let message = health.assert_refused(503, "state_key_missing");
    assert!(
        message.contains(SECOND) && !message.contains(NIL),
        "{message}"
    );
    assert!(
        message.contains("start the service with the key"),
        "{message}"
    );
    let missing = "clawdb_session_state_key_missing_workspaces";
    assert_eq!(metric(&program, missing).await, 1);
    let named = format!("clawdb_session_state_key_missing{{workspace=\"{SECOND}\"}} 2\n");
    let metrics = metrics(&program).await;
    assert!(metrics.contains(&named), "{metrics}");
    let err = stop_cleanly(program);
    assert!(
        err.contains(&format!("{SECOND}: the host refuses all calls")),
        "{err}"
    );

    // No record was overwritten.
    let program = folder.serve(B, &[A]);
    let grants = [(NIL, grant), (SECOND, second)];
    assert_all_answer(&program, &grants).await;
    assert_eq!(self::health(&program).await.status, 200);
}

#[tokio::test]
async fn a_missing_key_of_the_default_workspace_is_reported_and_affects_no_other() {
    let folder = JournalFolder::new();
    let program = folder.serve(A, &[]);
    create(&program, NIL).await;
    stop_cleanly(program);
    let program = folder.serve(B, &[]);
    let health = health(&program).await;
    let message = health.assert_refused(503, "state_key_missing");
    assert!(message.contains(NIL), "{message}");
    try_create(&program, NIL)
        .await
        .assert_refused(500, "state_key_missing");
    create(&program, SECOND).await;
}

#[tokio::test]
async fn rekey_reseals_every_workspace_and_keeps_the_times_of_the_records() {
    let folder = JournalFolder::new();
    let grants = two_workspaces(&folder).await;
    let before = folder.times().await;
    let rekeyed = folder.rekey(B, &[A]).output().unwrap();
    assert!(rekeyed.status.success(), "{rekeyed:?}");
    let output = String::from_utf8_lossy(&rekeyed.stdout);
    assert!(
        output.contains("of 2 workspaces") && output.contains("may be dropped"),
        "{output}"
    );
    let err = String::from_utf8_lossy(&rekeyed.stderr);
    assert!(
        !err.contains("may be dropped"),
        "the result is printed once: {err}"
    );
    let after = folder.times().await;
    assert_eq!(before.len(), 4);
    assert!(before.keys().eq(after.keys()));
    // A resealed record has the latest time of its workspace, not the time of this machine.
    let latest = |times: &BTreeMap<(String, String), u64>| times.values().max().copied();
    assert_eq!(latest(&before), latest(&after));
    // A second run has nothing to do.
    let again = folder.rekey(B, &[]).output().unwrap();
    assert!(again.status.success(), "{again:?}");

    let program = folder.serve(B, &[]);
    assert_all_answer(&program, &grants).await;
}

/// Runs `rekey`, and kills it this long after it has begun to reseal.
fn kill_rekey(folder: &JournalFolder, after: Duration) {
    let mut command = folder.rekey(B, &[A]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    lines.read_line(&mut first).unwrap();
    assert!(first.contains("still sealed with a previous"), "{first}");
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn rekey_completes_the_work_of_a_run_that_was_killed() {
    let folder = JournalFolder::new();
    let program = folder.serve(A, &[]);
    let mut grants = Vec::new();
    for number in 0..12 {
        let workspace = uuid::Uuid::from_u128(number + 1).to_string();
        let grant = create(&program, &workspace).await;
        grants.push((workspace, grant));
    }
    stop_cleanly(program);
    // `rekey` is killed later each time, until some records are resealed and some are not.
    let mut after = Duration::from_millis(20);
    loop {
        kill_rekey(&folder, after);
        let (old, new) = folder.records_under(A, B).await;
        assert!(old > 0, "all records were resealed within {after:?}");
        if new > 0 {
            break;
        }
        after = after * 3 / 2;
    }
    let finished = folder.rekey(B, &[A]).output().unwrap();
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(folder.records_under(A, B).await.0, 0);
    let program = folder.serve(B, &[]);
    for (workspace, grant) in &grants {
        assert_eq!(me(&program, workspace, grant).await.status, 200);
    }
}

#[tokio::test]
async fn rekey_fails_with_the_workspace_of_a_damaged_record() {
    let folder = JournalFolder::new();
    let [(_, grant), _] = two_workspaces(&folder).await;
    folder.damage(SECOND).await;
    let rekeyed = folder.rekey(B, &[A]).output().unwrap();
    let reason = format!("1 records of {SECOND} are damaged, whatever the key");
    fails(&rekeyed, &[&reason, "restore", "keep that key"]);
    let err = String::from_utf8_lossy(&rekeyed.stderr);
    assert!(!err.contains("may be dropped"), "{err}");

    let program = folder.serve(B, &[]);
    assert_all_answer(&program, &[(NIL, grant)]).await;
    until("the damaged record is counted", async || {
        metric(&program, "clawdb_session_damaged_records").await == 1
    })
    .await;
}

#[test]
fn the_help_of_rekey_has_its_keys_and_the_order_for_several_hosts() {
    let help = program("rekey").arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for phrase in [
        "no other process may have open",
        "CLAWDB_SESSION_PREVIOUS_STATE_KEYS",
        "first give all of them the new key among the previous ones",
    ] {
        assert!(help.contains(phrase), "{phrase} is missing in: {help}");
    }
    for phrase in ["guard-key", "GUARD", "which is made"] {
        assert!(!help.contains(phrase), "{phrase} is in: {help}");
    }
}

#[tokio::test]
async fn rekey_reports_a_missing_file_a_file_in_use_and_a_missing_key() {
    let folder = JournalFolder::new();
    fails(
        &folder.rekey(B, &[A]).output().unwrap(),
        &["sessions.redb", "no such file"],
    );
    assert!(!folder.file().exists(), "`rekey` creates no journal");
    let neither = program("rekey").output().unwrap();
    fails(&neither, &["--journal", "--nats"]);

    let program = folder.serve(A, &[]);
    let grant = create(&program, SECOND).await;
    let in_use = folder.rekey(B, &[A]).output().unwrap();
    fails(
        &in_use,
        &["sessions.redb is open in another process", "run this again"],
    );
    stop_cleanly(program);

    let missing = folder.rekey(B, &[]).output().unwrap();
    let reason = "no state key that was given opens";
    fails(&missing, &[SECOND, reason]);
    let err = String::from_utf8_lossy(&missing.stderr);
    assert_eq!(err.matches(reason).count(), 1, "{err}");
    let program = folder.serve(A, &[]);
    assert_all_answer(&program, &[(SECOND, grant)]).await;
}

#[tokio::test]
async fn a_key_file_that_differs_from_the_key_in_the_environment_is_reported() {
    let folder = JournalFolder::new();
    let file = folder.file();
    let program = start(with_key(&["--journal", path(&file)]));
    let grant = create(&program, NIL).await;
    stop_cleanly(program);
    let key = file.with_extension("redb.state-key");
    let old = std::fs::read_to_string(&key).unwrap();
    let mut command = folder.rekey(B, &[]);
    command.env("CLAWDB_SESSION_PREVIOUS_STATE_KEYS", old.trim());
    let rekeyed = command.output().unwrap();
    assert!(rekeyed.status.success(), "{rekeyed:?}");
    let err = String::from_utf8_lossy(&rekeyed.stderr);
    assert!(
        err.contains("sessions.redb.state-key holds another key"),
        "{err}"
    );
    std::fs::write(&key, format!("{B:02x}").repeat(32)).unwrap();
    let program = start(with_key(&["--journal", path(&file)]));
    assert_all_answer(&program, &[(NIL, grant)]).await;
    assert!(!stop_cleanly(program).contains("holds another key"));
}

#[tokio::test]
async fn a_service_without_a_rotation_reports_none() {
    let program = start(with_key(&[]));
    assert_eq!(health(&program).await.body, json!({ "status": "ok" }));
    let err = stop_cleanly(program);
    assert!(!err.contains("state key"), "{err}");
}

#[tokio::test]
async fn a_service_that_is_not_ready_for_two_reasons_reports_both() {
    let journal = MemoryJournal::default();
    let workspace = TenantId::new(uuid::Uuid::parse_str(SECOND).unwrap());
    let mut foreign = keyed_service(&journal, 9).await;
    let path = foreign.admin(Method::POST, "/v1/sessions").json(&worker());
    let created = answer(path.header("X-Workspace-Id", SECOND)).await;
    assert_eq!(created.status, 201);
    foreign.stop();
    foreign.ended().await;

    let other_host = journal.take_over(TenantId::default()).await.unwrap();
    let service = keyed_service(&journal, 1).await;
    let not_ready = answer(service.request(Method::GET, "/healthz")).await;
    let message = not_ready.assert_refused(503, "not_owner");
    let second = format!(
        "state_key_missing: no state key that was given opens the records of the workspaces \
         {workspace}"
    );
    assert!(message.contains(&second), "{message}");
    other_host.release().await.unwrap();
    until("one reason is left", async || {
        let health = answer(service.request(Method::GET, "/healthz")).await;
        health.body["error"] == "state_key_missing"
    })
    .await;
}

async fn keyed_service(journal: &MemoryJournal, key: u8) -> TestService {
    let mut setup = ServiceSetup {
        journal: Arc::new(journal.clone()),
        patience: Duration::from_millis(50),
        ..ServiceSetup::default()
    };
    setup.config.state_key = Some(vec![key; 32]);
    TestService::with(setup).await
}
