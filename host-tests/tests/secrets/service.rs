//! The program `clawdb-session serve`: its answers, its output, and the memory of its process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use clawdb_session_host::World;
use clawdb_session_testkit::{Found, ProcessMemory, Secrets, number_in_environment};
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::caller::{ROLE, altered, foreign_token};

const ADMIN_KEY: &str = "the-admin-key-that-is-a-secret-5";
const AGENT: &str = "0a9e0000-0000-4000-8000-000000000001";
/// The number of requests, unless `SESSION_SECRETS_CALLS` is set.
const CALLS: usize = 256;
/// The number of requests of a round, about.
const CALLS_IN_ROUND: usize = 32;
/// The number of rounds that are made at the same time.
const AT_ONCE: usize = 4;
/// The longest time until the memory of closed connections is free.
const DEADLINE: Duration = Duration::from_secs(10);

/// The program, in a folder of its own with its journal, its keys and its log.
struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
    url: String,
    folder: TempDir,
}

/// All that the service has answered, and the tokens that it must not show again.
#[derive(Default)]
struct Exchange {
    /// The answers except those that grant a token.
    answers: Vec<u8>,
    tokens: Vec<String>,
    refused: Vec<String>,
}

impl Program {
    /// Starts the program and waits until it is ready.
    fn start(world: World, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawdb-session"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--world", world.name()])
            .arg("--journal")
            .arg(folder.path().join("journal"))
            .args(arguments)
            .env("CLAWDB_SESSION_ADMIN_KEY", ADMIN_KEY)
            .stdout(Stdio::piped())
            .stderr(log);
        for variable in [
            "CLAW_GUARD_JWT_SECRET",
            "CLAW_GUARD_PREVIOUS_JWT_SECRETS",
            "CLAWDB_SESSION_STATE_KEY",
            "CLAWDB_SESSION_PREVIOUS_STATE_KEYS",
        ] {
            command.env_remove(variable);
        }
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("listening on ");
        let url = url.expect("the program is ready").to_owned();
        Self {
            child,
            out,
            url,
            folder,
        }
    }

    fn file(&self, name: &str) -> Vec<u8> {
        let path = self.folder.path().join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Returns the key that the program has generated in a file.
    fn key(&self, name: &str) -> Vec<u8> {
        hex::decode(self.file(name).trim_ascii()).unwrap()
    }

    /// Searches the writable memory of the process, by the name of what is mapped.
    fn search(&self, secrets: &Secrets) -> Found {
        let mut found = Found::new();
        for (region, bytes) in ProcessMemory::of(&self.child.id().to_string()).contents() {
            for (secret, count) in secrets.found_in(&bytes) {
                *found
                    .entry(format!("{secret} in {:?}", region.name))
                    .or_default() += count;
            }
        }
        found
    }

    /// Ends the program, and returns the rest of its output.
    fn end(mut self) -> (Vec<u8>, Vec<u8>) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), Signal::SIGTERM).unwrap();
        let mut out = Vec::new();
        self.out.read_to_end(&mut out).unwrap();
        self.child.wait().unwrap();
        (out, self.file("log"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the service, with its own connections.
struct Caller<'a> {
    client: Client,
    url: &'a str,
    exchange: Exchange,
}

impl Caller<'_> {
    /// Sends a request, and keeps the answer unless that is a grant.
    async fn call(&mut self, method: &str, path: &str, key: &str, body: Option<Value>) -> Value {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(key);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let head = format!("{} {:?}\n", answer.status(), answer.headers());
        self.exchange.answers.extend(head.bytes());
        let text = answer.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        match body["token"].as_str() {
            Some(token) => self.exchange.tokens.push(token.into()),
            None => self.exchange.answers.extend(text.bytes()),
        }
        body
    }

    async fn admin(&mut self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.call(method, path, ADMIN_KEY, body).await
    }

    /// Sends bytes over a connection, and keeps the answer.
    fn send_raw(&mut self, bytes: &str, reads: bool) {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        if reads {
            // The service may close the connection without reading all.
            let _ = stream.read_to_end(&mut self.exchange.answers);
        }
    }

    /// Makes all kinds of requests, with success and without.
    async fn make_round(&mut self) {
        let created = self.admin("POST", "/v1/sessions", Some(session())).await;
        let (first, id) = (text(&created["token"]), text(&created["session_id"]));
        let child = format!("/v1/sessions/{id}/delegate");
        let child = self.admin("POST", &child, Some(session())).await;
        let rotated = self
            .call("POST", "/v1/sessions/me/rotate", &first, None)
            .await;
        let rotated = text(&rotated["token"]);
        let refresh = format!("/v1/sessions/{id}/refresh");
        let current = self.admin("POST", &refresh, None).await;
        let current = text(&current["token"]);
        let wrong = [foreign_token(), altered(&current)];
        self.exchange.refused.extend(wrong.clone());
        for token in [&wrong[0], &wrong[1], &rotated, &current] {
            self.call("GET", "/v1/sessions/me", token, None).await;
            for scope in ["memory:read", "memory:write"] {
                let body = Some(json!({ "scope": scope }));
                let path = "/v1/sessions/me/authorize";
                self.call("POST", path, token, body).await;
            }
        }
        // Tokens where they do not belong.
        for path in [
            format!("/v1/sessions/{current}"),
            format!("/v1/agents/{current}/sessions"),
            format!("/v1/nothing?token={current}"),
            format!("/v1/agents/{AGENT}/sessions?cursor={current}"),
        ] {
            self.admin("GET", &path, None).await;
        }
        let mut malformed = session();
        malformed["agent_id"] = current.clone().into();
        self.admin("POST", "/v1/sessions", Some(malformed)).await;
        self.call("GET", "/v1/events", &current, None).await;
        let (me, authorize) = ("/v1/sessions/me", "/v1/sessions/me/authorize");
        let json = "Content-Type: application/json\r\nContent-Length: ";
        let length = current.len() + 1;
        for (method, path, rest, reads) in [
            (
                "GET",
                me,
                format!("X-Workspace-Id: {current}\r\nConnection: close\r\n\r\n"),
                true,
            ),
            ("GET", me, "bad header\r\n\r\n".into(), true),
            ("GET", me, String::new(), false),
            (
                "POST",
                authorize,
                format!("Connection: close\r\n{json}{length}\r\n\r\n\"{current}"),
                true,
            ),
            (
                "POST",
                authorize,
                format!("{json}9999\r\n\r\n\"{current}"),
                false,
            ),
        ] {
            let head = format!("HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {current}");
            let request = format!("{method} {path} {head}\r\n{rest}");
            self.send_raw(&request, reads);
        }
        self.admin("GET", &format!("/v1/agents/{AGENT}/sessions"), None)
            .await;
        self.admin("GET", &format!("/v1/sessions/{id}"), None).await;
        self.call("DELETE", "/v1/sessions/me", &text(&child["token"]), None)
            .await;
        // The theft of a token that was rotated.
        self.call("POST", "/v1/sessions/me/rotate", &first, None)
            .await;
        let created = self.admin("POST", "/v1/sessions", Some(session())).await;
        let id = text(&created["session_id"]);
        self.admin("DELETE", &format!("/v1/sessions/{id}"), None)
            .await;
    }
}

