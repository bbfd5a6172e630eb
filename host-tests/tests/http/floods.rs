//! Clients that send many requests, large ones, or open many connections. Other clients are served
//! meanwhile, and nothing is left behind.
//!
//! The long version opens as many connections as a service allows by default. It needs 8,700 files,
//! and raises the soft limit of the system (`ulimit -Sn`) if the hard one (`ulimit -Hn`) allows it:
//!
//! ```text
//! SESSION_LOAD_CONNECTIONS=4096 cargo test --test http floods -- --nocapture --test-threads 1
//! ```

use std::pin::pin;
use std::process::Command;
use std::time::{Duration, Instant};

use clawdb_session_durable::{TenantId, TenantLimits};
use clawdb_session_host::World;
use clawdb_session_http::ServeOptions;
use clawdb_session_testkit::number_in_environment;
use futures::future::join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::bounds::with;
use crate::connection::{admin, assert_serves_others, exchange, send, status};
use crate::program::{path, start, with_key};
use crate::service::{ServiceSetup, TestService, answer, text, worker};

/// The longest time that an attack may take on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

/// The default of `max_connections`.
const MAX_CONNECTIONS: usize = 4_096;
/// The files that are open besides those of the idle connections.
const OTHER_FILES: usize = 500;

/// Returns the number of connections. The default is that of the short version.
fn connections() -> usize {
    number_in_environment("SESSION_LOAD_CONNECTIONS").unwrap_or(400)
}

/// Starts a service that allows as many connections as the test opens, and at most its default.
/// Returns this number too.
async fn with_limit() -> (TestService, usize) {
    let limited = |options: ServeOptions| ServeOptions {
        max_connections: connections().min(options.max_connections),
        ..options
    };
    let service = with(limited).await;
    let limit = connections().min(MAX_CONNECTIONS);
    // The process has both ends of a connection.
    allow_files(2 * limit + OTHER_FILES);
    (service, limit)
}

/// Raises the soft limit of open files to the hard one if this process may open fewer files.
fn allow_files(files: usize) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < files as u64 {
        assert!(hard >= files as u64, "needs `ulimit -Hn {files}`");
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    }
}

/// Opens connections that stay idle. Half of them have sent a part of a head.
async fn open_idle(service: &TestService, count: usize) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for number in 0..count {
        let begin = if number % 2 == 0 {
            ""
        } else {
            "GET / HTTP/1.1\r\nHost:"
        };
        idle.push(send(service, begin).await);
    }
    idle
}

/// Checks that the service has not closed these connections.
fn assert_open(connections: &[TcpStream]) {
    let mut byte = [0];
    for connection in connections {
        assert!(connection.try_read(&mut byte).is_err(), "it was closed");
    }
}

