//! Rotations whose answer the bearer has not got (R14, R27).

use std::pin::Pin;

use super::records::{changes, keyed, read};
use super::*;

fn with_grace() -> (Manager, TestGuard, TestClock) {
    keyed(Config {
        rotation_grace: Some(30),
        ..Config::default()
    })
}

/// Returns a manager that continues after the end of another one, this many seconds later. Its
/// guard issues other tokens.
fn restarted(manager: &Manager, clock: &TestClock, seconds: u64) -> (Manager, TestGuard) {
    let (next, guard, next_clock) = with_grace();
    guard.0.issued.set(1_000);
    next_clock.0.set(clock.0.get() + seconds * 1_000);
    next.restore(&changes(manager)).unwrap();
    (next, guard)
}

/// Begins a call that has taken effect, and whose answer waits for the guard.
fn held<T>(guard: &TestGuard, call: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
    guard.0.revokes_held.set(true);
    let mut call = Box::pin(call);
    assert!(poll(call.as_mut()).is_pending());
    call
}

/// Returns the error of a rotation.
fn refusal(manager: &Manager, token: Token) -> Error {
    now(manager.rotate(token)).unwrap_err()
}

/// The first token of a session, and the token that replaced it, whose answer the bearer lost.
fn rotated(manager: &Manager) -> (Token, Token) {
    let first = now(manager.create(request(1, 86_400))).unwrap().token;
    let second = now(manager.rotate(first.clone())).unwrap().token;
    (first, second)
}

#[test]
fn r14_a_token_that_is_retried_returns_conflict_until_the_retry_returns() {
    let (manager, guard, _) = with_grace();
    let (first, second) = rotated(&manager);
    let retry = held(&guard, manager.rotate(first.clone()));
    for token in [&first, &second] {
        assert_eq!(refusal(&manager, token.clone()), Error::Conflict);
    }
    guard.0.revokes_held.set(false);
    let third = now(retry).unwrap().token;
    assert!(now(manager.validate(third)).is_ok());
    assert_eq!(refusal(&manager, first), Error::InvalidToken);
    assert_eq!(manager.active_count(), 0);
}

#[test]
fn r27_a_retry_whose_answer_was_lost_with_the_instance_can_be_repeated() {
    for seconds in [0, 3_600] {
        let (manager, guard, clock) = with_grace();
        let (first, _) = rotated(&manager);
        let _retry = held(&guard, manager.rotate(first.clone()));
        let (next, _) = restarted(&manager, &clock, seconds);
        let granted = now(next.rotate(first.clone())).unwrap();
        assert_eq!(granted.session.generation, 3);
        // It was answered, so it cannot be repeated.
        assert_eq!(refusal(&next, first), Error::InvalidToken);
        assert_eq!(next.active_count(), 0);
    }
}

#[test]
fn r27_a_lost_answer_stays_lost_after_another_restart() {
    let (manager, guard, clock) = with_grace();
    let (first, _) = rotated(&manager);
    let _retry = held(&guard, manager.rotate(first.clone()));
    let (next, guard) = restarted(&manager, &clock, 60);
    let _retry = held(&guard, next.rotate(first.clone()));
    let (last, guard) = restarted(&next, &clock, 120);
    guard.0.issued.set(2_000);
    assert!(now(last.rotate(first)).is_ok());
}

#[test]
fn r27_the_token_of_a_retry_whose_answer_was_lost_has_no_grace() {
    let (manager, guard, clock) = with_grace();
    let (first, second) = rotated(&manager);
    let _retry = held(&guard, manager.rotate(first));
    let (next, _) = restarted(&manager, &clock, 1);
    assert_eq!(refusal(&next, second), Error::InvalidToken);
    assert_eq!(next.active_count(), 0);
}

#[test]
fn r27_a_rotation_and_a_refresh_whose_answers_were_lost_leave_the_token_before_both() {
    let (manager, guard, clock) = with_grace();
    let first = now(manager.create(request(1, 600))).unwrap();
    let _rotation = held(&guard, manager.rotate(first.token.clone()));
    let _refresh = held(&guard, manager.refresh(first.session.id));
    let (next, _) = restarted(&manager, &clock, 1);
    assert!(now(next.rotate(first.token)).is_ok());
}

#[test]
fn r27_a_lost_rotation_ends_nothing_after_the_host_has_a_newer_token() {
    let (manager, guard, clock) = with_grace();
    let first = now(manager.create(request(1, 600))).unwrap();
    let _rotation = held(&guard, manager.rotate(first.token.clone()));
    let (next, _) = restarted(&manager, &clock, 1);
    let refreshed = now(next.refresh(first.session.id)).unwrap();
    assert_eq!(refusal(&next, first.token), Error::InvalidToken);
    assert!(now(next.validate(refreshed.token)).is_ok());
}

#[test]
fn r27_a_rotation_whose_token_is_validated_after_a_restart_was_answered() {
    let (manager, guard, clock) = with_grace();
    let first = now(manager.create(request(1, 600))).unwrap();
    let rotation = held(&guard, manager.rotate(first.token.clone()));
    // The host stored this, and neither what follows nor the answer to the rotation.
    let (next, _) = restarted(&manager, &clock, 60);
    guard.0.revokes_held.set(false);
    let second = now(rotation).unwrap().token;
    let mut since = 0;
    read(&next, &mut since);
    for is_recorded in [true, false] {
        assert!(now(next.validate(second.clone())).is_ok());
        let kinds = read(&next, &mut since);
        assert_eq!(kinds.contains(&"session".into()), is_recorded);
    }
    let (last, _) = restarted(&next, &clock, 61);
    for manager in [&next, &last] {
        assert_eq!(refusal(manager, first.token.clone()), Error::InvalidToken);
        assert_eq!(manager.active_count(), 0);
    }
}

#[test]
fn r27_a_token_whose_rotation_returned_conflict_is_refused_and_ends_nothing() {
    for retried in [false, true] {
        let (manager, guard, clock) = with_grace();
        let first = now(manager.create(request(1, 600))).unwrap();
        if retried {
            now(manager.rotate(first.token.clone())).unwrap();
        }
        let rotation = held(&guard, manager.rotate(first.token.clone()));
        guard.0.revokes_held.set(false);
        let refreshed = now(manager.refresh(first.session.id)).unwrap();
        assert_eq!(now(rotation).unwrap_err(), Error::Conflict);
        let (next, _) = restarted(&manager, &clock, 1);
        for manager in [&manager, &next] {
            assert_eq!(refusal(manager, first.token.clone()), Error::InvalidToken);
            assert!(now(manager.validate(refreshed.token.clone())).is_ok());
        }
        // When the bearer has rotated the newer token, it does not present the first one again.
        now(manager.rotate(refreshed.token)).unwrap();
        assert_eq!(refusal(&manager, first.token), Error::InvalidToken);
        assert_eq!(manager.active_count(), 0);
    }
}
