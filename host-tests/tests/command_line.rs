//! The commands of `clawdb-session`: their output, their errors, and `exec` conversations.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use clawdb_session_host::{COMPONENT, SYNC_COMPONENT};
use serde_json::{Value, json};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawdb-session"));
    command
        .args(args)
        .env_remove("CLAW_GUARD_JWT_SECRET")
        .env_remove("CLAW_GUARD_PREVIOUS_JWT_SECRETS");
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
fn without_a_command_the_program_shows_the_tour() {
    let tour = text(&command(&[]).output().unwrap());
    for step in [
        "1. create",
        "2. validate",
        "3. refresh",
        "4. delegate",
        "5. authorize",
        "6. rotate",
        "7. list",
        "8. revoke",
        "9. revoke-all-for-agent",
        "10. create with max-uses",
        "11. subscribe",
        "12. poll-events",
    ] {
        assert!(
            tour.contains(&format!("\n{step}")),
            "{step} is missing in:\n{tour}"
        );
    }
    assert_eq!(tour.matches("is refused").count(), 8, "{tour}");
    for what in [
        "rotated",
        "theft",
        "cascade",
        "revoked-all",
        "denied: scope",
        "exhausted",
    ] {
        assert!(tour.contains(what), "{what} is missing in:\n{tour}");
    }
}

