//! The events of an instance, pushed to whoever subscribes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::channel::mpsc;
use futures::stream::StreamExt;
use wasmtime::component::{Source, StreamConsumer, StreamReader, StreamResult};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::bindings::exports::clawdb::session::events::{Event, EventPage};

/// How many events wait in the host for a reader that is slower than the component.
const BUFFER: usize = 64;

/// A stream of events, in their sequence. It ends when the instance does.
///
/// A reader that is slow loses events and slows nobody: [`Event::missed`] tells how many it has lost
/// before one. Some 80 wait for it, here and in the component, besides those in the ring. One that is
/// dropped costs nothing.
///
/// To have the last events before the last handle on the instance goes, let
/// [`SessionHost::wait_until_idle`](crate::SessionHost::wait_until_idle) end first.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::Receiver<Event>,
    run: u64,
    newest: u64,
    /// Keeps the instance from being taken for idle.
    _keep_loaded: Option<Arc<()>>,
}

impl Subscription {
    /// Takes what the component writes; `page` tells where its events are.
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

    /// The instance's run when the subscription began; 0 before its first session is asked for.
    #[must_use]
    pub const fn run(&self) -> u64 {
        self.run
    }

    /// The sequence number of the newest event when the subscription began; 0 where there was none.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Holds this for as long as there is a reader.
    #[must_use]
    pub fn holding(self, held: Arc<()>) -> Self {
        Self {
            _keep_loaded: Some(held),
            ..self
        }
    }

    /// The next event, as soon as there is one; none when the instance has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.next().await
    }

    /// The next event, if it is here already.
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

/// Takes events from the component while there is room for them.
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
