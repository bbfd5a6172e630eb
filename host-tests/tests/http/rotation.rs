//! The state key is rotated, and what a missing key does.

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

/// A journal in a folder that goes with it.
struct JournalFolder(tempfile::TempDir);

impl JournalFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("sessions.redb")
    }

    /// The service on it, with this state key and these before it.
    fn serve(&self, key: u8, previous: &[u8]) -> Program {
        let file = self.file();
        start(keyed(with_key(&["--journal", path(&file)]), key, previous))
    }

    fn rekey(&self, key: u8, previous: &[u8]) -> Command {
        let mut command = program("rekey");
        command.arg("--journal").arg(self.file());
        keyed(command, key, previous)
    }

    /// All records, with their workspaces.
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

    /// Each record's `at`, by workspace and key.
    async fn times(&self) -> BTreeMap<(String, String), u64> {
        let records = self.records().await.into_iter();
        let times = records.map(|(tenant, change)| {
            let record: Value = serde_json::from_str(&change.value).unwrap();
            let at = record["at"].as_u64().unwrap();
            ((tenant.to_string(), change.key), at)
        });
        times.collect()
    }

    /// How many records are under each of two keys.
    async fn records_under(&self, one: u8, other: u8) -> (usize, usize) {
        let keys = RecordKeys::new(&[one; 32], &[vec![other; 32]]).unwrap();
        let records = self.records().await;
        let sealed = records
            .iter()
            .map(|(_, it)| keys.sealed_with(&it.key, it.sequence, &it.value));
        let count = |key| sealed.clone().filter(|it| *it == key).count();
        (count(SealedWith::Current), count(SealedWith::Previous))
    }

    /// Cuts the end off a session's record of a workspace.
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

/// The file, as soon as the process before has let go of it.
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

async fn until_all_is_under_the_new_key(program: &Program) {
    until("all is under the new key", async || {
        metric(program, "clawdb_session_state_keys_checked").await == 1
            && metric(program, "clawdb_session_previous_key_records").await == 0
    })
    .await;
}

/// Two workspaces with a session each, under the key A.
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
    for what in with {
        assert!(err.contains(what), "{what} is missing in: {err}");
    }
}

#[tokio::test]
async fn r24_after_a_rotation_every_workspace_answers_under_the_new_key_alone() {
    let folder = JournalFolder::new();
    let grants = two_workspaces(&folder).await;

    let program = folder.serve(B, &[A]);
    assert_eq!(health(&program).await.status, 200);
    until_all_is_under_the_new_key(&program).await;
    assert!(metric(&program, "clawdb_session_resealed_records").await >= 2);
    let err = stop_cleanly(program);
    assert!(err.contains("may be dropped"), "{err}");

    let program = folder.serve(B, &[]);
    assert_all_answer(&program, &grants).await;
    assert_eq!(health(&program).await.status, 200);
}

#[tokio::test]
async fn a_workspace_whose_key_is_missing_is_named_everywhere_and_the_others_are_served() {
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

    // Nothing was overwritten.
    let program = folder.serve(B, &[A]);
    let grants = [(NIL, grant), (SECOND, second)];
    assert_all_answer(&program, &grants).await;
    assert_eq!(self::health(&program).await.status, 200);
}

#[tokio::test]
async fn a_missing_key_of_the_default_workspace_is_told_and_stops_no_other() {
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
    let said = String::from_utf8_lossy(&rekeyed.stdout);
    assert!(
        said.contains("of 2 workspaces") && said.contains("may be dropped"),
        "{said}"
    );
    let err = String::from_utf8_lossy(&rekeyed.stderr);
    assert!(!err.contains("may be dropped"), "it is told once: {err}");
    let after = folder.times().await;
    assert_eq!(before.len(), 4);
    assert!(before.keys().eq(after.keys()));
    // The time of a record is the latest of its workspace, and never that of this machine.
    let latest = |times: &BTreeMap<(String, String), u64>| times.values().max().copied();
    assert_eq!(latest(&before), latest(&after));
    // Once more there is nothing to do.
    let again = folder.rekey(B, &[]).output().unwrap();
    assert!(again.status.success(), "{again:?}");

    let program = folder.serve(B, &[]);
    assert_all_answer(&program, &grants).await;
}

/// Runs `rekey`, and kills it so long after it has begun to reseal.
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
async fn rekey_that_is_killed_in_between_goes_on_when_it_is_run_again() {
    let folder = JournalFolder::new();
    let program = folder.serve(A, &[]);
    let mut grants = Vec::new();
    for number in 0..12 {
        let workspace = uuid::Uuid::from_u128(number + 1).to_string();
        let grant = create(&program, &workspace).await;
        grants.push((workspace, grant));
    }
    stop_cleanly(program);
    // Killed later each time, until some records are under the new key and some are not.
    let mut after = Duration::from_millis(20);
    loop {
        kill_rekey(&folder, after);
        let (old, new) = folder.records_under(A, B).await;
        assert!(
            old > 0,
            "all was resealed before it was killed after {after:?}"
        );
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
async fn rekey_names_a_workspace_with_a_damaged_record_and_does_not_say_that_all_is_well() {
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
fn rekey_tells_of_the_keys_that_it_uses_and_in_which_order_several_hosts_get_them() {
    let help = program("rekey").arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for what in [
        "no other process may have open",
        "CLAWDB_SESSION_PREVIOUS_STATE_KEYS",
        "first give all of them the new key among the previous ones",
    ] {
        assert!(help.contains(what), "{what} is missing in: {help}");
    }
    for what in ["guard-key", "GUARD", "which is made"] {
        assert!(!help.contains(what), "{what} is in: {help}");
    }
}

#[tokio::test]
async fn rekey_says_what_is_in_its_way() {
    let folder = JournalFolder::new();
    fails(
        &folder.rekey(B, &[A]).output().unwrap(),
        &["sessions.redb", "no such file"],
    );
    assert!(!folder.file().exists(), "it makes none");
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
async fn another_key_in_the_file_beside_the_journal_than_in_the_environment_is_told() {
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
async fn a_service_without_a_rotation_says_nothing_of_it() {
    let program = start(with_key(&[]));
    assert_eq!(health(&program).await.body, json!({ "status": "ok" }));
    let err = stop_cleanly(program);
    assert!(!err.contains("state key"), "{err}");
}

#[tokio::test]
async fn a_service_that_is_not_ready_for_two_reasons_tells_both() {
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
        "state_key_missing: no state key that was given opens the records of the workspaces {workspace}"
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
