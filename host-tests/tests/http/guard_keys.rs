//! The guard's key is rotated, and tokens stay valid while their key is among the previous keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{Program, ProgramOutput, path, start, with_key};
use crate::service::ADMIN_KEY;

const SECRET: &str = "CLAW_GUARD_JWT_SECRET";
const PREVIOUS: &str = "CLAW_GUARD_PREVIOUS_JWT_SECRETS";

/// A temporary folder with a journal and the key files beside it.
struct JournalFolder(tempfile::TempDir);

impl JournalFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.0.path().join(format!("sessions.redb.{suffix}"))
    }

    fn serve(&self) -> Command {
        with_key(&["--journal", path(&self.0.path().join("sessions.redb"))])
    }
}

async fn created(program: &Program) -> Value {
    program.create(ADMIN_KEY).await
}

/// Ends the program, and checks that its output contains no secret.
fn end(program: Program, secrets: &[&str]) {
    let ProgramOutput { code, out, err } = program.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{err}");
    for secret in secrets {
        assert!(!err.contains(secret) && !out.contains(secret), "{out}{err}");
    }
}

fn append(file: &Path, line: &str) {
    let before = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, format!("{before}{line}\n")).unwrap();
}

#[tokio::test]
async fn a_key_in_a_file_is_rotated_and_no_token_becomes_invalid() {
    let folder = JournalFolder::new();
    let (current, previous) = (
        folder.beside("guard-key"),
        folder.beside("previous-guard-keys"),
    );
    let program = start(folder.serve());
    let first = created(&program).await;
    end(program, &[]);

    // Two rotations make two previous keys.
    let mut tokens = vec![first];
    let mut keys = Vec::new();
    for key in ["0b".repeat(32), "0c".repeat(64)] {
        let old = fs::read_to_string(&current).unwrap().trim().to_owned();
        append(&previous, &old);
        append(&previous, "");
        fs::write(&current, &key).unwrap();
        keys.extend([old, key]);
        let program = start(folder.serve());
        for grant in &tokens {
            assert_eq!(program.me(grant).await, 200);
        }
        tokens.push(created(&program).await);
        let secrets: Vec<_> = keys.iter().map(String::as_str).collect();
        end(program, &secrets);
    }

    fs::remove_file(&previous).unwrap();
    let program = start(folder.serve());
    for (grant, status) in tokens.iter().zip([401, 401, 200]) {
        assert_eq!(program.me(grant).await, status);
    }
}

#[tokio::test]
async fn a_key_in_the_environment_is_rotated_and_no_token_becomes_invalid() {
    const OLDEST: &str = "the oldest secret, long enough for HS256";
    const OLD: &str = "the old secret, long enough for HS256, with , and ; in it";
    const NEW: &str = "the new secret, long enough for HS256 as well";
    let folder = JournalFolder::new();
    let serve = |secret: &str, previous: Option<&str>| {
        let mut command = folder.serve();
        command.env(SECRET, secret);
        if let Some(previous) = previous {
            command.env(PREVIOUS, previous);
        }
        start(command)
    };
    let program = serve(OLDEST, None);
    let oldest = created(&program).await;
    end(program, &[OLDEST]);

    let program = serve(OLD, Some(OLDEST));
    assert_eq!(program.me(&oldest).await, 200);
    let old = created(&program).await;
    // A token that was signed with a previous key can be revoked.
    program.delete(&oldest).await;
    assert_eq!(program.me(&oldest).await, 401);
    end(program, &[OLDEST, OLD]);

    let program = serve(NEW, Some(&format!("{OLDEST}\r\n\n{OLD}\n")));
    assert_eq!(program.me(&old).await, 200);
    let new = created(&program).await;
    end(program, &[OLDEST, OLD, NEW]);

    let program = serve(NEW, None);
    assert_eq!(program.me(&old).await, 401);
    assert_eq!(program.me(&new).await, 200);
}

#[tokio::test]
async fn a_key_is_moved_from_a_file_to_the_environment() {
    const NEW: &str = "the new secret, long enough for HS256 as well";
    let folder = JournalFolder::new();
    let program = start(folder.serve());
    let grant = created(&program).await;
    end(program, &[]);
    fs::rename(
        folder.beside("guard-key"),
        folder.beside("previous-guard-keys"),
    )
    .unwrap();
    let mut command = folder.serve();
    command.env(SECRET, NEW);
    let program = start(command);
    assert_eq!(program.me(&grant).await, 200);
}

#[test]
fn previous_keys_beyond_their_bounds_are_refused_and_not_shown() {
    let folder = JournalFolder::new();
    let file = folder.beside("previous-guard-keys");
    let refused = |previous: &str, in_file: &str, expected: &[&str]| {
        fs::write(&file, in_file).unwrap();
        let mut command = folder.serve();
        let output = command
            .args(["--listen", "127.0.0.1:0"])
            .env(SECRET, "x".repeat(32))
            .env(PREVIOUS, previous)
            .output()
            .unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(err.lines().count(), 1, "{err}");
        for expected in expected {
            assert!(err.contains(expected), "{expected} is missing in: {err}");
        }
        for secret in previous.lines().chain(in_file.lines()) {
            assert!(secret.is_empty() || !err.contains(secret), "{err}");
        }
    };
    let valid = "a previous secret, long enough for HS256";
    refused(
        &format!("{valid}\nhunter2\n"),
        "",
        &[PREVIOUS, "previous secret 2", "7 bytes", "at least 32"],
    );
    refused(
        &[valid; 9].join("\n"),
        "",
        &[PREVIOUS, "9 previous secrets", "at most 8"],
    );
    // The error about a key of the variable does not name the file.
    let mut command = folder.serve();
    fs::write(&file, "0d".repeat(32)).unwrap();
    let output = command
        .args(["--listen", "127.0.0.1:0"])
        .env(SECRET, "x".repeat(32))
        .env(PREVIOUS, "hunter2")
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("previous secret 1"), "{err}");
    assert!(!err.contains(path(&file)), "{err}");
    // The keys of the variable and of the file are counted together.
    refused(
        &[valid; 5].join("\n"),
        &format!("{}\n", "0d".repeat(32)).repeat(4),
        &["9 previous secrets", "5 are from", "4 from", path(&file)],
    );
    refused(
        "",
        "nonsense\n",
        &[path(&file), "line 1 (8 bytes)", "hexadecimal"],
    );
    refused(
        "",
        &format!("{}\n\n0d0d\n", "0d".repeat(32)),
        &[path(&file), "line 3 (2 bytes)", "at least 32 bytes"],
    );
}
