//! Every peer as the bench meets it: a process that answers questions.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clawdb_session_bench_protocol::process::{Process, ProcessError};
use clawdb_session_bench_protocol::target::{Figure, Operation};

const PROGRAM: &str = env!("CARGO_BIN_EXE_peers");
const LIMIT: Duration = Duration::from_mins(1);

fn start(name: &str) -> Process {
    Process::start(Path::new(PROGRAM), &[name], LIMIT).expect("the program starts")
}

fn times(name: &str, has: &[Operation]) {
    let mut peer = start(name);
    let filled = peer.fill(200).expect("200 sessions are made");
    assert!(filled.is_some_and(|filled| filled.longest > 0));
    for operation in Operation::ALL {
        // Twice: the second finds what the first has left.
        for _ in 0..2 {
            let took = peer.time(operation, 20).expect("the calls are made");
            let expected = has.contains(&operation);
            assert_eq!(took.is_some(), expected, "{name}: {operation}");
            assert!(took.is_none_or(|took| took > 0.0), "{name}: {operation}");
        }
    }
    let memory = peer.figure(Figure::Memory).expect("the memory is known");
    assert!(
        memory.is_some_and(|memory| memory >= 0.0),
        "{name}: {memory:?}"
    );
    let rate = Figure::ValidateRate {
        callers: 8,
        milliseconds: 50,
    };
    let rate = peer.figure(rate).expect("the callers are answered");
    assert_eq!(rate.is_some_and(|rate| rate > 0.0), name == "redis");
}

const BASIC: [Operation; 3] = [Operation::Validate, Operation::Create, Operation::Revoke];

#[test]
fn moka_does_all_but_end_an_agents_sessions() {
    times(
        "moka",
        &[&BASIC[..], &[Operation::Refresh, Operation::Prune]].concat(),
    );
}

#[test]
fn sqlite_does_everything_in_memory_and_in_a_file() {
    let more = [Operation::Refresh, Operation::RevokeAgent, Operation::Prune];
    let all = [&BASIC[..], &more].concat();
    times("rusqlite", &all);
    times("rusqlite-file", &all);
}

#[test]
fn redis_does_all_but_prune() {
    let installed = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if installed.is_err() {
        eprintln!("skipped: redis-server is not installed (apt-get install redis-server)");
        return;
    }
    let more = [Operation::Refresh, Operation::RevokeAgent];
    times("redis", &[&BASIC[..], &more].concat());
}

#[test]
fn a_server_that_is_not_installed_is_named() {
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
fn claw_guard_makes_validates_and_revokes() {
    times("claw-guard", &BASIC);
}

#[test]
fn every_name_of_the_list_is_a_peer_and_others_are_not() {
    let output = Command::new(PROGRAM).arg("--list").output();
    let output = output.expect("the program starts");
    let names = String::from_utf8(output.stdout).expect("the names are text");
    assert_eq!(
        names.lines().count(),
        4 + usize::from(cfg!(feature = "claw-guard"))
    );
    for name in names.lines().filter(|&name| name != "redis") {
        assert!(start(name).figure(Figure::Memory).is_ok(), "{name}");
    }
    assert!(matches!(
        start("unheard-of").fill(1),
        Err(ProcessError::Ended(_))
    ));
}
