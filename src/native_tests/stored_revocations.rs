//! Flushes of stored revocations: the guard is asked only for those whose change the host has
//! stored (R12).

use super::*;
use crate::FlushReport;

/// Returns a manager that makes records, and its guard, which is unavailable for revocations.
fn keyed_manager() -> (Manager, TestGuard, TestClock) {
    let (manager, guard, clock) = manager();
    let keyed = Config {
        state_key: Some(vec![7; 32]),
        ..Config::default()
    };
    manager.configure(&keyed).unwrap();
    guard.0.revokes_fail.set(true);
    (manager, guard, clock)
}

/// Returns the sequence number of the newest change.
fn last_change(manager: &Manager) -> u64 {
    manager.stats().last_change
}

/// Returns the sequence number of the record whose key begins with `key`.
fn sequence(manager: &Manager, key: &str) -> u64 {
    let page = manager.changes(0, 1_000).unwrap();
    let mut changes = page.changes.iter();
    let change = changes.find(|change| change.key.starts_with(key));
    change.expect("there is such a record").sequence
}

fn session_key(id: SessionId) -> String {
    format!("session/{}", String::from(id))
}

/// Flushes, and returns the report and the batches that the guard was asked for.
fn flush(manager: &Manager, guard: &TestGuard, stored: u64) -> (FlushReport, Vec<Vec<String>>) {
    guard.0.batches.take();
    let report = now(manager.flush_stored_revocations(stored)).unwrap();
    (report, guard.0.batches.take())
}

fn report(settled: usize, pending: usize) -> FlushReport {
    FlushReport { settled, pending }
}

fn create(manager: &Manager, agent: u64, seconds: u64) -> SessionId {
    let grant = now(manager.create(request(agent, seconds)));
    grant.unwrap().session.id
}

fn refresh(manager: &Manager, _: &TestGuard) -> String {
    let id = create(manager, 1, 60);
    now(manager.refresh(id)).unwrap();
    session_key(id)
}

fn revoke(manager: &Manager, _: &TestGuard) -> String {
    let id = create(manager, 1, 60);
    now(manager.revoke(id)).unwrap();
    session_key(id)
}

fn kill_switch(manager: &Manager, _: &TestGuard) -> String {
    let id = create(manager, 1, 60);
    assert_eq!(now(manager.revoke_all(RevokeFilter::Everything)), 1);
    session_key(id)
}

/// Begins a create, and makes it fail after the guard has issued its token.
fn failed_create(manager: &Manager, guard: &TestGuard) -> String {
    guard.0.held.set(true);
    let mut create = Box::pin(manager.create(request(1, 60)));
    assert!(poll(create.as_mut()).is_pending());
    now(manager.revoke_all(RevokeFilter::Everything));
    guard.0.held.set(false);
    assert_eq!(now(create).unwrap_err(), Error::SessionRevoked);
    "revocation/".into()
}

#[test]
fn r12_a_flush_of_stored_revocations_asks_only_for_those_whose_change_is_stored() {
    let handle_1 = || vec![vec!["handle-1".to_owned()]];
    for end_token in [refresh, revoke, kill_switch, failed_create] {
        let (manager, guard, _) = keyed_manager();
        let key = end_token(&manager, &guard);
        let sequence = sequence(&manager, &key);
        for not_stored in [0, sequence - 1] {
            let flushed = flush(&manager, &guard, not_stored);
            assert_eq!(flushed, (report(0, 1), vec![]), "{key} {not_stored}");
        }
        // The guard is still unavailable.
        let flushed = flush(&manager, &guard, sequence);
        assert_eq!(flushed, (report(0, 1), handle_1()), "{key}");
        guard.0.revokes_fail.set(false);
        let flushed = flush(&manager, &guard, sequence);
        assert_eq!(flushed, (report(1, 0), handle_1()), "{key}");
        assert_eq!(*guard.0.revoked.borrow(), ["handle-1"]);
    }
}

#[test]
fn r12_a_flush_of_stored_revocations_asks_for_all_if_all_changes_are_stored() {
    for beyond in [0, 1, u64::MAX - 1_000] {
        let (manager, guard, _) = keyed_manager();
        for end_token in [failed_create, revoke, kill_switch, refresh] {
            end_token(&manager, &guard);
        }
        guard.0.revokes_fail.set(false);
        let (flushed, _) = flush(&manager, &guard, last_change(&manager) + beyond);
        assert_eq!(flushed, report(4, 0));
    }
}

#[test]
fn r12_a_record_that_changed_again_is_not_stored_until_its_newest_change_is() {
    let (manager, guard, _) = keyed_manager();
    let id = create(&manager, 1, 60);
    now(manager.refresh(id)).unwrap();
    let first = last_change(&manager);
    now(manager.refresh(id)).unwrap();
    let second = last_change(&manager);
    guard.0.revokes_fail.set(false);
    assert_eq!(flush(&manager, &guard, first).0, report(0, 2));
    now(manager.revoke_all(RevokeFilter::Everything));
    // The kill switch asks for its own revocation, which changes the record again.
    assert_eq!(flush(&manager, &guard, second).0, report(0, 2));
    let (flushed, asked) = flush(&manager, &guard, last_change(&manager));
    assert_eq!(flushed, report(2, 0));
    assert_eq!(asked, [["handle-1", "handle-2"]]);
}

