//! Readers of the events, which wait without a guard (R32).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

use super::*;
use crate::{Limit, Notice, Subscription};

type Reader<'m> = Subscription<'m, TestGuard, TestClock, SystemEntropy>;
/// A reader that waits for its next notice.
type WaitingReader<'m> = Pin<Box<dyn Future<Output = (Reader<'m>, Notice)> + 'm>>;

/// Counts how often a task was woken.
#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn r32_a_reader_waits_for_the_events_after_its_last_and_takes_16_at_a_time() {
    let (manager, ..) = manager();
    let mut reader = now(manager.subscribe(0)).unwrap();
    assert!(poll(pin!(reader.next())).is_pending());
    for agent in 0..17 {
        now(manager.create(request(agent, 60))).unwrap();
    }
    for count in [16, 1] {
        let Notice::Events(page) = now(reader.next()) else {
            panic!("events must be returned")
        };
        assert_eq!(page.events.len(), count);
    }
    assert!(poll(pin!(reader.next())).is_pending());
    // A number above the newest event counts as the newest.
    let mut later = now(manager.subscribe(1_000)).unwrap();
    now(manager.create(request(1, 60))).unwrap();
    let Notice::Events(page) = now(later.next()) else {
        panic!("events must be returned")
    };
    assert_eq!(page.events[0].sequence, 18);
}

/// Returns 64 readers.
fn readers(manager: &Manager) -> Vec<Reader<'_>> {
    let subscribe = |_| now(manager.subscribe(0)).unwrap();
    (0..64).map(subscribe).collect()
}

/// Has the readers wait for their next notice.
fn wait<'m>(readers: impl IntoIterator<Item = Reader<'m>>) -> Vec<WaitingReader<'m>> {
    let wait = |mut reader: Reader<'m>| {
        let mut wait: WaitingReader<'m> = Box::pin(async move {
            let notice = reader.next().await;
            (reader, notice)
        });
        assert!(poll(wait.as_mut()).is_pending());
        wait
    };
    readers.into_iter().map(wait).collect()
}

/// Has a reader answer the liveness check, and returns it.
fn answer(wait: WaitingReader<'_>) -> Reader<'_> {
    let (reader, notice) = now(wait);
    assert!(matches!(notice, Notice::Probe));
    reader
}

#[test]
fn r32_a_reader_beyond_64_waits_until_those_that_wait_have_answered_and_is_refused() {
    let (manager, ..) = manager();
    let mut readers = readers(&manager);
    assert_eq!(manager.stats().subscribers, 64);
    // One is busy with its consumer and does not wait.
    let mut busy = readers.pop().unwrap();
    let mut waits = wait(readers);
    let counter = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut context = Context::from_waker(&waker);
    let mut subscribe = Box::pin(manager.subscribe(0));
    assert!(subscribe.as_mut().poll(&mut context).is_pending());
    let last = waits.pop().unwrap();
    let mut answered: Vec<_> = waits.into_iter().map(answer).collect();
    assert!(subscribe.as_mut().poll(&mut context).is_pending());
    assert_eq!(counter.0.load(Ordering::Relaxed), 0);
    answered.push(answer(last));
    assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    let refused = now(subscribe).err();
    assert_eq!(refused, Some(Error::LimitReached(Limit::Subscribers)));
    // Each reader takes part in a check once.
    wait(answered);
    let notice = now(busy.next());
    assert!(matches!(notice, Notice::Probe));
}

#[test]
fn r32_a_reader_beyond_64_takes_the_place_of_one_that_is_dropped_when_it_is_asked() {
    let (manager, ..) = manager();
    let mut waits = wait(readers(&manager));
    let mut subscribe = Box::pin(manager.subscribe(0));
    assert!(poll(subscribe.as_mut()).is_pending());
    drop(answer(waits.remove(7)));
    let reader = now(subscribe).unwrap();
    assert_eq!(manager.stats().subscribers, 64);
    // A new reader does not take part in checks that were begun before it.
    let reader = wait([reader]);
    drop((waits, reader));
    assert_eq!(manager.stats().subscribers, 0);
}

#[test]
fn r32_callers_that_subscribe_during_a_liveness_check_share_the_next_one() {
    let (manager, ..) = manager();
    let mut waits = wait(readers(&manager));
    let mut first = Box::pin(manager.subscribe(0));
    assert!(poll(first.as_mut()).is_pending());
    let last = waits.pop().unwrap();
    let mut answered: Vec<_> = waits.into_iter().map(answer).collect();
    // The check in progress may have asked a reader before its consumer was closed.
    let mut later = [0, 0].map(|since| Box::pin(manager.subscribe(since)));
    for subscribe in &mut later {
        assert!(poll(subscribe.as_mut()).is_pending());
    }
    answered.push(answer(last));
    let waits = wait(answered);
    assert!(now(first).is_err());
    for subscribe in &mut later {
        assert!(poll(subscribe.as_mut()).is_pending());
    }
    let answered: Vec<_> = waits.into_iter().map(answer).collect();
    for subscribe in later {
        let refused = now(subscribe).err();
        assert_eq!(refused, Some(Error::LimitReached(Limit::Subscribers)));
    }
    drop(answered);
}

#[test]
fn r32_a_wait_for_a_liveness_check_ends_when_the_readers_are_dropped() {
    let (manager, ..) = manager();
    let waits = wait(readers(&manager));
    let mut subscribe = Box::pin(manager.subscribe(0));
    assert!(poll(subscribe.as_mut()).is_pending());
    drop(waits);
    now(subscribe).unwrap();
    assert_eq!(manager.stats().subscribers, 0);
}
