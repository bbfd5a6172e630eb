//! The state that the handles of a durable host share: it admits calls and sends commands to the
//! supervisor.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_host::{AnyEngine, InstanceOptions};
use tokio::sync::{Mutex, RwLock, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::active_instance::{ActiveInstance, Phase};
use crate::backend::{AdmittedCall, Backend};
use crate::error::DurableError;
use crate::metrics::{Counters, HostMetrics};
use crate::reason::Reason;
use crate::recovery::{NotBegun, Recovery};
use crate::reply::reply_or_end;
use crate::supervisor::{Command, DrainGuard, Supervisor, SwitchOver};
use crate::term::Term;
use crate::upgrade::Handover;

/// A durable host. It ends when it is closed or dropped.
pub(crate) struct TenantHost {
    recovery: Arc<Recovery>,
    /// Calls hold it for reading until they are answered. A drain holds it for writing.
    calls: Arc<RwLock<()>>,
    phase: watch::Receiver<Phase>,
    /// The error of the last attempt to begin a term that failed.
    failure: watch::Receiver<DurableError>,
    commands: mpsc::Sender<Command>,
    counters: Arc<Counters>,
    /// Held by the upgrade in progress.
    upgrading: Mutex<()>,
    /// Held by users that need the instance while no call is in flight.
    keep_loaded: Arc<()>,
}

impl TenantHost {
    /// Returns a host that serves.
    pub async fn start(
        recovery: Recovery,
        instances: InstanceOptions,
    ) -> Result<Self, DurableError> {
        let (phase, counters) = (initial_phase(), Arc::default());
        let begun = recovery.begin_term(&instances, &phase, &counters, pending::<Infallible>());
        let term = begun.await.map_err(|NotBegun::Failed(error)| error)?;
        Ok(Self::spawn(
            recovery,
            instances,
            phase,
            counters,
            Some(term),
        ))
    }

    /// Returns a host that serves as soon as no other host has the tenant.
    pub fn standby(recovery: Recovery, instances: InstanceOptions) -> Self {
        Self::spawn(recovery, instances, initial_phase(), Arc::default(), None)
    }

    fn spawn(
        recovery: Recovery,
        instances: InstanceOptions,
        phase: watch::Sender<Phase>,
        counters: Arc<Counters>,
        term: Option<Term>,
    ) -> Self {
        if let Some(term) = &term {
            phase.send_replace(Phase::Serving(Arc::clone(&term.active)));
        }
        let recovery = Arc::new(recovery);
        let observed = phase.subscribe();
        let (failure, observed_failure) = watch::channel(DurableError::closed());
        let (commands, received) = mpsc::channel(1);
        let supervisor = Supervisor {
            recovery: Arc::clone(&recovery),
            instances,
            phase,
            failure,
            counters: Arc::clone(&counters),
            commands: received,
            consecutive_failures: 0,
        };
        tokio::spawn(supervisor.run(term));
        Self {
            recovery,
            calls: Arc::default(),
            phase: observed,
            failure: observed_failure,
            commands,
            counters,
            upgrading: Mutex::default(),
            keep_loaded: Arc::default(),
        }
    }

    /// Waits for an instance, for at most `patience`. Returns `None` if the host is closed: the
    /// call has not reached an instance.
    pub async fn admit(&self) -> Result<Option<AdmittedCall>, DurableError> {
        let admission = async {
            let call = Arc::clone(&self.calls).read_owned().await;
            let active = self.wait_for_instance().await?;
            Ok(active.map(|active| AdmittedCall {
                active,
                keep_loaded: Arc::clone(&self.keep_loaded),
                call,
            }))
        };
        let admitted = tokio::select! {
            biased;
            admitted = timeout(self.recovery.options.patience, admission) => admitted,
            // A drain guard can stay in the channel when the supervisor ends.
            () = self.commands.closed() => return Ok(None),
        };
        admitted.unwrap_or_else(|_| {
            Err(DurableError::Retry(match &*self.phase.borrow() {
                Phase::Recovering(reason) => reason.clone(),
                _ => "the instance is being replaced".into(),
            }))
        })
    }

    async fn wait_for_instance(&self) -> Result<Option<Arc<ActiveInstance>>, DurableError> {
        let mut phase = self.phase.clone();
        loop {
            // The supervisor has ended: the host was closed, the runtime is being shut down, or the
            // supervisor has panicked. The last phase can be that of an instance that has ended.
            if self.commands.is_closed() {
                return Ok(None);
            }
            match &*phase.borrow_and_update() {
                Phase::Serving(active) => return Ok(Some(Arc::clone(active))),
                Phase::Refusing(error) => return Err(error.clone()),
                Phase::Closed => return Ok(None),
                Phase::Recovering(_) => {}
            }
            if phase.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Waits without a bound until an instance serves, the host refuses its calls, or an attempt to
    /// begin a term has failed. The host does not count as idle meanwhile.
    pub async fn wait_until_ready(&self) -> Result<(), DurableError> {
        let _use = Arc::clone(&self.keep_loaded);
        let active = tokio::select! {
            biased;
            active = self.wait_for_instance() => active?,
            error = self.wait_for_failure() => return Err(error),
        };
        active.map(drop).ok_or_else(DurableError::closed)
    }

    /// Waits until an attempt to begin a term has failed, and returns the error.
    async fn wait_for_failure(&self) -> DurableError {
        let mut failure = self.failure.clone();
        failure.mark_unchanged();
        match failure.changed().await {
            Ok(()) => failure.borrow().clone(),
            Err(_) => DurableError::closed(),
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Closed) || self.commands.is_closed()
    }

    pub fn metrics(&self) -> HostMetrics {
        self.counters.snapshot()
    }

    /// Replaces the instance with one of this engine. The old one serves until the new one has all
    /// but the last changes.
    pub async fn upgrade(&self, engine: AnyEngine) -> Result<(), DurableError> {
        let instances = self.recovery.options.instances.with_engine(engine);
        let instances = instances.map_err(|error| not_upgraded(Reason::from_error(error)))?;
        let Ok(_alone) = self.upgrading.try_lock() else {
            return Err(not_upgraded("another upgrade is in progress"));
        };
        let admitted = self.admit().await?.ok_or_else(DurableError::closed)?;
        let from = Arc::clone(&admitted.active);
        drop(admitted);
        let to = self.recovery.start_instance(&instances).await;
        let to = to.map_err(|error| {
            not_upgraded(Reason::in_place_of(
                format!("the new instance does not start: {error}"),
                error,
            ))
        })?;
        let mut handover = Handover::new(from, to);
        handover.catch_up().await?;
        let drain = self.recovery.options.drain;
        let Some(drained) = self.drain_calls(drain).await else {
            let seconds = drain.as_secs_f64();
            let reason = format!("calls in flight did not end within {seconds} s");
            return Err(not_upgraded(reason));
        };
        let (reply, done) = oneshot::channel();
        let switch = SwitchOver {
            handover,
            instances,
            drained,
            reply,
        };
        let _ = self
            .commands
            .send(Command::SwitchOver(Box::new(switch)))
            .await;
        let done = reply_or_end(done, self.commands.closed()).await;
        done.unwrap_or_else(|()| Err(DurableError::closed()))
    }

    /// Waits for the calls in flight, for at most `drain`, appends the last changes and gives the
    /// tenant back.
    pub async fn close(&self) {
        let drained = self.drain_calls(self.recovery.options.drain).await;
        self.close_with(drained).await;
    }

    /// Closes the host if it is idle: no call is in flight, and no reader of events or waiting
    /// caller needs the instance. Returns whether it was idle.
    pub async fn close_if_idle(&self) -> bool {
        let drained = self.drain_if_idle();
        let idle = drained.is_some();
        if idle {
            self.close_with(drained).await;
        }
        idle
    }

    async fn close_with(&self, drained: Option<DrainGuard>) {
        let (reply, closed) = oneshot::channel();
        let _ = self.commands.send(Command::Close(drained, reply)).await;
        // There is no reply if the host was closed before.
        let _ = reply_or_end(closed, self.commands.closed()).await;
    }

    fn drain_if_idle(&self) -> Option<DrainGuard> {
        let drained = Arc::clone(&self.calls).try_write_owned().ok();
        drained.filter(|_| Arc::strong_count(&self.keep_loaded) == 1)
    }

    /// Waits until no call is in flight. New calls wait while the guard exists. Returns `None` if
    /// calls are in flight for longer than `within`.
    async fn drain_calls(&self, within: Duration) -> Option<DrainGuard> {
        let drained = Arc::clone(&self.calls).write_owned();
        timeout(within, drained).await.ok()
    }
}

#[async_trait]
impl Backend for TenantHost {
    async fn admit(&self) -> Result<AdmittedCall, DurableError> {
        Self::admit(self).await?.ok_or_else(DurableError::closed)
    }

    async fn upgrade(&self, engine: AnyEngine) -> Result<(), DurableError> {
        Self::upgrade(self, engine).await
    }

    async fn shutdown(&self) {
        self.close().await;
    }

    fn metrics(&self) -> HostMetrics {
        Self::metrics(self)
    }
}

fn initial_phase() -> watch::Sender<Phase> {
    let reason = "the tenant is being taken over";
    watch::Sender::new(Phase::Recovering(reason.into()))
}

fn not_upgraded(reason: impl Into<Reason>) -> DurableError {
    DurableError::Upgrade(reason.into())
}
