//! Conversations with the component, one JSON object in each line. `exec` of the command line holds
//! them, and the conformance vectors are conversations.
//!
//! A line that is not valid, or that has a field twice, is answered with `bad-request`. The reason
//! begins with the path of the field and has at most 256 bytes. `metadata` is a string that
//! contains a JSON text, which is returned byte for byte. `null` counts as absent for every field;
//! the JSON text `null` is written as `"null"`.
//!
//! Each line is answered before the next is read. With controls, lines also change the clock, the
//! guard and the random source. Nothing else changes them, so the answers are the same each time.

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
    AnyEngine, AnySessions, Clock, Guard, InstanceOptions, Instant, StartError, Subscription,
    World, full_text,
};
use futures::future::BoxFuture;
use futures::poll;
use serde_json::{Value, json};
use tokio::io::{self, AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

use crate::clock::ManualClock;
use crate::control::{ControlledGuard, GuardMode, controlled_instances};
use crate::entropy::ControlledEntropy;
use operation::Operation;
use request::{Control, Request};
use sessions::Sessions;

/// The time at which a controlled clock starts: 2030-01-01T00:00:00Z.
pub const CONTROLLED_START: Instant = Instant {
    seconds: 1_893_456_000,
    nanoseconds: 0,
};

/// A conversation with an instance, or with a durable host.
pub struct Conversation {
    sessions: Sessions,
    controls: Option<Controls>,
    started: HashMap<String, Started>,
    subscriptions: HashMap<String, Subscription>,
}

/// The clock, the guard and the random source that lines can change, and what `restart` needs.
struct Controls {
    options: InstanceOptions,
    clock: Arc<ManualClock>,
    guard: Arc<ControlledGuard>,
    entropy: Arc<ControlledEntropy>,
}

/// The reason why a line has no answer of the component.
enum Refusal {
    /// The line is not valid, or not valid now.
    BadRequest(String),
    /// The call waits for the guard, which is held. Only a later line can release the guard.
    WouldWait(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::BadRequest(reason)
    }
}

/// A call that `start` began.
enum Started {
    /// The call waits for the guard.
    Running(BoxFuture<'static, Value>),
    /// The call has ended with this answer.
    Done(Value),
}

impl Conversation {
    /// Starts an instance and returns a conversation with it.
    ///
    /// # Errors
    /// [`StartError`] if the instance does not start.
    pub async fn start(options: InstanceOptions) -> Result<Self, StartError> {
        let sessions = AnySessions::start(options).await?;
        Ok(Self::with(Sessions::Instance(sessions), None))
    }

    /// Returns a conversation with a durable host. An operation is answered when all its changes
    /// are in the journal. The operations on the configuration and the records are refused, because
    /// the host uses them itself.
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

    /// Starts an instance with controls, and returns a conversation with it. `guard` makes the
    /// guard that answers in the mode `ok`; it gets the controlled clock. The guard has no
    /// deadline, so its functions must return. In the world `session-sync` they must return at
    /// once.
    ///
    /// # Errors
    /// [`StartError`] if the instance does not start.
    pub async fn start_controlled(
        engine: AnyEngine,
        guard: impl FnOnce(Arc<dyn Clock>) -> Arc<dyn Guard>,
    ) -> Result<Self, StartError> {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = Arc::new(ControlledGuard::new(guard(clock.clone())));
        let entropy = Arc::new(ControlledEntropy::default());
        let mut options = controlled_instances(engine, guard.clone(), clock.clone());
        match &mut options {
            InstanceOptions::Session(_, options) => {
                options.entropy = entropy.clone();
                // A call that waits for a permit would block the later line that ends another call.
                options.max_in_flight = usize::MAX;
            }
            InstanceOptions::SessionSync(_, options) => options.entropy = entropy.clone(),
        }
        let sessions = AnySessions::start(options.clone()).await?;
        let controls = Controls {
            options,
            clock,
            guard,
            entropy,
        };
        Ok(Self::with(Sessions::Instance(sessions), Some(controls)))
    }

    /// Reads lines to the end of `input` and writes an answer to each. Skips empty lines.
    ///
    /// # Errors
    /// The error of reading or writing.
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

    /// Ends the conversation. A durable host then stores the remaining changes and releases its
    /// journal.
    pub async fn end(self) {
        if let Sessions::Durable(host) = self.sessions {
            host.shutdown().await;
        }
    }

    /// Returns the answer to a line.
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
            // The reason can contain a name from the line, which has any length.
            json!({ "err": { "kind": kind, "reason": shortened(&reason) } })
        })
    }

    async fn call(&self, operation: Operation) -> Result<Value, Refusal> {
        let waiting = "the call waits for the guard, which is held, and continues; to read the \
                       answer of such a call, begin it with `start` and end it with `finish`";
        let answer = self.wait(operation.call(self.sessions.clone())).await;
        answer.map_err(|_| Refusal::WouldWait(waiting.into()))
    }

    async fn control(&mut self, control: Control) -> Result<Value, Refusal> {
        match control {
            Control::Start { name, call } => {
                if self.started.contains_key(&name) {
                    return Err(format!(
                        "a call named {} was started and is not finished",
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
                    .ok_or_else(|| format!("no call named {} was started", json!(name)))?;
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
                    return Err(
                        format!("a subscription named {} exists already", json!(name)).into(),
                    );
                }
                let keep = |subscription| drop(self.subscriptions.insert(name, subscription));
                Ok(match &self.sessions {
                    Sessions::Instance(sessions) => {
                        json::answer(&sessions.subscribe(since).await.map(keep))
                    }
                    Sessions::Durable(host) => json::answer(&host.subscribe(since).await.map(keep)),
                })
            }
            Control::Read { name, limit } => {
                // Waits until the events of earlier calls have arrived.
                let idle = self.wait_until_idle().await;
                let subscription = self.subscription(&name)?;
                let read = std::iter::from_fn(|| subscription.try_next());
                let events: Vec<_> = read.take(limit.unwrap_or(usize::MAX)).collect();
                // No further event can arrive if the instance has ended.
                Ok(match idle {
                    Err(error) if events.is_empty() => json!({ "err": error }),
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
                    return Err("a call was started and is not finished".to_owned().into());
                }
                let options = self.controls()?.options.clone();
                let another = AnySessions::start(options).await;
                let another = another.map_err(|error| full_text(&error))?;
                self.sessions = Sessions::Instance(another);
                self.subscriptions.clear();
                Ok(json!({ "ok": null }))
            }
            Control::Clock { advance, set } => Ok(self.control_clock(advance, set.as_deref())?),
            Control::Guard { mode, on, calls } => {
                let Controls { guard, options, .. } = self.controls()?;
                if let Some(mode) = mode {
                    if mode == GuardMode::Hold && options.world() == World::SessionSync {
                        let reason = "mode: a guard of the world session-sync cannot wait, so \
                                      \"hold\" requires the world session";
                        return Err(reason.to_owned().into());
                    }
                    match on {
                        Some(function) => guard.set(function, mode),
                        None => guard.set_all(mode),
                    }
                    // Calls that were held continue before the next line is read. If one traps, its
                    // own answer reports that.
                    let _ = self.wait_until_idle().await;
                } else if !calls {
                    return Err("mode or calls must be given".to_owned().into());
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
        subscription.ok_or_else(|| format!("no subscription is named {}", json!(name)))
    }

    fn controls(&self) -> Result<&Controls, String> {
        self.controls
            .as_ref()
            .ok_or_else(|| "this line requires --controls".into())
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
                    .map_err(|_| "set: must be a time in the format of RFC 3339")?;
                clock.set(Instant {
                    seconds: time.timestamp(),
                    nanoseconds: time.timestamp_subsec_nanos().min(999_999_999),
                });
            }
            _ => return Err("exactly one of advance and set must be given".into()),
        }
        Ok(json!({ "ok": null }))
    }

    /// Waits until each call has ended or waits for the guard. With controls, waits also until each
    /// call of the guard has ended or is held.
    ///
    /// # Errors
    /// The error of the instance as JSON, if it has ended. Its calls return the same error.
    async fn wait_until_idle(&self) -> Result<(), Value> {
        let mut ended_before = None;
        loop {
            match &self.sessions {
                Sessions::Instance(sessions) => sessions
                    .wait_until_idle()
                    .await
                    .map_err(|error| error.to_json())?,
                Sessions::Durable(host) => {
                    let idle = host
                        .read(|sessions| async move { sessions.wait_until_idle().await })
                        .await;
                    idle.map_err(|error| error.to_json())?;
                }
            }
            let Some(controls) = &self.controls else {
                return Ok(());
            };
            // If calls of the guard have ended since the last check, the instance may have
            // continued.
            let ended = controls.guard.rest().await;
            if ended_before.replace(ended) == Some(ended) {
                return Ok(());
            }
        }
    }

    /// Begins a call, and waits until it has ended or waits for the guard.
    async fn settle(&self, mut running: BoxFuture<'static, Value>) -> Started {
        if let Sessions::Instance(AnySessions::SessionSync(_)) = &self.sessions {
            // The guard cannot hold the call, which may run on another thread.
            return Started::Done(running.await);
        }
        if let Poll::Ready(answer) = poll!(&mut running) {
            return Started::Done(answer);
        }
        let _ = self.wait_until_idle().await;
        match poll!(&mut running) {
            Poll::Ready(answer) => Started::Done(answer),
            Poll::Pending => Started::Running(running),
        }
    }

    /// Waits for the end of a call and returns its answer.
    ///
    /// # Errors
    /// The call itself, if it waits for a guard that is held: only a later line can release it.
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
