//! What the handles on a durable host share: the way in for calls, and the one for commands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_host::SessionEngine;
use tokio::sync::{Mutex, RwLock, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::active_instance::{ActiveInstance, Phase};
use crate::backend::{AdmittedCall, Backend};
use crate::error::DurableError;
use crate::metrics::{Counters, HostMetrics};
use crate::reason::Reason;
use crate::recovery::Recovery;
use crate::supervisor::{Command, DrainGuard, Supervisor, SwitchOver};
use crate::term::Term;
use crate::upgrade::Handover;

/// A durable host. Ends when nobody has it any more.
pub(crate) struct TenantHost {
    recovery: Arc<Recovery>,
    /// Calls hold it for reading until they are answered.
    calls: Arc<RwLock<()>>,
    phase: watch::Receiver<Phase>,
    commands: mpsc::Sender<Command>,
    counters: Arc<Counters>,
    upgrading: Mutex<()>,
    /// Held by users that need the instance while no call is in flight.
    keep_loaded: Arc<()>,
}

impl TenantHost {
    /// One that serves.
    pub async fn start(recovery: Recovery, engine: SessionEngine) -> Result<Self, DurableError> {
        let (phase, counters) = (initial_phase(), Arc::default());
        let term = recovery.begin_term(&engine, &phase, &counters).await?;
        Ok(Self::spawn(recovery, engine, phase, counters, Some(term)))
    }

    /// One that will serve as soon as no other host has the tenant.
    pub fn standby(recovery: Recovery, engine: SessionEngine) -> Self {
        Self::spawn(recovery, engine, initial_phase(), Arc::default(), None)
    }

    fn spawn(
        recovery: Recovery,
        engine: SessionEngine,
        phase: watch::Sender<Phase>,
        counters: Arc<Counters>,
        term: Option<Term>,
    ) -> Self {
        if let Some(term) = &term {
            phase.send_replace(Phase::Serving(Arc::clone(&term.active)));
        }
        let recovery = Arc::new(recovery);
        let observed = phase.subscribe();
        let (commands, received) = mpsc::channel(1);
        let supervisor = Supervisor {
            recovery: Arc::clone(&recovery),
            engine,
            phase,
            counters: Arc::clone(&counters),
            commands: received,
            consecutive_failures: 0,
        };
        tokio::spawn(supervisor.run(term));
        Self {
            recovery,
            calls: Arc::default(),
            phase: observed,
            commands,
            counters,
            upgrading: Mutex::default(),
            keep_loaded: Arc::default(),
        }
    }

    /// Waits for an instance. None: the host is closed, and has not seen the call.
    pub async fn admit(&self) -> Result<Option<AdmittedCall>, DurableError> {
        let admission = async {
            let call = Arc::clone(&self.calls).read_owned().await;
            let active = self.wait_for_instance().await?;
            Ok(active.map(|active| AdmittedCall {
                active,
                keep_loaded: Arc::clone(&self.keep_loaded),
                _call: call,
            }))
        };
        let admitted = timeout(self.recovery.options.patience, admission).await;
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
            match &*phase.borrow_and_update() {
                Phase::Serving(active) => return Ok(Some(Arc::clone(active))),
                Phase::Refusing(error) => return Err(error.clone()),
                Phase::Closed => return Ok(None),
                Phase::Recovering(_) => {}
            }
            // Nobody changes it any more: the runtime is being shut down.
            if phase.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Waits until there is an instance, or there is no telling when there will be one; for as long as
    /// that takes. The host is not idle meanwhile.
    pub async fn wait_until_ready(&self) -> Result<(), DurableError> {
        let _use = Arc::clone(&self.keep_loaded);
        let active = self.wait_for_instance().await?;
        active.map(drop).ok_or_else(DurableError::closed)
    }

    pub fn is_closed(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Closed) || self.commands.is_closed()
    }

    pub fn metrics(&self) -> HostMetrics {
        self.counters.snapshot()
    }

    /// Replaces the instance by one of this engine.
    pub async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        let Ok(_alone) = self.upgrading.try_lock() else {
            return Err(not_upgraded("another upgrade is under way"));
        };
        let admitted = self.admit().await?.ok_or_else(DurableError::closed)?;
        let from = Arc::clone(&admitted.active);
        drop(admitted);
        let to = self.recovery.start_instance(&engine).await;
        let to = to.map_err(|error| {
            not_upgraded(Reason::in_place_of(
                format!("the new instance: {error}"),
                error,
            ))
        })?;
        let mut handover = Handover::new(from, to);
        handover.catch_up().await?;
        let Some(drained) = self.drain_calls(self.recovery.options.drain).await else {
            return Err(not_upgraded("calls that are under way do not end"));
        };
        let (reply, done) = oneshot::channel();
        let switch = SwitchOver {
            handover,
            engine,
            drained,
            reply,
        };
        let _ = self
            .commands
            .send(Command::SwitchOver(Box::new(switch)))
            .await;
        done.await.unwrap_or_else(|_| Err(DurableError::closed()))
    }

    /// Lets the calls that are under way end, makes durable what they changed, and gives the tenant
    /// back.
    pub async fn close(&self) {
        let drained = self.drain_calls(self.recovery.options.drain).await;
        self.close_with(drained).await;
    }

    /// The same, if nobody needs the instance at the moment; whether that was so.
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
        // One that is closed already has nobody left to answer.
        let _ = closed.await;
    }

    fn drain_if_idle(&self) -> Option<DrainGuard> {
        let drained = Arc::clone(&self.calls).try_write_owned().ok();
        drained.filter(|_| Arc::strong_count(&self.keep_loaded) == 1)
    }

    /// Waits until no call is under way, and keeps new ones out.
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

    async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
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
