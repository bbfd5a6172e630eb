//! NATS servers for tests: a single server, or a cluster of three, on loopback. Each has a folder
//! for its store, which is deleted with it. A server can be killed, paused and started again with
//! the same store.
//!
//! Start servers in the thread of the test, not in `spawn_blocking`: a server ends with the thread
//! that started it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::IgnoredAny;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The path of the server that the build script found.
const PROGRAM: &str = match option_env!("CLAWDB_SESSION_NATS_SERVER") {
    Some(program) => program,
    None => "nats-server",
};

/// How long a server may take to start, or a cluster to elect a leader. A busy machine is slow.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The time between two checks.
const INTERVAL: Duration = Duration::from_millis(20);

/// The settings of a server, in addition to those of all servers.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The content of `jetstream { ... }` besides the store; `None` turns `JetStream` off.
    pub jetstream: Option<&'static str>,
    /// Further lines of the configuration.
    pub more: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            jetstream: Some(""),
            more: "",
        }
    }
}

/// A NATS server.
pub struct NatsServer {
    name: String,
    port: u16,
    jetstream: bool,
    /// The folder with the configuration, the log and the store.
    folder: TempDir,
    /// The process; `None` while the server is down.
    process: Option<Child>,
}

impl NatsServer {
    /// Starts a single server and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// Starts a single server with these settings and waits until it is ready.
    pub async fn start_with(setup: Setup) -> Self {
        let [port] = free_ports();
        let mut server = Self::new("single", port, setup, "");
        server.launch();
        server.wait_until_ready().await;
        server
    }

    fn new(name: &str, port: u16, setup: Setup, cluster: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("nats-server-")
            .tempdir()
            .unwrap();
        let store = folder.path().join("store");
        let mut config = format!("server_name: {name}\nlisten: \"127.0.0.1:{port}\"\n{cluster}");
        if let Some(jetstream) = setup.jetstream {
            write!(
                config,
                "jetstream {{ store_dir: \"{}\"\n{jetstream} }}\n",
                store.display()
            )
            .unwrap();
        }
        config.push_str(setup.more);
        fs::write(folder.path().join("config"), config).unwrap();
        Self {
            name: name.into(),
            port,
            jetstream: setup.jetstream.is_some(),
            folder,
            process: None,
        }
    }

    /// Returns the URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Returns the folder of the server. The folder `store` in it is the store.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the server, like a crash. It can be [launched](Self::launch) again.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Pauses the server: it keeps its connections and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // A thread on another core stops a little later than the signal is sent.
        let deadline = std::time::Instant::now() + TIMEOUT;
        while !self.is_paused() {
            assert!(
                std::time::Instant::now() < deadline,
                "the server does not stop"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the pause of the server.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.id()).unwrap()), signal).unwrap();
    }

    /// Returns the id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// Returns whether all threads of the server have stopped.
    fn is_paused(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.flatten().all(|thread| {
            fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        })
    }

    /// Starts the server with its folder, and does not wait until it is ready.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "the server runs");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        // With `setpriv`, the server is killed when this thread ends. `setpriv` replaces itself
        // with the server, so the process id is that of the server.
        let has_setpriv = Path::new("/usr/bin/setpriv").exists();
        let mut command = if has_setpriv {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "KILL", "--", PROGRAM]);
            command
        } else {
            Command::new(PROGRAM)
        };
        let process = command
            .arg("--config")
            .arg(self.folder.path().join("config"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        match process {
            Ok(process) => self.process = Some(process),
            Err(error) => {
                panic!(
                    "{PROGRAM} does not start ({error}); to install it: apt-get install nats-server"
                )
            }
        }
    }

    /// Starts the server with its folder and waits until it is ready.
    pub async fn restart(&mut self) {
        self.launch();
        self.wait_until_ready().await;
    }

    /// Waits until the server answers; if it has `JetStream`, until that answers.
    pub async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait().unwrap()
            {
                panic!(
                    "{PROGRAM} ended with {status} (to install it: apt-get install nats-server); \
                     its log:\n{}",
                    self.log_tail()
                );
            }
            if let Ok(client) = connect(&self.url()).await
                && (!self.jetstream || has_jetstream(client).await)
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} is not ready:\n{}",
                self.name,
                self.log_tail()
            );
            sleep(INTERVAL).await;
        }
    }

    /// Connects another client and returns its `JetStream` context.
    pub async fn context(&self) -> Context {
        jetstream::new(connect(&self.url()).await.unwrap())
    }

    /// Returns the last 40 lines of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail if the process has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            eprintln!(
                "-- the end of the log of {}:\n{}",
                self.name,
                self.log_tail()
            );
        }
    }
}

