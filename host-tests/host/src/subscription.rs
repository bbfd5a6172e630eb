//! A stream of the events of an instance.

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
const BUFFER: usize = 64;

/// A stream of the events of an instance, ordered by their sequence numbers. It ends with the
/// instance.
///
/// # Slow readers
///
/// A slow reader delays no call. About 80 events wait for it here and in the component, in addition
/// to those that the component keeps in its ring (`event-capacity`). It loses the oldest of the
/// others, and [`Event::missed`] is the number of events lost before an event.
///
/// # Last events
///
/// To get the last events, wait for
/// [`SessionHost::wait_until_idle`](crate::SessionHost::wait_until_idle) before you drop the last
/// `SessionHost`.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::Receiver<Event>,
    run: u64,
    newest: u64,
    /// Dropped with the reader; see [`Subscription::holding`].
    _keep_loaded: Option<Arc<()>>,
}

impl Subscription {
    /// Starts to read the component's stream. `page` has the current run and the sequence number of
    /// the newest event.
    pub(crate) fn new<S: AsContextMut>(
        stream: StreamReader<Event>,
        page: &EventPage,
        store: S,
    ) -> wasmtime::Result<Self> {
        let (sender, events) = mpsc::channel(BUFFER);
        stream.pipe(store, Forward(sender))?;
        Ok(Self {
            events,
            run: page.run,
            newest: page.next,
            _keep_loaded: None,
        })
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
        self.events.next().await
    }

    /// Returns the next event if it has arrived already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_next_unpin(context)
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
