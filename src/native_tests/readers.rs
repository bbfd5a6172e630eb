//! Readers of the events, which wait without a guard (R32).

use super::*;
use crate::{Limit, Notice};

/// Returns the result of a call that lets other calls run, and waits for nothing else.
fn finish<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    for _ in 0..1_000 {
        if let Poll::Ready(result) = poll(call.as_mut()) {
            return result;
        }
    }
    panic!("the call must not wait")
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

#[test]
fn r32_a_reader_beyond_64_is_refused_unless_one_of_them_is_dropped_when_it_is_asked() {
    let (manager, ..) = manager();
    let mut readers = Vec::new();
    for _ in 0..64 {
        readers.push(now(manager.subscribe(0)).unwrap());
    }
    assert_eq!(manager.stats().subscribers, 64);
    let refused = finish(manager.subscribe(0)).err();
    assert_eq!(refused, Some(Error::LimitReached(Limit::Subscribers)));
    // Each reader takes part in the liveness check once.
    for reader in &mut readers {
        assert!(matches!(now(reader.next()), Notice::Probe));
        assert!(poll(pin!(reader.next())).is_pending());
    }
    // It lets all readers run.
    let mut subscribe = Box::pin(manager.subscribe(0));
    for _ in 0..64 {
        assert!(poll(subscribe.as_mut()).is_pending());
    }
    assert!(matches!(now(readers[7].next()), Notice::Probe));
    readers.remove(7);
    readers.push(now(subscribe).unwrap());
    assert_eq!(manager.stats().subscribers, 64);
    // A new reader does not take part in checks that were begun before it.
    assert!(poll(pin!(readers[63].next())).is_pending());
    drop(readers);
    assert_eq!(manager.stats().subscribers, 0);
}
