use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{CreateRequest, HostOptions, SessionEngine, SessionHost};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Compiled once; each start is an instance of its own, without sessions.
    let engine = SessionEngine::new()?;
    let host = SessionHost::start(&engine, HostOptions::new(JwtGuard::from_environment()?)).await?;

    // Who is this agent, what may it do, until when?
    let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
    let grant = host
        .create(CreateRequest {
            scopes: vec!["memory:read".into(), "web:search".into()],
            task_type: Some("literature-review".into()),
            expires_in: Some(900),
            ..CreateRequest::new(agent, "researcher")
        })
        .await?;

    // The handle is cheap to clone, and calls from many tasks overlap in the one instance.
    let gateway = host.clone();
    let token = grant.token.clone();
    let session = tokio::spawn(async move { gateway.validate(token).await }).await??;
    println!("{} may {}", session.agent_id, session.scopes.join(" and "));

    // How do I cut it off now?
    let ended = host.revoke_all_for_agent(agent).await?;
    println!(
        "{ended} session ended; its token now: {:?}",
        host.validate(grant.token).await
    );
    Ok(())
}
