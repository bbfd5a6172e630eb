//! A host that keeps its sessions over a trap, an upgrade and a restart.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawdb_session_durable::{
    DurableError, DurableHost, DurableOptions, Journal, MemoryJournal, TenantId,
};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{
    Claims, Config, CreateRequest, GuardFailure, GuardResult, InstanceOptions, IssueRequest,
    IssuedToken, LocalEngine, LocalGuard, LocalOptions, full_text,
};

/// A guard that ends the instance when a test tells it to.
struct BreakableGuard {
    guard: JwtGuard,
    is_broken: AtomicBool,
}

impl LocalGuard for BreakableGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.guard.issue_session_token(request)
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        if self.is_broken.swap(false, Ordering::Relaxed) {
            return Err(GuardFailure::Fatal("the signing key is gone".into()));
        }
        self.guard.validate_token(token)
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.guard.revoke_token(handle)
    }
}

pub(crate) async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let guard = Arc::new(BreakableGuard {
        guard: JwtGuard::new(&[1; 32])?,
        is_broken: AtomicBool::new(false),
    });

    // The limits of the host, and those of the component.
    let local = LocalOptions {
        max_memory: 256 << 20,
        busy_after: Duration::from_secs(1),
        ..LocalOptions::with_shared_guard(guard.clone())
    };
    let config = Config {
        max_sessions: Some(100_000),
        max_sessions_per_agent: Some(2),
        max_state_bytes: Some(128 << 20),
        ..Config::with_state_key([2; 32])
    };

    // A program uses `RedbJournal` or `NatsJournal` here.
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    let instances = InstanceOptions::SessionSync(LocalEngine::new()?, local);
    let options = DurableOptions::new(instances, config);
    let host = DurableHost::start(options.clone(), journal.clone(), TenantId::default()).await?;

    let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
    let grant = host.create(CreateRequest::new(agent, "worker")).await?;
    host.create(CreateRequest::new(agent, "worker")).await?;
    if let Err(refusal) = host.create(CreateRequest::new(agent, "worker")).await {
        writeln!(out, "a third session: {}", full_text(&refusal))?;
    }

    // A trap ends the instance. The host starts another one with the records of the journal.
    guard.is_broken.store(true, Ordering::Relaxed);
    if let Err(DurableError::Retry(reason)) = host.validate(&*grant.token).await {
        writeln!(out, "during the trap: {reason}")?;
    }
    let session = host.validate(&*grant.token).await?;
    let restarts = host.metrics().restarts;
    writeln!(
        out,
        "after {restarts} restart: the session of a {}",
        session.role
    )?;

    // Another build of the component takes over. Here it is the same one.
    host.upgrade(LocalEngine::new()?).await?;
    let stats = host.stats().await?;
    writeln!(
        out,
        "after the upgrade: {} live sessions",
        stats.live_sessions
    )?;

    // A clean end, and another start on the same journal.
    host.shutdown().await;
    let host = DurableHost::start(options, journal, TenantId::default()).await?;
    let ended = host.revoke_all_for_agent(agent).await?;
    writeln!(
        out,
        "after the restart: the kill switch ends {ended} sessions"
    )?;
    host.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout()).await
}
