//! Answers of the guard that are not those that a caller hopes for (R8, R9, R11, R12).

use super::*;
use crate::{Denial, EndReason, EventKind, Overflow};

/// Returns the kinds of all events.
fn events(manager: &Manager) -> Vec<EventKind> {
    let page = manager.poll_events(0, 1_000).unwrap();
    page.events.into_iter().map(|event| event.kind).collect()
}

#[test]
fn r09_a_token_is_refused_unless_the_guard_validates_it_with_its_handle_and_it_has_not_expired() {
    let claims = |handle: &str, expires_at| {
        let handle = handle.to_owned();
        Ok(Claims { handle, expires_at })
    };
    let time = Timestamp::from_millis(TestClock::default().0.get());
    let expired = Error::Guard(GuardError::Expired);
    let revoked = Error::Guard(GuardError::Revoked);
    let failed = GuardError::Unavailable("failed".into());
    for (verdict, answer, denial) in [
        (claims("handle-1", time.after_seconds(1)), None, None),
        (claims("handle-1", time), Some(expired), Some(Denial::Guard)),
        (
            claims("handle-2", Timestamp::MAX),
            Some(Error::InvalidToken),
            Some(Denial::Handle),
        ),
        (Err(GuardError::Revoked), Some(revoked), Some(Denial::Guard)),
        (Err(failed.clone()), Some(failed.into()), None),
    ] {
        let (manager, guard, _) = manager();
        let Grant { session, token } = now(manager.create(request(1, 60))).unwrap();
        guard.0.verdict.replace(Some(verdict));
        let validated = now(manager.validate(token.clone()));
        assert_eq!(validated.err(), answer);
        let many = now(manager.validate_many(vec![Ok(token.clone())])).unwrap();
        assert_eq!(many[0].clone().err(), answer);
        let denials = [EventKind::Created]
            .into_iter()
            .chain(denial.map(EventKind::Denied));
        assert_eq!(events(&manager), denials.collect::<Vec<_>>());
        assert_eq!(
            manager.stats().totals.denied,
            2 * u64::from(denial.is_some())
        );
        assert_eq!(now(manager.rotate(token)).err(), answer);
        assert!(manager.get(session.id).is_ok());
    }
}

#[test]
fn r12_the_error_of_an_operation_in_flight_tells_how_its_session_ended() {
    for (ended, error) in [
        (EndReason::Expired, Error::SessionExpired),
        (EndReason::Invalidated, Error::SessionRevoked),
    ] {
        let (manager, guard, clock) = manager();
        let Grant { session, token } = now(manager.create(request(1, 60))).unwrap();
        guard.0.held.set(true);
        let mut validate = Box::pin(manager.validate(token));
        assert!(poll(validate.as_mut()).is_pending());
        if ended == EndReason::Expired {
            clock.0.set(clock.0.get() + 60_000);
            assert_eq!(manager.prune_expired(None), 1);
        } else {
            manager.invalidate(session.id).unwrap();
        }
        guard.0.held.set(false);
        assert_eq!(now(validate), Err(error));
        assert_eq!(
            events(&manager),
            [EventKind::Created, EventKind::Ended(ended)]
        );
    }
}

#[test]
fn r25_if_the_guard_grants_less_time_all_descendants_get_less() {
    let (manager, guard, clock) = manager();
    let root = now(manager.create(request(1, 600))).unwrap();
    let child = now(manager.delegate(root.session.id, request(2, 600))).unwrap();
    let grandchild = now(manager.delegate(child.session.id, request(3, 600))).unwrap();
    let short = now(manager.delegate(root.session.id, request(4, 30))).unwrap();
    let time = Timestamp::from_millis(clock.0.get());
    guard.0.grants_until.set(Some(time.after_seconds(60)));
    let rotated = now(manager.rotate(root.token)).unwrap().session;
    for (session, seconds) in [
        (rotated, 60),
        (child.session, 60),
        (grandchild.session, 60),
        (short.session, 30),
    ] {
        let expires_at = manager.get(session.id).unwrap().expires_at;
        assert_eq!(expires_at, time.after_seconds(seconds));
    }
    manager.check_invariants(false).unwrap();
    clock.0.set(clock.0.get() + 60_000);
    assert_eq!(manager.active_count(), 0);
}

