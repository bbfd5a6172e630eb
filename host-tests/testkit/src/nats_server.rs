//! Servers of NATS for tests: one alone, or a cluster of three, on loopback, each with a store of its own that
//! goes with it. They can be killed, stopped and started again in the same place.
//!
//! Start them from the test's own thread, not in `spawn_blocking`: they end with the thread that started them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Where the build found it.
const PROGRAM: &str = match option_env!("CLAWDB_SESSION_NATS_SERVER") {
    Some(program) => program,
    None => "nats-server",
};

/// How long a server may take to be there, or a cluster to agree. A machine that is busy needs some of it.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(20);

/// How a server is set up, beyond what every one has.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// What stands in `jetstream { ... }` beside the store; none turns it off.
    pub jetstream: Option<&'static str>,
    /// Other lines of the configuration.
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

/// A server.
pub struct NatsServer {
    name: String,
    port: u16,
    jetstream: bool,
    /// Its configuration, its log and its store.
    folder: TempDir,
    /// None while it is down.
    process: Option<Child>,
}

impl NatsServer {
    /// One server alone, ready.
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// One server alone that is set up in another way, ready.
    pub async fn start_with(setup: Setup) -> Self {
        let [port] = free_ports();
        let mut server = Self::new("alone", port, setup, "");
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

    /// Where a client finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its folder: `store` in it is the store.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it as a crash would. It can be [launched](Self::launch) again.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops it: it keeps its connections and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // A thread that runs on another core stops a little later.
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.is_paused() {
            assert!(std::time::Instant::now() < deadline, "it does not stop");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.id()).unwrap()), signal).unwrap();
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// Whether all its threads have stopped.
    fn is_paused(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.flatten().all(|thread| {
            fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        })
    }

    /// Starts it in its place, without waiting for it.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "the server runs");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        // It ends with us however we end. `setpriv` becomes the server, so the number is the server's.
        let tied = Path::new("/usr/bin/setpriv").exists();
        let mut command = if tied {
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
            Err(error) => panic!("{PROGRAM} does not start ({error}): apt-get install nats-server"),
        }
    }

    /// Starts it in its place and waits until it answers.
    pub async fn restart(&mut self) {
        self.launch();
        self.wait_until_ready().await;
    }

    /// Waits until it answers, for `JetStream` if it has that.
    pub async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait().unwrap()
            {
                panic!(
                    "{PROGRAM} ended with {status} (if it is not there: apt-get install nats-server):\n{}",
                    self.log_tail()
                );
            }
            if let Ok(client) = connect(&self.url()).await
                && (!self.jetstream || jetstream::new(client).query_account().await.is_ok())
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

    /// A client of its own, for what a journal does not do.
    pub async fn context(&self) -> Context {
        jetstream::new(connect(&self.url()).await.unwrap())
    }

    /// The end of its log.
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
            // Nothing is to be done where it has gone by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            eprintln!("-- {} ended its log with\n{}", self.name, self.log_tail());
        }
    }
}

/// Three servers that are one.
pub struct NatsCluster {
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// A cluster that can make streams with three replicas.
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

    /// Where a client finds it: all of them.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.servers.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// Waits until all servers answer and a stream with three replicas can be made.
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
        let deadline = Instant::now() + PATIENCE;
        while context.create_stream(&probe).await.is_err() {
            assert!(Instant::now() < deadline, "the cluster makes no streams");
            sleep(INTERVAL).await;
        }
        context.delete_stream("probe").await.unwrap();
    }

    /// Which server leads a stream, once there is one that does.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let deadline = Instant::now() + PATIENCE;
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

    /// Has a certain server lead a stream: whoever leads steps down until it does.
    pub async fn have_lead(&self, stream: &str, wanted: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader_of(stream).await;
            if leader == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "server {wanted} does not lead");
            self.wait_until_current(stream).await;
            if let Ok(client) = connect(&self.servers[leader].url()).await {
                let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
                // Who leads is looked at again, whatever the answer.
                let _ = client.request(subject, "".into()).await;
            }
            sleep(INTERVAL * 10).await;
        }
    }

    /// Waits until all replicas of a stream have what its leader has.
    pub async fn wait_until_current(&self, stream: &str) {
        let deadline = Instant::now() + PATIENCE;
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

async fn connect(url: &str) -> Result<Client, async_nats::ConnectError> {
    ConnectOptions::new()
        .connection_timeout(Duration::from_secs(1))
        .request_timeout(Some(Duration::from_secs(1)))
        .connect(url)
        .await
}

/// Ports that nobody has, below those that the system gives to connections: so a server that is down finds its own
/// free when it comes back.
fn free_ports<const N: usize>() -> [u16; N] {
    let mut held = Vec::new();
    [(); N].map(|()| {
        loop {
            let port = u16::try_from(10_000 + Uuid::new_v4().as_u128() % 20_000).unwrap();
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                // Until the last is found, so that no two are the same.
                held.push(listener);
                return port;
            }
        }
    })
}
