//! The task behind a durable host: it keeps the tenant, makes what changes durable, and replaces the
//! instance when that is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clawdb_session_host::SessionEngine;
use tokio::sync::{OwnedRwLockWriteGuard, mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::error::DurableError;
use crate::figures::{Counters, count};
use crate::recovery::Plan;
use crate::serving::Phase;
use crate::tenure::Tenure;
use crate::upgrade::Handover;

/// How many waiting calls share an append at most.
const GROUP: usize = 1_024;
/// After how many instances in a row that answered nothing there is a pause before the next.
const IN_VAIN: u32 = 5;

/// What the keeper is told.
pub(super) enum Command {
    Switch(Box<Switch>),
    /// To end, with the gate where it could be had.
    Close(Option<Gate>, oneshot::Sender<()>),
}

/// No call is under way while somebody has it.
pub(super) type Gate = OwnedRwLockWriteGuard<()>;

pub(super) struct Switch {
    pub handover: Handover,
    pub engine: SessionEngine,
    /// Held here, so that no call gets in between whatever becomes of who asked.
    pub gate: Gate,
    pub reply: oneshot::Sender<Result<(), DurableError>>,
}

pub(super) struct Keeper {
    pub plan: Arc<Plan>,
    pub engine: SessionEngine,
    pub phase: watch::Sender<Phase>,
    pub counters: Arc<Counters>,
    pub commands: mpsc::Receiver<Command>,
    /// How many instances and take-overs in a row came to nothing.
    pub in_vain: u32,
}

/// Nobody wants the host any more; whoever waits until it has ended.
struct Closed(Option<(Option<Gate>, oneshot::Sender<()>)>);

impl Closed {
    /// Whether no call is under way.
    fn has_gate(&self) -> bool {
        matches!(&self.0, Some((Some(_), _)))
    }
}

/// Why a tenure ended.
enum End {
    Closed(Closed),
    Lost(DurableError),
}

impl Keeper {
    /// Keeps the tenant until the host is closed.
    pub async fn keep(mut self, first: Option<Tenure>) {
        let closed = self.tenures(first).await;
        self.phase.send_replace(Phase::Closed);
        if let Some((_gate, closed)) = closed.0 {
            let _ = closed.send(());
        }
    }

    async fn tenures(&mut self, mut next: Option<Tenure>) -> Closed {
        loop {
            let mut tenure = match next.take() {
                Some(tenure) => tenure,
                None => match self.next_tenure().await {
                    Ok(tenure) => tenure,
                    Err(closed) => return closed,
                },
            };
            self.serve(&tenure);
            let error = match self.tend(&mut tenure).await {
                End::Lost(error) => error,
                End::Closed(closed) => {
                    // What cannot be made durable now was not acknowledged either.
                    let _ = tenure.flush().await;
                    // Where calls are still under way, there may be events that nobody counts.
                    if closed.has_gate() {
                        let _ = tenure.close_event_run().await;
                    }
                    tenure.end(DurableError::closed()).release().await;
                    return closed;
                }
            };
            if let Err(closed) = self.lost(tenure, error).await {
                return closed;
            }
        }
    }

    fn serve(&self, tenure: &Tenure) {
        let serving = Arc::clone(&tenure.serving);
        self.phase.send_replace(Phase::Serving(serving));
    }

    /// Takes the tenant over, as often as it takes.
    async fn next_tenure(&mut self) -> Result<Tenure, Closed> {
        loop {
            let tenure = self.plan.tenure(&self.engine, &self.phase, &self.counters);
            let tenure = tokio::select! {
                tenure = tenure => tenure,
                closed = closed(&mut self.commands) => return Err(closed),
            };
            let error = match tenure {
                Ok(tenure) => return Ok(tenure),
                Err(error) => error,
            };
            self.plan.report(&format!("does not serve: {error}"));
            self.in_vain = self.in_vain.saturating_add(1);
            match error {
                DurableError::Retry(reason) => {
                    self.phase.send_replace(Phase::Recovering(reason));
                    self.pause(self.in_vain).await?;
                }
                DurableError::NotOwner(_) => {
                    self.phase.send_replace(Phase::Refusing(error));
                    self.pause(1).await?;
                }
                error => {
                    self.phase.send_replace(Phase::Refusing(error));
                    return Err(closed(&mut self.commands).await);
                }
            }
        }
    }

    /// Makes durable what changes, all that waits at a time, until the tenure ends.
    async fn tend(&mut self, tenure: &mut Tenure) -> End {
        let mut waiters = Vec::new();
        let mut failing = false;
        loop {
            let host = tenure.serving.instance.host.clone();
            let tick = self.plan.options.tick;
            // A journal that is away is not asked all the time.
            let rest = if failing {
                tick / 4
            } else {
                tenure.writer.until_renewal().min(tick)
            };
            tokio::select! {
                biased;
                error = host.stopped() => {
                    self.plan.report(&error.to_string());
                    return End::Lost(error.into());
                }
                command = self.commands.recv() => match command {
                    None => return End::Closed(Closed(None)),
                    Some(Command::Close(gate, reply)) => {
                        return End::Closed(Closed(Some((gate, reply))));
                    }
                    Some(Command::Switch(switch)) => {
                        if let Err(error) = self.switch(tenure, *switch).await {
                            return End::Lost(error);
                        }
                        continue;
                    }
                },
                _ = tenure.waiters.recv_many(&mut waiters, GROUP) => {}
                () = sleep(rest) => {}
            }
            let kept = match tenure.writer.renew_in_time().await {
                Ok(()) => tenure.flush().await,
                Err(error) => Err(error.into()),
            };
            failing = kept.is_err();
            match kept {
                // The same is tried again with the next call, or at the next tick; and if the
                // instance is gone, the next turn finds out.
                Ok(()) | Err(DurableError::Retry(_)) => {}
                Err(error) => return End::Lost(error),
            }
            for waiter in waiters.drain(..) {
                let _ = waiter.send(kept.clone());
            }
        }
    }

    /// Errors end the tenure; that the upgrade was not done is told to who wanted it.
    async fn switch(&mut self, tenure: &mut Tenure, switch: Switch) -> Result<(), DurableError> {
        let switched = tenure.switch(switch.handover).await;
        if switched.is_ok() {
            self.engine = switch.engine;
            self.serve(tenure);
            count(&self.counters.upgrades);
            self.plan
                .report("serves with another build of the component");
        }
        let flushed = match &switched {
            Ok(()) => tenure.flush().await,
            Err(error) => Err(error.clone()),
        };
        let _ = switch.reply.send(switched);
        drop(switch.gate);
        match flushed {
            Ok(()) | Err(DurableError::Upgrade(_) | DurableError::Retry(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What comes after a tenure that was lost.
    async fn lost(&mut self, tenure: Tenure, error: DurableError) -> Result<(), Closed> {
        self.plan.report(&format!("serves no more: {error}"));
        if tenure.serving.answered.load(Ordering::Relaxed) {
            self.in_vain = 0;
        }
        match &error {
            DurableError::Retry(reason) => {
                count(&self.counters.restarts);
                self.in_vain = self.in_vain.saturating_add(1);
                self.phase.send_replace(Phase::Recovering(reason.clone()));
                tenure.end(error).release().await;
                let beyond = self.in_vain.saturating_sub(IN_VAIN);
                if beyond > 0 {
                    self.pause(beyond).await?;
                }
                Ok(())
            }
            DurableError::NotOwner(_) => {
                count(&self.counters.losses);
                self.phase.send_replace(Phase::Refusing(error.clone()));
                drop(tenure.end(error));
                // Two hosts on a journal without leases would take the tenant from each other at once.
                self.pause(1).await
            }
            _ => {
                self.phase.send_replace(Phase::Refusing(error.clone()));
                drop(tenure.end(error));
                Err(closed(&mut self.commands).await)
            }
        }
    }

    /// Waits: a tick the first time, twice as long each time after, up to eight ticks.
    async fn pause(&mut self, times: u32) -> Result<(), Closed> {
        let ticks = 1 << times.saturating_sub(1).min(3);
        let pause: Duration = self.plan.options.tick.saturating_mul(ticks);
        tokio::select! {
            () = sleep(pause) => Ok(()),
            closed = closed(&mut self.commands) => Err(closed),
        }
    }
}

/// Waits until the host is to end. Upgrades have to wait for an instance.
async fn closed(commands: &mut mpsc::Receiver<Command>) -> Closed {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Close(gate, reply) => return Closed(Some((gate, reply))),
            Command::Switch(switch) => {
                let reason = "there is no instance to upgrade now";
                let _ = switch.reply.send(Err(DurableError::Upgrade(reason.into())));
            }
        }
    }
    Closed(None)
}
