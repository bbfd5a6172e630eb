//! The command `serve`: the HTTP service.

use std::error::Error;
use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use clawdb_session_durable::{
    DurableError, DurableOptions, MemoryJournal, TenantId, TenantLimits, Tenants,
};
use clawdb_session_host::{AnyEngine, InstanceOptions, SessionError, full_text};
use clawdb_session_http::{AdminKey, ServeOptions, serve};
use futures::StreamExt;
use futures::stream;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::core_dumps;
use super::guard::GuardArgs;
use super::log::log;
use super::secrets::StateKeys;
use super::storage::{OpenedStorage, Storage, check, config};
use super::world::WorldArgs;

/// The help after the options.
pub const HELP: &str = r#"Prints "listening on http://ADDR" to standard output when it is ready.

Example:
  export CLAWDB_SESSION_ADMIN_KEY=$(openssl rand -hex 32)
  clawdb-session serve --journal sessions.redb
  curl http://127.0.0.1:8787/v1/sessions -H "X-Admin-Key: $CLAWDB_SESSION_ADMIN_KEY" \
    -H 'Content-Type: application/json' \
    -d '{"agent_id":"<UUID>","role":"worker","scopes":["tool:*"],"ttl_secs":900}'
  curl http://127.0.0.1:8787/v1/sessions/me -H "Authorization: Bearer <the token in the answer>"

Routes (the documentation of the crate `clawdb-session-http` has bodies, answers and errors):
  POST   /v1/sessions                 GET    /v1/sessions/me
  GET    /v1/sessions/{id}            POST   /v1/sessions/me/authorize
  DELETE /v1/sessions/{id}            POST   /v1/sessions/me/rotate
  POST   /v1/sessions/{id}/refresh    DELETE /v1/sessions/me
  POST   /v1/sessions/{id}/delegate
  GET    /v1/agents/{id}/sessions     DELETE /v1/agents/{id}/sessions
  POST   /v1/revoke-all               POST   /v1/clock/accept
  GET    /v1/events
  GET    /metrics                     GET    /healthz

Callers:
  Admins present the key in CLAWDB_SESSION_ADMIN_KEY (16 to 1024 printable ASCII characters). If it
  is not set, a key is generated and printed to standard error. Agents present their session's
  token. The header X-Workspace-Id, a UUID, selects a workspace; each has its own sessions.

Keys:
  The state key seals the records of the sessions. The guard's key signs the tokens. With
  --journal FILE both are generated at the first start and stored beside it, in FILE.state-key and
  FILE.guard-key. Back up these files together with the journal: it cannot be read without its state
  key. To choose the keys, set CLAWDB_SESSION_STATE_KEY (32 to 64 bytes, in hexadecimal) and, for
  the guard's key, CLAW_GUARD_JWT_SECRET (at least 32 bytes; claw-guard reads the same variable).
  --nats needs both variables, equal on all hosts.

Rotating the state key:
  Start with the new key in CLAWDB_SESSION_STATE_KEY and the old one in
  CLAWDB_SESSION_PREVIOUS_STATE_KEYS (in hexadecimal, separated by commas, at most 8). All records
  are resealed in the background. The log and /metrics report when the old key may be dropped. With
  several hosts on NATS, first add the new key to the previous ones on all hosts, and then swap the
  two keys on each. `rekey` reseals without serving. If the records of a workspace cannot be
  verified with any given key, its calls are answered with 500 state_key_missing, and the others
  are served.

Rotating the guard's key:
  Start with the new key, and add the old one to the previous keys: as a line of
  CLAW_GUARD_PREVIOUS_JWT_SECRETS, or in hexadecimal as a line of FILE.previous-guard-keys. The
  guard signs with the new key and accepts tokens of all keys. At most 8 previous keys are allowed.
  Drop one when its last token has expired.

Several hosts on NATS:
  One host at a time owns the sessions of a workspace, by a lease that it renews. The other hosts
  answer 503 not_owner, and one of them takes over when the lease has ended. A host that was paused
  and lost its lease acknowledges no change and answers no read before it owns the workspace again.
  A change is acknowledged when most of the --replicas servers have it. By default nats-server syncs
  to the disk every two minutes, so run the servers on machines that do not lose power together.
  From nats-server 2.10 on, the setting `sync_interval: always` syncs each change.

Signals:
  SIGTERM or SIGINT shuts the service down: it waits up to 10 s for requests in flight and exits
  with 0. A guard that does not answer can add up to 15 s to that. A second signal ends the process
  at once."#;

/// The maximum time that the start waits for the check of the state keys of all workspaces.
const KEY_CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of workspaces in which the clock is accepted at a time.
const CONCURRENT_ACCEPTS: usize = 8;

/// The maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

