//! The target `http`: the bytes that clients send to the service.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clawdb_session_durable::{
    DurableOptions, Journal, MemoryJournal, TenantId, TenantLimits, Tenants,
};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{AnyEngine, Config, World};
use clawdb_session_http::{AdminKey, ServeOptions, serve};
use clawdb_session_testkit::{CONTROLLED_START, ManualClock, controlled_instances};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::placeholders::Placeholders;

/// The key of the service. The dictionary of the fuzzer has it.
const ADMIN_KEY: &str = "the-admin-key-of-the-fuzzer";

/// The longest time that a connection may take. The service itself has longer limits, which no
/// client reaches that has sent all it will send.
const DEADLINE: Duration = Duration::from_secs(8);

static ENGINE: LazyLock<AnyEngine> =
    LazyLock::new(|| AnyEngine::new(World::SessionSync).expect("the component is compiled"));

/// Compiles the component, so that no input reaches the compiler.
pub fn prepare() {
    LazyLock::force(&ENGINE);
}

/// Sends the input to a new service. A zero byte ends a connection and begins the next one. Each
/// connection is closed for writing after its bytes, and read to its end.
///
/// # Panics
/// If an answer is not as documented, if a caller without the admin key reaches a session, or if
/// the service does not serve at the end.
pub fn run(input: &[u8]) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime is made");
    runtime.block_on(async {
        let service = Service::start().await;
        let mut placeholders = Placeholders::default();
        let mut has_key = false;
        for sent in input.split(|byte| *byte == 0) {
            let sent = placeholders.replace(sent);
            has_key |= contains(&sent, ADMIN_KEY);
            for answer in service.exchange(&sent).await {
                let body = check(&answer);
                let is_open = matches!(body["status"].as_str(), Some("ok"))
                    || answer.field("content-type").is_some_and(is_metrics);
                assert!(
                    has_key || is_open || answer.status >= 400 || answer.status == 100,
                    "a caller without a key is answered with {} {body}",
                    answer.status
                );
                placeholders.add(&body["session_id"], &body["token"]);
            }
        }
        service.end(has_key).await;
    });
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

fn is_metrics(content_type: &str) -> bool {
    content_type.starts_with("application/openmetrics-text")
}

/// Checks an answer, and returns its body if that is JSON.
fn check(answer: &Answer) -> Value {
    let Answer { status, body, .. } = answer;
    assert!(
        matches!(
            status,
            100 | 200 | 201 | 400 | 401 | 403..=405 | 408..=410 | 413..=415 | 429 | 431 | 501 | 503
        ),
        "an answer has the status {status}: {}",
        String::from_utf8_lossy(body)
    );
    // hyper makes such answers itself, and those to HEAD have no body.
    if body.is_empty() || answer.is_stream() || answer.field("content-type").is_some_and(is_metrics)
    {
        return Value::Null;
    }
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let body: Value = serde_json::from_slice(body).expect("a body is JSON");
    if *status >= 400 {
        let members = body.as_object().expect("a refusal is an object");
        let has_texts = ["error", "message"]
            .iter()
            .all(|name| body[name].as_str().is_some_and(|text| !text.is_empty()));
        assert!(members.len() == 2 && has_texts, "a refusal is {body}");
        let challenged = answer.field("www-authenticate").is_some();
        assert!(*status != 401 || challenged, "a 401 has no challenge");
        // The keys may not have been checked yet.
        assert!(*status != 503 || body["error"] == "unavailable", "{body}");
    }
    body
}

/// A service of its own for each input.
struct Service {
    address: std::net::SocketAddr,
    journal: Arc<MemoryJournal>,
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
}

impl Service {
    async fn start() -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = JwtGuard::new(&[7; 32]).expect("the key has 32 bytes");
        let guard = Arc::new(guard.with_clock(clock.clone()));
        let journal = Arc::new(MemoryJournal::default());
        let instances = controlled_instances(ENGINE.clone(), guard.clone(), clock);
        let options = DurableOptions::new(instances, Config::with_state_key([1; 32]));
        let tenants = Tenants::new(options, journal.clone(), TenantLimits::default());
        let key = AdminKey::new(ADMIN_KEY).expect("the key is long enough");
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(
            listener,
            tenants.expect("the limits are valid"),
            ServeOptions::new(key, guard),
            async {
                let _ = stopped.await;
            },
        );
        let running = tokio::spawn(async { serving.await.expect("the settings are valid") });
        Self {
            address,
            journal,
            stop,
            running,
        }
    }

    /// Sends bytes on a new connection and returns the answers.
    async fn exchange(&self, sent: &[u8]) -> Vec<Answer> {
        let exchange = timeout(DEADLINE, self.connect_and_exchange(sent));
        exchange.await.expect("a connection ends in time")
    }

    async fn connect_and_exchange(&self, sent: &[u8]) -> Vec<Answer> {
        let stream = TcpStream::connect(self.address).await;
        let mut stream = stream.expect("the service accepts a connection");
        // The service may close the connection before it has read everything.
        let _ = stream.write_all(sent).await;
        let _ = stream.shutdown().await;
        let is_head = sent.windows(5).any(|part| part == b"HEAD ");
        let mut received = Vec::new();
        let mut answers = Vec::new();
        loop {
            let more = stream.read_buf(&mut received).await;
            while let Some((answer, rest)) = Answer::read(&received, is_head) {
                received = rest.to_vec();
                let is_stream = answer.is_stream();
                answers.push(answer);
                if is_stream {
                    return answers;
                }
                if received.is_empty() || is_head {
                    break;
                }
            }
            if is_head || !matches!(more, Ok(1..)) {
                return answers;
            }
        }
    }

    /// Checks that the service still serves, and ends it.
    async fn end(self, has_key: bool) {
        if !has_key {
            let tenants = self.journal.tenants().await.expect("the journal answers");
            // The service loads the default workspace itself.
            assert!(
                tenants.iter().all(|id| *id == TenantId::default()),
                "a caller without a key made a workspace"
            );
        }
        let body = r#"{"agent_id":"0a9e0000-0000-4000-8000-000000000001","role":"r","scopes":[]}"#;
        let create = format!(
            "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nX-Admin-Key: {ADMIN_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answers = self.exchange(create.as_bytes()).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [201], "the service creates a session");
        let _ = self.stop.send(());
        let ended = timeout(DEADLINE, self.running).await;
        ended
            .expect("the service ends in time")
            .expect("the service ends");
    }
}