#[test]
fn r33_the_guard_is_asked_to_revoke_the_token_of_an_evicted_session() {
    let (manager, guard, _) = manager();
    let evicting = Config {
        max_sessions_per_agent: Some(1),
        agent_overflow: Some(Overflow::EvictOldest),
        ..Config::default()
    };
    manager.configure(&evicting).unwrap();
    now(manager.create(request(1, 60))).unwrap();
    assert!(guard.0.revoked.borrow().is_empty());
    now(manager.create(request(1, 60))).unwrap();
    assert_eq!(*guard.0.revoked.borrow(), ["handle-1"]);
    let evicted = EventKind::Ended(EndReason::Limit);
    assert!(events(&manager).contains(&evicted));
}

#[test]
fn r12_the_answer_to_a_revoke_has_the_guard_s_error_for_its_own_token() {
    let (manager, guard, _) = manager();
    let root = now(manager.create(request(1, 600))).unwrap().session;
    // More than one batch of the guard.
    for agent in 0..300 {
        now(manager.delegate(root.id, request(agent, 300))).unwrap();
    }
    guard.0.revokes_fail.set(true);
    let revocation = now(manager.revoke(root.id)).unwrap();
    let unavailable = GuardError::Unavailable("unavailable".into());
    assert_eq!(
        (revocation.guard, revocation.descendants),
        (Err(unavailable), 300)
    );
    // After a batch that failed the guard is not asked again.
    let sizes = || {
        guard
            .0
            .batches
            .borrow()
            .iter()
            .map(Vec::len)
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(), [256]);
    assert_eq!(manager.stats().pending_revocations, 301);
    guard.0.revokes_fail.set(false);
    guard.0.batches.borrow_mut().clear();
    assert_eq!(now(manager.flush_guard_revocations()).settled, 301);
    assert_eq!(sizes(), [256, 45]);
    let next = now(manager.create(request(1, 60))).unwrap().session;
    assert_eq!(now(manager.revoke(next.id)).unwrap().guard, Ok(()));
}

#[test]
fn r15_a_session_that_cascades_keeps_the_reason_of_its_own_end() {
    let (manager, _, clock) = manager();
    let root = now(manager.create(request(1, 600))).unwrap().session;
    let expired = now(manager.delegate(root.id, request(2, 60)))
        .unwrap()
        .session;
    let below = now(manager.delegate(expired.id, request(3, 60)))
        .unwrap()
        .session;
    let live = now(manager.delegate(root.id, request(4, 600)))
        .unwrap()
        .session;
    clock.0.set(clock.0.get() + 60_000);
    // Only the live session below it is counted.
    assert_eq!(now(manager.revoke(root.id)).unwrap().descendants, 1);
    let page = manager.poll_events(0, 1_000).unwrap();
    let reason = |session: SessionId| {
        let mut newest_first = page.events.iter().rev();
        let last = newest_first.find(|event| event.session_id == session);
        last.map(|event| event.kind)
    };
    let ended = |reason| Some(EventKind::Ended(reason));
    assert_eq!(reason(root.id), ended(EndReason::Revoked));
    assert_eq!(reason(live.id), ended(EndReason::Cascade));
    assert_eq!(reason(expired.id), ended(EndReason::Expired));
    assert_eq!(reason(below.id), ended(EndReason::Expired));
}