#[test]
fn a_closed_standard_output_ends_a_command_without_an_error() {
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
fn the_help_has_the_commands_and_the_rules_of_exec() {
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
    assert!(
        help.contains("metadata is a string") && help.contains("null counts as absent"),
        "{help}"
    );
    assert!(
        help.contains(r#"The mode "hold" requires --world session."#)
            && help.contains("Calls that overlap, with --world session:"),
        "{help}"
    );
}

#[test]
fn component_writes_the_component_and_prints_its_size_imports_and_exports() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("session.wasm");
    let said = text(
        &command(&["component", "--out", file.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    let bytes = std::fs::read(&file).unwrap();
    assert!(
        bytes.starts_with(b"\0asm\x0d\0\x01\0"),
        "the file is a component"
    );
    assert!(
        said.contains(&format!("size: {} bytes", bytes.len())),
        "{said}"
    );
    let interface = "imports:\n  clawdb:session/guard@0.1.0\n  wasi:clocks/system-clock@0.3.0\n  \
                     wasi:random/random@0.3.0\nexports:\n";
    assert!(said.contains(interface), "{said}");

    let nowhere = command(&["component", "--out", "/no/such/folder/file"])
        .output()
        .unwrap();
    assert!(!nowhere.status.success());
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/no/such/folder/file"));
}

#[test]
fn package_outside_a_checkout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = command(&["package", "--out", "dist"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        error.contains("is in no checkout of clawdb-session"),
        "{error}"
    );
    assert!(!folder.path().join("dist").exists());
}

#[test]
fn component_writes_the_component_of_the_named_world_and_prints_its_imports_and_exports() {
    let interfaces = |package: &str| {
        let names = ["sessions", "legacy", "events", "persistence", "settings"];
        let lines = names.map(|name| format!("  {package}/{name}@0.1.0\n"));
        lines.concat()
    };
    let session = format!(
        "world: session\nsize: {} bytes\nimports:\n  clawdb:session/guard@0.1.0\n  \
         wasi:clocks/system-clock@0.3.0\n  wasi:random/random@0.3.0\nexports:\n{}",
        COMPONENT.len(),
        interfaces("clawdb:session")
    );
    let session_sync = format!(
        "world: session-sync\nsize: {} bytes\nimports:\n  clawdb:session-sync/guard@0.1.0\n  \
         wasi:clocks/wall-clock@0.2.0\n  wasi:random/random@0.2.0\nexports:\n{}",
        SYNC_COMPONENT.len(),
        interfaces("clawdb:session-sync")
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("written.wasm");
    for (world, description, component) in [
        (&[][..], &session, COMPONENT),
        (&["--world", "session"], &session, COMPONENT),
        (&["--world", "session-sync"], &session_sync, SYNC_COMPONENT),
    ] {
        let mut component_command = command(&["component"]);
        let written = component_command.args(world).arg("--out").arg(&file);
        let said = text(&written.output().unwrap());
        assert_eq!(
            said,
            format!("{description}written to {}\n", file.display()),
            "{world:?}"
        );
        assert!(std::fs::read(&file).unwrap() == component, "{world:?}");
    }
}

#[test]
fn a_world_that_does_not_exist_is_refused_with_the_names_of_the_worlds() {
    for arguments in [
        &["component"][..],
        &["exec"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        for world in ["async", "Session", ""] {
            let said = refusal(command(arguments).args(["--world", world]));
            let expected = format!(
                "error: invalid value '{world}' for '--world <WORLD>': must be session or \
                 session-sync\n"
            );
            assert!(said.starts_with(&expected), "{arguments:?}: {said}");
        }
    }
}

/// Runs `exec` on these lines, and returns its answers.
fn exec_lines(exec: &mut Command, lines: &[Value]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conversation.jsonl");
    let conversation: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(&file, conversation.join("\n")).unwrap();
    let said = text(&exec.arg(&file).output().unwrap());
    let answers = said.lines().map(|line| serde_json::from_str(line).unwrap());
    answers.collect()
}

#[test]
fn exec_holds_the_guard_in_the_world_session_and_refuses_it_in_the_default_world() {
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    let create = json!({ "op": "create", "agent-id": agent, "role": "worker" });
    let lines = [
        json!({ "op": "guard", "mode": "hold" }),
        json!({ "op": "start", "name": "a", "call": create }),
        json!({ "op": "guard", "mode": "ok" }),
        json!({ "op": "finish", "name": "a" }),
    ];
    for world in [&[][..], &["--world", "session-sync"]] {
        let answers = exec_lines(command(&["exec", "--controls"]).args(world), &lines);
        let [refused, started, _, finished] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert_eq!(refused["err"]["kind"], "bad-request", "{refused}");
        let reason = refused["err"]["reason"].as_str().unwrap();
        assert!(reason.ends_with("requires the world session"), "{reason}");
        assert_eq!(started["ok"]["state"], "done", "the guard is not held");
        assert_eq!(finished["ok"]["session"]["agent-id"], agent, "{finished}");
    }
    let mut session = command(&["exec", "--controls", "--world", "session"]);
    let answers = exec_lines(&mut session, &lines);
    let [held, started, _, finished] = &answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!(held, &json!({ "ok": null }));
    assert_eq!(started["ok"]["state"], "waiting");
    assert_eq!(finished["ok"]["session"]["agent-id"], agent, "{finished}");
}

#[test]
fn no_call_of_exec_waits_in_the_default_world_of_a_process_with_one_worker_thread() {
    let start = |n: u32| {
        let name = n.to_string();
        json!({ "op": "start", "name": name, "call": { "op": "stats" } })
    };
    let calls = (0..2_000).flat_map(|n| [start(n), json!({ "op": "active-count" })]);
    let calls: Vec<Value> = calls.collect();
    let mut exec = command(&["exec", "--controls"]);
    let answers = exec_lines(exec.env("TOKIO_WORKER_THREADS", "1"), &calls);
    assert_eq!(answers.len(), calls.len());
    for answer in answers.chunks(2) {
        assert_eq!(answer[0]["ok"]["state"], "done", "{}", answer[0]);
        assert_eq!(answer[1], json!({ "ok": 0 }));
    }
}

#[test]
fn exec_with_a_code_cache_writes_the_code_once_and_starts_with_it() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("code");
    let files = || {
        let files = std::fs::read_dir(&directory).unwrap();
        let files = files.map(|file| file.unwrap());
        let mut files: Vec<_> = files
            .map(|file| (file.file_name(), file.metadata().unwrap().ino()))
            .collect();
        files.sort();
        files
    };
    let exec = |world: &str| {
        let mut exec = command(&["exec", "--world", world, "--code-cache"]);
        let answers = exec_lines(exec.arg(&directory), &[json!({ "op": "active-count" })]);
        assert_eq!(answers, [json!({ "ok": 0 })]);
    };
    for (world, count) in [("session-sync", 1), ("session", 2)] {
        exec(world);
        let written = files();
        assert_eq!(written.len(), count, "{written:?}");
        exec(world);
        assert_eq!(files(), written, "no file is written again");
    }

    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = refusal(command(&["exec", "--code-cache"]).arg(&directory));
    let expected = "another user can write to the directory of the code cache";
    assert!(said.contains(expected), "{said}");
}

/// Starts `exec`. Returns the process, its input, and the lines of its output.
fn start_exec() -> (Child, ChildStdin, Lines<BufReader<ChildStdout>>) {
    let mut child = command(&["exec"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take().unwrap();
    let answers = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, input, answers)
}

#[test]
fn exec_answers_each_line_before_the_next_is_written() {
    let (mut child, mut input, mut answers) = start_exec();
    let mut say = |line: &str| -> Value {
        writeln!(input, "{line}").unwrap();
        serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap()
    };
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    let create = json!({
        "op": "create", "agent-id": agent, "role": "worker", "scopes": ["a"], "expires-in": 60,
    });
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
fn exec_reads_a_file_and_answers_every_operation_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conversation.jsonl");
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    let create = json!({ "agent-id": agent, "role": "worker", "scopes": [], "task-type": null });
    let unknown = "session-not-found";
    let lines = [
        (
            json!({ "op": "configure", "default-ttl": 60, "state-key": "07".repeat(32) }),
            "ok",
        ),
        (
            json!({ "op": "create", "agent-id": agent, "role": "worker", "max-uses": 1 }),
            "ok",
        ),
        (
            json!({
                "op": "create-session", "agent-id": agent, "role": "worker", "scopes": [],
                "task-type": "plan",
            }),
            "ok",
        ),
        (
            json!({ "op": "delegate", "parent-session-id": agent, "request": create }),
            unknown,
        ),
        (
            json!({ "op": "validate", "token": "unknown" }),
            "invalid-token",
        ),
        (
            json!({ "op": "authorize", "token": "unknown", "scope": "a" }),
            "invalid-token",
        ),
        (
            json!({ "op": "rotate", "token": "unknown" }),
            "invalid-token",
        ),
        (
            json!({ "op": "revoke-by-token", "token": "unknown" }),
            "invalid-token",
        ),
        (json!({ "op": "touch", "session-id": agent }), unknown),
        (json!({ "op": "refresh", "session-id": agent }), unknown),
        (json!({ "op": "revoke", "session-id": agent }), unknown),
        (json!({ "op": "get", "session-id": agent }), unknown),
        (json!({ "op": "get-session", "id": agent }), unknown),
        (json!({ "op": "invalidate", "id": agent }), unknown),
        (
            json!({
                "op": "list-for-agent", "agent-id": agent, "page": { "cursor": null, "limit": 1 },
            }),
            "ok",
        ),
        (json!({ "op": "active-count" }), "ok"),
        (json!({ "op": "prune-expired", "limit": null }), "ok"),
        (json!({ "op": "flush-guard-revocations" }), "ok"),
        (json!({ "op": "poll-events", "since": 0, "limit": 1 }), "ok"),
        (json!({ "op": "subscribe", "name": "s", "since": 0 }), "ok"),
        (
            json!({ "op": "subscribe", "name": "s", "since": 0 }),
            "bad-request",
        ),
        (json!({ "op": "read", "name": "s", "limit": 1 }), "ok"),
        (json!({ "op": "unsubscribe", "name": "s" }), "ok"),
        (json!({ "op": "read", "name": "s" }), "bad-request"),
        (json!({ "op": "stats" }), "ok"),
        (json!({ "op": "changes", "since": 0, "limit": 1 }), "ok"),
        (json!({ "op": "restore", "changes": [] }), "already-started"),
        (
            json!({ "op": "revoke-all-for-agent", "agent-id": agent }),
            "ok",
        ),
        (json!({ "op": "revoke-all", "filter": "everything" }), "ok"),
        (
            json!({ "op": "revoke-all", "filter": { "role": "worker" } }),
            "ok",
        ),
        (
            json!({ "op": "revoke-all", "filter": { "root": agent } }),
            "ok",
        ),
        (
            json!({ "op": "revoke-all", "filter": "nothing" }),
            "bad-request",
        ),
        (json!({ "op": "entropy", "mode": "ok" }), "ok"),
        (json!({ "op": "restart" }), "ok"),
    ];
    let conversation: Vec<String> = lines.iter().map(|(line, _)| line.to_string()).collect();
    std::fs::write(&file, conversation.join("\n\n")).unwrap();
    let said = text(
        &command(&["exec", "--controls", file.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    assert_eq!(said.lines().count(), lines.len());
    for (answer, (line, expected)) in said.lines().zip(&lines) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let kind = answer["err"]["kind"].as_str().unwrap_or("ok");
        assert_eq!(kind, *expected, "{line}");
        assert_eq!(kind == "ok", answer.get("ok").is_some());
    }
    assert!(
        said.contains(
            "\"created-at\":\"2030-01-01T00:00:00Z\",\"expires-at\":\"2030-01-01T00:01:00Z\""
        ),
        "{said}"
    );
}

/// Runs a command that fails before it answers, and returns its standard error.
fn refusal(command: &mut Command) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command may have ended before it reads.
    let _ = writeln!(child.stdin.take().unwrap(), "{}", json!({ "op": "stats" }));
    let output = child.wait_with_output().unwrap();
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_setting_outside_its_bounds_ends_exec_with_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("sessions");
    let keys = |count: usize| vec!["07".repeat(32); count].join(",");
    let state_key = "CLAWDB_SESSION_STATE_KEY";
    let previous = "CLAWDB_SESSION_PREVIOUS_STATE_KEYS";
    let secret = "CLAW_GUARD_JWT_SECRET";
    let long = "must have 32 to 64 bytes";
    let hexadecimal = "must be an even number of hexadecimal digits";
    for (variable, value, expected) in [
        (previous, keys(9), "(9 keys of 32 bytes) must be at most 8"),
        (
            previous,
            format!("{},0707", keys(1)),
            &format!("(2 keys of 2 to 32 bytes) {long}"),
        ),
        (previous, "07".into(), &format!("(1 key of 1 byte) {long}")),
        (
            previous,
            "no digits".into(),
            &format!("(9 bytes) {hexadecimal}"),
        ),
        (state_key, "07".repeat(31), &format!("(31 bytes) {long}")),
        (state_key, "07".repeat(65), &format!("(65 bytes) {long}")),
        (state_key, String::new(), &format!("(0 bytes) {long}")),
        (
            state_key,
            "0".repeat(63),
            &format!("(63 bytes) {hexadecimal}"),
        ),
        (
            secret,
            "short".into(),
            "(5 bytes) must have at least 32 bytes",
        ),
    ] {
        let mut exec = command(&["exec", "--journal"]);
        exec.arg(&journal)
            .env_remove(state_key)
            .env_remove(previous);
        let said = refusal(exec.env(variable, &value));
        assert_eq!(said, format!("error: {variable} {expected}\n"));
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "no file is created"
        );
    }
    exec_with_journal(&journal, &json!({ "op": "stats" }));
    for name in ["state-key", "guard-key"] {
        let file = folder.path().join(format!("sessions.{name}"));
        let kept = std::fs::read(&file).unwrap();
        std::fs::write(&file, "07".repeat(16)).unwrap();
        let mut exec = command(&["exec", "--journal"]);
        let said = refusal(exec.arg(&journal).env_remove(state_key));
        let begin = format!("error: {} (16 bytes) must have ", file.display());
        assert!(
            said.starts_with(&begin) && said.lines().count() == 1,
            "{said}"
        );
        std::fs::write(&file, kept).unwrap();
    }
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    for variable in [
        "CLAWDB_SESSION_STATE_KEY",
        "CLAWDB_SESSION_PREVIOUS_STATE_KEYS",
    ] {
        let mut exec = command(&["exec", "--journal"]);
        exec.arg(folder.path().join("sessions"));
        let said = refusal(exec.env(variable, std::ffi::OsStr::from_bytes(b"\xff07")));
        assert!(
            said.starts_with(&format!("error: {variable} (3 bytes) must be")),
            "{said}"
        );
    }
}

#[test]
fn a_flag_outside_its_bounds_is_refused_with_its_value_and_bounds() {
    for (flag, value, bound) in [
        ("--lease", "0", "from 0.1 to 3600"),
        ("--lease", "-1", "from 0.1 to 3600"),
        ("--lease", "NaN", "from 0.1 to 3600"),
        ("--lease", "1e30", "from 0.1 to 3600"),
        ("--replicas", "2", "from 3 to 5"),
        ("--replicas", "6", "from 3 to 5"),
    ] {
        let flagged = format!("{flag}={value}");
        let said = refusal(&mut command(&[
            "exec",
            "--nats",
            "nats://127.0.0.1:1",
            &flagged,
        ]));
        for part in [flag, value, bound] {
            assert!(said.contains(part), "{part} is missing in: {said}");
        }
    }
    for (flag, value) in [
        ("--seconds", "-1"),
        ("--seconds", "inf"),
        ("--sessions", "0"),
    ] {
        let said = refusal(&mut command(&["measure", &format!("{flag}={value}")]));
        assert!(said.contains(flag) && said.contains(value), "{said}");
    }
}

#[test]
fn a_path_that_cannot_be_a_journal_is_refused_with_the_reason_and_no_file_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("directory")).unwrap();
    std::fs::write(path("text"), "no journal\n").unwrap();
    std::fs::write(path("empty"), "").unwrap();
    for (name, reason) in [
        ("directory", "is a directory, and a journal is a file"),
        ("nowhere/sessions", "there is no directory"),
        ("nowhere/", "there is no directory"),
        ("text/sessions", "is not a directory"),
        ("text", "it does not begin as a journal does"),
        ("empty", "it is empty"),
    ] {
        for arguments in [&["exec"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let said = refusal(
                command(arguments)
                    .arg("--journal")
                    .arg(path(name))
                    .env_remove("CLAWDB_SESSION_STATE_KEY"),
            );
            let said = said.trim_end();
            assert!(said.starts_with("error: --journal: "), "{said}");
            for part in [reason, path(name).to_str().unwrap()] {
                assert!(said.contains(part), "{part} is missing in: {said}");
            }
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn an_invalid_line_of_exec_is_refused_with_bad_request_and_the_path_of_its_field() {
    let (mut child, mut input, mut answers) = start_exec();
    let long = "ü".repeat(30_000);
    let deep = format!(
        r#"{{"op":"stats","x":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for (line, expected) in [
        ("nonsense", "not JSON: expected"),
        ("[]", "line: must be an object"),
        ("{}", "op: is missing"),
        (r#"{"op":"dance"}"#, "op: is not an operation"),
        (r#"{"op":"stats","op":"stats"}"#, "op: is given twice"),
        (r#"{"op":"stats","a":1,"a":2}"#, "a: is given twice"),
        (&deep, "x: is unknown; the fields are op"),
        (&format!(r#"{{"op":"stats","{long}":1}}"#), "üüüü"),
        (
            &format!(r#"{{"op":"finish","name":"{long}"}}"#),
            "no call named",
        ),
        (
            r#"{"op":"get","session-id":1}"#,
            "session-id: must be a string",
        ),
        (
            r#"{"op":"revoke-all","filter":{"role":1}}"#,
            "filter.role: must be a string",
        ),
        (
            r#"{"op":"revoke-all","filter":{"everything":null}}"#,
            "filter.everything: is unknown",
        ),
        (
            r#"{"op":"delegate","parent-session-id":"x","request":{"role":"r","role":"r"}}"#,
            "request.role: is given twice",
        ),
        (
            r#"{"op":"start","name":"a","call":{"op":"create","role":"r","role":"r"}}"#,
            "call.role: is given twice",
        ),
        (
            r#"{"op":"list-for-agent","agent-id":"x","page":{"limit":-1}}"#,
            "page.limit: must be a whole number and not negative",
        ),
        (
            r#"{"op":"list-for-agent","agent-id":"x","page":{"limit":4294967296}}"#,
            "page.limit: is too large",
        ),
        (
            r#"{"op":"restore","changes":[{"sequence":1,"key":"k","value":"v"},{"sequence":1}]}"#,
            "changes[1].key: is missing",
        ),
        (
            r#"{"op":"configure","state-key":"0x"}"#,
            "state-key: must be an even number of",
        ),
        (
            r#"{"op":"configure","agent-overflow":"all"}"#,
            "agent-overflow: must be one of refuse",
        ),
        (
            r#"{"op":"guard","mode":"asleep"}"#,
            "mode: must be one of ok, hold, deny",
        ),
    ] {
        writeln!(input, "{line}").unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["err"]["kind"], "bad-request", "{answer}");
        let reason = answer["err"]["reason"].as_str().unwrap();
        assert!(reason.starts_with(expected), "{expected}: {reason}");
        assert!(reason.len() <= 256, "{} bytes", reason.len());
        for word in ["struct", "enum", "variant", "Operation"] {
            assert!(!reason.contains(word), "{reason}");
        }
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_missing_file_and_a_short_secret_are_reported() {
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

#[test]
fn measure_restores_all_sessions_that_it_created() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "measure",
        "--sessions",
        "1,300",
        "--seconds",
        "0.1",
        "--folder",
    ];
    let measured = text(&command(&arguments).arg(folder.path()).output().unwrap());
    let rows: Vec<&str> = measured.lines().collect();
    assert_eq!(rows.len(), 9, "{measured}");
    assert!(rows[8].trim_start().starts_with("300 "), "{measured}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "`measure` leaves no files");
}

#[test]
fn bench_measures_all_targets_and_reports_each_goal() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let missing = folder.path().join("peers");
    let output = command(&["bench", "--quick", "--peers"])
        .args([&missing, std::path::Path::new("--report"), &report])
        .output()
        .unwrap();
    let said = text(&output);
    for what in [
        "without moka, SQLite, Redis and claw-guard",
        "100 sessions",
        "200 sessions",
        "validate of redis, 100 sessions / ours",
        "validates per second of 64 callers, one instance / redis",
        "session: validates / no-op calls per second, 64 callers",
        "size of the component session-sync",
    ] {
        assert!(said.contains(what), "{what} is missing in:\n{said}");
    }
    assert_eq!(
        said.matches("not measured: the peer is missing").count(),
        3,
        "{said}"
    );
    assert_eq!(said.matches("not measured").count(), 3, "{said}");
    assert!(!said.contains("left out"), "{said}");
    let csv = std::fs::read_to_string(report.join("bench.csv")).unwrap();
    for name in [
        "component",
        "component-sync",
        "core",
        "original",
        "baseline",
        "session-host",
        "local-sessions",
        "instances",
    ] {
        assert!(csv.contains(&format!("\n{name},200,")), "{name}: {csv}");
    }
    goals_follow_from_the_report(&said, &csv);
    for plot in ["latency", "growth", "memory", "throughput"] {
        let svg = std::fs::read_to_string(report.join(format!("{plot}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("</svg>"), "{plot}");
    }
}

/// Checks that the goals in the output of `bench` follow from the figures in its report of one
/// round.
fn goals_follow_from_the_report(said: &str, csv: &str) {
    let value = |quantity: &str| -> f64 {
        let row = csv.lines().find(|row| row.starts_with(quantity)).unwrap();
        row.rsplit(',').next().unwrap().parse().unwrap()
    };
    let check = |goal: &str, expected: f64| {
        let line = said.lines().find_map(|line| line.strip_prefix(goal));
        let line = line.unwrap_or_else(|| panic!("{goal} is missing in:\n{said}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        let (["at", bound, limit, actual, met]
        | [
            "at",
            bound,
            limit,
            "ms" | "us" | "KiB" | "bytes" | "%",
            actual,
            _,
            met,
        ]) = words[..]
        else {
            panic!("{line}");
        };
        let number = |word: &str| word.trim_end_matches('x').parse::<f64>().unwrap();
        let (limit, actual) = (number(limit), number(actual));
        assert!(
            (actual - expected).abs() < 0.001 + 0.01 * expected,
            "{goal}: {expected}, {line}"
        );
        let holds = match bound {
            "most" => expected <= limit,
            "least" => expected >= limit,
            _ => panic!("{line}"),
        };
        assert_eq!(met == "yes", holds, "{goal}: {expected}, {line}");
    };
    for (goal, one, other) in [
        (
            "validate, 100 sessions / the original design's",
            "component-sync,100,validate,",
            "original,100,validate,",
        ),
        (
            "validate, 200 sessions / the original design's",
            "component-sync,200,validate,",
            "original,200,validate,",
        ),
        (
            "create, 100 sessions / the original design's",
            "component-sync,100,create,",
            "original,100,create,",
        ),
        (
            "create, 200 sessions / the original design's",
            "component-sync,200,create,",
            "original,200,create,",
        ),
        (
            "refresh, 100 sessions / the original design's",
            "component-sync,100,refresh,",
            "original,100,refresh,",
        ),
        (
            "refresh, 200 sessions / the original design's",
            "component-sync,200,refresh,",
            "original,200,refresh,",
        ),
        (
            "validate, 100 sessions / the same core called natively",
            "component-sync,100,validate,",
            "core,100,validate,",
        ),
        (
            "create, 100 sessions / the same core called natively",
            "component-sync,100,create,",
            "core,100,create,",
        ),
        (
            "revoke, 100 sessions / the same core called natively",
            "component-sync,100,revoke,",
            "core,100,revoke,",
        ),
        (
            "validate-many, 100 sessions, each of 64 tokens / validate",
            "component-sync,100,validate-many,",
            "component-sync,100,validate,",
        ),
        (
            "revoke, 100 sessions / a call that reads a number",
            "component-sync,100,revoke,",
            "component-sync,100,active-count,",
        ),
        (
            "the original design's revoke-all of 10 among 200 / ours",
            "original,200,revoke-all-for-agent,",
            "component-sync,200,revoke-all-for-agent,",
        ),
        (
            "prune with nothing due, among 200 sessions / a call that reads a number",
            "component-sync,200,prune-expired,",
            "component-sync,200,active-count,",
        ),
        (
            "validate, 200 / 100 sessions",
            "component-sync,200,validate,",
            "component-sync,100,validate,",
        ),
        (
            "validate in LocalSessions from another thread / a direct call",
            "local-sessions,100,validate,",
            "component-sync,100,validate,",
        ),
        (
            "validates per second, 64 threads on one instance / 1 thread",
            "local-sessions,200,validates by 64 callers,",
            "local-sessions,200,validates by 1 callers,",
        ),
        (
            "validates per second, 2 workspaces on 2 threads / 1 on 1 thread",
            "local-sessions,200,validates in 2 workspaces,",
            "local-sessions,200,validates in 1 workspaces,",
        ),
    ] {
        check(goal, value(one) / value(other));
    }
    for (goal, quantity, unit) in [
        (
            "longest create on the way from 0 to 200, CPU time",
            "fresh component-sync,200,longest create (CPU time),",
            1e-6,
        ),
        (
            "linear memory of a session, of 200",
            "component-sync,200,linear memory,",
            1.0 / 200.0,
        ),
        (
            "start of an instance ",
            "instances,200,start of session-sync,",
            1e3,
        ),
        (
            "start of an instance, with its code from a code cache",
            "instances,200,start of session-sync from a code cache,",
            1e3,
        ),
        (
            "time to create an instance, of 50",
            "instances,200,time per instance of 50 of session-sync,",
            1e6,
        ),
        (
            "memory of an empty instance, of 50",
            "instances,200,memory per instance of 50 of session-sync,",
            1.0 / 1_024.0,
        ),
        (
            "session: 50 concurrent creates, less 10 ms / sequential creates",
            "instances,200,50 concurrent creates,",
            1.0,
        ),
    ] {
        check(goal, value(quantity) * unit);
    }
}

#[test]
fn bench_continues_without_a_peer_that_ends_or_answers_nonsense() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let peers = folder.path().join("peers");
    let script = "#!/bin/sh\ncase $1 in --list) echo dying; echo babbling;; dying) exit 3;; \
                  babbling) read line; echo nonsense; cat > /dev/null;; esac\n";
    std::fs::write(&peers, script).unwrap();
    std::fs::set_permissions(&peers, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bench = command(&["bench", "--quick", "--peers"])
        .arg(&peers)
        .output();
    let said = text(&bench.unwrap());
    for what in [
        "dying is left out from here on: it ended: exit status: 3",
        "babbling is left out from here on: it answered \"nonsense\"",
        "size of the component",
    ] {
        assert!(said.contains(what), "{what} is missing in:\n{said}");
    }
}

/// Runs `exec` with a journal and one line. Returns the answer and the standard error.
fn exec_with_journal(journal: &std::path::Path, line: &Value) -> (Value, String) {
    exec_with_variables(journal, &[], line)
}

/// Runs `exec` in the same way, with these environment variables.
fn exec_with_variables(
    journal: &std::path::Path,
    variables: &[(&str, &str)],
    line: &Value,
) -> (Value, String) {
    let mut child = command(&["exec", "--journal"])
        .arg(journal)
        .envs(variables.iter().copied())
        .env_remove("CLAWDB_SESSION_STATE_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command whose settings are refused reads nothing.
    let _ = writeln!(child.stdin.take().unwrap(), "{line}");
    let output = child.wait_with_output().unwrap();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (answer, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn exec_with_a_journal_keeps_sessions_and_creates_keys_that_only_the_owner_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("sessions");
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    let create = json!({ "op": "create", "agent-id": agent, "role": "worker" });
    let (created, _) = exec_with_journal(&journal, &create);
    let token = created["ok"]["token"].as_str().expect("a token");
    for file in ["sessions", "sessions.state-key", "sessions.guard-key"] {
        let mode = std::fs::metadata(folder.path().join(file)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{file}");
    }
    let validate = json!({ "op": "validate", "token": token });
    let (validated, _) = exec_with_journal(&journal, &validate);
    assert_eq!(validated["ok"], created["ok"]["session"]);
    let (refused, _) = exec_with_journal(&journal, &json!({ "op": "configure" }));
    assert_eq!(refused["err"]["kind"], "bad-request");

    // Without the key, or with another one, no record is read and no key is created.
    let key = folder.path().join("sessions.state-key");
    let digits = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let (nothing, said) = exec_with_journal(&journal, &validate);
    assert!(
        nothing.is_null() && said.contains("sessions.state-key is missing"),
        "{said}"
    );
    std::fs::write(&key, "07".repeat(32)).unwrap();
    let (nothing, said) = exec_with_journal(&journal, &validate);
    let unopened = "no state key that was given opens 2 of the 2 records";
    assert!(nothing.is_null() && said.contains(unopened), "{said}");
    std::fs::write(&key, digits).unwrap();
    let (validated, _) = exec_with_journal(&journal, &validate);
    assert_eq!(validated["ok"], created["ok"]["session"]);
}

#[test]
fn exec_accepts_tokens_of_the_guards_previous_keys_while_it_has_them() {
    const SECRET: &str = "CLAW_GUARD_JWT_SECRET";
    const PREVIOUS: &str = "CLAW_GUARD_PREVIOUS_JWT_SECRETS";
    const OLD: &str = "the old secret, long enough for HS256";
    const NEW: &str = "the new secret, long enough for HS256 as well";
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("sessions");
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    let create = json!({ "op": "create", "agent-id": agent, "role": "worker" });
    let validate = |created: &Value| json!({ "op": "validate", "token": created["ok"]["token"] });

    let (old, _) = exec_with_variables(&journal, &[(SECRET, OLD)], &create);
    let both = [(SECRET, NEW), (PREVIOUS, OLD)];
    let (validated, _) = exec_with_variables(&journal, &both, &validate(&old));
    assert_eq!(validated["ok"], old["ok"]["session"], "{validated}");
    let (new, _) = exec_with_variables(&journal, &both, &create);
    let (validated, _) = exec_with_variables(&journal, &[(SECRET, NEW)], &validate(&new));
    assert_eq!(validated["ok"], new["ok"]["session"], "{validated}");
    let (refused, _) = exec_with_variables(&journal, &[(SECRET, NEW)], &validate(&old));
    assert_eq!(refused["err"]["kind"], "guard", "{refused}");
    assert_eq!(
        refused["err"]["error"]["kind"], "invalid-token",
        "{refused}"
    );

    let short = [(SECRET, NEW), (PREVIOUS, "hunter2")];
    let (nothing, said) = exec_with_variables(&journal, &short, &create);
    assert!(nothing.is_null() && said.contains(PREVIOUS), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn exec_puts_all_claims_into_tokens_with_full_claims() {
    let agent = "0a9e0000-0000-4000-8000-000000000001";
    let scopes: Vec<_> = (0..128).map(|n| format!("{n:0>44}")).collect();
    let large = json!({ "op": "create", "agent-id": agent, "role": "worker", "scopes": scopes });
    let small = json!({ "op": "create", "agent-id": agent, "role": "worker", "scopes": ["a"] });
    let answers = |args: &[&str]| -> Vec<Value> {
        let mut child = command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{large}\n{small}").unwrap();
        drop(input);
        let said = text(&child.wait_with_output().unwrap());
        let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    for answer in answers(&["exec"]) {
        let token = answer["ok"]["token"].as_str().expect("a token");
        assert!(token.len() <= 400, "{token}");
    }
    let [large, small] = &answers(&["exec", "--full-claims"])[..] else {
        panic!("two answers were expected");
    };
    assert_eq!(large["err"]["kind"], "guard", "{large}");
    assert_eq!(large["err"]["error"]["kind"], "denied", "{large}");
    let token = small["ok"]["token"].as_str().expect("a token");
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap();
    assert_eq!(claims.claims["scope"], "a");
}

#[test]
fn with_nats_exec_needs_shared_keys_and_several_servers_or_single() {
    let output = command(&["exec", "--nats", "nats://127.0.0.1:1"])
        .env_remove("CLAWDB_SESSION_STATE_KEY")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("CLAWDB_SESSION_STATE_KEY"),
        "{said}"
    );
    let arguments = ["exec", "--nats", "nats://127.0.0.1:1", "--replicas", "1"];
    let output = command(&arguments)
        .env("CLAWDB_SESSION_STATE_KEY", "07".repeat(32))
        .env("CLAW_GUARD_JWT_SECRET", "x".repeat(32))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("--single"),
        "{said}"
    );
}
