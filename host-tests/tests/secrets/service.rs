//! The program `clawdb-session serve`: its answers, its output, and the memory of its process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_durable::{DurableHost, DurableOptions, TenantId};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{
    AnyEngine, Clock, Config, CreateRequest, IssueRequest, LocalGuard, SystemClock, World,
};
use clawdb_session_journal_redb::RedbJournal;
use clawdb_session_testkit::{
    ControlledGuard, Found, GuardFunction, GuardMode, ManualClock, ProcessMemory, Secrets,
    controlled_instances, number_in_environment,
};
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::caller::{OTHER_KEY, ROLE, agent, altered, foreign_token, issue_request};

const ADMIN_KEY: &str = "the-admin-key-that-is-a-secret-5";
/// The workspace whose time is ahead of the clock, and one that does not exist.
const AHEAD: Uuid = Uuid::from_u128(0x0a9e_0000_0000_4000_8000_0000_0000_aaaa);
const UNKNOWN: Uuid = Uuid::from_u128(0x0a9e_0000_0000_4000_8000_0000_0000_bbbb);
/// The number of requests to each process, unless `SESSION_SECRETS_CALLS` is set.
const CALLS: usize = 320;
/// The number of requests of a round, about.
const CALLS_IN_ROUND: usize = 80;
/// The number of rounds that are made at the same time.
const AT_ONCE: usize = 4;
/// The longest time until the memory of closed connections is free.
const DEADLINE: Duration = Duration::from_secs(10);

/// The program, in a folder with its journal, its keys and its log.
struct Program<'a> {
    child: Child,
    out: BufReader<ChildStdout>,
    url: String,
    folder: &'a Path,
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the key that the program has generated in a file.
fn key(folder: &Path, name: &str) -> Vec<u8> {
    hex::decode(read(folder, name).trim_ascii()).unwrap()
}

/// All that the service has answered, and the tokens that it must not show again.
#[derive(Default)]
struct Exchange {
    /// The answers except those that grant a token.
    answers: Vec<u8>,
    tokens: Vec<String>,
    refused: Vec<String>,
}

impl<'a> Program<'a> {
    /// Starts the program and waits until it is ready.
    fn start(folder: &'a Path, world: World, arguments: &[&str]) -> Self {
        let log = File::create(folder.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawdb-session"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--world", world.name()])
            .arg("--journal")
            .arg(folder.join("journal"))
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
        (out, read(self.folder, "log"))
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // Both fail if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token that the guard of the program refuses.
#[derive(Clone)]
struct Refused {
    token: String,
    /// The workspace, unless it is the default one.
    workspace: Option<Uuid>,
    /// The session that has the token, if one has.
    session: Option<String>,
}

/// A client of the service, with its own connections.
struct Caller<'a> {
    client: Client,
    url: &'a str,
    agent: String,
    role: String,
    /// The workspace that requests name, if they name one.
    workspace: Option<Uuid>,
    exchange: Exchange,
}

impl<'a> Caller<'a> {
    /// Returns a client with an agent and a role that no other client has.
    fn new(url: &'a str, number: u64) -> Self {
        Self {
            client: Client::new(),
            url,
            agent: agent(number),
            role: format!("{ROLE}-{number}"),
            workspace: None,
            exchange: Exchange::default(),
        }
    }

