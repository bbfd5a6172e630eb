//! Readers that the events are pushed to (R32). A reader is a position in the log of events: it
//! keeps no event from being dropped and delays no operation.

use std::future::poll_fn;
use std::task::Poll;

use super::SessionManager;
use super::waiting::yield_now;
use crate::domain::error::{Error, Limit};
use crate::domain::event::EventPage;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;

/// The maximum number of readers.
const MAX_READERS: usize = 64;
/// The maximum number of events that a reader takes at a time.
const MAX_BATCH: usize = 16;

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
    /// whose consumer has closed its end must be dropped.
    Probe,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Adds a reader of the events after `since`. If all 64 readers are in use, it first runs a
    /// liveness check, which drops those without a consumer.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if 64 readers are still in use.
    pub async fn subscribe(&self, since: u64) -> Result<Subscription<'_, G, C, E>, Error> {
        if self.readers.get() >= MAX_READERS {
            self.liveness_checks
                .set(self.liveness_checks.get().wrapping_add(1));
            self.store.borrow_mut().events_mut().wake();
            for _ in 0..MAX_READERS {
                yield_now().await;
                if self.readers.get() < MAX_READERS {
                    break;
                }
            }
        }
        if self.readers.get() >= MAX_READERS {
            return Err(Error::LimitReached(Limit::Subscribers));
        }
        self.readers.set(self.readers.get().saturating_add(1));
        let since = since.min(self.store.borrow().events().last());
        Ok(Subscription {
            since,
            liveness_checks: self.liveness_checks.get(),
            manager: self,
        })
    }
}

impl<G: Guard, C: Clock, E: Entropy> Subscription<'_, G, C, E> {
    /// Waits for events after the last ones, or for a liveness check.
    pub async fn next(&mut self) -> Notice {
        let manager = self.manager;
        poll_fn(|context| {
            if self.liveness_checks != manager.liveness_checks.get() {
                return Poll::Ready(());
            }
            let mut store = manager.store.borrow_mut();
            store.events_mut().poll_after(self.since, context)
        })
        .await;
        let page = manager.store.borrow().events().read(self.since, MAX_BATCH);
        if page.events.is_empty() {
            self.liveness_checks = manager.liveness_checks.get();
            return Notice::Probe;
        }
        self.since = page.next;
        Notice::Events(page)
    }
}

impl<G, C, E> Drop for Subscription<'_, G, C, E> {
    fn drop(&mut self) {
        let readers = &self.manager.readers;
        readers.set(readers.get().saturating_sub(1));
    }
}
