//! `exec`: a conversation with the component, a JSON object a line. The scripting interface of the
//! command line, and what the conformance vectors are written in.
//!
//! A line that cannot be read, or that gives a field twice, is answered with `bad-request`. The
//! reason begins with the path of the field and has at most 256 bytes. `metadata` is a string that
//! holds a JSON text, which is returned byte for byte. As for every field, `null` counts as absent;
//! the JSON text `null` is written `"null"`.
//!
//! Each line is answered before the next is read. With controls, clock, guard and random source are
//! in the hands of whoever speaks, nothing happens by itself, and the answers are the same each
//! time.

mod operation;
mod request;
mod sessions;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chrono::DateTime;
use clawdb_session_durable::DurableHost;
use clawdb_session_host::json::fields::shortened;
use clawdb_session_host::json::{self, ToJson};
use clawdb_session_host::{
    Clock, Guard, HostOptions, Instant, SessionEngine, SessionHost, StartError, Subscription,
    full_text,
};
use futures::future::BoxFuture;
use futures::poll;
use serde_json::{Value, json};
use tokio::io::{self, AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

use crate::clock::ManualClock;
use crate::control::ControlledGuard;
use crate::entropy::ControlledEntropy;
use operation::Operation;
use request::{Control, Request};
use sessions::Sessions;

/// 2030-01-01T00:00:00Z, where a controlled clock starts.
pub const CONTROLLED_START: Instant = Instant {
    seconds: 1_893_456_000,
    nanoseconds: 0,
};

/// A conversation with one instance, or with a host that replaces it when it ends.
pub struct Conversation {
    sessions: Sessions,
    controls: Option<Controls>,
    started: HashMap<String, Started>,
    subscriptions: HashMap<String, Subscription>,
}

/// What `--controls` puts into the hands of whoever speaks.
struct Controls {
    engine: SessionEngine,
    options: HostOptions,
    clock: Arc<ManualClock>,
    guard: Arc<ControlledGuard>,
    entropy: Arc<ControlledEntropy>,
}

/// Why a line has no answer of the component.
enum Refusal {
    /// It cannot be understood, or not now.
    BadRequest(String),
    /// Its call waits for the guard, which is held: only a later line can let it go on.
    WouldWait(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::BadRequest(reason)
    }
}

enum Started {
    Running(BoxFuture<'static, Value>),
    Done(Value),
}

impl Conversation {
    /// A conversation with a real guard, clock and random source.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(engine: &SessionEngine, guard: impl Guard) -> Result<Self, StartError> {
        let host = SessionHost::start(engine, HostOptions::new(guard)).await?;
        Ok(Self::with(Sessions::Instance(host), None))
    }

    /// A conversation with a durable host. Each answer is given when all that its call has changed is
    /// in the journal. Configuring and the records are the host's own business.
    #[must_use]
    pub fn with_durable(host: DurableHost) -> Self {
        Self::with(Sessions::Durable(host), None)
    }

    fn with(sessions: Sessions, controls: Option<Controls>) -> Self {
        Self {
            sessions,
            controls,
            started: HashMap::new(),
            subscriptions: HashMap::new(),
        }
    }

    /// A conversation with controls, over a guard that goes by the controlled clock. There is no
    /// deadline for its answers: one that never comes stops the conversation.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_controlled(
        engine: &SessionEngine,
        guard: impl FnOnce(Arc<dyn Clock>) -> Arc<dyn Guard>,
    ) -> Result<Self, StartError> {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = Arc::new(ControlledGuard::new(guard(clock.clone())));
        let entropy = Arc::new(ControlledEntropy::default());
        let options = HostOptions {
            clock: clock.clone(),
            entropy: entropy.clone(),
            guard_deadline: None,
            // A call that waits for its turn would wait for what only a later line can do.
            max_in_flight: usize::MAX,
            ..HostOptions::with_shared_guard(guard.clone())
        };
        let host = SessionHost::start(engine, options.clone()).await?;
        let controls = Controls {
            engine: engine.clone(),
            options,
            clock,
            guard,
            entropy,
        };
        Ok(Self::with(Sessions::Instance(host), Some(controls)))
    }

    /// Reads lines to the end of `input`, and writes an answer for each. Empty lines are skipped.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub async fn run(
        &mut self,
        mut input: impl AsyncBufRead + Unpin,
        mut output: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).await? > 0 {
            if !line.trim_ascii().is_empty() {
                let mut answer = self.answer(&line).await.to_string();
                answer.push('\n');
                output.write_all(answer.as_bytes()).await?;
                output.flush().await?;
            }
            line.clear();
        }
        Ok(())
    }

    /// Ends it. A durable host makes durable what is not yet, and gives its journal back.
    pub async fn end(self) {
        if let Sessions::Durable(host) = self.sessions {
            host.shutdown().await;
        }
    }

    /// The answer to one line.
    pub async fn answer(&mut self, line: &[u8]) -> Value {
        let answer = match Request::parse(line) {
            Ok(Request::Call(operation)) => self.call(operation).await,
            Ok(Request::Control(control)) => self.control(control).await,
            Err(reason) => Err(Refusal::BadRequest(reason)),
        };
        answer.unwrap_or_else(|refusal| {
            let (kind, reason) = match refusal {
                Refusal::BadRequest(reason) => ("bad-request", reason),
                Refusal::WouldWait(reason) => ("would-wait", reason),
            };
            // It can repeat a name, which is as long as its speaker likes.
            json!({ "err": { "kind": kind, "reason": shortened(&reason) } })
        })
    }

    async fn call(&self, operation: Operation) -> Result<Value, Refusal> {
        let waiting = "the call waits for the guard, which is held. It goes on; start such a call to \
                       hear how it ends";
        let answer = self.wait(operation.call(self.sessions.clone())).await;
        answer.map_err(|_| Refusal::WouldWait(waiting.into()))
    }

    async fn control(&mut self, control: Control) -> Result<Value, Refusal> {
        match control {
            Control::Start { name, call } => {
                if self.started.contains_key(&name) {
                    return Err(format!(
                        "a call named {} is started and not finished",
                        json!(name)
                    )
                    .into());
                }
                let running = call.call(self.sessions.clone());
                let started = self.settle(running).await;
                let state = if matches!(started, Started::Done(_)) {
                    "done"
                } else {
                    "waiting"
                };
                self.started.insert(name.clone(), started);
                Ok(json!({ "ok": { "name": name, "state": state } }))
            }
            Control::Finish { name } => {
                let started = self
                    .started
                    .remove(&name)
                    .ok_or_else(|| format!("no call named {} is started", json!(name)))?;
                let running = match started {
                    Started::Done(answer) => return Ok(answer),
                    Started::Running(running) => running,
                };
                match self.wait(running).await {
                    Ok(answer) => Ok(answer),
                    Err(running) => {
                        let reason = format!(
                            "the call {} still waits for the guard, which is held",
                            json!(name)
                        );
                        self.started.insert(name, Started::Running(running));
                        Err(Refusal::WouldWait(reason))
                    }
                }
            }
            Control::Subscribe { name, since } => {
                if self.subscriptions.contains_key(&name) {
                    return Err(format!("there is a subscription named {}", json!(name)).into());
                }
                let keep = |subscription| drop(self.subscriptions.insert(name, subscription));
                Ok(match &self.sessions {
                    Sessions::Instance(host) => {
                        json::answer(&host.subscribe(since).await.map(keep))
                    }
                    Sessions::Durable(host) => json::answer(&host.subscribe(since).await.map(keep)),
                })
            }
            Control::Read { name, limit } => {
                // What was pushed is to have come.
                let rested = self.come_to_rest().await;
                let subscription = self.subscription(&name)?;
                let read = std::iter::from_fn(|| subscription.try_next());
                let events: Vec<_> = read.take(limit.unwrap_or(usize::MAX)).collect();
                // An instance that is gone pushes no more.
                Ok(match rested {
                    Err(gone) if events.is_empty() => json!({ "err": gone }),
                    _ => json!({ "ok": events.to_json() }),
                })
            }
            Control::Unsubscribe { name } => {
                self.subscription(&name)?;
                self.subscriptions.remove(&name);
                Ok(json!({ "ok": null }))
            }
            Control::Restart {} => {
                if !self.started.is_empty() {
                    return Err("a call is started and not finished".to_owned().into());
                }
                let Controls {
                    engine, options, ..
                } = self.controls()?;
                let another = SessionHost::start(engine, options.clone()).await;
                let another = another.map_err(|error| full_text(&error))?;
                self.sessions = Sessions::Instance(another);
                self.subscriptions.clear();
                Ok(json!({ "ok": null }))
            }
            Control::Clock { advance, set } => Ok(self.control_clock(advance, set.as_deref())?),
            Control::Guard { mode, on, calls } => {
                let guard = &self.controls()?.guard;
                if let Some(mode) = mode {
                    match on {
                        Some(function) => guard.set(function, mode),
                        None => guard.set_all(mode),
                    }
                    // Calls that were held go on before the next line. If they trap, it is they
                    // that tell.
                    let _ = self.come_to_rest().await;
                } else if !calls {
                    return Err("neither a mode nor calls is asked for".to_owned().into());
                }
                Ok(json!({ "ok": calls.then(|| guard.calls()) }))
            }
            Control::Entropy { mode } => {
                self.controls()?.entropy.set(mode);
                Ok(json!({ "ok": null }))
            }
        }
    }

    fn subscription(&mut self, name: &str) -> Result<&mut Subscription, String> {
        let subscription = self.subscriptions.get_mut(name);
        subscription.ok_or_else(|| format!("there is no subscription named {}", json!(name)))
    }

    fn controls(&self) -> Result<&Controls, String> {
        self.controls
            .as_ref()
            .ok_or_else(|| "only with --controls".into())
    }

    fn control_clock(&self, advance: Option<f64>, set: Option<&str>) -> Result<Value, String> {
        let clock = &self.controls()?.clock;
        match (advance, set) {
            (Some(seconds), None) => {
                let by = Duration::try_from_secs_f64(seconds.abs())
                    .map_err(|_| "advance: must be a number of seconds below 2^64")?;
                if seconds < 0.0 {
                    clock.rewind(by);
                } else {
                    clock.advance(by);
                }
            }
            (None, Some(time)) => {
                let time = DateTime::parse_from_rfc3339(time)
                    .map_err(|_| "set: must be a time as RFC 3339 writes it")?;
                clock.set(Instant {
                    seconds: time.timestamp(),
                    nanoseconds: time.timestamp_subsec_nanos().min(999_999_999),
                });
            }
            _ => return Err("either advance or set must be given".into()),
        }
        Ok(json!({ "ok": null }))
    }

    /// Waits until nothing goes on any more in the instance, nor in its guard if that is controlled.
    ///
    /// # Errors
    /// When the instance is gone. Its calls tell that themselves.
    async fn come_to_rest(&self) -> Result<(), Value> {
        let mut answered = None;
        loop {
            match &self.sessions {
                Sessions::Instance(host) => host
                    .wait_until_idle()
                    .await
                    .map_err(|gone| gone.to_json())?,
                Sessions::Durable(host) => {
                    let settled = host
                        .read(|host| async move { host.wait_until_idle().await })
                        .await;
                    settled.map_err(|error| error.to_json())?;
                }
            }
            let Some(controls) = &self.controls else {
                return Ok(());
            };
            // Whatever the guard has answered since may have set the instance going again.
            let now = controls.guard.rest().await;
            if answered.replace(now) == Some(now) {
                return Ok(());
            }
        }
    }

    /// Begins a call and lets it come as far as it can without the guard.
    async fn settle(&self, mut running: BoxFuture<'static, Value>) -> Started {
        if let Poll::Ready(answer) = poll!(&mut running) {
            return Started::Done(answer);
        }
        let _ = self.come_to_rest().await;
        match poll!(&mut running) {
            Poll::Ready(answer) => Started::Done(answer),
            Poll::Pending => Started::Running(running),
        }
    }

    /// The end of a call that waits for the guard. With controls nothing but a later line can let
    /// it go on, so waiting here would be for ever; the call is given back then.
    async fn wait(
        &self,
        running: BoxFuture<'static, Value>,
    ) -> Result<Value, BoxFuture<'static, Value>> {
        if self.controls.is_none() {
            return Ok(running.await);
        }
        match self.settle(running).await {
            Started::Done(answer) => Ok(answer),
            Started::Running(running) => Err(running),
        }
    }
}