#[test]
fn r12_a_confirmation_does_not_make_the_other_revocations_of_its_record_wait() {
    let (manager, guard, _) = keyed_manager();
    let id = create(&manager, 1, 60);
    now(manager.refresh(id)).unwrap();
    now(manager.refresh(id)).unwrap();
    let stored = last_change(&manager);
    // After a batch that failed, the next flush begins with one revocation, the second one.
    assert_eq!(flush(&manager, &guard, stored).0, report(0, 2));
    guard.0.revokes_fail.set(false);
    let (flushed, asked) = flush(&manager, &guard, stored);
    assert_eq!(flushed, report(2, 0));
    assert_eq!(asked, [["handle-2"], ["handle-1"]]);
}

#[test]
fn r20_both_flushes_begin_with_one_revocation_after_a_batch_that_failed() {
    let (manager, guard, _) = keyed_manager();
    for agent in 0..9 {
        let id = create(&manager, agent, 60);
        manager.invalidate(id).unwrap();
    }
    let stored = last_change(&manager);
    let sizes = |asked: Vec<Vec<String>>| asked.iter().map(Vec::len).collect::<Vec<_>>();
    let (flushed, asked) = flush(&manager, &guard, stored);
    assert_eq!((flushed, sizes(asked)), (report(0, 9), vec![9]));
    guard.0.batches.take();
    assert_eq!(now(manager.flush_guard_revocations()), report(0, 9));
    assert_eq!(sizes(guard.0.batches.take()), [1]);
    // A flush that asks for none changes nothing.
    assert_eq!(flush(&manager, &guard, 0), (report(0, 9), vec![]));
    guard.0.revokes_fail.set(false);
    let (flushed, asked) = flush(&manager, &guard, stored);
    assert_eq!((flushed, sizes(asked)), (report(9, 0), vec![1, 4, 4]));
}

#[test]
fn r12_1_000_revocations_that_are_not_stored_do_not_keep_others_pending() {
    let (manager, guard, _) = keyed_manager();
    // A flush begins with the tokens that expire first.
    for agent in [0, 1] {
        let id = create(&manager, agent, 600);
        manager.invalidate(id).unwrap();
    }
    let stored = last_change(&manager);
    for agent in 0..1_500 {
        let id = create(&manager, agent, 60);
        manager.invalidate(id).unwrap();
    }
    guard.0.revokes_fail.set(false);
    assert_eq!(flush(&manager, &guard, stored), (report(0, 1_502), vec![]));
    let (flushed, asked) = flush(&manager, &guard, stored);
    assert_eq!(flushed, report(2, 1_500));
    assert_eq!(asked, [["handle-1", "handle-2"]]);
    let stored = last_change(&manager);
    assert_eq!(flush(&manager, &guard, stored).0, report(1_000, 500));
    assert_eq!(flush(&manager, &guard, stored).0, report(500, 0));
}

#[test]
fn r12_a_revocation_whose_token_has_expired_is_dropped_though_it_is_not_stored() {
    let (manager, guard, clock) = keyed_manager();
    let id = create(&manager, 1, 60);
    manager.invalidate(id).unwrap();
    clock.0.set(clock.0.get() + 60_000);
    assert_eq!(flush(&manager, &guard, 0), (report(1, 0), vec![]));
}

#[test]
fn r12_restored_revocations_are_stored() {
    let (manager, guard, _) = keyed_manager();
    for end_token in [failed_create, revoke, refresh] {
        end_token(&manager, &guard);
    }
    let page = manager.changes(0, 1_000).unwrap();
    let (restored, guard, _) = keyed_manager();
    restored.restore(&page.changes).unwrap();
    guard.0.revokes_fail.set(false);
    assert_eq!(flush(&restored, &guard, page.next).0, report(3, 0));
}

#[test]
fn r23_a_flush_of_stored_revocations_needs_a_state_key() {
    let (manager, guard, _) = manager();
    let id = create(&manager, 1, 60);
    manager.invalidate(id).unwrap();
    let refused = now(manager.flush_stored_revocations(u64::MAX));
    assert_eq!(refused, Err(Error::NoStateKey));
    assert!(guard.0.batches.take().is_empty());
    assert_eq!(manager.stats().pending_revocations, 1);
}

#[test]
fn r12_a_revocation_that_was_settled_is_not_pending_after_a_restore_in_any_order() {
    let (manager, guard, _) = keyed_manager();
    failed_create(&manager, &guard);
    let pending = manager.changes(0, 1_000).unwrap();
    guard.0.revokes_fail.set(false);
    assert_eq!(flush(&manager, &guard, u64::MAX).0, report(1, 0));
    let settled = manager.changes(pending.next, 1_000).unwrap().changes;
    assert!(settled.iter().any(|it| it.key.starts_with("revocation/")));
    for changes in [
        [&pending.changes[..], &settled].concat(),
        [&settled, &pending.changes[..]].concat(),
    ] {
        let (restored, ..) = keyed_manager();
        restored.restore(&changes).unwrap();
        restored.check_invariants(false).unwrap();
        let stats = restored.stats();
        assert_eq!((stats.pending_revocations, stats.live_sessions), (0, 0));
    }
}
