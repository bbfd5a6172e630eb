//! The newest events, in a ring of bounded size (R18).

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::domain::event::{Event, EventKind, EventPage, Run};
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;

/// The newest events.
#[derive(Debug)]
pub struct EventLog {
    ring: VecDeque<Event>,
    capacity: usize,
    last: u64,
    /// The run that this instance drew for itself.
    own_run: Option<Run>,
    /// The run of `last`.
    run: Option<Run>,
    /// The run of the next event, where `run` is closed.
    next_run: Option<Run>,
    /// The readers that wait for the next event.
    waiting: Vec<Waker>,
}

impl EventLog {
    /// Returns an empty log that keeps this many events.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self {
            ring: VecDeque::new(),
            capacity: capacity as usize,
            last: 0,
            own_run: None,
            run: None,
            next_run: None,
            waiting: Vec::new(),
        }
    }

    /// Sets how many events are kept.
    pub fn set_capacity(&mut self, capacity: u32) {
        self.capacity = capacity as usize;
    }

    /// Begins the instance's own run. Call it before the first event.
    pub fn begin_run(&mut self, run: Run) {
        self.own_run = Some(run);
        self.run = self.run.or(self.own_run);
    }

    /// Closes the run: it gets no further event, so that another instance can continue it. The next
    /// event of this instance begins the run `next`.
    pub fn close_run(&mut self, next: Run) {
        self.next_run = Some(next);
    }

    /// Returns the current run; none before there is one.
    #[must_use]
    pub fn run(&self) -> Option<Run> {
        self.run
    }

    /// Returns the current run if it is closed.
    #[must_use]
    pub fn closed_run(&self) -> Option<Run> {
        self.next_run.and(self.run)
    }

    /// Records an event under the next sequence number, and wakes the readers that wait for it.
    pub fn record(&mut self, time: Timestamp, session: &Session, kind: EventKind) {
        while self.ring.len() >= self.capacity {
            self.ring.pop_front();
        }
        self.last = self.last.saturating_add(1);
        self.run = self.next_run.take().or(self.run);
        self.ring.push_back(Event {
            run: self.run,
            sequence: self.last,
            time,
            session_id: session.id,
            agent_id: session.agent_id,
            parent: session.parent,
            root: session.root,
            generation: session.generation,
            kind,
        });
        self.wake();
    }

    /// Ready when there is an event after `since`.
    pub fn poll_after(&mut self, since: u64, context: &mut Context<'_>) -> Poll<()> {
        // After a restore there are numbers without events: the next event reports them as missed.
        if self.last > since && !self.ring.is_empty() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if !self.waiting.iter().any(|other| other.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
        Poll::Pending
    }

    /// Wakes all readers that wait for events.
    pub fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Continues after the events of an instance before this one, which had numbers up to `last`.
    /// They are lost to all readers. Where that instance closed its run, this one continues it;
    /// otherwise there may have been events that are not counted, and this one uses its own run.
    pub fn continue_after(&mut self, last: u64, closed: Option<Run>) {
        if self.ring.is_empty() {
            self.last = last;
            self.run = closed.or(self.own_run);
        }
    }

    /// Returns the sequence number of the newest event that is kept; 0 if there is none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.ring.back().map_or(0, |event| event.sequence)
    }

    /// Returns the newest event's sequence number; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns at most `max` events after `since`. A reader from another instance, ahead of the
    /// newest event, is set back to it.
    #[must_use]
    pub fn read(&self, since: u64, max: usize) -> EventPage {
        let since = since.min(self.last);
        // The sequence number before the oldest event that is kept.
        let gone = self.last.saturating_sub(self.ring.len() as u64);
        let missed = gone.saturating_sub(since);
        let skip = usize::try_from(since.saturating_sub(gone)).unwrap_or(usize::MAX);
        let events: Vec<Event> = self.ring.iter().skip(skip).take(max).cloned().collect();
        let next = events
            .last()
            .map_or(since.max(gone), |event| event.sequence);
        EventPage {
            events,
            next,
            missed,
            run: self.run,
        }
    }
}
