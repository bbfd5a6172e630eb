//! Readers that the events are pushed to (R32). A reader is a position in the log of events: it
//! keeps no event from being dropped and delays no operation.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use super::SessionManager;
use crate::domain::error::{Error, Limit};
use crate::domain::event::EventPage;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;

/// The maximum number of readers.
const MAX_READERS: usize = 64;
/// The maximum number of events that a reader takes at a time.
const MAX_BATCH: usize = 16;

/// The readers of an instance, and the checks whether they still have a consumer.
///
/// A check asks the readers that wait for events. One that does not wait has a write to its
/// consumer in progress, whose result tells it whether the consumer exists.
#[derive(Debug, Default)]
pub(super) struct Readers {
    count: Cell<usize>,
    /// How many of them wait for events.
    waiting: Cell<usize>,
    /// How many liveness checks have begun.
    checks: Cell<u64>,
    /// How many readers the last check has asked that have not answered yet.
    unanswered: Cell<usize>,
}

impl Readers {
    /// Returns how many readers there are.
    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    fn are_all_in_use(&self) -> bool {
        self.count.get() >= MAX_READERS
    }

    /// Begins a liveness check. The caller must wake the readers.
    fn begin_check(&self) {
        self.checks.set(self.checks.get().saturating_add(1));
        self.unanswered.set(self.waiting.get());
    }
}

/// A reader of the events.
pub struct Subscription<'a, G, C, E> {
    manager: &'a SessionManager<G, C, E>,
    since: u64,
    /// The number of the last liveness check that the reader has taken part in.
    liveness_checks: u64,
}

/// The result of [`Subscription::next`].
#[derive(Debug)]
pub enum Notice {
    /// One or more events.
    Events(EventPage),
    /// A liveness check: another caller wants to subscribe, and all 64 readers are in use. A reader
    /// whose consumer has closed its end must be dropped before it waits again.
    Probe,
}

/// A reader's wait for events. When it ends, the reader answers the liveness check that has begun
/// meanwhile.
struct Waiting<'a, G, C, E> {
    manager: &'a SessionManager<G, C, E>,
    /// How many checks had begun before it.
    checks: u64,
}

impl<'a, G, C, E> Waiting<'a, G, C, E> {
    fn begin(manager: &'a SessionManager<G, C, E>) -> Self {
        let readers = &manager.readers;
        readers.waiting.set(readers.waiting.get().saturating_add(1));
        let checks = readers.checks.get();
        Self { manager, checks }
    }
}

impl<G, C, E> Drop for Waiting<'_, G, C, E> {
    fn drop(&mut self) {
        let readers = &self.manager.readers;
        readers.waiting.set(readers.waiting.get().saturating_sub(1));
        if self.checks == readers.checks.get() {
            return;
        }
        let unanswered = readers.unanswered.get().saturating_sub(1);
        readers.unanswered.set(unanswered);
        if unanswered == 0 {
            // The callers that wait for the result of the check.
            self.manager.store.borrow_mut().events_mut().wake();
        }
    }
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Adds a reader of the events after `since`. If all 64 readers are in use, it first waits for
    /// a liveness check, in which readers without a consumer are dropped.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if 64 readers are still in use.
    pub async fn subscribe(&self, since: u64) -> Result<Subscription<'_, G, C, E>, Error> {
        self.check_readers().await;
        let readers = &self.readers;
        if readers.are_all_in_use() {
            return Err(Error::LimitReached(Limit::Subscribers));
        }
        readers.count.set(readers.count.get().saturating_add(1));
        let since = since.min(self.store.borrow().events().last());
        Ok(Subscription {
            since,
            liveness_checks: readers.checks.get(),
            manager: self,
        })
    }

    /// Waits until fewer than 64 readers are in use, or a liveness check that began after this call
    /// has ended. Callers that wait at the same time share a check.
    async fn check_readers(&self) {
        let readers = &self.readers;
        // A check that is in progress may have asked a reader before its consumer was closed.
        let needed = readers.checks.get().saturating_add(1);
        poll_fn(|context| {
            let mut store = self.store.borrow_mut();
            while readers.are_all_in_use() {
                if readers.unanswered.get() > 0 {
                    store.events_mut().wait(context);
                    return Poll::Pending;
                }
                if readers.checks.get() >= needed {
                    break;
                }
                readers.begin_check();
                store.events_mut().wake();
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl<G: Guard, C: Clock, E: Entropy> Subscription<'_, G, C, E> {
    /// Waits for events after the last ones, or for a liveness check.
    pub async fn next(&mut self) -> Notice {
        let manager = self.manager;
        let waiting = Waiting::begin(manager);
        poll_fn(|context| {
            if self.liveness_checks != manager.readers.checks.get() {
                return Poll::Ready(());
            }
            let mut store = manager.store.borrow_mut();
            store.events_mut().poll_after(self.since, context)
        })
        .await;
        drop(waiting);
        let page = manager.store.borrow().events().read(self.since, MAX_BATCH);
        if page.events.is_empty() {
            self.liveness_checks = manager.readers.checks.get();
            return Notice::Probe;
        }
        self.since = page.next;
        Notice::Events(page)
    }
}

impl<G, C, E> Drop for Subscription<'_, G, C, E> {
    fn drop(&mut self) {
        let readers = &self.manager.readers;
        readers.count.set(readers.count.get().saturating_sub(1));
    }
}
