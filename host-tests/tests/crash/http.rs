//! Several callers of a service that is killed.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::acknowledged::{AcknowledgedSession, Random, State, WorkCounts};
use crate::{ADMIN_KEY, TargetProcess, UNAVAILABLE_AT_MOST, command};

/// The number of callers.
pub const CALLERS: usize = 12;

pub struct Service {
    pub process: TargetProcess,
    client: Client,
    url: String,
}

impl Service {
    /// Starts the service, and waits until it listens.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let out = child.stdout.take().expect("the stream is piped");
        let line = BufReader::new(out).lines().next();
        let line = line
            .expect("the service prints its address")
            .expect("the address is text");
        let url = line.strip_prefix("listening on ").expect(&line).to_owned();
        Self {
            process: TargetProcess::new(child),
            client: Client::builder()
                .timeout(Duration::from_secs(5))
                .build()
                .expect("the client is built"),
            url,
        }
    }

    /// Returns whether the service reports that it serves.
    pub async fn is_ready(&self) -> bool {
        let health = self
            .client
            .get(format!("{}/healthz", self.url))
            .send()
            .await;
        health.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    pub async fn wait_until_ready(&self) {
        let begun = Instant::now();
        loop {
            if self.is_ready().await {
                return;
            }
            assert!(
                begun.elapsed() < UNAVAILABLE_AT_MOST,
                "the service is not ready within a minute"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.url);
        self.client.post(url).header("X-Admin-Key", ADMIN_KEY)
    }
}

/// Sends a request, and returns the answer, or `None` if the service was killed before or is not
/// ready.
async fn answer(request: RequestBuilder) -> Option<(StatusCode, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status();
    let body = answer.json().await.ok()?;
    (status != StatusCode::SERVICE_UNAVAILABLE).then_some((status, body))
}

/// Sends a request without a body to a service that is not killed, and returns the answer. Repeats
/// it while the service is unavailable: on a busy machine, it can lose its short lease.
async fn answer_of_running(request: RequestBuilder) -> (StatusCode, Value) {
    let begun = Instant::now();
    loop {
        let request = request.try_clone().expect("the request has no body");
        let answer = request.send().await.expect("the service answers");
        let status = answer.status();
        let body = answer.json().await.expect("the answer is JSON");
        if status != StatusCode::SERVICE_UNAVAILABLE {
            return (status, body);
        }
        assert!(begun.elapsed() < UNAVAILABLE_AT_MOST, "{body}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes random calls until the service is killed.
pub async fn work(
    service: &Service,
    sessions: &mut Vec<AcknowledgedSession>,
    mut random: Random,
) -> WorkCounts {
    let mut counts = WorkCounts::default();
    loop {
        let live: Vec<usize> = (0..sessions.len())
            .filter(|at| sessions[*at].state == State::Live)
            .collect();
        let picked = random.pick(live.len()).map(|at| live[at]);
        let picked = picked.and_then(|at| sessions.get_mut(at));
        let answered = match (random.below(10), picked) {
            (0..3, Some(entry)) => refresh(service, entry, &mut counts).await,
            (3, Some(entry)) if entry.token.is_some() => log_out(service, entry, &mut counts).await,
            (3..6, Some(entry)) => revoke(service, entry, &mut counts).await,
            _ => create(service, sessions, &mut random, &mut counts).await,
        };
        if answered.is_none() {
            return counts;
        }
    }
}

pub async fn create(
    service: &Service,
    sessions: &mut Vec<AcknowledgedSession>,
    random: &mut Random,
    counts: &mut WorkCounts,
) -> Option<()> {
    let body = json!({
        "agent_id": random.agent(), "role": "worker", "scopes": ["a"], "ttl_secs": 86_400,
    });
    let (status, grant) = answer(service.post("/v1/sessions").json(&body)).await?;
    assert_eq!(status, StatusCode::CREATED, "{grant}");
    counts.created += 1;
    let [id, token, expires_at] =
        ["session_id", "token", "expires_at"].map(|name| text(&grant[name]));
    sessions.push(AcknowledgedSession::created(id, token, expires_at));
    Some(())
}

pub async fn refresh(
    service: &Service,
    entry: &mut AcknowledgedSession,
    counts: &mut WorkCounts,
) -> Option<()> {
    let before = entry.begin_refresh();
    let request = service.post(&format!("/v1/sessions/{}/refresh", entry.id));
    let (status, grant) = answer(request).await?;
    assert_eq!(status, StatusCode::OK, "{grant}");
    counts.refreshed += 1;
    entry.refreshed(before, text(&grant["token"]), text(&grant["expires_at"]));
    Some(())
}

pub async fn revoke(
    service: &Service,
    entry: &mut AcknowledgedSession,
    counts: &mut WorkCounts,
) -> Option<()> {
    entry.state = State::MaybeRevoked;
    let url = format!("{}/v1/sessions/{}", service.url, entry.id);
    let request = service.client.delete(url).header("X-Admin-Key", ADMIN_KEY);
    let (status, revocation) = answer(request).await?;
    assert_eq!(status, StatusCode::OK, "{revocation}");
    counts.revoked += 1;
    entry.state = State::Revoked;
    Some(())
}

async fn log_out(
    service: &Service,
    entry: &mut AcknowledgedSession,
    counts: &mut WorkCounts,
) -> Option<()> {
    entry.state = State::MaybeRevoked;
    let url = format!("{}/v1/sessions/me", service.url);
    let token = entry.token.as_deref().unwrap_or_default();
    let request = service.client.delete(url).bearer_auth(token);
    let (status, revocation) = answer(request).await?;
    assert_eq!(status, StatusCode::OK, "{revocation}");
    assert_eq!(revocation["session_id"], *entry.id, "{revocation}");
    counts.logged_out += 1;
    entry.state = State::Revoked;
    Some(())
}

/// Presents a token, and returns the status of the answer.
pub async fn present(service: &Service, token: &str) -> StatusCode {
    let me = service
        .client
        .get(format!("{}/v1/sessions/me", service.url));
    let answer = me.bearer_auth(token).send().await;
    answer.expect("the service answers").status()
}

/// Checks sessions against their acknowledged states. Returns the number of sessions.
pub async fn check(
    service: &Service,
    entries: impl Iterator<Item = &mut AcknowledgedSession>,
) -> u64 {
    let checks = entries.map(|entry| check_one(service, entry));
    let mut checks: Vec<_> = checks.collect();
    let mut checked = 0;
    while !checks.is_empty() {
        let rest = checks.split_off(checks.len().min(50));
        checked += join_all(checks).await.len() as u64;
        checks = rest;
    }
    checked
}

async fn check_one(service: &Service, entry: &mut AcknowledgedSession) {
    let url = format!("{}/v1/sessions/{}", service.url, entry.id);
    let request = service.client.get(url).header("X-Admin-Key", ADMIN_KEY);
    let (status, got) = answer_of_running(request).await;
    entry.observe(status == StatusCode::OK);
    if entry.state == State::Revoked {
        assert_eq!(status, StatusCode::NOT_FOUND, "{got}");
    } else if let Some(expires_at) = &entry.expires_at {
        assert_eq!(got["expires_at"], **expires_at, "{got}");
    }
    for (token, is_valid) in entry.tokens() {
        let me = service
            .client
            .get(format!("{}/v1/sessions/me", service.url));
        let (status, me) = answer_of_running(me.bearer_auth(token)).await;
        if is_valid {
            assert_eq!(
                (status, &me["session_id"]),
                (StatusCode::OK, &got["session_id"]),
                "{me}"
            );
        } else {
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{got} {me}");
        }
    }
}

fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is not a text"))
        .into()
}
