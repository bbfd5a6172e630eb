//! Runs every peer as `bench` does: a process that executes commands.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clawdb_session_bench_protocol::process::{ProcessError, TargetProcess};
use clawdb_session_bench_protocol::target::{Metric, Operation};

const PROGRAM: &str = env!("CARGO_BIN_EXE_peers");
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);

fn start(name: &str) -> TargetProcess {
    TargetProcess::start(Path::new(PROGRAM), &[name], REPLY_TIMEOUT).expect("the program starts")
}

fn assert_operations(name: &str, supported: &[Operation]) {
    let mut peer = start(name);
    let filled = peer.fill(200).expect("200 sessions are created");
    assert!(filled.is_some_and(|filled| filled.longest_create > 0));
    for operation in Operation::ALL {
        // The second time runs on the state that the first one left.
        for _ in 0..2 {
            let took = peer.time(operation, 20).expect("the calls succeed");
            let expected = supported.contains(&operation);
            assert_eq!(took.is_some(), expected, "{name}: {operation}");
            assert!(took.is_none_or(|took| took > 0.0), "{name}: {operation}");
        }
    }
    let memory = peer.metric(Metric::Memory).expect("the memory is measured");
    assert!(
        memory.is_some_and(|memory| memory >= 0.0),
        "{name}: {memory:?}"
    );
    let rate = Metric::ValidateRate {
        callers: 8,
        milliseconds: 50,
    };
    let rate = peer.metric(rate).expect("the concurrent calls succeed");
    assert_eq!(rate.is_some_and(|rate| rate > 0.0), name == "redis");
}

const BASIC: [Operation; 3] = [Operation::Validate, Operation::Create, Operation::Revoke];

#[test]
fn moka_supports_all_operations_except_revoke_all() {
    assert_operations(
        "moka",
        &[&BASIC[..], &[Operation::Refresh, Operation::Prune]].concat(),
    );
}

#[test]
fn sqlite_supports_all_operations_in_memory_and_in_a_file() {
    let more = [
        Operation::Refresh,
        Operation::RevokeAllForAgent,
        Operation::Prune,
    ];
    let all = [&BASIC[..], &more].concat();
    assert_operations("rusqlite", &all);
    assert_operations("rusqlite-file", &all);
}

#[test]
fn redis_supports_all_operations_except_prune() {
    let installed = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if installed.is_err() {
        eprintln!("skipped: redis-server is not installed (apt-get install redis-server)");
        return;
    }
    let more = [Operation::Refresh, Operation::RevokeAllForAgent];
    assert_operations("redis", &[&BASIC[..], &more].concat());
}

#[test]
fn a_missing_redis_server_is_reported() {
    let output = Command::new(PROGRAM)
        .arg("redis")
        .env("PATH", "")
        .output()
        .expect("the program starts");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("apt-get install redis-server"), "{error}");
}

#[test]
#[cfg(feature = "claw-guard")]
fn claw_guard_supports_create_validate_and_revoke() {
    assert_operations("claw-guard", &BASIC);
}

#[test]
fn each_listed_name_is_a_peer_and_other_names_are_refused() {
    let output = Command::new(PROGRAM).arg("--list").output();
    let output = output.expect("the program starts");
    let names = String::from_utf8(output.stdout).expect("the names are text");
    assert_eq!(
        names.lines().count(),
        4 + usize::from(cfg!(feature = "claw-guard"))
    );
    for name in names.lines().filter(|&name| name != "redis") {
        assert!(start(name).metric(Metric::Memory).is_ok(), "{name}");
    }
    assert!(matches!(
        start("unknown").fill(1),
        Err(ProcessError::Exited(_))
    ));
}
