//! One time of having the tenant: the writer, its lease, and the instance that serves meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clawdb_session_host::Change;
use tokio::sync::{mpsc, watch};

use crate::active_instance::ActiveInstance;
use crate::error::DurableError;
use crate::instance::{Instance, PAGE};
use crate::journal::{JournalError, Writer};
use crate::lease::Lease;
use crate::metrics::Counters;
use crate::term_handle::{TermHandle, Waiter};
use crate::upgrade::Handover;

/// A writer that renews its lease in time.
pub(super) struct LeasedWriter {
    writer: Box<dyn Writer>,
    lease: Lease,
    /// How long the lease runs when it is new.
    duration: Duration,
}

impl LeasedWriter {
    pub fn new(writer: Box<dyn Writer>) -> Self {
        let lease = writer.lease();
        let duration = lease.remaining();
        Self {
            writer,
            lease,
            duration,
        }
    }

    pub fn len(&self) -> u64 {
        self.writer.len()
    }

    pub async fn read(&mut self) -> Result<Vec<Change>, JournalError> {
        self.renew_in_time().await?;
        self.writer.read().await
    }

    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError> {
        self.renew_in_time().await?;
        self.writer.append(changes, now).await
    }

    /// Renews the lease when a third of it is over. One that has ended early is found out about so, too.
    pub async fn renew_in_time(&mut self) -> Result<(), JournalError> {
        if self.until_renewal().is_zero() {
            self.writer.renew().await?;
            self.duration = self.duration.max(self.lease.remaining());
        }
        Ok(())
    }

    /// How long the lease has until it is to be renewed.
    pub fn until_renewal(&self) -> Duration {
        self.lease.remaining().saturating_sub(self.duration / 3 * 2)
    }

    /// Gives the tenant back. Where that fails, the lease runs out by itself.
    pub async fn release(self) {
        let _ = self.writer.release().await;
    }
}

/// From a take-over to its end.
pub(super) struct Term {
    pub active: Arc<ActiveInstance>,
    pub writer: LeasedWriter,
    pub waiters: mpsc::UnboundedReceiver<Waiter>,
    end: watch::Sender<Option<DurableError>>,
    counters: Arc<Counters>,
    /// All changes up to this one are in the journal.
    since: u64,
}

impl Term {
    /// With an instance that knows what is in the journal, up to the change `since`.
    pub fn new(
        instance: Instance,
        writer: LeasedWriter,
        since: u64,
        counters: Arc<Counters>,
    ) -> Self {
        let (to_supervisor, waiters) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(None);
        let handle = TermHandle {
            lease: writer.lease.clone(),
            waiters: to_supervisor,
            ended,
        };
        instance.attach_term(Some(handle.clone()));
        let active = ActiveInstance {
            instance,
            term: handle,
            answered: Arc::new(AtomicBool::new(false)),
        };
        Self {
            active: Arc::new(active),
            writer,
            waiters,
            end,
            counters,
            since,
        }
    }

    /// Makes all changes that there are durable.
    pub async fn flush(&mut self) -> Result<(), DurableError> {
        loop {
            let page = self.active.instance.host.changes(self.since, PAGE);
            let page = page.await?;
            if !page.changes.is_empty() {
                self.writer.append(&page.changes, page.now).await?;
                self.counters.count_append(page.changes.len());
            }
            self.since = page.next;
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Closes the run of events, so that the next instance continues it, and makes that durable. No call
    /// may be under way.
    pub async fn close_event_run(&mut self) -> Result<(), DurableError> {
        self.active.instance.host.close_event_run().await?;
        self.flush().await
    }

    /// Lets the new instance of a handover serve from now on. No call may be under way.
    ///
    /// After an error the old instance serves on.
    pub async fn switch_over(&mut self, mut handover: Handover) -> Result<(), DurableError> {
        if !Arc::ptr_eq(handover.source(), &self.active) {
            let reason = "the instance was replaced meanwhile";
            return Err(DurableError::Upgrade(reason.into()));
        }
        let old = &self.active;
        // What the old instance changes from here on is lost, so the guard shall not hear of it.
        old.instance.attach_term(None);
        let instance = match handover.finish().await {
            Ok(instance) => instance,
            Err(error) => {
                old.instance.attach_term(Some(old.term.clone()));
                return Err(error);
            }
        };
        // It knows all that is in the journal, and what is new in it are its changes after `since`: what
        // was not appended yet, and what it has read of an older format.
        instance.attach_term(Some(old.term.clone()));
        self.active = Arc::new(ActiveInstance {
            instance,
            term: old.term.clone(),
            answered: Arc::clone(&old.answered),
        });
        Ok(())
    }

    /// Ends: calls that are under way get the error. Gives the writer.
    pub fn end(self, error: DurableError) -> LeasedWriter {
        self.end.send_replace(Some(error));
        // After the reason, so that who finds no lease finds that.
        self.writer.lease.end();
        self.writer
    }
}