#[test]
fn r12_an_error_for_the_token_of_another_session_or_for_a_settled_one_is_not_in_the_answer() {
    for (denied, is_settled, error) in [
        (
            "handle-1",
            false,
            Some(GuardError::Denied("handle-1".into())),
        ),
        ("handle-2", false, None),
        ("handle-1", true, None),
    ] {
        let (manager, guard, clock) = manager();
        let root = now(manager.create(request(1, 60))).unwrap().session;
        now(manager.delegate(root.id, request(2, 60))).unwrap();
        guard.0.denied.replace(vec![denied.into()]);
        guard.0.revokes_held.set(true);
        let mut revoke = Box::pin(manager.revoke(root.id));
        assert!(poll(revoke.as_mut()).is_pending());
        if is_settled {
            // The tokens expire, so their revocations are dropped.
            clock.0.set(clock.0.get() + 60_000);
            manager.prune_expired(None);
        }
        guard.0.revokes_held.set(false);
        assert_eq!(now(revoke).unwrap().guard.err(), error);
    }
}

#[test]
fn r16_a_token_that_the_guard_repeats_is_not_revoked() {
    let (manager, guard, _) = manager();
    let first = now(manager.create(request(1, 60))).unwrap();
    guard.0.issued.set(0);
    let repeated = now(manager.create(request(2, 60))).unwrap_err();
    assert!(matches!(repeated, Error::Collision(_)), "{repeated}");
    guard.0.issued.set(0);
    let repeated = now(manager.refresh(first.session.id)).unwrap_err();
    assert!(matches!(repeated, Error::Collision(_)), "{repeated}");
    assert!(guard.0.revoked.borrow().is_empty());
    assert_eq!(manager.stats().pending_revocations, 0);
    now(manager.validate(first.token)).unwrap();
}

#[test]
fn r11_the_end_of_a_session_is_reported_rather_than_the_guard_s_error() {
    for ends in [true, false] {
        let (manager, guard, _) = manager();
        let id = now(manager.create(request(1, 60))).unwrap().session.id;
        guard.0.held.set(true);
        guard.0.issues_fail.set(true);
        let mut refresh = Box::pin(manager.refresh(id));
        assert!(poll(refresh.as_mut()).is_pending());
        guard.0.held.set(false);
        if ends {
            manager.invalidate(id).unwrap();
        }
        let denied = Error::Guard(GuardError::Denied("denied".into()));
        let expected = if ends { Error::SessionRevoked } else { denied };
        assert_eq!(now(refresh).unwrap_err(), expected);
        assert_eq!(manager.get(id).is_ok(), !ends);
    }
}

#[test]
fn r34_a_token_that_the_guard_refuses_is_no_longer_cached() {
    let (manager, guard, _) = manager();
    let cached = Config {
        guard_recheck_interval: Some(10),
        ..Config::default()
    };
    manager.configure(&cached).unwrap();
    let token = now(manager.create(request(1, 60))).unwrap().token;
    now(manager.validate(token.clone())).unwrap();
    guard.0.verdict.replace(Some(Err(GuardError::Revoked)));
    // The validation is cached, but a rotation asks the guard.
    now(manager.validate(token.clone())).unwrap();
    let revoked = || Error::Guard(GuardError::Revoked);
    assert_eq!(now(manager.rotate(token.clone())).unwrap_err(), revoked());
    assert_eq!(now(manager.validate(token)), Err(revoked()));
}

#[test]
fn r12_a_prune_drops_all_revocations_whose_tokens_have_expired() {
    let (manager, guard, clock) = manager();
    guard.0.revokes_fail.set(true);
    for agent in 0..3 {
        let id = now(manager.create(request(agent, 60))).unwrap().session.id;
        manager.invalidate(id).unwrap();
    }
    now(manager.create(request(3, 60))).unwrap();
    assert_eq!(manager.stats().pending_revocations, 3);
    clock.0.set(clock.0.get() + 60_000);
    // The token of the session that ends now has expired as well.
    assert_eq!(manager.prune_expired(None), 1);
    assert_eq!(manager.stats().pending_revocations, 0);
}

