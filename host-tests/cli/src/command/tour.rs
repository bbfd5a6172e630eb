//! The tour: calls each operation of the component once, with the embedded guard, the machine's
//! clock and its random source.

use std::io::Write;
use std::time::Duration;

use chrono::SecondsFormat;
use clawdb_session_host::json::rfc3339;
use clawdb_session_host::{
    CallError, CreateRequest, Event, EventKind, Grant, HostOptions, Page, RevokeFilter, Session,
    SessionEngine, SessionHost,
};

use super::secrets::guard;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Writes the tour to `out`.
pub async fn run(out: &mut impl Write) -> Result {
    writeln!(
        out,
        "clawdb:session: session management for AI agents as a WebAssembly component"
    )?;
    let engine = SessionEngine::new()?;
    let host = SessionHost::start(&engine, HostOptions::new(guard()?)).await?;
    writeln!(
        out,
        "One instance runs in wasmtime. It imports: {}.",
        engine.imports().join(", ")
    )?;

    let (researcher, coder) = (
        uuid::Uuid::new_v4().to_string(),
        uuid::Uuid::new_v4().to_string(),
    );

    heading(out, 1, "create: an agent receives a session and its token")?;
    let first = host
        .create(request(
            &researcher,
            "researcher",
            &["memory:read", "web:search"],
        ))
        .await?;
    show(out, &[&first.session])?;
    writeln!(out, "  token   {}", abbreviated(&first.token))?;

    heading(out, 2, "validate: which session does this token belong to?")?;
    let session = host.validate(&*first.token).await?;
    writeln!(
        out,
        "  session {} of agent {}: {}",
        short(&session.id),
        short(&session.agent_id),
        session.scopes.join(" ")
    )?;
    show_refusal(
        out,
        "a token with one letter changed",
        host.validate(tampered(&first)).await,
    )?;

    heading(out, 3, "refresh: a new token, and the full lifetime again")?;
    let second = host.refresh(&*first.session.id).await?;
    writeln!(out, "  token   {}", abbreviated(&second.token))?;
    show_refusal(out, "the old token", host.validate(&*first.token).await)?;
    let session = host.validate(&*second.token).await?;
    writeln!(
        out,
        "  the new token is valid until {}",
        time(session.expires_at)
    )?;

    heading(
        out,
        4,
        "delegate: a sub-agent's session, with no more scopes and time than its parent",
    )?;
    let child = host
        .delegate(
            &*second.session.id,
            request(&coder, "reader", &["memory:read"]),
        )
        .await?;
    show(out, &[&second.session, &child.session])?;
    show_refusal(
        out,
        "a scope that the parent does not have",
        host.delegate(
            &*second.session.id,
            request(&coder, "reader", &["memory:write"]),
        )
        .await,
    )?;

    heading(out, 5, "authorize: does the session have this scope?")?;
    let session = host.authorize(&*child.token, "memory:read").await?;
    writeln!(out, "  session {} has memory:read", short(&session.id))?;
    show_refusal(
        out,
        "web:search",
        host.authorize(&*child.token, "web:search").await,
    )?;

    heading(
        out,
        6,
        "rotate: the bearer replaces its token; a replaced token that is presented again is theft",
    )?;
    let rotated = host.rotate(&*child.token).await?;
    writeln!(out, "  token   {}", abbreviated(&rotated.token))?;
    show_refusal(out, "the old token", host.rotate(&*child.token).await)?;
    show_refusal(
        out,
        "now also the new token, because either bearer may be the thief,",
        host.validate(&*rotated.token).await,
    )?;

    heading(out, 7, "list: the live sessions of an agent")?;
    for task in ["plan", "build", "test"] {
        let request = request(&coder, "coder", &["repo:write"]);
        host.create(request.with_task_type(task)).await?;
    }
    let page = host
        .list_for_agent(
            &*coder,
            Page {
                limit: Some(10),
                ..Page::default()
            },
        )
        .await?;
    show(out, &page.sessions.iter().collect::<Vec<_>>())?;
    writeln!(
        out,
        "  {} sessions are live in total",
        host.active_count().await?
    )?;

    heading(out, 8, "revoke: a session ends, and all sessions below it")?;
    host.delegate(&*second.session.id, request(&coder, "reader", &[]))
        .await?;
    let revocation = host.revoke(&*second.session.id).await?;
    let guard = if revocation.guard_confirmed {
        "confirmed by the guard"
    } else {
        "not confirmed by the guard yet"
    };
    writeln!(
        out,
        "  session {} has ended ({guard}), and {} below it",
        short(&revocation.session_id),
        revocation.descendants
    )?;
    show_refusal(out, "its token", host.validate(&*second.token).await)?;

    heading(out, 9, "revoke-all-for-agent: the kill switch")?;
    let ended = host.revoke_all_for_agent(&*coder).await?;
    writeln!(
        out,
        "  {ended} sessions of agent {} ended; {} are live in total",
        short(&coder),
        host.active_count().await?
    )?;

    heading(out, 10, "create with max-uses: a session for two uses")?;
    let limited = request(&coder, "coder", &["repo:write"]).with_max_uses(2);
    let limited = host.create(limited).await?;
    for _ in 0..2 {
        let session = host.validate(&*limited.token).await?;
        writeln!(
            out,
            "  uses left: {}",
            session.uses_left.unwrap_or_default()
        )?;
    }
    show_refusal(out, "a third use", host.validate(&*limited.token).await)?;

    heading(
        out,
        11,
        "subscribe: events as they happen, while one revoke-all ends every session",
    )?;
    let mut events = host.subscribe(host.stats().await?.last_event).await?;
    let waiting = host.create(request(&coder, "coder", &[])).await?;
    host.touch(&*waiting.session.id).await?;
    let ended = host.revoke_all(RevokeFilter::Everything).await?;
    for _ in 0..=ended {
        let event = events.next().await.ok_or("the stream has ended")?;
        show_event(out, &event)?;
    }

    heading(out, 12, "poll-events: all events in order")?;
    let page = host.poll_events(0, 100).await?;
    writeln!(
        out,
        "  {:>3}  {:<24}  {:<8}  {:<8}  {:<8}  what",
        "no.", "time", "session", "parent", "agent"
    )?;
    for event in &page.events {
        show_event(out, event)?;
    }
    writeln!(
        out,
        "\nRead on: `cargo run -- --help` for all commands, and `wit/` for the contract."
    )?;
    Ok(())
}

