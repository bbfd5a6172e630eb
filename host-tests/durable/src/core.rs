//! What the handles on a durable host share: the way in for calls, and the one for commands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_host::SessionEngine;
use tokio::sync::{Mutex, RwLock, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::backend::{Backend, Entered};
use crate::error::DurableError;
use crate::figures::{Counters, Figures};
use crate::keeper::{Command, Gate, Keeper, Switch};
use crate::recovery::Plan;
use crate::serving::{Phase, Serving};
use crate::tenure::Tenure;
use crate::upgrade::Handover;

/// A durable host. Ends when nobody has it any more.
pub(crate) struct Core {
    plan: Arc<Plan>,
    /// Calls hold it for reading until they are answered.
    gate: Arc<RwLock<()>>,
    phase: watch::Receiver<Phase>,
    commands: mpsc::Sender<Command>,
    counters: Arc<Counters>,
    upgrading: Mutex<()>,
    /// Held by whoever needs the instance without a call being under way.
    uses: Arc<()>,
}

impl Core {
    /// One that serves.
    pub async fn start(plan: Plan, engine: SessionEngine) -> Result<Self, DurableError> {
        let (phase, counters) = (starting(), Arc::default());
        let tenure = plan.tenure(&engine, &phase, &counters).await?;
        Ok(Self::kept(plan, engine, phase, counters, Some(tenure)))
    }

    /// One that will serve as soon as no other host has the tenant.
    pub fn standby(plan: Plan, engine: SessionEngine) -> Self {
        Self::kept(plan, engine, starting(), Arc::default(), None)
    }

    fn kept(
        plan: Plan,
        engine: SessionEngine,
        phase: watch::Sender<Phase>,
        counters: Arc<Counters>,
        tenure: Option<Tenure>,
    ) -> Self {
        if let Some(tenure) = &tenure {
            phase.send_replace(Phase::Serving(Arc::clone(&tenure.serving)));
        }
        let plan = Arc::new(plan);
        let seen = phase.subscribe();
        let (commands, received) = mpsc::channel(1);
        let keeper = Keeper {
            plan: Arc::clone(&plan),
            engine,
            phase,
            counters: Arc::clone(&counters),
            commands: received,
            in_vain: 0,
        };
        tokio::spawn(keeper.keep(tenure));
        Self {
            plan,
            gate: Arc::default(),
            phase: seen,
            commands,
            counters,
            upgrading: Mutex::default(),
            uses: Arc::default(),
        }
    }

    /// Waits for an instance. None: the host is closed, and has not seen the call.
    pub async fn enter(&self) -> Result<Option<Entered>, DurableError> {
        let entering = async {
            let gate = Arc::clone(&self.gate).read_owned().await;
            let serving = self.serving().await?;
            Ok(serving.map(|serving| Entered {
                serving,
                uses: Arc::clone(&self.uses),
                _gate: gate,
            }))
        };
        let entered = timeout(self.plan.options.patience, entering).await;
        entered.unwrap_or_else(|_| {
            Err(DurableError::Retry(match &*self.phase.borrow() {
                Phase::Recovering(reason) => reason.clone(),
                _ => "the instance is being replaced".into(),
            }))
        })
    }

    async fn serving(&self) -> Result<Option<Arc<Serving>>, DurableError> {
        let mut phase = self.phase.clone();
        loop {
            match &*phase.borrow_and_update() {
                Phase::Serving(serving) => return Ok(Some(Arc::clone(serving))),
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
    pub async fn settled(&self) -> Result<(), DurableError> {
        let _use = Arc::clone(&self.uses);
        let serving = self.serving().await?;
        serving.map(drop).ok_or_else(DurableError::closed)
    }

    pub fn is_closed(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Closed) || self.commands.is_closed()
    }

    pub fn figures(&self) -> Figures {
        self.counters.read()
    }

    /// Replaces the instance by one of this engine.
    pub async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        let Ok(_alone) = self.upgrading.try_lock() else {
            return Err(not_upgraded("another upgrade is under way"));
        };
        let entered = self.enter().await?.ok_or_else(DurableError::closed)?;
        let from = Arc::clone(&entered.serving);
        drop(entered);
        let to = self.plan.instance(&engine).await;
        let to = to.map_err(|error| not_upgraded(&format!("the new instance: {error}")))?;
        let mut handover = Handover::new(from, to);
        handover.catch_up().await?;
        let Some(gate) = self.shut_gate(self.plan.options.drain).await else {
            return Err(not_upgraded("calls that are under way do not end"));
        };
        let (reply, done) = oneshot::channel();
        let switch = Switch {
            handover,
            engine,
            gate,
            reply,
        };
        let _ = self.commands.send(Command::Switch(Box::new(switch))).await;
        done.await.unwrap_or_else(|_| Err(DurableError::closed()))
    }

    /// Lets the calls that are under way end, makes durable what they changed, and gives the tenant
    /// back.
    pub async fn close(&self) {
        let gate = self.shut_gate(self.plan.options.drain).await;
        self.close_behind(gate).await;
    }

    /// The same, if nobody needs the instance at the moment; whether that was so.
    pub async fn close_if_idle(&self) -> bool {
        let gate = self.idle_gate();
        let idle = gate.is_some();
        if idle {
            self.close_behind(gate).await;
        }
        idle
    }

    async fn close_behind(&self, gate: Option<Gate>) {
        let (reply, closed) = oneshot::channel();
        let _ = self.commands.send(Command::Close(gate, reply)).await;
        // One that is closed already has nobody left to answer.
        let _ = closed.await;
    }

    fn idle_gate(&self) -> Option<Gate> {
        let gate = Arc::clone(&self.gate).try_write_owned().ok();
        gate.filter(|_| Arc::strong_count(&self.uses) == 1)
    }

    /// Waits until no call is under way, and keeps new ones out.
    async fn shut_gate(&self, within: Duration) -> Option<Gate> {
        let gate = Arc::clone(&self.gate).write_owned();
        timeout(within, gate).await.ok()
    }
}

#[async_trait]
impl Backend for Core {
    async fn enter(&self) -> Result<Entered, DurableError> {
        Self::enter(self).await?.ok_or_else(DurableError::closed)
    }

    async fn upgrade(&self, engine: SessionEngine) -> Result<(), DurableError> {
        Self::upgrade(self, engine).await
    }

    async fn shutdown(&self) {
        self.close().await;
    }

    fn figures(&self) -> Figures {
        Self::figures(self)
    }
}

fn starting() -> watch::Sender<Phase> {
    let reason = "the tenant is being taken over";
    watch::Sender::new(Phase::Recovering(reason.into()))
}

fn not_upgraded(reason: &str) -> DurableError {
    DurableError::Upgrade(reason.into())
}
