//! The task of a durable host: it keeps the lease of the tenant, appends changes to the journal,
//! and replaces an instance that was lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clawdb_session_host::{InstanceOptions, full_text};
use tokio::sync::{OwnedRwLockWriteGuard, mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::active_instance::Phase;
use crate::error::DurableError;
use crate::metrics::{Counters, increment};
use crate::recovery::{NotBegun, Recovery};
use crate::term::Term;
use crate::upgrade::Handover;

/// The maximum number of waiting calls that share an append.
const MAX_BATCH: usize = 1_024;
/// The number of consecutive failures after which the supervisor pauses before it starts another
/// instance. An instance that answered a call ends the series.
const FAILURES_BEFORE_BACKOFF: u32 = 5;

/// A command to the supervisor.
pub(super) enum Command {
    /// Replace the instance with the new one of an upgrade.
    SwitchOver(Box<SwitchOver>),
    /// End the host. The drain guard is there if all calls have ended.
    Close(Option<DrainGuard>, oneshot::Sender<()>),
}

/// A guard that keeps new calls out. No call is in flight while it exists.
pub(super) type DrainGuard = OwnedRwLockWriteGuard<()>;

/// The last step of an upgrade.
pub(super) struct SwitchOver {
    pub handover: Handover,
    pub instances: InstanceOptions,
    /// It is part of the command, so that no call is admitted even if the upgrade is cancelled.
    pub drained: DrainGuard,
    pub reply: oneshot::Sender<Result<(), DurableError>>,
}

/// The state of the task.
pub(super) struct Supervisor {
    pub recovery: Arc<Recovery>,
    pub instances: InstanceOptions,
    pub phase: watch::Sender<Phase>,
    /// The error of the last attempt to begin a term that failed.
    pub failure: watch::Sender<DurableError>,
    pub counters: Arc<Counters>,
    pub commands: mpsc::Receiver<Command>,
    /// The number of consecutive take-overs that failed and instances that answered no call.
    pub consecutive_failures: u32,
}

/// A request to end the host; `None` if the last `DurableHost` was dropped. The sender reports the
/// end to the caller that closed the host.
struct CloseRequest(Option<(Option<DrainGuard>, oneshot::Sender<()>)>);

impl CloseRequest {
    /// Returns whether no call is in flight.
    fn is_drained(&self) -> bool {
        matches!(&self.0, Some((Some(_), _)))
    }
}

/// Why a term ended.
enum TermEnd {
    Closed(CloseRequest),
    Lost(DurableError),
}

impl Supervisor {
    /// Runs terms until the host is closed.
    pub async fn run(mut self, first: Option<Term>) {
        let closed = self.run_terms(first).await;
        drop(self);
        if let Some((_drained, closed)) = closed.0 {
            let _ = closed.send(());
        }
    }

    async fn run_terms(&mut self, mut next: Option<Term>) -> CloseRequest {
        loop {
            let mut term = match next.take() {
                Some(term) => term,
                None => match self.next_term().await {
                    Ok(term) => term,
                    Err(closed) => return closed,
                },
            };
            self.publish(&term);
            let error = match self.run_term(&mut term).await {
                TermEnd::Lost(error) => error,
                TermEnd::Closed(closed) => {
                    // Changes that cannot be appended now were not acknowledged.
                    let _ = term.flush().await;
                    // Calls in flight can still add events, which would not be in the closed run.
                    if closed.is_drained() {
                        let _ = term.close_event_run().await;
                    }
                    term.end(DurableError::closed()).release().await;
                    return closed;
                }
            };
            if let Err(closed) = self.end_lost_term(term, error).await {
                return closed;
            }
        }
    }

    fn publish(&self, term: &Term) {
        let active = Arc::clone(&term.active);
        self.phase.send_replace(Phase::Serving(active));
    }

    /// Begins the next term. Repeats failed attempts, unless their error is not retryable: then
    /// calls are refused until the host is closed.
    async fn next_term(&mut self) -> Result<Term, CloseRequest> {
        loop {
            let closing = close_request(&mut self.commands);
            let begun =
                self.recovery
                    .begin_term(&self.instances, &self.phase, &self.counters, closing);
            let error = match begun.await {
                Ok(term) => return Ok(term),
                Err(NotBegun::Closed(closed)) => return Err(closed),
                Err(NotBegun::Failed(error)) => error,
            };
            self.recovery
                .report(&format!("does not serve: {}", full_text(&error)));
            self.failure.send_replace(error.clone());
            self.consecutive_failures = self.consecutive_failures.saturating_add(1);
            match error {
                DurableError::Retry(reason) => {
                    self.phase.send_replace(Phase::Recovering(reason));
                    self.back_off(self.consecutive_failures).await?;
                }
                DurableError::NotOwner(_) => {
                    self.phase.send_replace(Phase::Refusing(error));
                    self.back_off(1).await?;
                }
                error => {
                    self.phase.send_replace(Phase::Refusing(error));
                    return Err(close_request(&mut self.commands).await);
                }
            }
        }
    }

    /// Appends changes and replies to all callers that wait for them, until the term ends.
    async fn run_term(&mut self, term: &mut Term) -> TermEnd {
        let mut waiters = Vec::new();
        let mut failing = false;
        loop {
            let sessions = term.active.instance.sessions.clone();
            let tick = self.recovery.options.tick;
            // After a failed append, the journal is asked again after a quarter of a tick, not at
            // the next renewal, which can be due already.
            let wait = if failing {
                tick / 4
            } else {
                term.writer.until_renewal().min(tick)
            };
            tokio::select! {
                biased;
                error = sessions.stopped() => {
                    self.recovery.report(&error.to_string());
                    return TermEnd::Lost(error.into());
                }
                command = self.commands.recv() => match command {
                    None => return TermEnd::Closed(CloseRequest(None)),
                    Some(Command::Close(drained, reply)) => {
                        return TermEnd::Closed(CloseRequest(Some((drained, reply))));
                    }
                    Some(Command::SwitchOver(switch)) => {
                        if let Err(error) = self.switch_over(term, *switch).await {
                            return TermEnd::Lost(error);
                        }
                        continue;
                    }
                },
                _ = term.waiters.recv_many(&mut waiters, MAX_BATCH) => {}
                () = sleep(wait) => {}
            }
            term.active.term.undelivered.sweep(Instant::now());
            let flushed = match term.writer.renew_in_time().await {
                Ok(()) => term.flush().await,
                Err(error) => Err(error.into()),
            };
            failing = flushed.is_err();
            match flushed {
                // The next iteration appends again, or finds that the instance has ended.
                Ok(()) | Err(DurableError::Retry(_)) => {}
                Err(error) => return TermEnd::Lost(error),
            }
            for waiter in waiters.drain(..) {
                let _ = waiter.send(flushed.clone());
            }
        }
    }

    /// Replaces the instance with that of an upgrade. Reports success or failure to the caller of
    /// the upgrade.
    ///
    /// # Errors
    /// An error that ends the term.
    async fn switch_over(
        &mut self,
        term: &mut Term,
        switch: SwitchOver,
    ) -> Result<(), DurableError> {
        let switched = term.switch_over(switch.handover).await;
        if switched.is_ok() {
            self.instances = switch.instances;
            self.publish(term);
            increment(&self.counters.upgrades);
            self.recovery
                .report("serves with another build of the component");
        }
        let flushed = match &switched {
            Ok(()) => term.flush().await,
            Err(error) => Err(error.clone()),
        };
        let _ = switch.reply.send(switched);
        drop(switch.drained);
        match flushed {
            Ok(()) | Err(DurableError::Upgrade(_) | DurableError::Retry(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends a lost term. Publishes the error to calls, and pauses where the next attempt could fail
    /// in the same way.
    async fn end_lost_term(&mut self, term: Term, error: DurableError) -> Result<(), CloseRequest> {
        self.recovery
            .report(&format!("has stopped serving: {}", full_text(&error)));
        if term.active.answered.load(Ordering::Relaxed) {
            self.consecutive_failures = 0;
        }
        match &error {
            DurableError::Retry(reason) => {
                increment(&self.counters.restarts);
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                self.phase.send_replace(Phase::Recovering(reason.clone()));
                term.end(error).release().await;
                let excess = self
                    .consecutive_failures
                    .saturating_sub(FAILURES_BEFORE_BACKOFF);
                if excess > 0 {
                    self.back_off(excess).await?;
                }
                Ok(())
            }
            DurableError::NotOwner(_) => {
                increment(&self.counters.losses);
                self.phase.send_replace(Phase::Refusing(error.clone()));
                drop(term.end(error));
                // On a journal without leases, two hosts would otherwise take the tenant from each
                // other without a pause.
                self.back_off(1).await
            }
            _ => {
                self.phase.send_replace(Phase::Refusing(error.clone()));
                drop(term.end(error));
                Err(close_request(&mut self.commands).await)
            }
        }
    }

    /// Waits for one tick at the first time, and each further time twice as long, up to eight
    /// ticks.
    async fn back_off(&mut self, times: u32) -> Result<(), CloseRequest> {
        let ticks = 1 << times.saturating_sub(1).min(3);
        let pause: Duration = self.recovery.options.tick.saturating_mul(ticks);
        tokio::select! {
            () = sleep(pause) => Ok(()),
            closed = close_request(&mut self.commands) => Err(closed),
        }
    }
}

impl Drop for Supervisor {
    /// Drops the instance that serves, also if the task panics.
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Closed);
    }
}

/// Waits for the request to end the host. Refuses upgrades meanwhile, because no instance serves.
async fn close_request(commands: &mut mpsc::Receiver<Command>) -> CloseRequest {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Close(drained, reply) => return CloseRequest(Some((drained, reply))),
            Command::SwitchOver(switch) => {
                let reason = "no instance serves at the moment";
                let _ = switch.reply.send(Err(DurableError::Upgrade(reason.into())));
            }
        }
    }
    CloseRequest(None)
}