#[test]
fn r30_a_token_is_authorized_for_the_scopes_that_its_session_covers() {
    let (manager, _, _) = manager();
    let once = CreateRequest {
        max_uses: Some(crate::MaxUses::new(1).unwrap()),
        ..request(1, 60)
    };
    let Grant { session, token } = now(manager.create(once)).unwrap();
    let scope = |text: &str| crate::Scope::parse(text.into()).unwrap();
    let denied = now(manager.authorize(token.clone(), &scope("memory:write")));
    assert_eq!(denied, Err(Error::ScopeDenied("memory:write".into())));
    // No use was taken.
    let used = now(manager.authorize(token.clone(), &scope("memory:read"))).unwrap();
    assert_eq!((used.id, used.uses_left), (session.id, Some(0)));
    assert_eq!(now(manager.validate(token)), Err(Error::InvalidToken));
    let denials = [Denial::Scope].map(EventKind::Denied);
    assert!(events(&manager).contains(&denials[0]));
}

#[test]
fn r16_a_token_that_the_guard_repeats_with_another_handle_is_not_revoked() {
    let (manager, guard, _) = manager();
    let first = now(manager.create(request(1, 60))).unwrap();
    guard.0.issued.set(0);
    *guard.0.handle.borrow_mut() = Some("other".into());
    let repeated = now(manager.create(request(2, 60))).unwrap_err();
    assert!(matches!(repeated, Error::Collision(_)), "{repeated}");
    assert!(guard.0.revoked.borrow().is_empty());
    assert_eq!(manager.stats().pending_revocations, 0);
    now(manager.validate(first.token)).unwrap();
}

#[test]
fn r11_a_token_without_a_handle_is_refused_and_cannot_be_revoked() {
    let (manager, guard, _) = manager();
    *guard.0.handle.borrow_mut() = Some(String::new());
    let refused = now(manager.create(request(1, 60))).unwrap_err();
    assert!(matches!(refused, Error::Guard(_)), "{refused}");
    assert!(guard.0.batches.borrow().is_empty());
    assert_eq!(manager.stats().pending_revocations, 0);
}

#[test]
fn r12_a_session_that_a_call_finds_expired_ends_for_that_reason_and_leaves_no_revocation() {
    let (manager, _, clock) = manager();
    let Grant { token, .. } = now(manager.create(request(1, 60))).unwrap();
    // Its token expires at the same time.
    clock.0.set(clock.0.get() + 60_000);
    assert_eq!(now(manager.validate(token)), Err(Error::SessionExpired));
    let ended = EventKind::Ended(EndReason::Expired);
    assert_eq!(events(&manager), [EventKind::Created, ended]);
    assert_eq!(manager.stats().pending_revocations, 0);
}

#[test]
fn r31_a_descendant_that_a_kill_switch_names_too_ends_for_that_reason() {
    let (manager, ..) = manager();
    let parent = now(manager.create(request(1, 60))).unwrap().session.id;
    for agent in [1, 2] {
        now(manager.delegate(parent, request(agent, 60))).unwrap();
    }
    let filter = RevokeFilter::Agent(request(1, 60).agent_id);
    assert_eq!(now(manager.revoke_all(filter)), 3);
    let reasons = [
        EndReason::RevokedAll,
        EndReason::RevokedAll,
        EndReason::Cascade,
    ];
    assert_eq!(events(&manager)[3..], reasons.map(EventKind::Ended));
}

#[test]
fn r19_a_session_has_at_most_64_unconfirmed_revocations() {
    let (manager, guard, _) = manager();
    let id = now(manager.create(request(1, 60))).unwrap().session.id;
    guard.0.revokes_fail.set(true);
    for _ in 0..64 {
        now(manager.refresh(id)).unwrap();
    }
    let refused = now(manager.refresh(id)).unwrap_err();
    let limit = crate::Limit::UnconfirmedRevocations;
    assert_eq!(refused, Error::LimitReached(limit));
}

#[test]
fn r20_a_prune_with_a_limit_ends_no_more_sessions() {
    let (manager, _, clock) = manager();
    for seconds in 60..63 {
        now(manager.create(request(1, seconds))).unwrap();
    }
    clock.0.set(clock.0.get() + 100_000);
    assert_eq!(manager.prune_expired(Some(1)), 1);
    assert_eq!(manager.prune_expired(Some(5)), 2);
}
