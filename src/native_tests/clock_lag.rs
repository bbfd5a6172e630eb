//! The bounds of the lag within which a host's clock that is behind is trusted (R6).

use super::*;

/// The default `clock-tolerance`, in milliseconds.
const TOLERANCE: u64 = 60_000;

fn grace_manager(seconds: u64) -> (Manager, TestGuard, TestClock) {
    let (manager, guard, clock) = manager();
    let config = Config {
        rotation_grace: Some(seconds),
        ..Config::default()
    };
    manager.configure(&config).unwrap();
    (manager, guard, clock)
}

/// Sets the host's clock to this many milliseconds after its start, and reads it.
fn set(manager: &Manager, clock: &TestClock, millis: u64) {
    clock.0.set(TestClock::default().0.get() + millis);
    manager.active_count();
}

#[test]
fn r06_time_is_granted_up_to_the_tolerance_and_the_clock_is_accepted_above_it() {
    let (manager, _, clock) = manager();
    set(&manager, &clock, 1_000_000);
    let id = now(manager.create(request(1, 60))).unwrap().session.id;
    set(&manager, &clock, 1_000_000 - TOLERANCE);
    now(manager.refresh(id)).unwrap();
    now(manager.create(request(1, 60))).unwrap();
    assert_eq!(now(manager.accept_clock()), Err(Error::ClockNotBehind));
    set(&manager, &clock, 1_000_000 - TOLERANCE - 1);
    let behind = Error::ClockBehind(TOLERANCE + 1);
    assert_eq!(now(manager.refresh(id)).unwrap_err(), behind);
    assert_eq!(now(manager.create(request(1, 60))).unwrap_err(), behind);
    assert_eq!(manager.active_count(), 2);
    assert_eq!(now(manager.accept_clock()), Ok(2));
    let stats = manager.stats();
    assert_eq!((stats.clock_lag, stats.live_sessions), (0, 0));
    now(manager.create(request(1, 60))).unwrap();
}

#[test]
fn r06_a_session_is_refused_if_it_has_more_time_left_than_its_lifetime_and_the_tolerance() {
    let (manager, _, clock) = manager();
    let id = now(manager.create(request(1, 1_000))).unwrap().session.id;
    set(&manager, &clock, 500_000);
    let Grant { session, token } = now(manager.refresh(id)).unwrap();
    set(&manager, &clock, 500_000 - TOLERANCE);
    assert_eq!(now(manager.validate(token.clone())), Ok(session));
    set(&manager, &clock, 500_000 - TOLERANCE - 1);
    let behind = Error::ClockBehind(TOLERANCE + 1);
    assert_eq!(now(manager.validate(token)), Err(behind));
}

#[test]
fn r06_a_session_that_was_created_later_than_now_and_the_tolerance_is_refused() {
    let (manager, _, clock) = manager();
    let parent = now(manager.create(request(1, 1_000))).unwrap();
    set(&manager, &clock, 500_000);
    // It expires with its parent, earlier than its lifetime allows.
    let child = now(manager.delegate(parent.session.id, request(1, 1_000))).unwrap();
    set(&manager, &clock, 500_000 - TOLERANCE);
    now(manager.validate(child.token.clone())).unwrap();
    set(&manager, &clock, 500_000 - TOLERANCE - 1);
    let behind = Error::ClockBehind(TOLERANCE + 1);
    assert_eq!(now(manager.validate(child.token)), Err(behind));
    now(manager.validate(parent.token)).unwrap();
}

#[test]
fn r06_a_session_below_one_with_a_wrong_expiry_is_refused() {
    let (manager, _, clock) = manager();
    let parent = now(manager.create(request(1, 1_000))).unwrap().session;
    let child = now(manager.delegate(parent.id, request(1, 1_000))).unwrap();
    now(manager.validate(child.token.clone())).unwrap();
    set(&manager, &clock, 500_000);
    now(manager.refresh(parent.id)).unwrap();
    set(&manager, &clock, 500_000 - TOLERANCE - 1);
    let behind = Error::ClockBehind(TOLERANCE + 1);
    assert_eq!(now(manager.validate(child.token)), Err(behind));
}

#[test]
fn r27_the_host_s_clock_must_confirm_the_grace_if_it_is_behind() {
    let rotated = |at: u64| {
        let (manager, _, clock) = grace_manager(30);
        let Grant { token, .. } = now(manager.create(request(1, 3_600))).unwrap();
        set(&manager, &clock, 500_000);
        set(&manager, &clock, at);
        now(manager.rotate(token.clone())).unwrap();
        (manager, clock, token)
    };
    // The clock is 50 s behind when the token is rotated: the grace ends 30 s later by its reading,
    // although the time inside does not move.
    for (at, is_confirmed) in [
        (450_000, true),
        (479_999, true),
        (480_000, false),
        (499_999, false),
        // It has caught up, so the time inside counts.
        (500_000, true),
    ] {
        let (manager, clock, token) = rotated(450_000);
        set(&manager, &clock, at);
        let answer = now(manager.rotate(token)).map(drop);
        let behind = Err(Error::ClockBehind(500_000 - at));
        assert_eq!(answer, if is_confirmed { Ok(()) } else { behind }, "{at}");
    }
    // The clock went back since the rotation: up to the tolerance, its age is trusted.
    for (at, is_confirmed) in [
        (500_000 - TOLERANCE, true),
        (500_000 - TOLERANCE - 1, false),
    ] {
        let (manager, clock, token) = rotated(500_000);
        set(&manager, &clock, at);
        let answer = now(manager.rotate(token)).map(drop);
        let behind = Err(Error::ClockBehind(500_000 - at));
        assert_eq!(answer, if is_confirmed { Ok(()) } else { behind }, "{at}");
    }
    // A clock that is not behind confirms the grace until its end.
    for (at, is_within) in [(500_000, true), (529_999, true), (530_000, false)] {
        let (manager, clock, token) = rotated(500_000);
        set(&manager, &clock, at);
        assert_eq!(now(manager.rotate(token)).is_ok(), is_within, "{at}");
    }
}
