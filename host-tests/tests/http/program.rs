//! The program `clawdb-session serve`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::service::{ADMIN_KEY, text, worker};

/// A service in another process, which is killed when this is dropped.
pub struct Program {
    child: Child,
    pub url: String,
    out: BufReader<ChildStdout>,
    err: ChildStderr,
}

/// An event that a reader received.
struct NextEvent {
    id: String,
    missed: u64,
    after_gap: bool,
}

/// The exit code of a program, and its remaining output.
pub struct ProgramOutput {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = program("serve");
    command.args(args);
    command
}

/// Returns a command of the program, with no secrets in its environment.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawdb-session"));
    command.arg(name);
    for variable in [
        "CLAW_GUARD_JWT_SECRET",
        "CLAW_GUARD_PREVIOUS_JWT_SECRETS",
        "CLAWDB_SESSION_ADMIN_KEY",
        "CLAWDB_SESSION_STATE_KEY",
        "CLAWDB_SESSION_PREVIOUS_STATE_KEYS",
    ] {
        command.env_remove(variable);
    }
    command
}

pub fn with_key(args: &[&str]) -> Command {
    let mut command = command(args);
    command.env("CLAWDB_SESSION_ADMIN_KEY", ADMIN_KEY);
    command
}

/// Starts the program and waits for the line with its address.
pub fn start(mut command: Command) -> Program {
    let child = command.args(["--listen", "127.0.0.1:0"]);
    let mut child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut err = child.stderr.take().unwrap();
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let url = line
        .trim_end()
        .strip_prefix("listening on ")
        .map(str::to_owned);
    let url = url.unwrap_or_else(|| {
        let mut output = String::new();
        let _ = err.read_to_string(&mut output);
        panic!("{line:?}\n{output}")
    });
    assert!(
        url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"),
        "{url}"
    );
    Program {
        child,
        url,
        out,
        err,
    }
}

impl Program {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub fn end(mut self, signal: Signal) -> ProgramOutput {
        self.signal(signal);
        let begin = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "the program does not end"
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.err.read_to_string(&mut err).unwrap();
        ProgramOutput { code, out, err }
    }

    pub async fn create(&self, key: &str) -> Value {
        let request = Client::new().post(format!("{}/v1/sessions", self.url));
        let response = request
            .bearer_auth(key)
            .json(&worker())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 201);
        response.json().await.unwrap()
    }

    /// Returns the first event of a new reader, with `last` as its `Last-Event-ID`.
    async fn next_event(&self, last: Option<&str>) -> NextEvent {
        let request = Client::new().get(format!("{}/v1/events", self.url));
        let mut request = request.bearer_auth(ADMIN_KEY);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let mut response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut read = String::new();
        loop {
            let event = read.split_inclusive("\n\n").find(|block| {
                block.ends_with("\n\n") && block.lines().any(|line| line.starts_with("id:"))
            });
            if let Some(event) = event {
                let field = |name: &str| {
                    let value = event.lines().find_map(|line| line.strip_prefix(name));
                    value.unwrap().trim_start().to_owned()
                };
                let data: Value = serde_json::from_str(&field("data:")).unwrap();
                return NextEvent {
                    id: field("id:"),
                    missed: data["missed"].as_u64().unwrap(),
                    after_gap: read.contains("event: gap") || read.contains("event:gap"),
                };
            }
            let chunk = response.chunk().await.unwrap();
            read.push_str(std::str::from_utf8(&chunk.expect("an event")).unwrap());
        }
    }

    pub async fn delete(&self, grant: &Value) {
        let id = text(&grant["session_id"]);
        let request = Client::new().delete(format!("{}/v1/sessions/{id}", self.url));
        let response = request.bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    pub async fn me(&self, grant: &Value) -> StatusCode {
        let request = Client::new().get(format!("{}/v1/sessions/me", self.url));
        let request = request.bearer_auth(text(&grant["token"]));
        request.send().await.unwrap().status()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_program_prints_its_address_and_ends_without_error_on_a_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let program = start(with_key(&[]));
        let grant = program.create(ADMIN_KEY).await;
        assert_eq!(program.me(&grant).await, 200);
        let left = program.end(signal);
        assert_eq!(left.code, Some(0), "{}", left.err);
        assert_eq!(left.out, "", "the program prints one line only");
        assert!(left.err.contains("in memory"), "{}", left.err);
        for secret in [ADMIN_KEY, text(&grant["token"])] {
            assert!(!left.err.contains(secret), "{}", left.err);
        }
    }
}