    /// Sends a request, and keeps the answer unless that is a grant.
    async fn call(&mut self, method: &str, path: &str, key: &str, body: Option<Value>) -> Value {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.url));
        let mut request = request.bearer_auth(key);
        if let Some(workspace) = self.workspace {
            request = request.header("X-Workspace-Id", workspace.to_string());
        }
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

    async fn create(&mut self) -> Value {
        let body = self.session();
        self.admin("POST", "/v1/sessions", Some(body)).await
    }

    /// Returns the body of a request for a session.
    fn session(&self) -> Value {
        json!({
            "agent_id": self.agent,
            "role": self.role,
            "scopes": ["memory:read", "tool:*"],
            "ttl_secs": 600,
        })
    }

    /// Makes a kill switch end sessions, and returns how many it has ended.
    async fn revoke_all(&mut self, filter: Value) -> Option<u64> {
        let body = json!({ "filter": filter });
        let answer = self.admin("POST", "/v1/revoke-all", Some(body)).await;
        answer["revoked"].as_u64()
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

    /// Makes requests of every route, with success and without.
    async fn make_round(&mut self, refused: &[Refused]) {
        let created = self.create().await;
        let (first, id) = (text(&created["token"]), text(&created["session_id"]));
        let child = format!("/v1/sessions/{id}/delegate");
        let body = self.session();
        let child = self.admin("POST", &child, Some(body)).await;
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
            self.use_token(token).await;
        }
        for token in &wrong {
            self.call("POST", "/v1/sessions/me/rotate", token, None)
                .await;
            self.call("DELETE", "/v1/sessions/me", token, None).await;
        }
        self.present(refused).await;
        self.request_too_much(&id).await;
        self.misplace(&current).await;
        let path = format!("/v1/agents/{}/sessions", self.agent);
        self.admin("GET", &path, None).await;
        self.admin("GET", &format!("/v1/sessions/{id}"), None).await;
        self.call("DELETE", "/v1/sessions/me", &text(&child["token"]), None)
            .await;
        // The theft of a token that was rotated.
        self.call("POST", "/v1/sessions/me/rotate", &first, None)
            .await;
        let created = self.create().await;
        let id = text(&created["session_id"]);
        self.admin("DELETE", &format!("/v1/sessions/{id}"), None)
            .await;

        self.create().await;
        let ended = self.admin("DELETE", &path, None).await;
        assert!(ended["revoked"].as_u64() >= Some(1), "{ended}");
        let root = text(&self.create().await["session_id"]);
        assert_eq!(self.revoke_all(json!({ "root": root })).await, Some(1));
        self.create().await;
        let role = json!({ "role": self.role });
        assert_eq!(self.revoke_all(role).await, Some(1));
        // The clock is right.
        let answer = self.admin("POST", "/v1/clock/accept", None).await;
        assert_eq!(answer["error"], "clock_not_behind");
    }

    /// Makes the requests of agents whose tokens the guard refuses.
    async fn present(&mut self, refused: &[Refused]) {
        for refused in refused {
            self.workspace = refused.workspace;
            self.use_token(&refused.token).await;
            let path = "/v1/sessions/me/rotate";
            self.call("POST", path, &refused.token, None).await;
            self.workspace = None;
        }
    }

    /// Makes the requests of an agent that end and replace nothing.
    async fn use_token(&mut self, token: &str) {
        self.call("GET", "/v1/sessions/me", token, None).await;
        // The guard is asked about the token before the last of these scopes is refused.
        for scope in ["memory:read", "memory:write", ""] {
            let body = Some(json!({ "scope": scope }));
            let path = "/v1/sessions/me/authorize";
            self.call("POST", path, token, body).await;
        }
    }

    /// Requests sessions whose tokens are too long if they contain the scopes.
    async fn request_too_much(&mut self, parent: &str) {
        let mut body = self.session();
        let scopes = (0..60).map(|number| format!("tool:{number:0200}"));
        body["scopes"] = scopes.collect();
        let delegate = format!("/v1/sessions/{parent}/delegate");
        for path in ["/v1/sessions", &*delegate] {
            self.admin("POST", path, Some(body.clone())).await;
        }
    }

    /// Sends a token where it does not belong.
    async fn misplace(&mut self, current: &str) {
        let session = self.session();
        for (method, path, body) in [
            ("DELETE", format!("/v1/sessions/{current}"), None),
            ("POST", format!("/v1/sessions/{current}/refresh"), None),
            (
                "POST",
                format!("/v1/sessions/{current}/delegate"),
                Some(session),
            ),
            ("DELETE", format!("/v1/agents/{current}/sessions"), None),
        ] {
            self.admin(method, &path, body).await;
        }
        for filter in [
            json!({ "root": current }),
            json!({ "role": current }),
            json!(current),
        ] {
            assert_eq!(self.revoke_all(filter).await, None);
        }
        for path in [
            format!("/v1/sessions/{current}"),
            format!("/v1/agents/{current}/sessions"),
            format!("/v1/nothing?token={current}"),
            format!("/v1/agents/{}/sessions?cursor={current}", self.agent),
        ] {
            self.admin("GET", &path, None).await;
        }
        for member in ["agent_id", "role"] {
            let mut malformed = self.session();
            malformed[member] = current.into();
            self.admin("POST", "/v1/sessions", Some(malformed)).await;
        }
        self.call("GET", "/v1/events", current, None).await;
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
    }

    /// Ends the sessions whose tokens the guard refuses, and all others, except one that lives: the
    /// program has its role, but not its token.
    async fn end_everything(&mut self, refused: &[Refused]) {
        for Refused {
            token,
            workspace,
            session,
        } in refused
        {
            self.workspace = *workspace;
            if let Some(AHEAD) = self.workspace {
                let answer = self.create().await;
                assert_eq!(answer["error"], "clock_behind");
                let answer = self.admin("POST", "/v1/clock/accept", None).await;
                assert_eq!(answer["revoked"], 1);
                self.create().await;
            }
            self.call("DELETE", "/v1/sessions/me", token, None).await;
            if let Some(id) = session {
                self.admin("DELETE", &format!("/v1/sessions/{id}"), None)
                    .await;
            }
            self.workspace = None;
        }
        assert!(self.revoke_all(json!("everything")).await.is_some());
        self.create().await;
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").into()
}

