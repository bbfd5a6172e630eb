//! The fixture of the tests: the service on a free port, with a controlled clock and guard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_durable::{DurableOptions, Journal, MemoryJournal, TenantLimits, Tenants};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{AnyEngine, Config, Guard, InstanceOptions, World};
use clawdb_session_http::{AdminKey, ServeOptions, serve};
use clawdb_session_testkit::{
    CONTROLLED_START, ControlledGuard, ManualClock, controlled_instances,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const ADMIN_KEY: &str = "an-admin-key-for-tests";
pub const AGENT: &str = "0a9e0000-0000-4000-8000-000000000001";
pub const OTHER_AGENT: &str = "0a9e0000-0000-4000-8000-000000000002";
/// The id of no session.
pub const NOBODY: &str = "00000000-0000-4000-8000-00000000dead";

/// The settings of a test service.
pub struct ServiceSetup {
    pub journal: Arc<dyn Journal>,
    pub config: Config,
    pub serve: fn(ServeOptions) -> ServeOptions,
    /// Makes the guard that the controlled guard wraps.
    pub tokens: fn(JwtGuard) -> Arc<dyn Guard>,
    /// How long calls wait for an instance.
    pub patience: Duration,
    /// In the world `session-sync`, the guard must not be held.
    pub world: World,
    /// Only for the world `session`.
    pub guard_deadline: Option<Duration>,
    pub limits: TenantLimits,
}

impl Default for ServiceSetup {
    fn default() -> Self {
        Self {
            journal: Arc::new(MemoryJournal::default()),
            config: keyed(),
            serve: |options| options,
            tokens: |guard| Arc::new(guard),
            patience: Duration::from_secs(10),
            world: World::SessionSync,
            guard_deadline: None,
            limits: TenantLimits::default(),
        }
    }
}

pub struct TestService {
    pub url: String,
    pub address: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub guard: Arc<ControlledGuard>,
    pub tenants: Tenants,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// An answer, read completely.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl TestService {
    pub async fn new() -> Self {
        Self::with(ServiceSetup::default()).await
    }

    /// Starts a service in the world `session`, in which requests wait for a guard that is held.
    pub async fn overlapping() -> Self {
        Self::with(ServiceSetup {
            world: World::Session,
            ..ServiceSetup::default()
        })
        .await
    }

    pub async fn with(setup: ServiceSetup) -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let tokens = JwtGuard::new(&[7; 32]).unwrap().with_clock(clock.clone());
        let guard = Arc::new(ControlledGuard::new((setup.tokens)(tokens)));
        let engine = AnyEngine::new(setup.world).unwrap();
        let mut instances = controlled_instances(engine, guard.clone(), clock.clone());
        if let InstanceOptions::Session(_, options) = &mut instances {
            options.guard_deadline = setup.guard_deadline;
        }
        let options = DurableOptions {
            patience: setup.patience,
            drain: Duration::from_secs(2),
            tick: Duration::from_millis(10),
            report: Some(Arc::new(|tenant, text| {
                eprintln!("{tenant}: the host {text}");
            })),
            ..DurableOptions::new(instances, setup.config)
        };
        let tenants = Tenants::new(options, setup.journal, setup.limits).unwrap();
        let key = AdminKey::new(ADMIN_KEY).unwrap();
        let options = ServeOptions {
            housekeeping: Duration::from_millis(20),
            ..ServeOptions::new(key, guard.clone())
        };
        let options = (setup.serve)(options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(listener, tenants.clone(), options, async {
            let _ = stopped.await;
        });
        let running = tokio::spawn(async { serving.await.unwrap() });
        Self {
            url: format!("http://{address}"),
            address,
            clock,
            guard,
            tenants,
            client: Client::new(),
            stop: Some(stop),
            running,
        }
    }

    /// Drops the future of the service without a shutdown.
    pub fn abort(self) {
        self.running.abort();
    }

    /// Begins the shutdown of the service.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until the service has ended.
    pub async fn ended(self) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.running);
        ended.await.expect("the service ends").unwrap();
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Returns a request with the admin key.
    pub fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header("X-Admin-Key", ADMIN_KEY)
    }

    pub async fn create(&self, body: &Value) -> Reply {
        answer(self.admin(Method::POST, "/v1/sessions").json(body)).await
    }

    /// Creates a session of [`AGENT`] for 60 s, and returns its grant.
    pub async fn session(&self) -> Value {
        let created = self.create(&worker()).await;
        assert_eq!(created.status, 201, "{created:?}");
        created.body
    }

    pub async fn me(&self, token: &Value) -> Reply {
        answer(
            self.request(Method::GET, "/v1/sessions/me")
                .bearer_auth(text(token)),
        )
        .await
    }

    /// Reads a metric without labels from `/metrics`.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.metrics().await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let figure = line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
        figure.parse().unwrap()
    }

    pub async fn metrics(&self) -> String {
        let scrape = self.request(Method::GET, "/metrics").send().await.unwrap();
        assert_eq!(scrape.status(), 200);
        scrape.text().await.unwrap()
    }
}

impl Reply {
    /// Checks that the answer is a refusal with this status and error and no other members, and
    /// returns its message.
    pub fn assert_refused(&self, status: u16, error: &str) -> &str {
        assert_eq!(
            (self.status.as_u16(), &self.body["error"]),
            (status, &json!(error)),
            "{self:?}"
        );
        assert_eq!(members(&self.body), ["error", "message"]);
        let message = text(&self.body["message"]);
        assert!(!message.is_empty());
        message
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub async fn answer(request: RequestBuilder) -> Reply {
    read(request.send().await.unwrap()).await
}

pub async fn read(response: Response) -> Reply {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.text().await.unwrap();
    let body = serde_json::from_str(&body)
        .unwrap_or_else(|_| panic!("the body of {status} is not JSON: {body}"));
    Reply {
        status,
        headers,
        body,
    }
}

/// Returns the body of a create for a session of [`AGENT`].
pub fn worker() -> Value {
    json!({ "agent_id": AGENT, "role": "worker", "scopes": ["tool:*"], "ttl_secs": 60 })
}

pub fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("expected a text, not {value}"))
}

/// Returns the names of an object's members, sorted.
pub fn members(value: &Value) -> Vec<&str> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("expected an object, not {value}"));
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Waits until the condition holds, for at most 30 s.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "not within 30 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the default configuration with a state key.
pub fn keyed() -> Config {
    Config::with_state_key([1; 32])
}
