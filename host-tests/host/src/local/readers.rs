//! The subscriptions to the events of an instance.
//!
//! The component of this world cannot push events. After each call the host reads the new ones and
//! passes them to the subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use futures::channel::mpsc;

use crate::bindings::exports::clawdb::session::events::{Event, EventPage};
use crate::bindings::exports::clawdb::session::sessions::Limit;
use crate::error::{CallError, HostError, SessionError};
use crate::subscription::{BUFFER, Subscription};

/// The maximum number of subscriptions to an instance (R32).
const MAX_READERS: usize = 64;
/// The maximum number of events in a page.
const PAGE: u32 = 64;

/// Reads a page of the events after a sequence number from the instance, with at most this number
/// of events.
pub(super) type ReadEvents<'a> = dyn FnMut(u64, u32) -> Result<EventPage, CallError> + 'a;

/// The subscriptions to the events of an instance.
#[derive(Debug, Default)]
pub(super) struct Readers {
    readers: Vec<Reader>,
    /// The sequence number of the newest event that was passed to the readers without older ones
    /// left to read.
    newest: u64,
}

/// A subscription, as the host feeds it.
#[derive(Debug)]
struct Reader {
    events: mpsc::Sender<Event>,
    /// The sequence number of the last event that was passed to it.
    since: u64,
    /// Whether the channel was full when events were passed to it.
    is_behind: Arc<AtomicBool>,
}

impl Readers {
    /// Adds a subscription to the events after the sequence number `since`. `page` has the current
    /// run and the newest sequence number. `refill` feeds the subscriptions.
    ///
    /// # Errors
    /// `LimitReached` if there are [`MAX_READERS`] already.
    pub fn subscribe(
        &mut self,
        since: u64,
        page: &EventPage,
        refill: impl Fn() + Send + Sync + 'static,
    ) -> Result<Subscription, SessionError> {
        if self.len() >= MAX_READERS {
            return Err(SessionError::LimitReached(Limit::Subscribers));
        }
        self.newest = self.newest.max(page.next);
        let (events, received) = mpsc::channel(BUFFER);
        let is_behind = Arc::new(AtomicBool::new(false));
        self.readers.push(Reader {
            events,
            // A number after the newest event counts as that of the newest one.
            since: since.min(page.next),
            is_behind: Arc::clone(&is_behind),
        });
        let refill = move || {
            let was_behind = is_behind.swap(false, Ordering::SeqCst);
            if was_behind {
                refill();
            }
            was_behind
        };
        Ok(Subscription::new(received, page).with_refill(Box::new(refill)))
    }

    /// Returns the number of subscriptions.
    pub fn len(&mut self) -> usize {
        self.readers.retain(|reader| !reader.events.is_closed());
        self.readers.len()
    }

    /// Returns whether there is a subscription.
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// Passes new events to the subscriptions whose channels have space, and drops those whose
    /// readers are gone. If the instance has ended, the subscriptions end.
    pub fn feed(&mut self, read: &mut ReadEvents<'_>) {
        if self.feed_new(read).is_err() {
            self.readers.clear();
        }
        let newest = self.newest;
        self.readers
            .retain_mut(|reader| reader.since >= newest || reader.catch_up(read).is_ok());
    }

    /// Reads new events once, and passes them to the readers that have all earlier ones.
    fn feed_new(&mut self, read: &mut ReadEvents<'_>) -> Result<(), Closed> {
        loop {
            let page = read(self.newest, PAGE)?;
            if page.events.is_empty() {
                return Ok(());
            }
            let newest = self.newest;
            self.readers
                .retain_mut(|reader| reader.since != newest || reader.pass(page.clone()).is_ok());
            self.newest = page.next;
        }
    }
}

impl Reader {
    /// Reads the events after the last one of the reader, and passes them to it while its channel
    /// has space.
    ///
    /// # Errors
    /// [`Closed`] if the reader is gone or the instance has ended.
    fn catch_up(&mut self, read: &mut ReadEvents<'_>) -> Result<(), Closed> {
        while self.has_space()? {
            let page = read(self.since, PAGE)?;
            if page.events.is_empty() {
                break;
            }
            self.pass(page)?;
        }
        Ok(())
    }

    /// Passes the events of a page to the reader while its channel has space.
    ///
    /// # Errors
    /// [`Closed`] if the reader is gone.
    fn pass(&mut self, page: EventPage) -> Result<(), Closed> {
        let mut missed = page.missed;
        for event in page.events {
            if !self.has_space()? {
                break;
            }
            self.since = event.sequence;
            let missed = std::mem::take(&mut missed);
            let event = Event { missed, ..event };
            self.events.start_send(event).map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Returns whether the channel has space. If not, the reader asks for events when it has read
    /// those in the channel.
    fn has_space(&mut self) -> Result<bool, Closed> {
        if self.poll_space()? {
            return Ok(true);
        }
        self.is_behind.store(true, Ordering::SeqCst);
        // The reader may have emptied the channel before it could see that it is behind.
        let has_space = self.poll_space()?;
        if has_space {
            self.is_behind.store(false, Ordering::SeqCst);
        }
        Ok(has_space)
    }

    fn poll_space(&mut self) -> Result<bool, Closed> {
        let mut context = Context::from_waker(Waker::noop());
        match self.events.poll_ready(&mut context) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(Closed),
            Poll::Pending => Ok(false),
        }
    }
}

/// The reader is gone, or the instance has ended.
struct Closed;

impl From<CallError> for Closed {
    fn from(_: CallError) -> Self {
        Self
    }
}

impl From<HostError> for Closed {
    fn from(_: HostError) -> Self {
        Self
    }
}
