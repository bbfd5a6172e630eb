use std::time::Duration;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{CreateRequest, HostOptions, SessionEngine, SessionHost};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Compiled once; each start is an instance of its own, without sessions.
    let engine = SessionEngine::new()?;
    let host = SessionHost::start(&engine, HostOptions::new(JwtGuard::from_environment()?)).await?;

    // Who is this agent, what may it do, until when?
    let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
    let request = CreateRequest::new(agent, "researcher")
        .with_scopes(["memory:read", "web:search"])
        .with_task_type("literature-review")
        .with_lifetime(Duration::from_mins(15));
    let grant = host.create(request).await?;

    // The handle is cheap to clone, and calls from many tasks overlap in the one instance.
    let gateway = host.clone();
    let token = grant.token.clone();
    let session = tokio::spawn(async move { gateway.validate(token).await }).await??;
    println!("{} may {}", session.agent_id, session.scopes.join(" and "));

    // How do I cut it off now?
    let ended = host.revoke_all_for_agent(agent).await?;
    if let Err(refusal) = host.validate(grant.token).await {
        println!("{ended} session ended; its token now: {refusal}");
    }
    Ok(())
}
