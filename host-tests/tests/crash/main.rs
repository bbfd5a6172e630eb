//! A host that is killed at any moment loses no acknowledged change.
//!
//! Each test repeatedly makes calls to a child process, kills it with SIGKILL, restarts it, and
//! compares its sessions with the acknowledged state. `SESSION_CRASH_KILLS` sets the number of
//! kills of each test. `SESSION_CRASH_SEED` repeats the random choices of a run, but not the exact
//! moments.

mod acknowledged;
mod exec;
mod http;
mod takeover;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use clawdb_session_testkit::nats_server::NatsServer;
use clawdb_session_testkit::number_in_environment;
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use acknowledged::{AcknowledgedSession, Random, WorkCounts};
use exec::ExecClient;
use http::Service;

const ADMIN_KEY: &str = "the-admin-key-of-the-crash-tests";

/// After this time, a process that starts or has lost its lease must own its tenant.
const UNAVAILABLE_AT_MOST: Duration = Duration::from_mins(1);

/// Returns the number of kills of each test.
fn kills_wanted() -> u32 {
    number_in_environment("SESSION_CRASH_KILLS").unwrap_or(100)
}

/// Returns a command of the program with fixed keys. All processes share one cache of the
/// component's code: to compile it takes longer than all else that a process does.
fn command(args: &[&str]) -> Command {
    let code = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-code");
    fs::create_dir_all(&code).expect("the directory can be created");
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawdb-session"));
    command
        .args(args)
        .arg("--code-cache")
        .arg(code)
        .env("CLAWDB_SESSION_STATE_KEY", "07".repeat(32))
        .env(
            "CLAW_GUARD_JWT_SECRET",
            "a secret of the crash tests, long enough",
        )
        .env("CLAWDB_SESSION_ADMIN_KEY", ADMIN_KEY)
        .env_remove("CLAWDB_SESSION_PREVIOUS_STATE_KEYS")
        .env_remove("CLAW_GUARD_PREVIOUS_JWT_SECRETS");
    command
}

/// A process that is killed.
struct TargetProcess(Arc<Mutex<Child>>);

impl TargetProcess {
    fn new(child: Child) -> Self {
        Self(Arc::new(Mutex::new(child)))
    }

    /// Kills the process after this time, in a thread that is not joined.
    fn kill_after(&self, time: Duration) {
        let child = Arc::clone(&self.0);
        thread::spawn(move || {
            thread::sleep(time);
            let mut child = child
                .lock()
                .expect("no thread panics while it holds the lock");
            child.kill().expect("the process is killed");
        });
    }

    /// Sends a signal to the process.
    fn signal(&self, signal: Signal) {
        let child = self
            .0
            .lock()
            .expect("no thread panics while it holds the lock");
        let pid = i32::try_from(child.id()).expect("the process id fits");
        kill(Pid::from_raw(pid), signal).expect("the signal is sent");
    }

    /// Waits for the end of the process, and checks that SIGKILL ended it.
    fn end(&self) {
        loop {
            let ended = self
                .0
                .lock()
                .expect("no thread panics while it holds the lock")
                .try_wait();
            match ended.expect("the process can be waited for") {
                Some(status) => {
                    return assert_eq!(
                        status.signal(),
                        Some(9),
                        "the process was not ended by SIGKILL"
                    );
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Drop for TargetProcess {
    fn drop(&mut self) {
        if let Ok(mut child) = self.0.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Chooses when to kill: usually some time after the process is ready, sometimes while it starts
/// and restores.
fn kill_time(random: &mut Random) -> (bool, Duration) {
    let starting = random.below(8) == 0;
    let within = if starting { 150 } else { 250 };
    (starting, Duration::from_millis(random.below(within)))
}

fn report(begun: Instant, counts: WorkCounts) {
    println!(
        "{} kills survived in {:.0?}: {counts}",
        kills_wanted(),
        begun.elapsed()
    );
    let enough = u64::from(kills_wanted());
    assert!(
        counts.acknowledged() > enough,
        "too few changes were acknowledged"
    );
}

/// Repeatedly runs and kills `exec`.
fn kill_conversations(storage: &[&str]) {
    let arguments = [&["exec"], storage].concat();
    let (mut random, mut counts) = (Random::new(), WorkCounts::default());
    let mut sessions: Vec<AcknowledgedSession> = Vec::new();
    let begun = Instant::now();
    for kill in 0..=kills_wanted() {
        let is_last = kill == kills_wanted();
        let mut client = ExecClient::start(&arguments);
        let (starting, moment) = kill_time(&mut random);
        if !starting || is_last {
            client.wait_until_ready();
            let count = sessions.len();
            for (at, entry) in sessions.iter_mut().enumerate() {
                if is_last || at + 40 > count || random.some(count) {
                    exec::check(&mut client, entry);
                    counts.checked += 1;
                }
            }
        }
        if !is_last {
            client.process.kill_after(moment);
            exec::work(&mut client, &mut sessions, &mut random, &mut counts);
            client.process.end();
        }
    }
    report(begun, counts);
}

/// Repeatedly runs and kills `serve`, with several concurrent callers.
async fn kill_services(storage: &[&str]) {
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], storage].concat();
    let (mut random, mut counts) = (Random::new(), WorkCounts::default());
    let mut callers: Vec<Vec<AcknowledgedSession>> =
        (0..http::CALLERS).map(|_| Vec::new()).collect();
    let begun = Instant::now();
    for kill in 0..=kills_wanted() {
        let is_last = kill == kills_wanted();
        let service = Service::start(&arguments);
        let (starting, moment) = kill_time(&mut random);
        if !starting || is_last {
            service.wait_until_ready().await;
            for sessions in &mut callers {
                let count = sessions.len();
                let some = sessions
                    .iter_mut()
                    .enumerate()
                    .filter(|(at, _)| is_last || at + 4 > count || random.below(count as u64) < 4);
                counts.checked += http::check(&service, some.map(|(_, entry)| entry)).await;
            }
        }
        if !is_last {
            service.process.kill_after(moment);
            let work = callers
                .iter_mut()
                .map(|sessions| http::work(&service, sessions, random.fork()));
            for more in join_all(work).await {
                counts += more;
            }
            service.process.end();
        }
    }
    report(begun, counts);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

#[test]
fn exec_with_redb_loses_no_acknowledged_change_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    kill_conversations(&["--journal", text(&folder.path().join("sessions"))]);
}

#[tokio::test]
async fn serve_with_redb_loses_no_acknowledged_change_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    kill_services(&["--journal", text(&folder.path().join("sessions"))]).await;
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn exec_with_nats_loses_no_acknowledged_change_when_it_is_killed() {
    let server = NatsServer::start().await;
    kill_conversations(&["--nats", &server.url(), "--single", "--lease", "0.2"]);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn serve_with_nats_loses_no_acknowledged_change_when_it_is_killed() {
    let server = NatsServer::start().await;
    kill_services(&["--nats", &server.url(), "--single", "--lease", "0.2"]).await;
}
