//! When records are written, and what they restore (R12, R17, R23, R31).

use super::*;
use crate::Change;

fn keyed_manager(idle_timeout: Option<u64>) -> (Manager, TestClock) {
    let (manager, _, clock) = keyed_manager_with_guard(idle_timeout);
    (manager, clock)
}

fn keyed_manager_with_guard(idle_timeout: Option<u64>) -> (Manager, TestGuard, TestClock) {
    let (manager, guard, clock) = manager();
    let keyed = Config {
        state_key: Some(vec![7; 32]),
        idle_timeout,
        ..Config::default()
    };
    manager.configure(&keyed).unwrap();
    (manager, guard, clock)
}

/// Reads the changes after the last ones, and returns the kinds of their records.
fn read(manager: &Manager, since: &mut u64) -> Vec<String> {
    let page = manager.changes(*since, 1_000).unwrap();
    assert!(!page.more);
    *since = page.next;
    let kind = |change: &Change| change.key.split('/').next().unwrap_or_default().to_owned();
    page.changes.iter().map(kind).collect()
}

/// Returns a restored manager, whose guard issues other tokens than that of the first one.
fn restored(changes: &[Change]) -> Manager {
    let (manager, guard, _) = keyed_manager_with_guard(None);
    guard.0.issued.set(1_000);
    manager.restore(changes).unwrap();
    manager
}

#[test]
fn r06_the_time_is_recorded_once_in_a_minute_and_at_once_while_the_clock_is_behind() {
    let (manager, clock) = keyed_manager(None);
    now(manager.create(request(1, 3_600))).unwrap();
    let begin = clock.0.get();
    let set = |millis: u64| clock.0.set(begin + millis);
    let mut since = 0;
    assert_eq!(read(&manager, &mut since).len(), 2);
    // A member with its default value is omitted.
    let page = manager.changes(0, 1_000).unwrap();
    let mut values = page.changes.iter().map(|change| &change.value);
    assert!(values.all(|value| !value.contains("clocks-accepted")));
    for (millis, is_recorded) in [
        (59_999, false),
        (60_000, true),
        (60_001, false),
        (119_999, false),
        (120_000, true),
    ] {
        set(millis);
        let recorded = !read(&manager, &mut since).is_empty();
        assert_eq!(recorded, is_recorded, "after {millis} ms");
    }
    set(125_000);
    manager.active_count();
    set(123_000);
    assert_eq!(read(&manager, &mut since), ["meta"]);
    // The time inside has not moved since.
    set(124_000);
    assert!(read(&manager, &mut since).is_empty());
}

#[test]
fn r28_a_use_is_recorded_when_a_tenth_of_the_idle_timeout_has_passed_since_the_last_one() {
    for (idle_timeout, recorded) in [(Some(100), vec!["session"]), (None, vec![])] {
        let (manager, clock) = keyed_manager(idle_timeout);
        let Grant { session, token } = now(manager.create(request(1, 3_600))).unwrap();
        let mut since = 0;
        read(&manager, &mut since);
        for _ in 0..2 {
            clock.0.set(clock.0.get() + 9_999);
            now(manager.validate(token.clone())).unwrap();
            manager.touch(session.id).unwrap();
            assert!(read(&manager, &mut since).is_empty());
            clock.0.set(clock.0.get() + 1);
            manager.touch(session.id).unwrap();
            assert_eq!(read(&manager, &mut since), recorded);
        }
    }
}

#[test]
fn r17_a_closed_run_of_events_continues_after_a_restore_and_another_does_not() {
    let (manager, ..) = manager();
    assert_eq!(manager.close_event_run(), Err(Error::NoStateKey));
    for is_closed in [true, false] {
        let (manager, _) = keyed_manager(None);
        manager.close_event_run().unwrap();
        assert!(manager.changes(0, 1_000).unwrap().changes.is_empty());
        for agent in 1..4 {
            now(manager.create(request(agent, 60))).unwrap();
        }
        if is_closed {
            manager.close_event_run().unwrap();
        }
        let before = manager.poll_events(0, 1_000).unwrap();
        let restored = restored(&manager.changes(0, 1_000).unwrap().changes);
        now(restored.create(request(1, 60))).unwrap();
        let after = restored.poll_events(0, 1_000).unwrap();
        let number = after.events[0].sequence;
        assert_eq!(after.run == before.run, is_closed);
        if is_closed {
            assert_eq!((number, after.missed), (4, 3));
        } else {
            assert!(number > 4, "{number}");
        }
        // The instance that closed its run begins another one.
        now(manager.create(request(1, 60))).unwrap();
        let own = manager.poll_events(3, 1_000).unwrap();
        assert_eq!(own.run == before.run, !is_closed);
    }
}

#[test]
fn r31_the_record_of_a_kill_switch_ends_restored_sessions_that_match_its_filter() {
    let agent = |number| request(number, 1).agent_id;
    let role = |role: &str| Role::parse(role.into()).unwrap();
    for (filter, left) in [
        (RevokeFilter::Everything, [false, false, false]),
        (RevokeFilter::Agent(agent(1)), [false, true, true]),
        (RevokeFilter::Role(role("worker")), [false, false, true]),
        (RevokeFilter::Role(role("other")), [true, true, false]),
    ] {
        let (manager, _) = keyed_manager(None);
        let mut sessions = Vec::new();
        for (number, name) in [(1, "worker"), (2, "worker"), (3, "other")] {
            let mut request = request(number, 60);
            request.attributes.role = role(name);
            sessions.push(now(manager.create(request)).unwrap());
        }
        let before = manager.changes(0, 1_000).unwrap();
        now(manager.revoke_all(filter.clone()));
        let after = manager.changes(before.next, 1_000).unwrap().changes;
        // The records of the ends were lost.
        let cutoffs = after
            .into_iter()
            .filter(|it| it.key.starts_with("cut-off/"));
        let cutoffs: Vec<Change> = cutoffs.collect();
        assert_eq!(cutoffs.len(), 1, "{filter:?}");
        for changes in [
            [&before.changes[..], &cutoffs].concat(),
            [&cutoffs, &before.changes[..]].concat(),
        ] {
            let restored = restored(&changes);
            let is_left = |grant: &Grant| now(restored.validate(grant.token.clone())).is_ok();
            let is_left: Vec<bool> = sessions.iter().map(is_left).collect();
            assert_eq!(is_left, left, "{filter:?}");
            // Sessions that are created later are not revoked.
            let newer = now(restored.create(request(1, 60))).unwrap();
            now(restored.validate(newer.token)).unwrap();
            restored.check_invariants(false).unwrap();
        }
    }
}

#[test]
fn r02_a_page_and_a_restore_have_at_most_1_000_records() {
    let (manager, _) = keyed_manager(None);
    for agent in 1..1_000 {
        now(manager.create(request(agent, 60))).unwrap();
    }
    for limit in [0, 1_001, u32::MAX] {
        assert!(manager.changes(0, limit).is_err(), "{limit}");
    }
    let page = manager.changes(0, 1_000).unwrap();
    assert_eq!((page.changes.len(), page.more), (1_000, false));
    let page = manager.changes(0, 999).unwrap();
    assert_eq!((page.changes.len(), page.more), (999, true));
    let mut changes = manager.changes(0, 1_000).unwrap().changes;
    assert_eq!(restored(&changes).active_count(), 999);
    changes.push(changes[0].clone());
    let (other, _) = keyed_manager(None);
    assert!(matches!(
        other.restore(&changes),
        Err(Error::InvalidArgument(_))
    ));
}