/// A cluster of three servers.
pub struct NatsCluster {
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts a cluster and waits until it can create streams with three replicas.
    pub async fn start() -> Self {
        let ports: [u16; 6] = free_ports();
        let (clients, routes) = ports.split_at(3);
        let all = routes
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let servers = clients
            .iter()
            .zip(routes)
            .enumerate()
            .map(|(i, (port, route))| {
                let cluster = format!(
                    "cluster {{ name: three\n listen: \"127.0.0.1:{route}\"\n routes: [{all}] }}\n"
                );
                NatsServer::new(&format!("n{i}"), *port, Setup::default(), &cluster)
            })
            .collect();
        let mut cluster = Self { servers };
        for server in &mut cluster.servers {
            server.launch();
        }
        cluster.wait_until_ready().await;
        cluster
    }

    /// Returns the URLs of all servers, for clients.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.servers.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// Waits until all servers answer and a stream with three replicas can be created.
    pub async fn wait_until_ready(&mut self) {
        for server in &mut self.servers {
            server.wait_until_ready().await;
        }
        let context = self.servers[0].context().await;
        let probe = Config {
            name: "probe".into(),
            num_replicas: 3,
            ..Config::default()
        };
        let deadline = Instant::now() + TIMEOUT;
        while context.create_stream(&probe).await.is_err() {
            assert!(Instant::now() < deadline, "the cluster creates no streams");
            sleep(INTERVAL).await;
        }
        context.delete_stream("probe").await.unwrap();
    }

    /// Waits until a stream has a leader, and returns the index of that server.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            for server in &self.servers {
                if server.process.is_none() {
                    continue;
                }
                let Ok(client) = connect(&server.url()).await else {
                    continue;
                };
                let Ok(stream) = jetstream::new(client).get_stream(stream).await else {
                    continue;
                };
                let leader = stream
                    .cached_info()
                    .cluster
                    .as_ref()
                    .and_then(|cluster| cluster.leader.clone());
                if let Some(i) = self
                    .servers
                    .iter()
                    .position(|server| Some(&server.name) == leader.as_ref())
                    && self.servers[i].process.is_some()
                {
                    return i;
                }
            }
            assert!(Instant::now() < deadline, "{stream} has no leader");
            sleep(INTERVAL).await;
        }
    }

    /// Makes a server the leader of a stream: each other leader is asked to step down.
    pub async fn have_lead(&self, stream: &str, wanted: usize) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let leader = self.leader_of(stream).await;
            if leader == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "server {wanted} does not lead");
            self.wait_until_current(stream).await;
            if let Ok(client) = connect(&self.servers[leader].url()).await {
                let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
                // The loop checks the leader again, whatever the answer is.
                let _ = client.request(subject, "".into()).await;
            }
            sleep(INTERVAL * 10).await;
        }
    }

    /// Waits until all replicas of a stream have all messages of its leader.
    pub async fn wait_until_current(&self, stream: &str) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let leader = self.leader_of(stream).await;
            if let Ok(client) = connect(&self.servers[leader].url()).await
                && let Ok(stream) = jetstream::new(client).get_stream(stream).await
                && let Some(cluster) = &stream.cached_info().cluster
                && cluster.replicas.len() == 2
                && cluster
                    .replicas
                    .iter()
                    .all(|peer| peer.current && !peer.offline)
            {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the replicas of {stream} do not catch up"
            );
            sleep(INTERVAL).await;
        }
    }
}

/// Returns whether `JetStream` answers.
async fn has_jetstream(client: Client) -> bool {
    // The client's type for the account needs members that nats-server 2.9 does not send.
    let answer = jetstream::new(client).request("INFO", b"").await;
    matches!(answer, Ok(Response::Ok(IgnoredAny)))
}

async fn connect(url: &str) -> Result<Client, async_nats::ConnectError> {
    ConnectOptions::new()
        .connection_timeout(Duration::from_secs(1))
        .request_timeout(Some(Duration::from_secs(1)))
        .connect(url)
        .await
}

/// Returns free ports below the range that the system uses for outgoing connections, so that the
/// port of a server stays free while the server is down.
fn free_ports<const N: usize>() -> [u16; N] {
    let mut held = Vec::new();
    [(); N].map(|()| {
        loop {
            let port = u16::try_from(10_000 + Uuid::new_v4().as_u128() % 20_000).unwrap();
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                // The listener is kept until all ports are found, so that no two are the same.
                held.push(listener);
                return port;
            }
        }
    })
}