/// Returns the body of a request for a session.
fn session() -> Value {
    json!({
        "agent_id": AGENT,
        "role": ROLE,
        "scopes": ["memory:read", "tool:*"],
        "ttl_secs": 600,
    })
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").into()
}

/// Makes rounds of requests, and returns what was sent and answered. All connections are closed.
async fn exchange(url: &str) -> Exchange {
    let calls = number_in_environment("SESSION_SECRETS_CALLS").unwrap_or(CALLS);
    let rounds = calls.div_ceil(CALLS_IN_ROUND * AT_ONCE);
    let callers = (0..AT_ONCE).map(async |_| {
        let mut caller = Caller {
            client: Client::new(),
            url,
            exchange: Exchange::default(),
        };
        for _ in 0..rounds {
            Box::pin(caller.make_round()).await;
        }
        // A session that lives: the program has its role, but not its token.
        caller.admin("POST", "/v1/sessions", Some(session())).await;
        caller.exchange
    });
    let mut all = Exchange::default();
    for each in join_all(callers).await {
        all.answers.extend(each.answers);
        all.tokens.extend(each.tokens);
        all.refused.extend(each.refused);
    }
    all
}

/// Reads what anyone or an admin can read about the service.
async fn read_all(url: &str) -> Vec<u8> {
    let client = Client::new();
    let mut all = Vec::new();
    for path in ["/metrics", "/healthz"] {
        let answer = client.get(format!("{url}{path}")).send().await.unwrap();
        all.extend(answer.bytes().await.unwrap());
    }
    let events = client
        .get(format!("{url}/v1/events"))
        .bearer_auth(ADMIN_KEY);
    let mut events = events.send().await.unwrap();
    // The events in memory arrive at once, and later ones never.
    let pause = Duration::from_millis(500);
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(pause, events.chunk()).await {
        all.extend(chunk);
    }
    all
}

