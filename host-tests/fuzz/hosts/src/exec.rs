//! The target `exec`: lines of a conversation with an instance whose clock, guard and random source
//! the lines control.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{AnyEngine, World};
use clawdb_session_testkit::Conversation;
use serde_json::{Value, json};
use tokio::runtime;

use crate::placeholders::Placeholders;

static SESSION: LazyLock<AnyEngine> = LazyLock::new(|| engine(World::Session));
static SESSION_SYNC: LazyLock<AnyEngine> = LazyLock::new(|| engine(World::SessionSync));

fn engine(world: World) -> AnyEngine {
    AnyEngine::new(world).expect("the component is compiled")
}

/// Compiles the component of both worlds, so that no input reaches the compiler.
pub fn prepare() {
    LazyLock::force(&SESSION);
    LazyLock::force(&SESSION_SYNC);
}

/// The maximum number of bytes of the reason why a line is refused.
const MAX_REASON: usize = 256;

/// Answers each line of the input in the world `session-sync` if the input begins with a space,
/// else in the world `session`.
///
/// # Panics
/// If an answer is not as documented, if the instance ends without a reason, or if it does not
/// answer at the end.
pub fn run(input: &[u8]) {
    let engine: &AnyEngine = match input.first() {
        Some(b' ') => &SESSION_SYNC,
        _ => &SESSION,
    };
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime is made");
    runtime.block_on(converse(engine.clone(), input));
}

async fn converse(engine: AnyEngine, input: &[u8]) {
    let conversation = Conversation::start_controlled(engine, |clock| {
        let guard = JwtGuard::new(&[7; 32]).expect("the key has 32 bytes");
        Arc::new(guard.with_clock(clock))
    });
    let mut checked = Checked {
        conversation: conversation.await.expect("the instance starts"),
        placeholders: Placeholders::default(),
        started: BTreeSet::new(),
        may_trap: false,
    };
    for line in input.split(|byte| *byte == b'\n') {
        if !line.trim_ascii().is_empty() {
            checked.answer(line).await;
        }
    }
    checked.end().await;
}

/// A conversation whose answers are checked.
struct Checked {
    conversation: Conversation,
    placeholders: Placeholders,
    /// The names of the calls that were started and are not finished.
    started: BTreeSet<String>,
    /// Whether a line may have told the guard to make the instance trap.
    may_trap: bool,
}

impl Checked {
    /// Returns the answer to a line.
    async fn answer(&mut self, line: &[u8]) -> Value {
        let line = self.placeholders.replace(line);
        self.may_trap |= line.windows(4).any(|part| part == b"trap");
        let answer = self.conversation.answer(&line).await;
        let members = answer.as_object().expect("an answer is an object");
        assert_eq!(members.len(), 1, "an answer has one member: {answer}");
        match (&answer["ok"], &answer["err"]) {
            (ok, Value::Null) if members.contains_key("ok") => self.accept(ok),
            (_, err) => self.check_refusal(err),
        }
        self.check_secrecy(&line, &answer);
        answer
    }

    /// Remembers what an answer grants or starts.
    fn accept(&mut self, ok: &Value) {
        self.placeholders.add(&ok["session"]["id"], &ok["token"]);
        if let (Some(name), Some(_)) = (ok["name"].as_str(), ok["state"].as_str()) {
            self.started.insert(name.into());
        }
    }

    fn check_refusal(&self, err: &Value) {
        let kind = err["kind"].as_str().expect("an error has a kind");
        assert!(
            self.may_trap || !matches!(kind, "trap" | "stopped" | "busy" | "reentrant"),
            "the instance failed: {err}"
        );
        if let "bad-request" | "would-wait" | "invalid-argument" = kind {
            let reason = err["reason"].as_str().expect("the error has a reason");
            assert!(!reason.is_empty() && reason.len() <= MAX_REASON, "{err}");
        }
    }

    /// Checks that an answer has no token that neither it grants nor the line has (R22).
    fn check_secrecy(&self, line: &[u8], answer: &Value) {
        let text = answer.to_string();
        let finishes = line.windows(6).any(|part| part == b"finish");
        for token in self.placeholders.tokens() {
            let granted = answer["ok"]["token"] == **token;
            let repeated = line
                .windows(token.len())
                .any(|part| part == token.as_bytes());
            assert!(
                granted || repeated || finishes || !text.contains(token.as_str()),
                "an answer has a token: {text}"
            );
        }
    }

    /// Finishes what was started, and checks that the instance still answers.
    async fn end(mut self) {
        self.answer(br#"{"op":"guard","mode":"ok"}"#).await;
        for name in std::mem::take(&mut self.started) {
            let line = json!({ "op": "finish", "name": name }).to_string();
            let answer = self.answer(line.as_bytes()).await;
            assert_ne!(answer["err"]["kind"], "would-wait", "{name} does not end");
        }
        for op in ["active-count", "stats"] {
            let line = json!({ "op": op }).to_string();
            let answer = self.answer(line.as_bytes()).await;
            assert!(
                self.may_trap || answer.get("ok").is_some(),
                "{op} is answered with {answer}"
            );
        }
        self.conversation.end().await;
    }
}
