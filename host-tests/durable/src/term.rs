//! A term, from a take-over of the tenant to its end: the writer, its lease, and the instance that
//! serves.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clawdb_session_host::{Change, ChangePage};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::active_instance::ActiveInstance;
use crate::error::DurableError;
use crate::instance::{Instance, PAGE};
use crate::journal::{JournalError, Writer};
use crate::lease::Lease;
use crate::metrics::Counters;
use crate::term_handle::{TermHandle, Waiter};
use crate::upgrade::Handover;

/// The shortest time between two renewals of a lease while a page of changes is awaited.
const MIN_RENEWAL: Duration = Duration::from_millis(1);

/// A writer that renews its lease before each use, if necessary.
pub(super) struct LeasedWriter {
    writer: Box<dyn Writer>,
    lease: Lease,
    /// The longest remaining time of the lease so far: its duration when it is new.
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

    /// Renews the lease if a third of it has passed. This also detects a lease that was ended
    /// early.
    pub async fn renew_in_time(&mut self) -> Result<(), JournalError> {
        if self.until_renewal().is_zero() {
            self.writer.renew().await?;
            self.duration = self.duration.max(self.lease.remaining());
        }
        Ok(())
    }

    /// Returns the time until the lease should be renewed: until a third of it has passed.
    pub fn until_renewal(&self) -> Duration {
        self.lease.remaining().saturating_sub(self.duration / 3 * 2)
    }

    /// Gives the tenant back. If that fails, the lease expires by itself.
    pub async fn release(self) {
        let _ = self.writer.release().await;
    }
}

/// A term, from a take-over of the tenant to its end.
pub(super) struct Term {
    pub active: Arc<ActiveInstance>,
    pub writer: LeasedWriter,
    pub waiters: mpsc::UnboundedReceiver<Waiter>,
    end: watch::Sender<Option<DurableError>>,
    counters: Arc<Counters>,
}

impl Term {
    /// Begins a term with an instance that has all records of the journal. `since` is the highest
    /// sequence number among them.
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
            stored: Arc::new(AtomicU64::new(since)),
            undelivered: Arc::default(),
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
        }
    }

    /// Appends all changes that are not in the journal yet.
    pub async fn flush(&mut self) -> Result<(), DurableError> {
        loop {
            let page = self.read_changes().await?;
            if !page.changes.is_empty() {
                self.writer.append(&page.changes, page.now).await?;
                self.counters.count_append(page.changes.len());
            }
            let stored = &self.active.term.stored;
            stored.store(page.next, Ordering::Release);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Reads a page of the changes that are not in the journal yet. In the world `session-sync` a
    /// guard that takes long delays the page, so the lease is renewed meanwhile.
    async fn read_changes(&mut self) -> Result<ChangePage, DurableError> {
        let active = Arc::clone(&self.active);
        let since = active.term.stored();
        let mut page = pin!(active.instance.sessions.changes(since, PAGE));
        loop {
            let renewal = self.writer.until_renewal().max(MIN_RENEWAL);
            tokio::select! {
                biased;
                page = &mut page => return Ok(page?),
                () = sleep(renewal) => self.writer.renew_in_time().await?,
            }
        }
    }

    /// Closes the run of events, so that the next instance continues it, and appends that. No call
    /// may be in flight.
    pub async fn close_event_run(&mut self) -> Result<(), DurableError> {
        self.active.instance.sessions.close_event_run().await?;
        self.flush().await
    }

    /// Replaces the instance with the new one of a handover. No call may be in flight.
    ///
    /// After an error the old instance continues to serve.
    pub async fn switch_over(&mut self, mut handover: Handover) -> Result<(), DurableError> {
        if !Arc::ptr_eq(handover.source(), &self.active) {
            let reason = "the instance was replaced during the upgrade";
            return Err(DurableError::Upgrade(reason.into()));
        }
        let old = &self.active;
        // Later changes of the old instance are lost, so the guard must not revoke tokens for them.
        old.instance.attach_term(None);
        let instance = match handover.finish().await {
            Ok(instance) => instance,
            Err(error) => {
                old.instance.attach_term(Some(old.term.clone()));
                return Err(error);
            }
        };
        // The new instance has all records of the journal. Its changes after `stored` are those
        // that were not appended yet, and the records that it has read in an older format.
        instance.attach_term(Some(old.term.clone()));
        self.active = Arc::new(ActiveInstance {
            instance,
            term: old.term.clone(),
            answered: Arc::clone(&old.answered),
        });
        Ok(())
    }

    /// Ends the term and returns the writer. Calls in flight answer the error.
    pub fn end(self, error: DurableError) -> LeasedWriter {
        self.end.send_replace(Some(error));
        // The error is published before the lease ends, so that a caller that finds no lease also
        // finds the error.
        self.writer.lease.end();
        self.writer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryJournal;
    use crate::journal::{Journal, TenantId};

    #[tokio::test]
    async fn a_lease_is_renewed_when_a_third_of_it_has_passed() {
        let journal = MemoryJournal::with_leases(Duration::from_hours(3));
        let writer = journal.take_over(TenantId::default()).await.unwrap();
        let mut writer = LeasedWriter::new(writer);
        let hour = Duration::from_hours(1);
        let until = writer.until_renewal();
        assert!(
            until > Duration::from_mins(59) && until <= hour,
            "{until:?}"
        );
        // As if it had had five hours: a third of that has passed.
        writer.duration = hour * 5;
        assert_eq!(writer.until_renewal(), Duration::ZERO);
    }
}
