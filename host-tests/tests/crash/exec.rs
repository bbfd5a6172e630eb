//! Conversations with `exec` in a child process that is killed.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::acknowledged::{AcknowledgedSession, Random, State, WorkCounts};
use crate::{TargetProcess, command};

pub struct ExecClient {
    pub process: TargetProcess,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl ExecClient {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let input = child.stdin.take().expect("the stream is piped");
        let answers = BufReader::new(child.stdout.take().expect("the stream is piped")).lines();
        Self {
            process: TargetProcess::new(child),
            input,
            answers,
        }
    }

    /// Waits until the process has restored its sessions and answers.
    pub fn wait_until_ready(&mut self) {
        let answer = self.ask(&json!({ "op": "active-count" }));
        let is_ready = answer.as_ref().is_some_and(|answer| answer["ok"].is_u64());
        assert!(is_ready, "the process does not start: {answer:?}");
    }

    /// Sends a line, and returns the answer, or `None` if the process was killed before.
    fn ask(&mut self, line: &Value) -> Option<Value> {
        writeln!(self.input, "{line}").ok()?;
        let answer = self.answers.next()?.ok()?;
        // A truncated line is not an answer.
        serde_json::from_str(&answer).ok()
    }
}

/// Makes random calls until the child is killed.
pub fn work(
    client: &mut ExecClient,
    sessions: &mut Vec<AcknowledgedSession>,
    random: &mut Random,
    counts: &mut WorkCounts,
) {
    loop {
        let live: Vec<usize> = (0..sessions.len())
            .filter(|at| sessions[*at].state == State::Live)
            .collect();
        let picked = random.pick(live.len()).map(|at| live[at]);
        let picked = picked.and_then(|at| sessions.get_mut(at));
        let answered = match (random.below(10), picked) {
            (0..3, Some(entry)) => refresh(client, entry, counts),
            (3, Some(entry)) if entry.token.is_some() => log_out(client, entry, counts),
            (3..6, Some(entry)) => revoke(client, entry, counts),
            _ => create(client, sessions, random, counts),
        };
        if answered.is_none() {
            return;
        }
    }
}

fn create(
    client: &mut ExecClient,
    sessions: &mut Vec<AcknowledgedSession>,
    random: &mut Random,
    counts: &mut WorkCounts,
) -> Option<()> {
    let answer = client.ask(&json!({
        "op": "create", "agent-id": random.agent(), "role": "worker", "expires-in": 86_400,
    }))?;
    let grant = ok(&answer);
    counts.created += 1;
    let (token, expires_at) = granted(grant);
    let id = text(&grant["session"]["id"]);
    sessions.push(AcknowledgedSession::created(id, token, expires_at));
    Some(())
}

fn refresh(
    client: &mut ExecClient,
    entry: &mut AcknowledgedSession,
    counts: &mut WorkCounts,
) -> Option<()> {
    let before = entry.begin_refresh();
    let answer = client.ask(&json!({ "op": "refresh", "session-id": entry.id }))?;
    let (token, expires_at) = granted(ok(&answer));
    counts.refreshed += 1;
    entry.refreshed(before, token, expires_at);
    Some(())
}

fn revoke(
    client: &mut ExecClient,
    entry: &mut AcknowledgedSession,
    counts: &mut WorkCounts,
) -> Option<()> {
    entry.state = State::MaybeRevoked;
    let answer = client.ask(&json!({ "op": "revoke", "session-id": entry.id }))?;
    ok(&answer);
    counts.revoked += 1;
    entry.state = State::Revoked;
    Some(())
}

fn log_out(
    client: &mut ExecClient,
    entry: &mut AcknowledgedSession,
    counts: &mut WorkCounts,
) -> Option<()> {
    entry.state = State::MaybeRevoked;
    let answer = client.ask(&json!({ "op": "revoke-by-token", "token": entry.token }))?;
    assert_eq!(ok(&answer)["session-id"], *entry.id, "{answer}");
    counts.logged_out += 1;
    entry.state = State::Revoked;
    Some(())
}

/// Checks a session against its acknowledged state.
pub fn check(client: &mut ExecClient, entry: &mut AcknowledgedSession) {
    let mut ask = |line: Value| client.ask(&line).expect("the process answers");
    let got = ask(json!({ "op": "get", "session-id": entry.id }));
    entry.observe(got.get("ok").is_some());
    if entry.state == State::Revoked {
        assert_eq!(got["err"]["kind"], "session-not-found", "{got}");
    } else if let Some(expires_at) = &entry.expires_at {
        assert_eq!(got["ok"]["expires-at"], **expires_at, "{got}");
    }
    for (token, is_valid) in entry.tokens() {
        let validated = ask(json!({ "op": "validate", "token": token }));
        if is_valid {
            assert_eq!(validated["ok"], got["ok"], "{got}");
        } else {
            assert_eq!(validated["err"]["kind"], "invalid-token", "{got}");
        }
    }
}

fn granted(grant: &Value) -> (String, String) {
    let session = &grant["session"];
    (text(&grant["token"]), text(&session["expires-at"]))
}

fn ok(answer: &Value) -> &Value {
    let ok = answer.get("ok");
    ok.unwrap_or_else(|| panic!("expected success: {answer}"))
}

fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is not a text"))
        .into()
}
