//! Conversations with `exec` in a child process that is killed.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::acknowledged::{AcknowledgedSession, Random, State, WorkCounts};
use crate::{TargetProcess, UNAVAILABLE_AT_MOST, command};

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
        let answer = self.ask_running(&json!({ "op": "active-count" }));
        assert!(
            answer["ok"].is_u64(),
            "the process does not start: {answer}"
        );
    }

    /// Sends a line, and returns the answer, or `None` if the process was killed before or has no
    /// tenant.
    fn ask(&mut self, line: &Value) -> Option<Value> {
        self.answer(line).filter(|answer| !is_unavailable(answer))
    }

    /// Sends a line to a process that is not killed, and returns the answer. Repeats the line while
    /// the process has no tenant: on a busy machine, it can lose its short lease.
    fn ask_running(&mut self, line: &Value) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.answer(line).expect("the process answers");
            if !is_unavailable(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < UNAVAILABLE_AT_MOST, "{answer}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn answer(&mut self, line: &Value) -> Option<Value> {
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
    let mut ask = |line: Value| client.ask_running(&line);
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

/// Returns whether the process did not make the call or does not know its outcome.
fn is_unavailable(answer: &Value) -> bool {
    let kind = answer["err"]["kind"].as_str();
    kind.is_some_and(|kind| ["retry", "not-owner"].contains(&kind))
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
