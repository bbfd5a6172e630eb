//! The newest events, in a ring of bounded size (R18).

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

#[cfg(any(test, feature = "checks"))]
use crate::checks::{Checked, ensure};
use crate::domain::event::{Event, EventKind, EventPage, Run};
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;

/// The newest events.
#[derive(Debug)]
pub struct EventLog {
    ring: VecDeque<Event>,
    capacity: usize,
    /// The sequence number of the newest event.
    last: u64,
    /// The run that this instance drew at random.
    own_run: Option<Run>,
    /// The run of the newest event.
    run: Option<Run>,
    /// The run of the next event, if `run` is closed.
    next_run: Option<Run>,
    /// The tasks that wait for the next event, or for [`EventLog::wake`].
    waiting: Vec<Waker>,
}

impl EventLog {
    /// Returns an empty log that keeps at most this many events.
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

    /// Sets the most events that are kept.
    pub fn set_capacity(&mut self, capacity: u32) {
        self.capacity = capacity as usize;
    }

    /// Sets the run that this instance drew. It is the current run unless a restored one is
    /// continued. It must be called before the first event.
    pub fn begin_run(&mut self, run: Run) {
        self.own_run = Some(run);
        self.run = self.run.or(self.own_run);
    }

    /// Closes the run, so that another instance can continue it. The next event of this instance
    /// begins the run `next`.
    pub fn close_run(&mut self, next: Run) {
        self.next_run = Some(next);
    }

    /// Returns the current run; `None` before there is one.
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

    /// Returns `Ready` if the log has an event after `since`. Otherwise the next event wakes the
    /// task.
    pub fn poll_after(&mut self, since: u64, context: &mut Context<'_>) -> Poll<()> {
        // After a restore the log is empty and `last` is not 0. The numbers up to it have no event
        // here, and the page with the next event reports them as missed.
        if self.last > since && !self.ring.is_empty() {
            return Poll::Ready(());
        }
        self.wait(context);
        Poll::Pending
    }

    /// Adds the task to those that the next event or the next [`EventLog::wake`] wakes.
    pub fn wait(&mut self, context: &mut Context<'_>) {
        let waker = context.waker();
        if !self.waiting.iter().any(|other| other.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// Wakes all tasks that wait.
    pub fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Continues after the events of an earlier instance, which had numbers up to `last`. Those
    /// events are lost. If that instance closed its run, this one continues it. Otherwise some
    /// events may not be counted in `last`, and this instance uses its own run.
    pub fn continue_after(&mut self, last: u64, closed: Option<Run>) {
        if self.ring.is_empty() {
            self.last = last;
            self.run = closed.or(self.own_run);
        }
    }

    /// Returns the sequence number of the newest event of this instance; 0 before its first one.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.ring.back().map_or(0, |event| event.sequence)
    }

    /// Returns the sequence number of the newest event, those of earlier instances included; 0
    /// before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Checks that the events have consecutive numbers up to the last one, and how many there are.
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Checked {
        let first = self.last.saturating_sub(self.ring.len() as u64);
        let numbers = self.ring.iter().map(|event| event.sequence);
        let expected = (first..self.last).map(|before| before.saturating_add(1));
        ensure(numbers.eq(expected), || "event numbers have a gap".into())?;
        ensure(self.ring.len() <= self.capacity, || {
            "too many events".into()
        })
    }

    /// Returns the events after `since`, at most `max`. A `since` above the newest event, which is
    /// from another instance, counts as the newest event.
    #[must_use]
    pub fn read(&self, since: u64, max: usize) -> EventPage {
        let since = since.min(self.last);
        // The sequence number before that of the oldest event in the ring.
        let dropped = self.last.saturating_sub(self.ring.len() as u64);
        let missed = dropped.saturating_sub(since);
        let skip = usize::try_from(since.saturating_sub(dropped)).unwrap_or(usize::MAX);
        let events: Vec<Event> = self.ring.iter().skip(skip).take(max).cloned().collect();
        let next = events
            .last()
            .map_or(since.max(dropped), |event| event.sequence);
        EventPage {
            events,
            next,
            missed,
            run: self.run,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::store::fixtures::{add, at};
    use crate::store::session_table::SessionTable;

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn session() -> Session {
        let mut sessions = SessionTable::default();
        let slot = add(&mut sessions, 1, None, 60);
        sessions.get(slot).unwrap().session.clone()
    }

    fn record(log: &mut EventLog, count: u64) {
        let session = session();
        (0..count).for_each(|_| log.record(at(1), &session, EventKind::Created));
    }

    #[test]
    fn r32_a_reader_is_ready_if_there_is_a_newer_event_and_is_woken_once_by_the_next() {
        let mut log = EventLog::new(8);
        let counter = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&counter));
        let mut context = Context::from_waker(&waker);
        // A task that waits twice is woken once.
        assert!(log.poll_after(0, &mut context).is_pending());
        assert!(log.poll_after(0, &mut context).is_pending());
        record(&mut log, 2);
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert_eq!(log.newest(), 2);
        for (since, is_ready) in [(0, true), (1, true), (2, false), (3, false)] {
            assert_eq!(
                log.poll_after(since, &mut context).is_ready(),
                is_ready,
                "after {since}"
            );
        }
        log.wake();
        assert_eq!(counter.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn r17_after_a_restore_a_reader_waits_for_the_first_event_of_this_instance() {
        let mut log = EventLog::new(8);
        log.continue_after(5, None);
        let mut context = Context::from_waker(Waker::noop());
        assert!(log.poll_after(0, &mut context).is_pending());
        assert_eq!((log.newest(), log.last()), (0, 5));
        record(&mut log, 1);
        assert!(log.poll_after(0, &mut context).is_ready());
        let page = log.read(0, 8);
        assert_eq!((page.missed, page.next, log.newest()), (5, 6, 6));
        // Once there is an event, its numbers stay.
        log.continue_after(9, None);
        assert_eq!(log.last(), 6);
    }

    #[test]
    fn r17_a_run_is_continued_only_if_it_was_closed() {
        let [own, closed, next] = [1, 2, 3].map(|byte| Run::from_random([byte; 8]));
        let mut log = EventLog::new(8);
        log.begin_run(own);
        log.continue_after(5, None);
        assert_eq!(log.run(), Some(own));
        log.continue_after(5, Some(closed));
        assert_eq!((log.run(), log.closed_run()), (Some(closed), None));
        log.close_run(next);
        assert_eq!(log.closed_run(), Some(closed));
        record(&mut log, 1);
        assert_eq!((log.run(), log.closed_run()), (Some(next), None));
    }

    #[test]
    fn r18_the_newest_events_are_kept_up_to_the_capacity() {
        let mut log = EventLog::new(8);
        log.set_capacity(3);
        record(&mut log, 5);
        let page = log.read(0, 8);
        let numbers: Vec<u64> = page.events.iter().map(|event| event.sequence).collect();
        assert_eq!((numbers, page.missed), (vec![3, 4, 5], 2));
    }
}
