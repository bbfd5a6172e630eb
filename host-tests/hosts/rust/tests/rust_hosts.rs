//! Runs both programs, with the component that is built in and with one from a file, and compares
//! what they print.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clawdb_session_component::{COMPONENT, SYNC_COMPONENT};

const SESSION: &str = env!("CARGO_BIN_EXE_host-session");
const SESSION_SYNC: &str = env!("CARGO_BIN_EXE_host-session-sync");

/// Writes a component to a file in the folder for files of this test.
fn file(name: &str, component: &[u8]) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, component).unwrap();
    file
}

fn run(program: &str, component: Option<&Path>) -> Output {
    let output = Command::new(program).args(component).output();
    output.unwrap()
}

/// Runs a program without an argument and with a component. Asserts what it prints both times.
fn assert_prints(program: &str, component: &Path, expected: &str) {
    for component in [None, Some(component)] {
        let output = run(program, component);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{errors}"
        );
        assert!(output.status.success(), "{errors}");
    }
}

#[test]
fn the_host_of_session_sync_creates_validates_and_revokes() {
    let component = file("session-sync.wasm", SYNC_COMPONENT);
    let expected = "\
created a session for a researcher
its token: may memory:read and web:search
another token: invalid-token
revoked, confirmed by the guard: true
its token: invalid-token
live sessions: 0
";
    assert_prints(SESSION_SYNC, &component, expected);
}

#[test]
fn the_host_of_session_revokes_while_a_validation_waits_for_the_guard() {
    let component = file("session.wasm", COMPONENT);
    let expected = "\
created a session for a researcher
its token: may memory:read and web:search
another token: invalid-token
a validation in flight during the revocation: session-revoked
revoked, confirmed by the guard: true
its token: invalid-token
live sessions: 0
";
    assert_prints(SESSION, &component, expected);
}

#[test]
fn a_file_that_is_no_component_of_the_world_is_an_error() {
    let other = file("other-world.wasm", COMPONENT);
    let empty = file("empty.wasm", b"");
    for component in [&other, &empty] {
        let output = run(SESSION_SYNC, Some(component));
        assert!(!output.status.success());
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}