fn agent_request(request: &str, token: &str, fields: &str) -> String {
    format!("{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{fields}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_below_the_limit_delay_no_other_client() {
    let (service, limit) = with_limit().await;
    // The other client has one connection at a time.
    let idle = open_idle(&service, limit - 1).await;
    let begin = Instant::now();
    assert_serves_others(&service).await;
    println!("{} idle connections: {:?}", idle.len(), begin.elapsed());
    assert_open(&idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_waits_for_one_of_max_connections_idle_connections_to_close() {
    let (service, limit) = with_limit().await;
    let begin = Instant::now();
    let mut idle = open_idle(&service, limit).await;
    println!("{limit} idle connections opened: {:?}", begin.elapsed());
    let mut other = pin!(assert_serves_others(&service));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut other).await;
    assert!(early.is_err(), "a client was served beyond max_connections");
    drop(idle.swap_remove(limit / 2));
    let begin = Instant::now();
    other.await;
    println!("served after one has closed: {:?}", begin.elapsed());
    assert_open(&idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_fill_all_places_again_and_again_do_not_shut_others_out() {
    let service = with(|options| ServeOptions {
        max_connections: 8,
        header_timeout: Duration::from_millis(200),
        ..options
    })
    .await;
    let address = service.address;
    let attackers: Vec<_> = (0..32)
        .map(|_| {
            tokio::spawn(async move {
                loop {
                    let mut idle = TcpStream::connect(address).await.unwrap();
                    // Ends when the service closes the connection.
                    let _ = idle.read_u8().await;
                }
            })
        })
        .collect();
    // A client waits behind the connections that were opened before, and each group of 8 is closed
    // after the header timeout.
    for _ in 0..3 {
        assert_serves_others(&service).await;
    }
    for attacker in attackers {
        attacker.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_closed_at_once_leave_no_place_taken() {
    let service = with(|options| ServeOptions {
        max_connections: 4,
        ..options
    })
    .await;
    for number in 0..connections() * 4 {
        let connection = TcpStream::connect(service.address).await.unwrap();
        match number % 3 {
            // A reset before and after the connection is accepted.
            0 => connection.set_zero_linger().unwrap(),
            1 => {
                connection.set_zero_linger().unwrap();
                tokio::task::yield_now().await;
            }
            _ => {}
        }
    }
    let streams = join_all((0..4).map(|_| assert_serves_others(&service)));
    tokio::time::timeout(LONGEST, streams).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order_and_delay_no_other_client() {
    const REQUESTS: usize = 5_000;
    let service = with(|options| options).await;
    let nowhere = "GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS - 1);
    let last = "DELETE /v1/nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let attack = async {
        let connection = TcpStream::connect(service.address).await.unwrap();
        let (reading, mut writing) = connection.into_split();
        let sending = tokio::spawn(async move {
            writing.write_all(nowhere.as_bytes()).await.unwrap();
            writing.write_all(last.as_bytes()).await.unwrap();
            writing
        });
        let mut reading = reading;
        let mut answers = String::new();
        reading.read_to_string(&mut answers).await.unwrap();
        drop(sending.await.unwrap());
        answers
    };
    let (answers, ()) = tokio::join!(attack, assert_serves_others(&service));
    assert_eq!(answers.matches("HTTP/1.1 404").count(), REQUESTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_tokens_are_refused_without_the_guard_and_leave_nothing_behind() {
    const ATTEMPTS: usize = 2_000;
    let service = with(|options| options).await;
    let grant = service.session().await;
    let before = service.metric("clawdb_session_state_bytes").await;
    let asked = service.guard.calls();
    let mut requests = String::new();
    for number in 0..ATTEMPTS {
        // A token of the right form, with a wrong signature.
        let token = format!("{}{number:04}", text(&grant["token"]));
        requests += &match number % 3 {
            0 => agent_request("GET /v1/sessions/me", &token, ""),
            1 => agent_request("POST /v1/sessions/me/rotate", &token, ""),
            _ => agent_request("DELETE /v1/sessions/me", &token, ""),
        };
    }
    requests += "GET /v1/nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let begin = Instant::now();
    let (answers, ()) = tokio::join!(exchange(&service, requests), assert_serves_others(&service));
    println!("{ATTEMPTS} unknown tokens: {:?}", begin.elapsed());
    assert_eq!(answers.matches("HTTP/1.1 401").count(), ATTEMPTS);
    let calls = service.guard.calls();
    // The other client was issued a token, which was validated.
    assert_eq!(
        (calls.issue, calls.validate),
        (asked.issue + 1, asked.validate + 1)
    );
    assert_eq!(calls.revoke_tokens, asked.revoke_tokens);
    // Each session takes the same.
    assert_eq!(
        service.metric("clawdb_session_state_bytes").await,
        2 * before
    );
    let stats = service.tenants.tenant(TenantId::default()).await.unwrap();
    let stats = stats.stats().await.unwrap();
    assert_eq!((stats.denied, stats.last_event), (ATTEMPTS as u64, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_for_many_workspaces_load_and_create_none() {
    const WORKSPACES: u64 = 1_000;
    let service = with(|options| options).await;
    service.session().await;
    let asked = service.guard.calls();
    let mut requests = String::new();
    for _ in 0..WORKSPACES {
        let workspace = format!("X-Workspace-Id: {}\r\n", Uuid::new_v4());
        requests += &agent_request("GET /v1/sessions/me", "x.y.z", &workspace);
        requests += &agent_request("DELETE /v1/sessions/me", "x.y.z", &workspace);
        // Without a token, and with a wrong key.
        let fields = format!("Host: x\r\n{workspace}X-Admin-Key: not-the-admin-key\r\n\r\n");
        requests += "GET /v1/agents/x/sessions HTTP/1.1\r\n";
        requests += &fields;
    }
    requests += "GET /v1/nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (answers, ()) = tokio::join!(exchange(&service, requests), assert_serves_others(&service));
    assert_eq!(
        answers.matches("HTTP/1.1 401").count() as u64,
        3 * WORKSPACES
    );
    assert_eq!(service.tenants.loaded(), 1);
    assert_eq!(service.tenants.all().await.unwrap().len(), 1);
    // Before a workspace is loaded, the guard is asked about the token, but not for a logout. The
    // other client's token was validated too.
    assert_eq!(
        service.guard.calls().validate,
        asked.validate + WORKSPACES + 1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logouts_with_bad_tokens_load_no_more_workspaces_than_the_limit() {
    const WORKSPACES: u128 = 24;
    const MAX_LOADED: usize = 4;
    let service = TestService::with(ServiceSetup {
        world: World::Session,
        limits: TenantLimits {
            max_loaded: MAX_LOADED,
            ..TenantLimits::default()
        },
        // A round of housekeeping makes all loaded workspaces busy, because there are so few.
        serve: |options| ServeOptions {
            housekeeping: Duration::from_hours(1),
            ..options
        },
        ..ServiceSetup::default()
    })
    .await;
    let mut grants = Vec::new();
    for number in 1..=WORKSPACES {
        let workspace = Uuid::from_u128(number).to_string();
        let create = service.admin(Method::POST, "/v1/sessions").json(&worker());
        let created = answer(create.header("X-Workspace-Id", &workspace)).await;
        assert_eq!(created.status, 201, "{created:?}");
        grants.push((workspace, created.body));
    }
    let log_out = async |number: usize| {
        let workspace = format!(
            "X-Workspace-Id: {}\r\nConnection: close\r\n",
            grants[number].0
        );
        let refused = agent_request("DELETE /v1/sessions/me", "x.y.z", &workspace);
        let answer = exchange(&service, refused).await;
        assert!(service.tenants.loaded() <= MAX_LOADED);
        status(&answer)
    };
    for _ in 0..3 {
        let attack = join_all((0..grants.len()).map(log_out));
        let other = async {
            let begin = Instant::now();
            let create = || service.admin(Method::POST, "/v1/sessions").json(&worker());
            while answer(create()).await.status != 201 {
                assert!(begin.elapsed() < LONGEST, "the other client is not served");
            }
        };
        let (statuses, ()) = tokio::join!(attack, other);
        // 503 if all loaded workspaces were busy. A client repeats such a request.
        assert!(
            statuses.iter().all(|it| [401, 503].contains(it)),
            "{statuses:?}"
        );
    }
    for (workspace, grant) in &grants {
        let me = service.request(Method::GET, "/v1/sessions/me");
        let me = me
            .header("X-Workspace-Id", workspace)
            .bearer_auth(text(&grant["token"]));
        assert_eq!(answer(me).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_with_deep_or_many_values_are_answered_and_delay_no_other_client() {
    let service = with(|options| options).await;
    let deep = |open: &str, close: &str, bytes: usize| {
        let levels = bytes / (open.len() + close.len());
        format!("{}{}", open.repeat(levels), close.repeat(levels))
    };
    let member = |name: &str, value: &str| {
        let body = worker().to_string();
        let rest = body.strip_suffix('}').unwrap();
        format!("{rest},\"{name}\":{value}}}")
    };
    let many = (0..6_000).map(|it| format!("\"{it}\":0"));
    let many = many.collect::<Vec<_>>().join(",");
    for (path, body, expected) in [
        // The largest metadata, at its greatest depth.
        (
            "/v1/sessions",
            member("metadata", &deep("[", "]", 16_384)),
            201,
        ),
        (
            "/v1/sessions",
            member("metadata", &deep("[", "]", 16_386)),
            400,
        ),
        (
            "/v1/sessions",
            member("metadata", &deep("[", "]", 64_000)),
            400,
        ),
        ("/v1/sessions", member("metadata", &"[".repeat(64_000)), 400),
        (
            "/v1/sessions",
            member("unknown", &deep("[", "]", 64_000)),
            400,
        ),
        ("/v1/sessions", deep("[", "]", 65_536), 400),
        ("/v1/sessions", deep("{\"a\":", "}", 65_000), 400),
        ("/v1/sessions", format!("{{{many}}}"), 400),
        (
            "/v1/sessions",
            format!("{{\"scopes\":[{}\"\"]}}", "\"\",".repeat(20_000)),
            400,
        ),
        (
            "/v1/revoke-all",
            format!("{{\"filter\":{}}}", deep("[", "]", 64_000)),
            400,
        ),
        ("/v1/revoke-all", deep("{\"filter\":", "}", 65_000), 400),
        (
            "/v1/sessions",
            format!("{{\"role\":\"{}\"}}", "\\u0000".repeat(10_000)),
            400,
        ),
    ] {
        let fields = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len()
        );
        let request = admin(&format!("POST {path}"), &fields) + &body;
        let begin = Instant::now();
        let (answer, ()) =
            tokio::join!(exchange(&service, request), assert_serves_others(&service));
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(begin.elapsed() < LONGEST, "{}", &body[..20]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapes_and_probes_at_once_do_not_delay_other_clients_by_their_number() {
    const REQUESTS: usize = 200;
    const WORKSPACES: u128 = 100;
    let service = with(|options| options).await;
    for number in 1..=WORKSPACES {
        let tenant = TenantId::new(Uuid::from_u128(number));
        service.tenants.tenant(tenant).await.unwrap();
    }
    for path in ["/metrics", "/healthz"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let begin = Instant::now();
        let attack = join_all((0..REQUESTS).map(|_| exchange(&service, &request)));
        let (answers, ()) = tokio::join!(attack, assert_serves_others(&service));
        println!("{REQUESTS} of {path}: {:?}", begin.elapsed());
        assert!(answers.iter().all(|it| status(it) == 200), "{answers:?}");
        assert!(begin.elapsed() < LONGEST);
    }
}

/// Returns a command that starts the service with a journal, and that can open few files.
fn with_few_files(journal: &str) -> Command {
    let serve = with_key(&["--journal", journal]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]);
    command.arg(serve.get_program()).args(serve.get_args());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_can_open_no_more_files_serves_its_open_connections_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let program = start(with_few_files(path(&folder.path().join("sessions.redb"))));
    let address = program.url.strip_prefix("http://").unwrap().to_owned();
    let connect = || TcpStream::connect(&address);
    let mut open = connect().await.unwrap();
    let mut served = async || {
        let body = worker().to_string();
        let fields = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let create = admin("POST /v1/sessions", &fields) + &body;
        open.write_all(create.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            answer.push(open.read_u8().await.unwrap());
        }
        assert_eq!(status(std::str::from_utf8(&answer).unwrap()), 201);
    };
    served().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(connect().await.unwrap());
    }
    for _ in 0..20 {
        served().await;
    }
    let waiting = tokio::spawn(async move {
        let mut waiting = TcpStream::connect(&address).await.unwrap();
        let request = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        waiting.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        waiting.read_to_string(&mut answer).await.unwrap();
        answer
    });
    drop(idle);
    let answer = tokio::time::timeout(LONGEST, waiting).await.unwrap();
    assert_eq!(status(&answer.unwrap()), 200);
    assert_eq!(program.end(Signal::SIGTERM).code, Some(0));
}
