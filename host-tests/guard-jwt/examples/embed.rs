use std::time::Duration;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{CreateRequest, HostOptions, SessionEngine, SessionHost};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Compile the component once. Each start makes another instance, without sessions.
    let engine = SessionEngine::new()?;
    let host = SessionHost::start(&engine, HostOptions::new(JwtGuard::from_environment()?)).await?;

    // A session says who the agent is, what it may do, and until when.
    let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
    let request = CreateRequest::new(agent, "researcher")
        .with_scopes(["memory:read", "web:search"])
        .with_task_type("literature-review")
        .with_lifetime(Duration::from_mins(15));
    let grant = host.create(request).await?;

    // Clones refer to the same instance. Calls from many tasks overlap in it.
    let gateway = host.clone();
    let token = grant.token.clone();
    let session = tokio::spawn(async move { gateway.validate(token).await }).await??;
    println!("{} may {}", session.agent_id, session.scopes.join(" and "));

    // The kill switch ends all sessions of the agent at once.
    let ended = host.revoke_all_for_agent(agent).await?;
    if let Err(refusal) = host.validate(grant.token).await {
        println!("{ended} session ended; its token now: {refusal}");
    }
    Ok(())
}