fn show_event(out: &mut impl Write, event: &Event) -> Result {
    let kind = match event.kind {
        EventKind::Created => "created".into(),
        EventKind::Refreshed => "refreshed".into(),
        EventKind::Rotated => "rotated".into(),
        EventKind::Ended(reason) => format!("ended: {reason}"),
        EventKind::Denied(reason) => format!("denied: {reason}"),
    };
    writeln!(
        out,
        "  {:>3}  {:<24}  {:<8}  {:<8}  {:<8}  {kind}",
        event.sequence,
        time(event.time),
        short(&event.session_id),
        event.parent.as_deref().map_or("-", short),
        short(&event.agent_id),
    )?;
    Ok(())
}

fn heading(out: &mut impl Write, number: u32, title: &str) -> Result {
    writeln!(out, "\n{number}. {title}")?;
    Ok(())
}

fn request(agent: &str, role: &str, scopes: &[&str]) -> CreateRequest {
    CreateRequest::new(agent, role)
        .with_scopes(scopes.iter().copied())
        .with_lifetime(Duration::from_mins(15))
}

fn show(out: &mut impl Write, sessions: &[&Session]) -> Result {
    writeln!(
        out,
        "  {:<8}  {:<8}  {:<10}  {:<8}  {:<24}  {:<24}",
        "session", "agent", "role", "task", "scopes", "expires"
    )?;
    for session in sessions {
        writeln!(
            out,
            "  {:<8}  {:<8}  {:<10}  {:<8}  {:<24}  {:<24}",
            short(&session.id),
            short(&session.agent_id),
            session.role,
            session.task_type.as_deref().unwrap_or("-"),
            session.scopes.join(" "),
            time(session.expires_at),
        )?;
    }
    Ok(())
}

/// Writes the component's refusal. Fails if the component accepted the call.
fn show_refusal<T>(
    out: &mut impl Write,
    what: &str,
    answer: std::result::Result<T, CallError>,
) -> Result {
    match answer {
        Err(CallError::Session(error)) => {
            writeln!(out, "  {what} is refused: {error}")?;
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(format!("{what} was accepted").into()),
    }
}

fn tampered(grant: &Grant) -> String {
    let (signed, last) = grant.token.split_at(grant.token.len() - 1);
    format!("{signed}{}", if last == "A" { "B" } else { "A" })
}

/// Returns the first 8 characters of an id.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn abbreviated(token: &str) -> String {
    format!(
        "{}... ({} bytes; returned once, never stored)",
        token.get(..24).unwrap_or(token),
        token.len()
    )
}

fn time(millis: u64) -> String {
    rfc3339(millis, SecondsFormat::Millis)
}
