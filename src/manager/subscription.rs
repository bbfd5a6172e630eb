//! Readers that the events are pushed to (R32). A reader is a sequence number: it holds no events
//! back and slows no operation.

use std::future::poll_fn;
use std::task::Poll;

use super::SessionManager;
use super::waiting::yield_now;
use crate::domain::error::{Error, Limit};
use crate::domain::event::EventPage;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;

/// How many readers there can be.
const MAX_READERS: usize = 64;
/// How many events a reader takes at a time.
const MAX_BATCH: usize = 16;

/// A reader of the events.
pub struct Subscription<'a, G, C, E> {
    manager: &'a SessionManager<G, C, E>,
    since: u64,
    /// The last liveness check that it has seen.
    liveness_checks: u64,
}

/// What a reader waits for.
#[derive(Debug)]
pub enum Notice {
    /// Events, at least one.
    Events(EventPage),
    /// Another caller wants to subscribe and there are too many readers: a reader whose other end
    /// is gone should end.
    Probe,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// A reader of the events after `since`.
    ///
    /// # Errors
    /// [`Error::LimitReached`] when there are 64.
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
    /// Waits for what comes next.
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