#[tokio::test]
async fn a_program_whose_log_nobody_reads_serves_and_loads_workspaces() {
    let (log, stderr) = std::io::pipe().unwrap();
    drop(log);
    let mut command = with_key(&["--listen", "127.0.0.1:0"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let url = line.trim_end().trim_start_matches("listening on ");
    // The host of each workspace writes to the log when it takes the workspace over.
    let mut created = Vec::new();
    for workspace in [uuid::Uuid::nil(), uuid::Uuid::from_u128(7)] {
        let request = Client::new().post(format!("{url}/v1/sessions"));
        let request = request
            .header("X-Workspace-Id", workspace.to_string())
            .bearer_auth(ADMIN_KEY);
        let response = request.json(&worker()).send().await;
        created.push(response.map(|response| response.status()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for status in created {
        assert_eq!(status.unwrap(), StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_generated_admin_key_is_shown_once_and_works() {
    let mut program = start(command(&[]));
    let mut err = BufReader::new(&mut program.err);
    let key = loop {
        let mut line = String::new();
        assert!(err.read_line(&mut line).unwrap() > 0, "no key was shown");
        if let Some(key) = line
            .trim_end()
            .strip_prefix("admin key generated for this run: ")
        {
            break key.to_owned();
        }
    };
    drop(err);
    assert_eq!(key.len(), 64);
    program.create(&key).await;
    let left = program.end(Signal::SIGTERM);
    assert!(!left.err.contains(&key) && !left.out.contains(&key));
}

#[tokio::test]
async fn with_a_journal_sessions_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.redb");
    let file = path(&file);
    let program = start(with_key(&["--journal", file]));
    let (kept, ended) = (
        program.create(ADMIN_KEY).await,
        program.create(ADMIN_KEY).await,
    );
    program.delete(&ended).await;
    let left = program.end(Signal::SIGTERM);
    assert_eq!(left.code, Some(0), "{}", left.err);

    let program = start(with_key(&["--journal", file]));
    assert_eq!(program.me(&kept).await, 200);
    assert_eq!(program.me(&ended).await, 401);
    let second = program.create(ADMIN_KEY).await;
    program.end(Signal::SIGKILL);

    let program = start(with_key(&["--journal", file]));
    for grant in [&kept, &second] {
        assert_eq!(program.me(grant).await, 200);
    }
    assert_eq!(program.me(&ended).await, 401);

    // Another process cannot open the journal.
    let other = with_key(&["--journal", file, "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert!(!other.status.success());
    let err = String::from_utf8_lossy(&other.stderr);
    assert!(err.contains("sessions.redb"), "{err}");
}

#[tokio::test]
async fn a_reader_of_events_continues_in_the_next_process_and_receives_a_gap_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.redb");
    let file = path(&file);
    let program = start(with_key(&["--journal", file]));
    program.create(ADMIN_KEY).await;
    let first = program.next_event(None).await;
    let (run, number) = first.id.split_once('-').unwrap();
    assert_eq!((number, first.missed), ("1", 0));
    let left = program.end(Signal::SIGTERM);
    assert_eq!(left.code, Some(0), "{}", left.err);

    let program = start(with_key(&["--journal", file]));
    program.create(ADMIN_KEY).await;
    let second = program.next_event(Some(&first.id)).await;
    assert_eq!((second.id, second.missed), (format!("{run}-2"), 0));
    assert!(!second.after_gap);
    program.end(Signal::SIGKILL);

    let program = start(with_key(&["--journal", file]));
    program.create(ADMIN_KEY).await;
    let third = program.next_event(Some(&format!("{run}-2"))).await;
    assert!(
        third.after_gap && !third.id.starts_with(run),
        "{}",
        third.id
    );
}

#[tokio::test]
async fn a_second_signal_ends_the_program_at_once() {
    let mut program = start(with_key(&[]));
    // An incomplete body delays the shutdown.
    let address = program.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nX-Admin-Key: {ADMIN_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut some = [0; 12];
    connection.read_exact(&mut some).unwrap();
    assert_eq!(&some, b"HTTP/1.1 100");
    program.signal(Signal::SIGTERM);
    let begin = Instant::now();
    let status = loop {
        program.signal(Signal::SIGINT);
        if let Some(status) = program.child.try_wait().unwrap() {
            break status;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "the program does not end"
        );
        std::thread::yield_now();
    };
    // The system does not guarantee which of the two signals arrives second.
    assert!(status.signal().is_some(), "{status}");
}

/// A library that makes the clock of a program return times before 1970.
const BEFORE_1970: &str = r#"
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec -= 4000000000L;
    return result;
}
"#;

#[tokio::test]
async fn a_clock_before_1970_is_reported_to_clients_and_ends_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (
        folder.path().join("clock.c"),
        folder.path().join("clock.so"),
    );
    std::fs::write(&source, BEFORE_1970).unwrap();
    let compiled = Command::new("cc")
        .args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(compiled.success());
    let mut serve = with_key(&[]);
    serve.env("LD_PRELOAD", &library);
    let program = start(serve);
    // Connections are accepted in order, so this one is accepted before those that are answered.
    let address = program.url.strip_prefix("http://").unwrap();
    let idle = TcpStream::connect(address).unwrap();
    for _ in 0..3 {
        let request = Client::new().get(format!("{}/healthz", program.url));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], "unavailable");
        assert!(text(&body["message"]).contains("clock"), "{body}");
    }
    let begin = Instant::now();
    let left = program.end(Signal::SIGTERM);
    let took = begin.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "the idle connection delayed the shutdown: {took:?}"
    );
    drop(idle);
    assert_eq!(left.code, Some(0), "{}", left.err);
    assert!(!left.err.contains("panicked"), "{}", left.err);
}

#[test]
fn the_help_has_the_options_and_variables() {
    let output = command(&["--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for option in [
        "--listen",
        "--journal",
        "--nats",
        "--full-claims",
        "previous-guard-keys",
        "CLAW_GUARD_PREVIOUS_JWT_SECRETS",
        "CLAWDB_SESSION_ADMIN_KEY",
        "/v1/revoke-all",
    ] {
        assert!(help.contains(option), "{option} is missing in:\n{help}");
    }
}

#[test]
fn an_invalid_setting_is_reported_in_one_error() {
    let fails = |mut command: Command, with: &str| {
        let output = command.output().unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains(with), "{with} is missing in: {err}");
        err.lines().count()
    };
    let any = ["--listen", "127.0.0.1:0"];
    let mut short = command(&any);
    short.env("CLAWDB_SESSION_ADMIN_KEY", "too-short");
    let bound = "CLAWDB_SESSION_ADMIN_KEY (9 bytes) must have 16 to 1024 printable ASCII";
    assert_eq!(fails(short, bound), 1);
    let folder = tempfile::tempdir().unwrap();
    let mut many = with_key(&["--journal", path(&folder.path().join("sessions"))]);
    many.args(any).env(
        "CLAWDB_SESSION_PREVIOUS_STATE_KEYS",
        vec!["07".repeat(32); 9].join(","),
    );
    let bound = "CLAWDB_SESSION_PREVIOUS_STATE_KEYS (9 keys of 32 bytes) must be at most 8";
    assert_eq!(fails(many, bound), 1);
    let mut short = with_key(&any);
    short.env("CLAW_GUARD_JWT_SECRET", "too-short");
    fails(
        short,
        "CLAW_GUARD_JWT_SECRET (9 bytes) must have at least 32",
    );
    fails(
        with_key(&["--journal", "a", "--nats", "b"]),
        "cannot be used with",
    );
    fails(with_key(&["--listen", "nowhere"]), "--listen");
    let mut missing = with_key(&["--journal", "/no/such/folder/file"]);
    missing.args(any);
    fails(missing, "/no/such/folder/file");
}

#[test]
fn an_address_in_use_is_reported_before_any_file_is_created() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions");
    for arguments in [
        &["--listen", &taken][..],
        &["--listen", &taken, "--journal", path(&file)],
    ] {
        let output = with_key(arguments).output().unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
        let err = String::from_utf8_lossy(&output.stderr);
        let begin = format!("error: --listen {taken}: ");
        assert!(err.starts_with(&begin) && err.lines().count() == 1, "{err}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
