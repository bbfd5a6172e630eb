//! When records are written, and what they restore (R12, R17, R23, R31).

use super::*;
use crate::Change;

fn keyed_manager(idle_timeout: Option<u64>) -> (Manager, TestClock) {
    let (manager, _, clock) = keyed_manager_with_guard(idle_timeout);
    (manager, clock)
}

fn keyed_manager_with_guard(idle_timeout: Option<u64>) -> (Manager, TestGuard, TestClock) {
    keyed(Config {
        idle_timeout,
        ..Config::default()
    })
}

/// Returns a manager with this configuration and a state key.
pub(super) fn keyed(config: Config) -> (Manager, TestGuard, TestClock) {
    let (manager, guard, clock) = manager();
    let state_key = Some(vec![7; 32]);
    let config = Config {
        state_key,
        ..config
    };
    manager.configure(&config).unwrap();
    (manager, guard, clock)
}

/// Returns a manager whose agents can have this many sessions.
fn keyed_for(max_sessions_per_agent: u32) -> (Manager, TestGuard, TestClock) {
    keyed(Config {
        max_sessions_per_agent: Some(max_sessions_per_agent),
        ..Config::default()
    })
}

/// Reads the changes after the last ones, and returns the kinds of their records.
pub(super) fn read(manager: &Manager, since: &mut u64) -> Vec<String> {
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
fn r29_each_use_of_a_session_with_limited_uses_is_recorded() {
    let (manager, _) = keyed_manager(None);
    let limited = CreateRequest {
        max_uses: Some(crate::MaxUses::new(3).unwrap()),
        ..request(1, 3_600)
    };
    let token = now(manager.create(limited)).unwrap().token;
    let mut since = 0;
    read(&manager, &mut since);
    for _ in 0..2 {
        now(manager.validate(token.clone())).unwrap();
        assert_eq!(read(&manager, &mut since), ["session"]);
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
        let cutoffs = cutoffs(after);
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

/// Returns all changes.
pub(super) fn changes(manager: &Manager) -> Vec<Change> {
    let (mut changes, mut since) = (Vec::new(), 0);
    loop {
        let page = manager.changes(since, 1_000).unwrap();
        changes.extend(page.changes);
        since = page.next;
        if !page.more {
            return changes;
        }
    }
}

/// Returns the records of kill switches.
fn cutoffs(changes: Vec<Change>) -> Vec<Change> {
    let is_cutoff = |change: &Change| change.key.starts_with("cut-off/");
    changes.into_iter().filter(is_cutoff).collect()
}

/// Returns until when the manager's records of kill switches are needed.
fn cutoff_times(manager: &Manager) -> Vec<Option<Timestamp>> {
    let cutoffs = cutoffs(changes(manager)).into_iter();
    cutoffs.map(|it| it.forget_at).collect()
}

#[test]
fn r06_records_after_an_accepted_clock_restore_neither_the_sessions_before_it_nor_the_time() {
    let (manager, clock) = keyed_manager(None);
    let right = clock.0.get();
    clock.0.set(right + 86_400_000);
    let ended = now(manager.create(request(1, 60))).unwrap();
    let before = changes(&manager);
    clock.0.set(right);
    assert_eq!(now(manager.accept_clock()), Ok(1));
    let kept = now(manager.create(request(1, 60))).unwrap();
    let after = changes(&manager);
    let accepted = "\"clocks-accepted\":1";
    let (written, kept_before): (Vec<_>, Vec<_>) =
        after.iter().partition(|it| it.value.contains(accepted));
    assert!(written.iter().any(|it| it.key == "meta"), "{after:?}");
    let first_written = written.iter().map(|it| it.sequence).min();
    let last_before = kept_before.iter().map(|it| it.sequence).max();
    assert!(last_before < first_written, "{after:?}");
    for all in [
        [&before[..], &after].concat(),
        [&after, &before[..]].concat(),
    ] {
        let restored = restored(&all);
        assert_eq!(restored.stats().now, Timestamp::from_millis(right));
        assert!(now(restored.validate(ended.token.clone())).is_err());
        now(restored.validate(kept.token.clone())).unwrap();
    }
}

#[test]
fn r17_an_instance_without_events_of_its_own_keeps_the_numbers_that_others_have_used() {
    for is_closed in [true, false] {
        let (manager, _) = keyed_manager(None);
        now(manager.create(request(1, 3_600))).unwrap();
        if is_closed {
            manager.close_event_run().unwrap();
        }
        // The second instance writes the meta record again, and has no event.
        let (second, guard, clock) = keyed_manager_with_guard(None);
        guard.0.issued.set(1_000);
        second.restore(&changes(&manager)).unwrap();
        clock.0.set(clock.0.get() + 60_000);
        second.active_count();
        let third = restored(&changes(&second));
        now(third.create(request(2, 60))).unwrap();
        let number = third.poll_events(0, 10).unwrap().events[0].sequence;
        assert!(number > 1_024, "{number}");
    }
}

/// Random bytes that are unavailable after this many draws.
struct Draws(Cell<u32>);

impl Entropy for &Draws {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable> {
        let left = self.0.get().checked_sub(1).ok_or(EntropyUnavailable)?;
        self.0.set(left);
        SystemEntropy.fill(bytes)
    }
}

#[test]
fn r17_without_a_fingerprint_key_no_run_of_events_is_closed() {
    // The seed of the tables and the run are drawn before the key.
    let entropy = Draws(Cell::new(2));
    let manager = SessionManager::new(TestGuard::default(), TestClock::default(), &entropy);
    let keyed = Config {
        state_key: Some(vec![7; 32]),
        ..Config::default()
    };
    manager.configure(&keyed).unwrap();
    let refused = now(manager.create(request(1, 60))).unwrap_err();
    assert_eq!(refused, Error::EntropyUnavailable);
    entropy.0.set(10);
    manager.close_event_run().unwrap();
    assert!(manager.changes(0, 10).unwrap().changes.is_empty());
}

#[test]
fn r12_an_expired_session_without_revocations_leaves_no_record() {
    let (manager, clock) = keyed_manager(None);
    let Grant { token, .. } = now(manager.create(request(1, 60))).unwrap();
    clock.0.set(clock.0.get() + 60_000);
    assert_eq!(now(manager.validate(token)), Err(Error::SessionExpired));
    let keys: Vec<String> = changes(&manager).into_iter().map(|it| it.key).collect();
    assert_eq!(keys, ["meta"]);
}

#[test]
fn r12_a_session_that_expires_earlier_than_an_older_record_says_leaves_a_tombstone() {
    let (manager, guard, clock) = keyed_manager_with_guard(None);
    let begin = clock.0.get();
    let id = now(manager.create(request(1, 600))).unwrap().session.id;
    let before = changes(&manager);
    let soon = Timestamp::from_millis(begin + 10_000);
    guard.0.grants_until.set(Some(soon));
    now(manager.refresh(id)).unwrap();
    assert_eq!(manager.stats().pending_revocations, 0);
    clock.0.set(begin + 10_000);
    assert_eq!(manager.prune_expired(None), 1);
    let next = restored(&stored(&before, &changes(&manager)));
    assert_eq!(next.get(id), Err(Error::SessionNotFound));
}

#[test]
fn r06_the_time_is_not_recorded_again_before_the_first_page_is_read() {
    let (manager, clock) = keyed_manager(Some(100));
    let id = now(manager.create(request(1, 600))).unwrap().session.id;
    manager.close_event_run().unwrap();
    clock.0.set(clock.0.get() + 60_000);
    manager.touch(id).unwrap();
    assert_eq!(read(&manager, &mut 0), ["meta", "session"]);
}

#[test]
fn r31_the_record_of_a_kill_switch_is_needed_for_the_sessions_too_that_other_calls_end() {
    let (manager, _, clock) = keyed_for(20_000);
    create_many(&manager, 10_000, 1, 60);
    let last = now(manager.create(request(1, 3_600))).unwrap();
    let filter = RevokeFilter::Agent(request(1, 60).agent_id);
    assert_eq!(now(manager.revoke_all(filter)), 10_000);
    assert_eq!(now(manager.validate(last.token)), Err(Error::InvalidToken));
    assert_eq!(manager.prune_expired(None), 0);
    let until = Timestamp::from_millis(clock.0.get() + 3_600_000);
    assert_eq!(cutoff_times(&manager), [Some(until)]);
}

#[test]
fn r31_the_record_of_a_kill_switch_is_needed_until_the_last_end_of_its_sessions() {
    let (manager, clock) = keyed_manager(None);
    for (agent, seconds) in [(1, 60), (1, 90), (2, 3_600)] {
        now(manager.create(request(agent, seconds))).unwrap();
    }
    let times_after = |agent| {
        let filter = RevokeFilter::Agent(request(agent, 60).agent_id);
        now(manager.revoke_all(filter));
        cutoff_times(&manager)
    };
    // One that has ended nothing leaves no record.
    assert_eq!(times_after(3), []);
    let until = Timestamp::from_millis(clock.0.get() + 90_000);
    assert_eq!(times_after(1), [Some(until)]);
}

#[test]
fn r24_a_meta_record_with_another_fingerprint_key_is_refused() {
    let metas = [0; 2].map(|_| {
        let (manager, _) = keyed_manager(None);
        now(manager.create(request(1, 60))).unwrap();
        let meta = changes(&manager).into_iter().find(|it| it.key == "meta");
        meta.unwrap()
    });
    let (manager, _) = keyed_manager(None);
    manager.restore(&metas[..1]).unwrap();
    manager.restore(&metas[..1]).unwrap();
    let refused = manager.restore(&metas[1..]).unwrap_err();
    assert!(matches!(refused, Error::RefusedRecord { .. }), "{refused}");
}

#[test]
fn r27_a_superseded_token_counts_as_stolen_after_a_restore_too() {
    let (manager, _) = keyed_manager(None);
    let Grant { session, token } = now(manager.create(request(1, 60))).unwrap();
    now(manager.rotate(token.clone())).unwrap();
    let records = changes(&manager);
    // Without a grace there is none in the record.
    assert!(records.iter().all(|it| !it.value.contains("grace")));
    let restored = restored(&records);
    assert!(restored.get(session.id).is_ok());
    let refused = now(restored.rotate(token)).unwrap_err();
    assert_eq!(refused, Error::InvalidToken);
    assert_eq!(restored.get(session.id), Err(Error::SessionNotFound));
}

#[test]
fn r31_restored_sessions_that_a_restored_kill_switch_revokes_end_with_a_prune_or_a_create() {
    let (manager, ..) = keyed_for(3);
    create_many(&manager, 3, 1, 60);
    let mut records = changes(&manager);
    now(manager.revoke_all(RevokeFilter::Agent(request(1, 60).agent_id)));
    // The records of the ends were lost.
    records.extend(cutoffs(changes(&manager)));
    let restored = || {
        let (restored, guard, _) = keyed_for(3);
        guard.0.issued.set(1_000);
        restored.restore(&records).unwrap();
        restored
    };
    let pruned = restored();
    assert_eq!(pruned.prune_expired(Some(2)), 2);
    assert_eq!(pruned.stats().totals.ended, 2);
    assert_eq!(pruned.prune_expired(None), 1);
    assert_eq!(pruned.prune_expired(None), 0);
    let created = restored();
    now(created.create(request(1, 60))).unwrap();
    assert_eq!(created.active_count(), 1);
}

#[test]
fn r31_a_kill_switch_that_has_ended_all_its_sessions_in_one_call_leaves_no_work() {
    let (manager, _, clock) = keyed_for(10_000);
    create_many(&manager, 10_000, 1, 60);
    // Until the kill switch has ended all its sessions, its record is needed as long as this one.
    now(manager.create(request(2, 3_600))).unwrap();
    let agent = RevokeFilter::Agent(request(1, 60).agent_id);
    assert_eq!(now(manager.revoke_all(agent)), 10_000);
    let until = Timestamp::from_millis(clock.0.get() + 60_000);
    assert_eq!(cutoff_times(&manager), [Some(until)]);
}

#[test]
fn r31_the_record_of_a_kill_switch_stays_when_it_is_repeated_before_it_has_ended_all() {
    let (manager, _, clock) = keyed_for(20_000);
    for seconds in [60, 3_600] {
        create_many(&manager, 10_000, 1, seconds);
    }
    for _ in 0..2 {
        assert_eq!(now(manager.revoke_all(RevokeFilter::Everything)), 10_000);
    }
    while manager.prune_expired(None) > 0 {}
    let until = Timestamp::from_millis(clock.0.get() + 3_600_000);
    assert_eq!(cutoff_times(&manager), [Some(until); 2]);
}

#[test]
fn r23_a_kill_switch_whose_record_was_dropped_leaves_the_other_records() {
    let (manager, _, clock) = keyed(Config {
        max_state_bytes: Some(12 << 20),
        max_sessions_per_agent: Some(100_000),
        ..Config::default()
    });
    let start = clock.0.get();
    create_many(&manager, 10_000, 1, 60);
    // The kill switch ends the others, which have expired, and leaves these.
    create_many(&manager, 5, 1, 120);
    clock.0.set(start + 61_000);
    let agent = RevokeFilter::Agent(request(1, 60).agent_id);
    now(manager.revoke_all(agent));
    assert_eq!(manager.stats().tombstones, 1);
    // When they have expired, nothing needs the record. The state has no bytes left.
    clock.0.set(start + 121_000);
    let mut grants = Vec::new();
    while manager.stats().tombstones > 0 {
        grants.push(now(manager.create(request(2, 3_600))).unwrap());
    }
    manager.check_invariants(false).unwrap();
    // Other records take its place.
    for grant in &grants[..60] {
        now(manager.revoke(grant.session.id)).unwrap();
    }
    create_many(&manager, 20, 3, 3_600);
    while manager.prune_expired(None) > 0 {}
    manager.check_invariants(false).unwrap();
}

#[test]
fn r31_the_record_of_a_kill_switch_is_needed_for_sessions_that_end_with_their_parent() {
    let (manager, _, clock) = keyed_for(10_001);
    create_many(&manager, 10_000, 1, 60);
    let parent = now(manager.create(request(2, 3_600))).unwrap().session.id;
    now(manager.delegate(parent, request(1, 600))).unwrap();
    let agent = RevokeFilter::Agent(request(1, 60).agent_id);
    assert_eq!(now(manager.revoke_all(agent)), 10_000);
    now(manager.revoke(parent)).unwrap();
    assert_eq!(manager.prune_expired(None), 0);
    let until = Timestamp::from_millis(clock.0.get() + 600_000);
    assert_eq!(cutoff_times(&manager), [Some(until)]);
}

#[test]
fn r06_the_time_of_a_page_is_that_of_the_newest_record_that_was_returned() {
    let (manager, clock) = keyed_manager(None);
    let begin = clock.0.get();
    now(manager.create(request(1, 3_600))).unwrap();
    let mut since = 0;
    for (seconds, records, recorded) in [(1, 2, 1), (60, 0, 1), (61, 1, 61), (70, 0, 61)] {
        clock.0.set(begin + seconds * 1_000);
        let page = manager.changes(since, 1_000).unwrap();
        since = page.next;
        assert_eq!(page.changes.len(), records, "after {seconds} s");
        let expected = Timestamp::from_millis(begin + recorded * 1_000);
        assert_eq!(page.now, expected, "after {seconds} s");
    }
}

#[test]
fn r06_the_time_of_a_page_is_not_that_of_what_another_reader_was_returned() {
    let (manager, clock) = keyed_manager(None);
    let begin = clock.0.get();
    now(manager.create(request(1, 3_600))).unwrap();
    let read = |since| manager.changes(since, 1_000).unwrap();
    let since = read(0).next;
    for seconds in [20, 50] {
        clock.0.set(begin + seconds * 1_000);
        let other = read(0);
        assert_eq!(other.now, Timestamp::from_millis(clock.0.get()));
        assert_eq!(read(since).now, Timestamp::from_millis(begin));
    }
    // The time is recorded after a minute, however often others read.
    clock.0.set(begin + 60_000);
    let page = read(since);
    assert_eq!(
        (page.changes.len(), page.now),
        (1, Timestamp::from_millis(begin + 60_000))
    );
}

#[test]
fn r06_the_time_of_a_page_without_records_after_a_restore_is_that_of_the_restored_records() {
    let (manager, clock) = keyed_manager(None);
    now(manager.create(request(1, 3_600))).unwrap();
    clock.0.set(clock.0.get() + 5_000);
    let next = restored(&changes(&manager));
    let page = next.changes(next.stats().last_change, 1_000).unwrap();
    assert_eq!(page.changes.len(), 0);
    assert_eq!(page.now, Timestamp::from_millis(clock.0.get()));
}

#[test]
fn r06_the_time_of_a_page_before_an_accepted_clock_is_at_most_that_of_its_records() {
    let (manager, clock) = keyed_manager(None);
    let begin = clock.0.get();
    let expiring = now(manager.create(request(1, 600))).unwrap();
    let since = manager.changes(0, 1_000).unwrap().next;
    clock.0.set(begin + 90_000);
    now(manager.revoke(expiring.session.id)).unwrap();
    clock.0.set(begin);
    while now(manager.accept_clock()).is_ok() {}
    clock.0.set(begin + 101_000);
    // The end of the session, which has the time before the clock was accepted.
    let page = manager.changes(since, 1).unwrap();
    assert_eq!(page.now, Timestamp::from_millis(begin + 90_000));
    assert!(page.more);
    let rest = manager.changes(page.next, 1_000).unwrap();
    assert_eq!(rest.now, Timestamp::from_millis(begin + 101_000));
}

#[test]
fn r12_a_host_that_drops_records_by_the_time_of_pages_restores_no_ended_session() {
    let (manager, guard, clock) = keyed_for(20_000);
    let begin = clock.0.get();
    let at = |seconds: u64| begin + seconds * 1_000;
    create_many(&manager, 10_000, 1, 100);
    // The record of this session is needed for longer than that of the kill switch.
    guard
        .0
        .grants_at_least
        .set(Timestamp::from_millis(at(1_000)));
    let last = now(manager.create(request(1, 100))).unwrap();
    let agent = RevokeFilter::Agent(request(1, 60).agent_id);
    assert_eq!(now(manager.revoke_all(agent)), 10_000);

    let (mut stored, mut since) = (std::collections::BTreeMap::new(), 0);
    let mut store = |seconds| {
        clock.0.set(at(seconds));
        loop {
            let page = manager.changes(since, 1_000).unwrap();
            for change in page.changes {
                stored.insert(change.key.clone(), change);
            }
            since = page.next;
            stored.retain(|_, it: &mut Change| it.forget_at.is_none_or(|until| until > page.now));
            if !page.more {
                return stored.len();
            }
        }
    };
    store(0);
    assert_eq!(store(60), 10_003);
    // No record has this time, and a restore continues from the time that records have.
    assert_eq!(store(100), 10_003);
    let kept: Vec<_> = stored.into_values().collect();
    let (next, guard, next_clock) = keyed_for(20_000);
    guard.0.issued.set(100_000);
    for page in kept.chunks(1_000) {
        next.restore(page).unwrap();
    }
    next_clock.0.set(at(95));
    assert_eq!(now(next.validate(last.token)), Err(Error::InvalidToken));
}

#[test]
fn r05_a_refresh_of_a_restored_session_keeps_an_expiry_beyond_the_longest_lifetime() {
    let (manager, clock) = keyed_manager(None);
    let granted = now(manager.create(request(1, 3_600))).unwrap();
    let (next, guard, next_clock) = keyed(Config {
        max_lifetime: Some(60),
        ..Config::default()
    });
    guard.0.issued.set(1_000);
    next.restore(&changes(&manager)).unwrap();
    next_clock.0.set(clock.0.get() + 100_000);
    let refreshed = now(next.refresh(granted.session.id)).unwrap();
    assert_eq!(refreshed.session.expires_at, granted.session.expires_at);
    assert_eq!(next.get(granted.session.id), Ok(refreshed.session));
}

#[test]
fn r17_a_closed_run_that_is_closed_again_changes_nothing() {
    let (manager, _) = keyed_manager(None);
    now(manager.create(request(1, 600))).unwrap();
    manager.close_event_run().unwrap();
    let before = manager.stats();
    manager.close_event_run().unwrap();
    assert_eq!(manager.stats(), before);
}

/// Returns a manager with 10,400 live sessions of agent 1, and after them 100 of agent 2 that a
/// restored kill switch revokes, which is as many as it can have.
fn restored_with_a_kill_switch_for_the_last() -> Manager {
    let config = Config {
        max_sessions: Some(10_500),
        max_sessions_per_agent: Some(20_000),
        ..Config::default()
    };
    let (manager, ..) = keyed(config.clone());
    create_many(&manager, 10_400, 1, 600);
    create_many(&manager, 100, 2, 600);
    let mut stored = changes(&manager);
    let since = manager.stats().last_change;
    now(manager.revoke_all(RevokeFilter::Agent(request(2, 60).agent_id)));
    let cutoff = manager.changes(since, 1).unwrap();
    stored.extend(cutoff.changes);
    let (next, guard, _) = keyed(config);
    guard.0.issued.set(100_000);
    for page in stored.chunks(1_000) {
        next.restore(page).unwrap();
    }
    next
}

#[test]
fn r19_restored_sessions_that_a_kill_switch_revokes_take_no_place_however_many_precede_them() {
    let manager = restored_with_a_kill_switch_for_the_last();
    now(manager.create(request(3, 60))).unwrap();
    // A create ends at most 64.
    assert_eq!(manager.active_count(), 10_401 + 36);
}

#[test]
fn r31_a_prune_ends_what_a_restored_kill_switch_revokes_however_many_sessions_precede_it() {
    let manager = restored_with_a_kill_switch_for_the_last();
    assert_eq!(manager.prune_expired(None), 100);
    assert_eq!(manager.prune_expired(None), 0);
    assert_eq!(manager.active_count(), 10_400);
}

#[test]
fn r23_records_that_are_restored_twice_count_once() {
    let (manager, _) = keyed_manager(None);
    now(manager.create(request(1, 3_600))).unwrap();
    now(manager.revoke_all(RevokeFilter::Agent(request(1, 60).agent_id)));
    now(manager.create(request(1, 3_600))).unwrap();
    let all = changes(&manager);
    let next = restored(&all);
    let before = next.stats();
    assert_eq!(before.tombstones, manager.stats().tombstones);
    next.restore(&all).unwrap();
    assert_eq!(next.stats(), before);
}

/// Returns what a store holds that had these records and then got the first ones of a page.
fn stored(before: &[Change], page: &[Change]) -> Vec<Change> {
    let is_newer = |old: &&Change| page.iter().all(|new| new.key != old.key);
    let kept = before.iter().filter(is_newer);
    kept.chain(page).cloned().collect()
}

#[test]
fn r12_the_first_records_of_an_end_hold_no_partial_end_if_a_revocation_is_confirmed_meanwhile() {
    let (manager, guard, _) = keyed_manager_with_guard(None);
    guard.0.revokes_fail.set(true);
    let parent = now(manager.create(request(1, 600))).unwrap().session.id;
    now(manager.refresh(parent)).unwrap();
    let child = now(manager.delegate(parent, request(2, 600))).unwrap();
    let child = child.session.id;
    let before = changes(&manager);
    let since = manager.stats().last_change;
    guard.0.revokes_fail.set(false);
    guard.0.revokes_held.set(true);
    let mut flush = pin!(manager.flush_stored_revocations(since));
    assert!(poll(flush.as_mut()).is_pending());
    let mut revoke = pin!(manager.revoke(parent));
    assert!(poll(revoke.as_mut()).is_pending());
    // The guard confirms the revocation of the parent's first token after the parent has ended.
    guard.0.revokes_held.set(false);
    assert_eq!(now(flush).unwrap().settled, 1);
    let page = manager.changes(since, 1_000).unwrap().changes;
    for count in 0..=page.len() {
        let next = restored(&stored(&before, &page[..count]));
        let is_live = |id| next.get(id).is_ok();
        assert_eq!(is_live(parent), is_live(child), "{count} of {page:?}");
    }
}

#[test]
fn r12_a_confirmed_revocation_is_read_by_a_host_that_has_read_the_end_before() {
    let (manager, guard, clock) = keyed_manager_with_guard(None);
    for accepts_the_clock in [false, true] {
        guard.0.revokes_fail.set(true);
        let id = now(manager.create(request(1, 600))).unwrap().session.id;
        now(manager.revoke(id)).unwrap();
        if accepts_the_clock {
            clock.0.set(clock.0.get() - 300_000);
            now(manager.accept_clock()).unwrap();
        }
        let mut since = 0;
        read(&manager, &mut since);
        guard.0.revokes_fail.set(false);
        assert!(now(manager.flush_guard_revocations()).settled > 0);
        assert!(read(&manager, &mut since).contains(&"session".into()));
    }
}

/// Returns a manager that was restored from a store that failed before the newest record of a
/// parent, and its parent and child: the parent's record is older than the child's.
fn restored_with_an_older_parent() -> (Manager, TestClock, [SessionId; 2]) {
    let (manager, clock) = keyed_manager(None);
    let begin = clock.0.get();
    let parent = now(manager.create(request(1, 100))).unwrap().session.id;
    let child = now(manager.delegate(parent, request(2, 100))).unwrap();
    let child = child.session.id;
    let before = changes(&manager);
    let since = manager.stats().last_change;
    clock.0.set(begin + 50_000);
    for id in [parent, child, parent] {
        now(manager.refresh(id)).unwrap();
    }
    let page = manager.changes(since, 1_000).unwrap().changes;
    let is_child = |change: &Change| change.key.ends_with(&String::from(child));
    let to = page.iter().position(is_child).unwrap();
    let (next, guard, clock) = keyed_manager_with_guard(None);
    guard.0.issued.set(1_000);
    clock.0.set(begin + 50_000);
    next.restore(&stored(&before, &page[..=to])).unwrap();
    (next, clock, [parent, child])
}

#[test]
fn r26_a_child_whose_restored_parent_expires_before_it_ends_with_it() {
    let (manager, clock, [parent, child]) = restored_with_an_older_parent();
    let expires_at = |id| manager.get(id).unwrap().expires_at;
    assert!(expires_at(child) > expires_at(parent));
    clock.0.set(clock.0.get() + 50_000);
    assert_eq!(manager.get(child), Err(Error::SessionExpired));
}

#[test]
fn r15_a_child_of_a_restored_parent_that_is_refreshed_counts_as_live() {
    let (manager, clock, [parent, child]) = restored_with_an_older_parent();
    clock.0.set(clock.0.get() + 10_000);
    now(manager.refresh(parent)).unwrap();
    clock.0.set(clock.0.get() + 50_000);
    let stats = manager.stats();
    assert_eq!((stats.live_sessions, stats.prunable_sessions), (2, 0));
    assert!(manager.get(parent).is_ok() && manager.get(child).is_ok());
}
