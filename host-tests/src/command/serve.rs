//! `serve`: the host as an HTTP service.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use clap::Args;
use clawdb_session_host::bindings::exports::clawdb::session::settings::Config;
use clawdb_session_host::durable::DurableOptions;
use clawdb_session_host::engine::SessionEngine;
use clawdb_session_host::guard::Guard;
use clawdb_session_host::host::HostOptions;
use clawdb_session_host::serve::{AdminKey, ServeOptions, serve};
use clawdb_session_host::tenants::{TenantLimits, Tenants};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::journals::{JournalArgs, Opened, open_journal};
use super::secrets::StateKeys;

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

Routes (the documentation of the library's module `serve` says what they take and give):
  POST   /v1/sessions                 GET    /v1/sessions/me
  GET    /v1/sessions/{id}            POST   /v1/sessions/me/authorize
  DELETE /v1/sessions/{id}            POST   /v1/sessions/me/rotate
  POST   /v1/sessions/{id}/refresh    POST   /v1/sessions/{id}/delegate
  GET    /v1/agents/{id}/sessions     DELETE /v1/agents/{id}/sessions
  POST   /v1/revoke-all               GET    /v1/events
  GET    /metrics                     GET    /healthz"#;

#[derive(Args)]
pub struct ServeArgs {
    /// The address to listen on; port 0 takes any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    #[command(flatten)]
    journal: JournalArgs,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    // What is wrong with the settings is told before anything is opened.
    let admin_key = AdminKey::from_environment()?;
    let mut shutdown = pin!(shutdown()?);
    // A journal can take long to open, and one that is far away for ever.
    let opened = tokio::select! {
        opened = open_journal(&args.journal) => opened?,
        () = &mut shutdown => return Ok(()),
    };
    let Opened {
        journal,
        guard,
        keys,
    } = opened;
    let guard: Arc<dyn Guard> = Arc::new(guard);
    let host = HostOptions::with_shared_guard(Arc::clone(&guard));
    let options = DurableOptions {
        report: Some(Arc::new(|tenant, text| {
            eprintln!("{tenant}: the host {text}");
        })),
        ..DurableOptions::new(SessionEngine::new()?, host, sealed_with(keys))
    };
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|error| format!("{}: {error}", args.listen))?;
    let address = listener.local_addr()?;
    let admin_key = match admin_key {
        Some(key) => key,
        None => made()?,
    };
    announce(address)?;
    let tenants = Tenants::new(options, journal, TenantLimits::default());
    serve(
        listener,
        tenants,
        ServeOptions::new(admin_key, guard),
        shutdown,
    )
    .await;
    Ok(())
}

/// All defaults, and these keys.
fn sealed_with(keys: StateKeys) -> Config {
    Config {
        workspace_id: None,
        default_ttl: None,
        max_lifetime: None,
        max_sessions: None,
        max_sessions_per_agent: None,
        agent_overflow: None,
        max_sessions_per_root: None,
        max_depth: None,
        rotation_grace: None,
        idle_timeout: None,
        event_capacity: None,
        max_state_bytes: None,
        state_key: Some(keys.current),
        previous_state_keys: keys.previous,
    }
}

/// An admin key that nobody knows yet, so it is shown: once, and not where the output goes.
fn made() -> Result<AdminKey, Box<dyn Error>> {
    let key = AdminKey::random()?;
    eprintln!("admin key, made for this run: {}", key.reveal());
    Ok(key)
}

/// The one line of the output, for whoever started this and waits for it.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}

/// Ends with the first SIGTERM or SIGINT from here on.
fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
