//! What was acknowledged, and whether it is still true.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::exec::Talk;

/// Whatever the child was told, and said to have done.
#[derive(Default)]
pub struct Ledger {
    sessions: Vec<Entry>,
    created: u64,
    refreshed: u64,
    revoked: u64,
    checked: u64,
}

struct Entry {
    id: String,
    /// The token that counts. None where a refresh was under way when the child was killed.
    token: Option<String>,
    /// Tokens that do not count any more.
    superseded: Vec<String>,
    /// Until when it lives.
    expires_at: Option<String>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Live,
    Revoked,
    /// A revoke was under way when the child was killed.
    MaybeRevoked,
}

impl Ledger {
    pub fn acknowledged(&self) -> u64 {
        self.created + self.refreshed + self.revoked
    }

    pub fn figures(&self) -> String {
        format!(
            "{} changes acknowledged ({} creates, {} refreshes, {} revokes), {} checks, 0 lost",
            self.acknowledged(),
            self.created,
            self.refreshed,
            self.revoked,
            self.checked
        )
    }

    /// Works until the child is killed.
    pub fn work(&mut self, talk: &mut Talk, random: &mut Random) {
        loop {
            let live: Vec<usize> = (0..self.sessions.len())
                .filter(|at| self.sessions[*at].state == State::Live)
                .collect();
            let picked = live.get(random.index(live.len().max(1))).copied();
            let done = match (random.below(10), picked) {
                (0..3, Some(at)) => self.refresh(talk, at),
                (3..6, Some(at)) => self.revoke(talk, at),
                (6, Some(at)) => self.validate(talk, at),
                _ => self.create(talk, random),
            };
            if done.is_none() {
                return;
            }
        }
    }

    fn create(&mut self, talk: &mut Talk, random: &mut Random) -> Option<()> {
        let agent = format!("0a9e0000-0000-4000-8000-{:012x}", random.below(1 << 40));
        let answer = talk.ask(&json!({
            "op": "create", "agent-id": agent, "role": "worker", "scopes": ["a", "b"], "expires-in": 86_400,
        }))?;
        let grant = ok(&answer);
        self.created += 1;
        self.sessions.push(Entry {
            id: text(&grant["session"]["id"]),
            token: Some(text(&grant["token"])),
            superseded: Vec::new(),
            expires_at: Some(text(&grant["session"]["expires-at"])),
            state: State::Live,
        });
        Some(())
    }

    fn refresh(&mut self, talk: &mut Talk, at: usize) -> Option<()> {
        let entry = &mut self.sessions[at];
        // Which token counts is not known until the answer has come.
        let before = entry.token.take();
        entry.expires_at = None;
        let answer = talk.ask(&json!({ "op": "refresh", "session-id": entry.id }))?;
        let grant = ok(&answer);
        self.refreshed += 1;
        entry.superseded.extend(before);
        entry.token = Some(text(&grant["token"]));
        entry.expires_at = Some(text(&grant["session"]["expires-at"]));
        Some(())
    }

    fn revoke(&mut self, talk: &mut Talk, at: usize) -> Option<()> {
        let entry = &mut self.sessions[at];
        entry.state = State::MaybeRevoked;
        let answer = talk.ask(&json!({ "op": "revoke", "session-id": entry.id }))?;
        ok(&answer);
        self.revoked += 1;
        entry.state = State::Revoked;
        Some(())
    }

    fn validate(&mut self, talk: &mut Talk, at: usize) -> Option<()> {
        let Some(token) = &self.sessions[at].token else {
            return Some(());
        };
        let answer = talk.ask(&json!({ "op": "validate", "token": token }))?;
        assert_eq!(ok(&answer)["id"], self.sessions[at].id);
        Some(())
    }

    /// All that was acknowledged is still true: of all sessions, or of the last and some others.
    pub fn check(&mut self, talk: &mut Talk, random: &mut Random, all: bool) {
        let count = self.sessions.len();
        for at in 0..count {
            if all || at + 60 >= count || random.below(count as u64) < 40 {
                self.check_one(talk, at);
            }
        }
    }

    fn check_one(&mut self, talk: &mut Talk, at: usize) {
        self.checked += 1;
        let entry = &mut self.sessions[at];
        let mut ask = |line: Value| talk.ask(&line).expect("it answers");
        let got = ask(json!({ "op": "get", "session-id": entry.id }));
        if entry.state == State::MaybeRevoked {
            // Now it is known.
            entry.state = if got.get("ok").is_some() {
                State::Live
            } else {
                State::Revoked
            };
        }
        let mut told = format!("session {}, {:?}: {got}", entry.id, entry.state);
        if entry.state == State::Revoked {
            assert_eq!(got["err"]["kind"], "session-not-found", "{told}");
            for token in entry.token.iter().chain(&entry.superseded) {
                let validated = ask(json!({ "op": "validate", "token": token }));
                let _ = write!(told, " {validated}");
                assert_eq!(validated["err"]["kind"], "invalid-token", "{told}");
            }
            return;
        }
        assert_eq!(got["ok"]["id"], entry.id, "{told}");
        if let Some(expires_at) = &entry.expires_at {
            assert_eq!(got["ok"]["expires-at"], **expires_at, "{told}");
        }
        if let Some(token) = &entry.token {
            let validated = ask(json!({ "op": "validate", "token": token }));
            assert_eq!(validated["ok"], got["ok"], "{told}: {validated}");
        }
        for token in &entry.superseded {
            let validated = ask(json!({ "op": "validate", "token": token }));
            assert_eq!(
                validated["err"]["kind"], "invalid-token",
                "{told}: {validated}"
            );
        }
    }
}

fn ok(answer: &Value) -> &Value {
    answer
        .get("ok")
        .unwrap_or_else(|| panic!("it was to succeed: {answer}"))
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .into()
}

/// Random choices that can be made again.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let seed = std::env::var("SESSION_CRASH_SEED").map_or_else(
            |_| getrandom::u64().expect("there are random bytes"),
            |seed| seed.parse().expect("a number"),
        );
        println!("SESSION_CRASH_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("a length")
    }
}