/// Searches the memory of the program until it has no secret, or [`DEADLINE`] has passed.
async fn found_at_last(program: &Program, secrets: &Secrets) -> Found {
    let begin = Instant::now();
    loop {
        let found = program.search(secrets);
        if found.is_empty() || begin.elapsed() > DEADLINE {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn search_the_program(world: World) {
    // Without the option, only root can read the memory of the process.
    let program = Program::start(world, &["--allow-core-dumps"]);
    let exchange = exchange(&program.url).await;
    let read = read_all(&program.url).await;

    let mut tokens = Secrets::default();
    for token in &exchange.tokens {
        tokens.add_token("a token that was granted", token);
    }
    for token in &exchange.refused {
        tokens.add_token("a token that was refused", token);
    }
    let mut keys = Secrets::default();
    keys.add_key("the guard's key", &program.key("journal.guard-key"));
    keys.add_key("the state key", &program.key("journal.state-key"));
    keys.add_key("the admin key", ADMIN_KEY.as_bytes());

    let role = Secrets::of("role", ROLE);
    assert!(
        !program.search(&role).is_empty(),
        "the search finds nothing"
    );
    let found = found_at_last(&program, &tokens).await;
    assert!(found.is_empty(), "the memory of the process: {found:#?}");
    // The program needs these two keys, and has them as bytes only. The start of the stack has the
    // environment.
    let mut found = program.search(&keys);
    println!("{found:#?}");
    for needed in ["the admin key", "the state key"] {
        for region in ["", "[stack]"] {
            found.remove(&format!("{needed}, bytes in {region:?}"));
        }
    }
    assert!(found.is_empty(), "the memory of the process: {found:#?}");

    let journal = program.file("journal");
    let (out, log) = program.end();
    for (place, bytes) in [
        ("an answer", &exchange.answers),
        ("metrics, readiness or events", &read),
        ("standard output", &out),
        ("the log", &log),
        ("the journal", &journal),
    ] {
        tokens.assert_absent(place, bytes);
        keys.assert_absent(place, bytes);
    }
}

#[tokio::test]
async fn r22_the_program_shows_and_keeps_no_token() {
    search_the_program(World::SessionSync).await;
}

#[tokio::test]
async fn r22_the_program_shows_and_keeps_no_token_in_the_world_session() {
    search_the_program(World::Session).await;
}

/// Returns the hard limit of the size of a core dump of a process.
fn core_limit(process: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let mut lines = limits.lines();
    let limit = lines.find_map(|line| line.strip_prefix("Max core file size"));
    let mut words = limit.unwrap().split_whitespace();
    words.nth(1).unwrap().into()
}

#[tokio::test]
async fn the_program_refuses_core_dumps_unless_it_is_told_otherwise() {
    for (arguments, refuses) in [(&[][..], true), (&["--allow-core-dumps"], false)] {
        let mut program = Program::start(World::SessionSync, arguments);
        let id = program.child.id().to_string();
        let limit = if refuses {
            "0".into()
        } else {
            core_limit("self")
        };
        assert_eq!(core_limit(&id), limit);
        let owner = fs::metadata(format!("/proc/{id}/environ")).unwrap().uid();
        let folder = fs::metadata(program.folder.path()).unwrap().uid();
        // Files of a process that can be dumped belong to its user, and others to root.
        assert_eq!(owner, if refuses { 0 } else { folder });
        if refuses {
            let id = i32::try_from(program.child.id()).unwrap();
            kill(Pid::from_raw(id), Signal::SIGABRT).unwrap();
            assert!(!program.child.wait().unwrap().core_dumped());
        }
    }
}
