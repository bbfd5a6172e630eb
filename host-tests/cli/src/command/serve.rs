//! `serve`: the host as an HTTP service.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use clawdb_session_durable::{
    DurableError, DurableOptions, MemoryJournal, TenantId, TenantLimits, Tenants,
};
use clawdb_session_host::{HostOptions, SessionEngine, SessionError, full_text};
use clawdb_session_http::{AdminKey, ServeOptions, serve};
use futures::StreamExt;
use futures::stream;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::guard::GuardArgs;
use super::secrets::StateKeys;
use super::storage::{OpenedStorage, Storage, check, config};

/// What stands below the options.
pub const HELP: &str = r#"Prints "listening on http://ADDR" when it does.

Admins create and end sessions. Their key is CLAWDB_SESSION_ADMIN_KEY (at least 16 characters);
where that is not set, one is made and printed to standard error:
  curl http://127.0.0.1:8787/v1/sessions -H "X-Admin-Key: $KEY" \
    -H 'Content-Type: application/json' \
    -d '{"agent_id":"<UUID>","role":"worker","scopes":["tool:*"],"ttl_secs":900}'
Agents present the token that this gives:
  curl http://127.0.0.1:8787/v1/sessions/me -H "Authorization: Bearer $TOKEN"
X-Workspace-Id, a UUID, says in which workspace; each has its own sessions.

SIGTERM or SIGINT ends it in order: requests under way have 10 s. A second one ends it at once.

Routes (the documentation of the crate `clawdb-session-http` says what they take and give):
  POST   /v1/sessions                 GET    /v1/sessions/me
  GET    /v1/sessions/{id}            POST   /v1/sessions/me/authorize
  DELETE /v1/sessions/{id}            POST   /v1/sessions/me/rotate
  POST   /v1/sessions/{id}/refresh    DELETE /v1/sessions/me
  POST   /v1/sessions/{id}/delegate
  GET    /v1/agents/{id}/sessions     DELETE /v1/agents/{id}/sessions
  POST   /v1/revoke-all               POST   /v1/clock/accept
  GET    /v1/events
  GET    /metrics                     GET    /healthz

To rotate the state key, start with the new one and CLAWDB_SESSION_PREVIOUS_STATE_KEYS: every
workspace is resealed in the background, and the log and /metrics say when the old key may be
dropped. `rekey` does the same without serving. A workspace whose records no given key opens
answers 500 state_key_missing, and /healthz names it; the others are served."#;

/// How long the start waits until each workspace's `meta` record was held against the state keys.
const KEY_CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// In how many workspaces the clock is accepted at a time.
const CONCURRENT_ACCEPTS: usize = 8;

/// How many connections wait for the service to take them.
const BACKLOG: u32 = 1_024;

#[derive(Args)]
pub struct ServeArgs {
    /// The address to listen on; port 0 takes any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    #[command(flatten)]
    storage: Storage,
    /// Accepts a clock that was set back, once at the start, in each workspace where it is behind
    ///
    /// Ends all sessions of such a workspace and goes on from the machine's time, as
    /// POST /v1/clock/accept does. A workspace whose clock is not behind keeps its sessions.
    #[arg(long)]
    accept_clock_set_back: bool,
    #[command(flatten)]
    guard: GuardArgs,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    // Settings are checked before anything is opened.
    let admin_key = AdminKey::from_environment()?;
    let mut shutdown = pin!(shutdown()?);
    // An address in use is reported before files are created. Nobody can connect before `listen`.
    let address_error = |error| format!("--listen {}: {error}", args.listen);
    let socket = bind(args.listen).map_err(address_error)?;
    // A journal can take long to open, and one that is far away for ever.
    let opened = tokio::select! {
        opened = open(&args.storage, args.guard) => opened?,
        () = &mut shutdown => return Ok(()),
    };
    let OpenedStorage { journal, options } = opened;
    let guard = Arc::clone(&options.host.guard);
    let listener = socket.listen(BACKLOG).map_err(address_error)?;
    let address = listener.local_addr()?;
    let admin_key = match admin_key {
        Some(key) => key,
        None => random_admin_key()?,
    };
    let tenants = Tenants::new(options, journal, TenantLimits::default())?;
    // A damaged or misconfigured journal is reported here, and not to the first caller.
    let host = tenants.tenant(TenantId::default()).await;
    let tried = async {
        // In the log it stands before the first request, unless the journal is far away.
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

/// Returns a socket with this address, as `TcpListener::bind` has it before it listens.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts the machine's clock in each workspace where it is behind. Says which workspaces fail,
/// and goes on with the others.
async fn accept_clock(tenants: &Tenants) {
    let ids = match tenants.all().await {
        Ok(ids) => ids,
        Err(error) => {
            eprintln!(
                "the clock is accepted in no workspace: {}",
                full_text(&error)
            );
            return;
        }
    };
    stream::iter(ids)
        .for_each_concurrent(CONCURRENT_ACCEPTS, async |id| {
            let accepted = async { tenants.tenant(id).await?.accept_clock().await };
            match accepted.await {
                Ok(ended) => eprintln!("{id}: the clock is accepted, {ended} sessions ended"),
                Err(DurableError::Session(SessionError::ClockNotBehind)) => {}
                Err(error) => eprintln!("{id}: the clock is not accepted: {}", full_text(&error)),
            }
        })
        .await;
}

/// What the arguments name; where they name nothing, memory.
async fn open(storage: &Storage, guard: GuardArgs) -> Result<OpenedStorage, Box<dyn Error>> {
    let engine = SessionEngine::new()?;
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
    let options = DurableOptions::new(engine, HostOptions::new(guard.guard()?), config(&keys));
    check(&options, &keys.name).await?;
    eprintln!(
        "the sessions are kept in memory and end with the process; --journal FILE keeps them"
    );
    Ok(OpenedStorage {
        journal: Arc::new(MemoryJournal::default()),
        options,
    })
}

/// An admin key that nobody knows yet, so it is shown: once, and not where the output goes.
fn random_admin_key() -> Result<AdminKey, Box<dyn Error>> {
    let key = AdminKey::random()?;
    eprintln!("admin key, made for this run: {}", key.reveal());
    Ok(key)
}

/// The only line of output, for the process that started this one and waits for it.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}

/// Ends with the first SIGTERM or SIGINT from here on. A second one ends the process at once, as if
/// nobody had asked for signals.
pub fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order, so that the first one finds the flag as it is.
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
