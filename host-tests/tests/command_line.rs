//! The command line, as a person or a script meets it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawdb-session"));
    command.args(args).env_remove("CLAW_GUARD_JWT_SECRET");
    command
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn without_a_command_it_shows_the_tour() {
    let tour = text(&command(&[]).output().unwrap());
    for step in [
        "1. create",
        "2. validate",
        "3. refresh",
        "4. list",
        "5. revoke",
        "6. revoke-all",
        "7. poll-events",
    ] {
        assert!(
            tour.contains(&format!("\n{step}")),
            "{step} is missing in:\n{tour}"
        );
    }
    assert_eq!(tour.matches("is refused").count(), 3, "{tour}");
    assert!(tour.contains("expired: revoked-all"), "{tour}");
}

#[test]
fn a_reader_who_has_read_enough_ends_it_without_a_complaint() {
    for args in [&[][..], &["component"], &["exec", "--controls"]] {
        let mut child = command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let _ = writeln!(child.stdin.take().unwrap(), "{}", json!({ "op": "stats" }));
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{args:?}: {output:?}"
        );
    }
}

#[test]
fn help_explains_the_commands() {
    let help = text(&command(&["--help"]).output().unwrap());
    assert!(
        help.contains("component") && help.contains("exec"),
        "{help}"
    );
    let help = text(&command(&["exec", "--help"]).output().unwrap());
    assert!(
        help.contains("--controls") && help.contains("wrong-handle"),
        "{help}"
    );
}

#[test]
fn component_writes_the_component_and_prints_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("session.wasm");
    let said = text(
        &command(&["component", "--out", file.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"\0asm\x0d\0\x01\0"), "a component");
    assert!(
        said.contains(&format!("size: {} bytes", bytes.len())),
        "{said}"
    );
    assert!(said.contains("imports:\n  clawdb:session/guard@0.1.0\n  wasi:clocks/system-clock@0.3.0\n  wasi:random/random@0.3.0\nexports:\n"), "{said}");

    let nowhere = command(&["component", "--out", "/no/such/folder/file"])
        .output()
        .unwrap();
    assert!(!nowhere.status.success());
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/no/such/folder/file"));
}

#[test]
fn exec_answers_each_line_before_the_next_is_written() {
    let mut child = command(&["exec"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut say = |line: &str| -> Value {
        writeln!(input, "{line}").unwrap();
        serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap()
    };
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    let create = json!({ "op": "create", "agent-id": agent, "role": "worker", "scopes": ["a"], "expires-in": 60 });
    let created = say(&create.to_string());
    let token = created["ok"]["token"].as_str().expect("a token").to_owned();
    let validated = say(&json!({ "op": "validate", "token": token }).to_string());
    assert_eq!(validated["ok"], created["ok"]["session"]);
    assert_eq!(say("not JSON")["err"]["kind"], "bad-request");
    assert_eq!(
        say("{\"op\":\"clock\",\"advance\":1}")["err"]["kind"],
        "bad-request",
        "controls are off"
    );
    let start = json!({ "op": "start", "name": "v", "call": { "op": "validate", "token": token } });
    assert_eq!(say(&start.to_string())["ok"]["name"], "v");
    assert_eq!(say("{\"op\":\"finish\",\"name\":\"v\"}"), validated);
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn exec_reads_a_file_and_every_operation_of_the_contract_answers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conversation.jsonl");
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    let lines = [
        json!({ "op": "configure", "default-ttl": 60 }),
        json!({ "op": "create", "agent-id": agent, "role": "worker", "scopes": [], "task-type": null }),
        json!({ "op": "create-session", "agent-id": agent, "role": "worker", "scopes": [], "task-type": "plan" }),
        json!({ "op": "validate", "token": "unknown" }),
        json!({ "op": "refresh", "session-id": agent }),
        json!({ "op": "revoke", "session-id": agent }),
        json!({ "op": "get", "session-id": agent }),
        json!({ "op": "get-session", "id": agent }),
        json!({ "op": "invalidate", "id": agent }),
        json!({ "op": "list-for-agent", "agent-id": agent, "page": { "cursor": null, "limit": 1 } }),
        json!({ "op": "active-count" }),
        json!({ "op": "prune-expired", "limit": null }),
        json!({ "op": "flush-guard-revocations" }),
        json!({ "op": "poll-events", "since": 0, "max": 1 }),
        json!({ "op": "stats" }),
        json!({ "op": "revoke-all-for-agent", "agent-id": agent }),
        json!({ "op": "entropy", "mode": "ok" }),
    ];
    let conversation: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(&file, conversation.join("\n\n")).unwrap();
    let said = text(
        &command(&["exec", "--controls", file.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    let kinds: Vec<Value> = said
        .lines()
        .map(|line| {
            let answer: Value = serde_json::from_str(line).unwrap();
            if answer.get("ok").is_some() {
                json!("ok")
            } else {
                answer["err"]["kind"].clone()
            }
        })
        .collect();
    let not_found = "session-not-found";
    assert_eq!(
        kinds,
        [
            "ok",
            "ok",
            "ok",
            "invalid-token",
            not_found,
            not_found,
            not_found,
            not_found,
            not_found,
            "ok",
            "ok",
            "ok",
            "ok",
            "ok",
            "ok",
            "ok",
            "ok"
        ]
    );
    assert!(
        said.contains(
            "\"created-at\":\"2030-01-01T00:00:00Z\",\"expires-at\":\"2030-01-01T00:01:00Z\""
        ),
        "{said}"
    );
}

#[test]
fn a_missing_file_and_a_short_secret_are_told() {
    let output = command(&["exec", "no-such-file.jsonl"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-file.jsonl"));
    let output = command(&["exec"])
        .env("CLAW_GUARD_JWT_SECRET", "short")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("at least 32 bytes"));
}