/// Makes rounds of requests, and returns what was sent and answered. All connections are closed.
async fn exchange(url: &str, refused: &[Refused]) -> Exchange {
    let mut other = Caller::new(url, 0);
    // Many requests can replace these events by others.
    other.present(refused).await;
    other.exchange.answers.extend(read_all(url).await);
    let calls = number_in_environment("SESSION_SECRETS_CALLS").unwrap_or(CALLS);
    let rounds = calls.div_ceil(CALLS_IN_ROUND * AT_ONCE);
    let callers = (1..).take(AT_ONCE).map(async |number| {
        let mut caller = Caller::new(url, number);
        for _ in 0..rounds {
            Box::pin(caller.make_round(refused)).await;
        }
        caller.exchange
    });
    let mut exchanges = join_all(callers).await;
    other.end_everything(refused).await;
    exchanges.push(other.exchange);
    let mut all = Exchange::default();
    for each in exchanges {
        all.answers.extend(each.answers);
        all.tokens.extend(each.tokens);
        all.refused.extend(each.refused);
    }
    all.refused
        .extend(refused.iter().map(|refused| refused.token.clone()));
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
async fn found_at_last(program: &Program<'_>, secrets: &Secrets) -> Found {
    let begin = Instant::now();
    loop {
        let found = program.search(secrets);
        if found.is_empty() || begin.elapsed() > DEADLINE {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns tokens that no session has and the guard refuses, or would accept.
fn tokens_of_the_guard(key: &[u8]) -> Vec<Refused> {
    let guard = JwtGuard::new(key).unwrap();
    let issue = |request| guard.issue_session_token(request).unwrap();
    let valid = issue(issue_request());
    let expired = issue(IssueRequest {
        expires_at: 1,
        ..issue_request()
    });
    let ahead = JwtGuard::new(key).unwrap().with_clock(clock_ahead());
    let ahead = ahead.issue_session_token(issue_request()).unwrap();
    let signing = jsonwebtoken::EncodingKey::from_secret(key);
    let claims = json!({
        "iss": "clawdb-session",
        "aud": "another-service",
        "jti": valid.handle,
        "exp": 4_000_000_000_u64,
    });
    let header = jsonwebtoken::Header::default();
    let other_audience = jsonwebtoken::encode(&header, &claims, &signing).unwrap();
    let tokens = [valid.token, expired.token, ahead.token, other_audience];
    let with_workspace = |token: String| {
        [None, Some(UNKNOWN)].map(|workspace| Refused {
            token: token.clone(),
            workspace,
            session: None,
        })
    };
    tokens.into_iter().flat_map(with_workspace).collect()
}

/// Returns a clock that is an hour ahead.
fn clock_ahead() -> Arc<ManualClock> {
    let clock = ManualClock::new(SystemClock.now());
    clock.advance(Duration::from_hours(1));
    Arc::new(clock)
}

/// Adds sessions to the journal of the program whose tokens its guard refuses, and one in a
/// workspace whose time is ahead. The program must not run.
async fn add_refused_sessions(folder: &Path, world: World) -> Vec<Refused> {
    let journal = RedbJournal::open(folder.join("journal")).await.unwrap();
    let journal = Arc::new(journal);
    let config = Config::with_state_key(key(folder, "journal.state-key"));
    let guard_key = key(folder, "journal.guard-key");
    let jwt = |key| JwtGuard::new(key).unwrap();
    let now = || -> Arc<dyn Clock> { Arc::new(SystemClock) };
    let mut refused = Vec::new();
    for (workspace, guard, mode, clock) in [
        // The guard of the program answers `invalid-token`, and `denied`.
        (None, jwt(OTHER_KEY), GuardMode::Ok, now()),
        (
            None,
            jwt(&guard_key).with_clock(clock_ahead()),
            GuardMode::Ok,
            now(),
        ),
        // It has another handle, and cannot revoke this one.
        (None, jwt(&guard_key), GuardMode::WrongHandle, now()),
        (Some(AHEAD), jwt(&guard_key), GuardMode::Ok, clock_ahead()),
    ] {
        let guard = Arc::new(ControlledGuard::new(Arc::new(Arc::new(guard))));
        guard.set(GuardFunction::Issue, mode);
        let instances = controlled_instances(AnyEngine::new(world).unwrap(), guard, clock);
        let options = DurableOptions::new(instances, config.clone());
        let tenant = workspace.map_or_else(TenantId::default, TenantId::new);
        let host = DurableHost::start(options, journal.clone(), tenant);
        let host = host.await.unwrap();
        let grant = host.create(CreateRequest::new(agent(5), ROLE));
        let grant = grant.await.unwrap();
        host.shutdown().await;
        refused.push(Refused {
            token: grant.token.to_string(),
            workspace,
            session: Some(grant.session.id.clone()),
        });
    }
    refused
}

/// Searches two processes with the same journal. The first generates the keys. The second restores
/// sessions whose tokens its guard refuses, and its guard refuses to issue tokens that would be too
/// long.
async fn search_the_program(world: World) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Without the option, only root can read the memory of the process.
    let first = Program::start(folder, world, &["--allow-core-dumps"]);
    search_a_process(first, Vec::new()).await;

    let refused = add_refused_sessions(folder, world).await;
    let arguments = ["--allow-core-dumps", "--full-claims"];
    let second = Program::start(folder, world, &arguments);
    let shown = search_a_process(second, refused).await;
    let shown = String::from_utf8_lossy(&shown);
    for text in [
        "the guard denied the request: the token would have",
        r#""guard_confirmed":false"#,
        r#""kind":"denied","reason":"guard""#,
        r#""kind":"denied","reason":"handle""#,
    ] {
        assert!(shown.contains(text), "no answer or event has {text}");
    }
}

/// Makes requests and searches the program. Returns the answers and the events.
async fn search_a_process(program: Program<'_>, mut refused: Vec<Refused>) -> Vec<u8> {
    let folder = program.folder;
    let guard_key = key(folder, "journal.guard-key");
    refused.extend(tokens_of_the_guard(&guard_key));
    let exchange = exchange(&program.url, &refused).await;
    let shown = read_all(&program.url).await;

    let mut tokens = Secrets::default();
    for token in &exchange.tokens {
        tokens.add_token("a token that was granted", token);
    }
    for token in &exchange.refused {
        tokens.add_token("a token that was refused", token);
    }
    let mut keys = Secrets::default();
    keys.add_key("the guard's key", &guard_key);
    keys.add_key("the state key", &key(folder, "journal.state-key"));
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

    let journal = read(folder, "journal");
    let (out, log) = program.end();
    for (place, bytes) in [
        ("an answer", &exchange.answers),
        ("metrics, readiness or events", &shown),
        ("standard output", &out),
        ("the log", &log),
        ("the journal", &journal),
    ] {
        tokens.assert_absent(place, bytes);
        keys.assert_absent(place, bytes);
    }
    [exchange.answers, shown].concat()
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
        let folder = tempfile::tempdir().unwrap();
        let mut program = Program::start(folder.path(), World::SessionSync, arguments);
        let id = program.child.id().to_string();
        let limit = if refuses {
            "0".into()
        } else {
            core_limit("self")
        };
        assert_eq!(core_limit(&id), limit);
        let owner = fs::metadata(format!("/proc/{id}/environ")).unwrap().uid();
        let folder = fs::metadata(program.folder).unwrap().uid();
        // Files of a process that can be dumped belong to its user, and others to root.
        assert_eq!(owner, if refuses { 0 } else { folder });
        if refuses {
            let id = i32::try_from(program.child.id()).unwrap();
            kill(Pid::from_raw(id), Signal::SIGABRT).unwrap();
            assert!(!program.child.wait().unwrap().core_dumped());
        }
    }
}