#[derive(Args)]
pub struct ServeArgs {
    /// The address to listen on; port 0 selects a free port
    ///
    /// The default is a loopback address. Use another one only behind a proxy with TLS.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    #[command(flatten)]
    storage: Storage,
    /// Accepts the machine's clock at the start, in each workspace whose time is ahead of it by
    /// more than `clock-tolerance`
    ///
    /// This is for a clock that was ahead and was set back. It ends all sessions of such a
    /// workspace and sets the workspace's time to the machine's, as POST /v1/clock/accept does.
    /// Other workspaces keep their sessions.
    #[arg(long)]
    accept_clock_set_back: bool,
    /// Lets the system write a core dump if the process crashes
    ///
    /// A core dump contains the keys, and the tokens of requests in flight. Without this option,
    /// none is written, and other processes of the user cannot read the memory of this one.
    #[arg(long)]
    allow_core_dumps: bool,
    #[command(flatten)]
    guard: GuardArgs,
    #[command(flatten)]
    world: WorldArgs,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    if !args.allow_core_dumps {
        core_dumps::refuse()?;
    }
    // Settings are checked before files are opened.
    let admin_key = AdminKey::from_environment()?;
    let mut shutdown = pin!(shutdown()?);
    // An address in use is reported before files are created. Clients can connect after `listen`.
    let address_error = |error| format!("--listen {}: {error}", args.listen);
    let socket = bind(args.listen).map_err(address_error)?;
    // Opening a journal can take long, so a signal interrupts it.
    let opened = tokio::select! {
        opened = open(&args.storage, args.world.engine()?, args.guard) => opened?,
        () = &mut shutdown => return Ok(()),
    };
    let OpenedStorage { journal, options } = opened;
    let guard = options.instances.guard();
    let listener = socket.listen(BACKLOG).map_err(address_error)?;
    let address = listener.local_addr()?;
    let admin_key = match admin_key {
        Some(key) => key,
        None => random_admin_key()?,
    };
    let tenants = Tenants::new(options, journal, TenantLimits::default())?;
    // If the journal is damaged or misconfigured, the start fails, before the first request.
    let host = tenants.tenant(TenantId::default()).await;
    let tried = async {
        // The result is in the log before the first request, unless the check takes too long.
        let checked = timeout(KEY_CHECK_TIMEOUT, tenants.keys_checked());
        let (tried, _) = tokio::join!(async { host?.active_count().await }, checked);
        if args.accept_clock_set_back {
            accept_clock(&tenants).await;
        }
        tried
    };
    tokio::select! {
        tried = tried => if let Err(
            error @ (DurableError::Journal(_) | DurableError::Settings(_))
        ) = tried {
            return Err(error.into());
        },
        () = &mut shutdown => {
            tenants.shutdown().await;
            return Ok(());
        }
    }
    announce(address)?;
    serve(
        listener,
        tenants,
        ServeOptions::new(admin_key, guard),
        shutdown,
    )
    .await?;
    Ok(())
}

/// Returns a socket that is bound to this address, with the options of `TcpListener::bind`.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts the machine's clock in each workspace whose time is ahead of it by more than
/// `clock-tolerance`. Reports workspaces in which that fails, and continues with the others.
async fn accept_clock(tenants: &Tenants) {
    let ids = match tenants.all().await {
        Ok(ids) => ids,
        Err(error) => {
            log(format_args!(
                "the clock is not accepted in any workspace: {}",
                full_text(&error)
            ));
            return;
        }
    };
    stream::iter(ids)
        .for_each_concurrent(CONCURRENT_ACCEPTS, async |id| {
            let accepted = async { tenants.tenant(id).await?.accept_clock_fully().await };
            match accepted.await {
                Ok(ended) => log(format_args!(
                    "{id}: the clock is accepted, {ended} sessions ended"
                )),
                Err(DurableError::Session(SessionError::ClockNotBehind)) => {}
                Err(error) => log(format_args!(
                    "{id}: the clock is not accepted: {}",
                    full_text(&error)
                )),
            }
        })
        .await;
}

/// Opens the journal that the arguments name, or one in memory if they name none.
async fn open(
    storage: &Storage,
    engine: AnyEngine,
    guard: GuardArgs,
) -> Result<OpenedStorage, Box<dyn Error>> {
    if let Some(opened) = storage.open(engine.clone(), guard).await? {
        return Ok(opened);
    }
    let mut key = vec![0; 32];
    getrandom::fill(&mut key)?;
    let keys = StateKeys {
        current: key,
        previous: Vec::new(),
        name: "the random state key".into(),
        unwritten: None,
    };
    let instances = InstanceOptions::new(engine, guard.guard()?);
    let options = DurableOptions::new(instances, config(&keys));
    check(&options, &keys.name).await?;
    log(format_args!(
        "the sessions are in memory only and end with the process; --journal FILE keeps them"
    ));
    Ok(OpenedStorage {
        journal: Arc::new(MemoryJournal::default()),
        options,
    })
}

/// Returns a random admin key and prints it to standard error.
fn random_admin_key() -> Result<AdminKey, Box<dyn Error>> {
    let key = AdminKey::random()?;
    writeln!(
        stderr(),
        "admin key generated for this run: {}",
        key.reveal()
    )?;
    Ok(key)
}

/// Prints the address, for a process that waits until the service is ready. It is the only line on
/// standard output.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}

/// Returns a future that ends at the first SIGTERM or SIGINT after this call. A second signal has
/// its default effect: it ends the process at once.
pub fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // The handlers run in this order. At the first signal the flag is still false, so the
        // default effect follows only the second signal.
        flag::register_conditional_default(signal, Arc::clone(&is_second))?;
        flag::register(signal, Arc::clone(&is_second))?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
