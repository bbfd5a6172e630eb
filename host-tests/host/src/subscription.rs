//! A stream of the events of an instance.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::channel::mpsc;
use futures::stream::StreamExt;
use wasmtime::component::{Source, StreamConsumer, StreamReader, StreamResult};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::bindings::exports::clawdb::session::events::{Event, EventPage};

/// The maximum number of events that wait in the host for a slow reader.
pub(crate) const BUFFER: usize = 64;

/// Asks for the events that had no space in the channel. Returns whether there were any.
type Refill = Box<dyn Fn() -> bool + Send + Sync>;

/// A stream of the events of an instance, ordered by their sequence numbers. It ends with the
/// instance.
///
/// # Slow readers
///
/// A slow reader delays no call. 64 to 80 events wait for it here and in the component, in addition
/// to those that the component keeps in its ring (`event-capacity`). It loses the oldest of the
/// others, and [`Event::missed`] is the number of events lost before an event.
///
/// # Last events
///
/// With a `SessionHost`, wait for
/// [`SessionHost::wait_until_idle`](crate::SessionHost::wait_until_idle) before you drop the last
/// one. With `LocalSessions`, read the events before you drop the last handle: when it is dropped,
/// at most 65 events are still in the subscription.
pub struct Subscription {
    events: mpsc::Receiver<Event>,
    run: u64,
    newest: u64,
    /// Called when the channel is empty, in the world `session-sync`.
    refill: Option<Refill>,
    /// Dropped with the reader; see [`Subscription::holding`].
    _keep_loaded: Option<Arc<()>>,
}

impl Subscription {
    /// Returns a subscription to the events of a channel. `page` has the current run and the
    /// sequence number of the newest event.
    pub(crate) const fn new(events: mpsc::Receiver<Event>, page: &EventPage) -> Self {
        Self {
            events,
            run: page.run,
            newest: page.next,
            refill: None,
            _keep_loaded: None,
        }
    }

    /// Starts to read the component's stream.
    pub(crate) fn of_stream<S: AsContextMut>(
        stream: StreamReader<Event>,
        page: &EventPage,
        store: S,
    ) -> wasmtime::Result<Self> {
        let (sender, events) = mpsc::channel(BUFFER);
        stream.pipe(store, Forward(sender))?;
        Ok(Self::new(events, page))
    }

    /// Returns the subscription with a function that it calls when its channel is empty.
    pub(crate) fn with_refill(self, refill: Refill) -> Self {
        Self {
            refill: Some(refill),
            ..self
        }
    }

    /// Returns the run of events when the subscription began; 0 before the first create.
    #[must_use]
    pub const fn run(&self) -> u64 {
        self.run
    }

    /// Returns the sequence number of the newest event when the subscription began; 0 before the
    /// first event.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Returns the subscription with a value that it keeps until it is dropped. The owner of the
    /// value can count the readers by it.
    #[must_use]
    pub fn holding(self, held: Arc<()>) -> Self {
        Self {
            _keep_loaded: Some(held),
            ..self
        }
    }

    /// Waits for the next event and returns it; `None` when the instance has ended.
    pub async fn next(&mut self) -> Option<Event> {
        StreamExt::next(self).await
    }

    /// Returns the next event if it has arrived already.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok();
        if event.is_none() && self.refill.as_ref().is_some_and(|refill| refill()) {
            return self.events.try_recv().ok();
        }
        event
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("run", &self.run)
            .field("newest", &self.newest)
            .finish_non_exhaustive()
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = self.events.poll_next_unpin(context);
        if event.is_pending() && self.refill.as_ref().is_some_and(|refill| refill()) {
            return self.events.poll_next_unpin(context);
        }
        event
    }
}

/// Moves events from the component's stream to the channel while the channel has space.
struct Forward(mpsc::Sender<Event>);

impl<D> StreamConsumer<D> for Forward {
    type Item = Event;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<D>,
        mut source: Source<'_, Event>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut took_some = false;
        loop {
            match self.0.poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
                Poll::Pending if took_some => return Poll::Ready(Ok(StreamResult::Completed)),
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            }
            let mut next = None;
            source.read(&mut store, &mut next)?;
            let Some(event) = next else {
                return Poll::Ready(Ok(StreamResult::Completed));
            };
            if self.0.start_send(event).is_err() {
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
            took_some = true;
        }
    }
}
