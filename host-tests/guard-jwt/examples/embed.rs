use std::thread;
use std::time::Duration;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{CreateRequest, LocalEngine, LocalOptions, LocalSessions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Compile the component once. Each start makes another instance, without sessions.
    let engine = LocalEngine::new()?;
    let options = LocalOptions::new(JwtGuard::from_environment()?);
    let sessions = LocalSessions::start(&engine, options)?;

    // A session says who the agent is, what it may do, and until when.
    let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
    let request = CreateRequest::new(agent, "researcher")
        .with_scopes(["memory:read", "web:search"])
        .with_task_type("literature-review")
        .with_lifetime(Duration::from_mins(15));
    let grant = sessions.create(request)?;

    // Clones refer to the same instance. Any thread can call it, without a runtime.
    let (gateway, token) = (sessions.clone(), grant.token.clone());
    let validated = thread::spawn(move || gateway.validate(token));
    let session = validated.join().expect("the thread does not panic")?;
    println!("{} may {}", session.agent_id, session.scopes.join(" and "));

    // The kill switch ends all sessions of the agent at once.
    let ended = sessions.revoke_all_for_agent(agent)?;
    if let Err(refusal) = sessions.validate(grant.token) {
        println!("{ended} session ended; its token now: {refusal}");
    }
    Ok(())
}
