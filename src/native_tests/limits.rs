//! The limits of sessions, and which sessions give up their place for a new one (R19, R33).

use super::*;
use crate::{Limit, Overflow};

fn limited(config: &Config) -> (Manager, TestGuard, TestClock) {
    let (manager, guard, clock) = manager();
    manager.configure(config).unwrap();
    (manager, guard, clock)
}

fn reached<T>(limit: Limit) -> Result<T, Error> {
    Err(Error::LimitReached(limit))
}

fn create(manager: &Manager, agent: u64, seconds: u64) -> Result<SessionId, Error> {
    now(manager.create(request(agent, seconds))).map(|grant| grant.session.id)
}

fn delegate(
    manager: &Manager,
    parent: SessionId,
    agent: u64,
    seconds: u64,
) -> Result<SessionId, Error> {
    now(manager.delegate(parent, request(agent, seconds))).map(|grant| grant.session.id)
}

#[test]
fn r19_expired_sessions_make_way_for_a_new_one_at_max_sessions() {
    let (manager, _, clock) = limited(&Config {
        max_sessions: Some(3),
        ..Config::default()
    });
    for seconds in [60, 60, 61] {
        create(&manager, 1, seconds).unwrap();
    }
    assert_eq!(create(&manager, 2, 60), reached(Limit::Sessions));
    clock.0.set(clock.0.get() + 60_000);
    for _ in 0..2 {
        create(&manager, 2, 60).unwrap();
    }
    assert_eq!(create(&manager, 2, 60), reached(Limit::Sessions));
    assert_eq!(manager.active_count(), 3);
}

#[test]
fn r19_expired_sessions_of_an_agent_make_way_for_a_new_one_of_it() {
    for agent_overflow in [Overflow::Refuse, Overflow::EvictOldest] {
        let (manager, _, clock) = limited(&Config {
            max_sessions_per_agent: Some(2),
            agent_overflow: Some(agent_overflow),
            ..Config::default()
        });
        let first = create(&manager, 1, 600).unwrap();
        create(&manager, 1, 60).unwrap();
        if agent_overflow == Overflow::Refuse {
            assert_eq!(create(&manager, 1, 60), reached(Limit::SessionsPerAgent));
        }
        create(&manager, 2, 60).unwrap();
        clock.0.set(clock.0.get() + 60_000);
        create(&manager, 1, 60).unwrap();
        // The older one was not evicted.
        manager.get(first).unwrap();
        // Only those of the agent were ended.
        assert_eq!(manager.stats().prunable_sessions, 1);
    }
}

#[test]
fn r33_the_oldest_session_that_is_no_ancestor_is_evicted() {
    let (manager, guard, _) = limited(&Config {
        max_sessions_per_agent: Some(3),
        agent_overflow: Some(Overflow::EvictOldest),
        max_depth: Some(16),
        ..Config::default()
    });
    let root = create(&manager, 1, 60).unwrap();
    let child = delegate(&manager, root, 1, 60).unwrap();
    let evicted = create(&manager, 1, 60).unwrap();
    let other = delegate(&manager, child, 2, 60).unwrap();
    let grandchild = delegate(&manager, other, 1, 60).unwrap();
    assert_eq!(manager.get(evicted), Err(Error::SessionNotFound));
    // All three sessions of the agent are ancestors now. The guard is not asked for a token.
    let issued = guard.0.issued.get();
    let below = delegate(&manager, grandchild, 1, 60);
    assert_eq!(below, reached(Limit::SessionsPerAgent));
    assert_eq!(guard.0.issued.get(), issued);
    delegate(&manager, grandchild, 2, 60).unwrap();
    // Without ancestors the oldest is evicted, with all below it.
    create(&manager, 1, 60).unwrap();
    assert_eq!(manager.active_count(), 1);
}

#[test]
fn r33_creates_in_flight_have_a_place_each() {
    let (manager, guard, _) = limited(&Config {
        max_sessions_per_agent: Some(2),
        agent_overflow: Some(Overflow::EvictOldest),
        ..Config::default()
    });
    create(&manager, 1, 60).unwrap();
    create(&manager, 1, 60).unwrap();
    guard.0.held.set(true);
    let mut creates = [1, 2].map(|_| Box::pin(manager.create(request(1, 60))));
    for create in &mut creates {
        assert!(poll(create.as_mut()).is_pending());
    }
    assert_eq!(create(&manager, 1, 60), reached(Limit::SessionsPerAgent));
    guard.0.held.set(false);
    for create in creates {
        now(create).unwrap();
    }
    assert_eq!(manager.active_count(), 2);
}

#[test]
fn r19_expired_descendants_make_way_for_a_new_one_below_their_root() {
    let (manager, _, clock) = limited(&Config {
        max_sessions_per_root: Some(3),
        ..Config::default()
    });
    let root = create(&manager, 1, 600).unwrap();
    let child = delegate(&manager, root, 2, 300).unwrap();
    delegate(&manager, child, 3, 60).unwrap();
    delegate(&manager, child, 4, 120).unwrap();
    assert_eq!(
        delegate(&manager, child, 5, 60),
        reached(Limit::SessionsPerRoot)
    );
    clock.0.set(clock.0.get() + 60_000);
    delegate(&manager, child, 5, 60).unwrap();
    assert_eq!(
        delegate(&manager, root, 5, 60),
        reached(Limit::SessionsPerRoot)
    );
    clock.0.set(clock.0.get() + 60_000);
    for _ in 0..2 {
        delegate(&manager, root, 5, 60).unwrap();
    }
    assert_eq!(
        delegate(&manager, root, 5, 60),
        reached(Limit::SessionsPerRoot)
    );
    assert_eq!(manager.active_count(), 4);
}

#[test]
fn r03_expired_sessions_and_revocations_make_way_for_a_new_session_at_max_state_bytes() {
    let (manager, _, clock) = limited(&Config {
        max_state_bytes: Some(64 << 10),
        ..Config::default()
    });
    let large = |seconds: u64| {
        let mut large = request(1, seconds);
        let text = format!("\"{}\"", "x".repeat(16_000));
        large.attributes.metadata = Metadata::parse(text).unwrap();
        now(manager.create(large)).map(|grant| grant.session.id)
    };
    let ids: Vec<SessionId> = [60, 60, 600].map(|seconds| large(seconds).unwrap()).into();
    assert_eq!(large(60), reached(Limit::StateBytes));
    clock.0.set(clock.0.get() + 60_000);
    large(60).unwrap();
    large(60).unwrap();
    assert_eq!(large(60), reached(Limit::StateBytes));
    manager.get(ids[2]).unwrap();
    // Revocations that the guard has not confirmed take bytes until their tokens have expired.
    manager.prune_expired(None);
    clock.0.set(clock.0.get() + 60_000);
    manager.prune_expired(None);
    let mut count = 0;
    let full = loop {
        match now(manager.create(request(1, 60))) {
            Ok(grant) => manager.invalidate(grant.session.id).unwrap(),
            Err(error) => break error,
        }
        count += 1;
    };
    assert_eq!(full, Error::LimitReached(Limit::StateBytes));
    assert!(count > 10, "{count}");
    clock.0.set(clock.0.get() + 60_000);
    create(&manager, 1, 60).unwrap();
}

#[test]
fn r25_the_depth_of_delegation_is_bounded() {
    for max_depth in [0, 1, 3] {
        let (manager, _, _) = limited(&Config {
            max_depth: Some(max_depth),
            ..Config::default()
        });
        let mut parent = create(&manager, 1, 60).unwrap();
        for _ in 0..max_depth {
            parent = delegate(&manager, parent, 1, 60).unwrap();
        }
        assert_eq!(delegate(&manager, parent, 1, 60), reached(Limit::Depth));
        assert_eq!(manager.stats().totals.denied, 1);
    }
}

#[test]
fn limits_are_set_once_and_before_the_first_session() {
    let (manager, guard, _) = manager();
    let few = Config {
        max_sessions: Some(1),
        ..Config::default()
    };
    let mut waiting = Box::pin(manager.create(request(1, 60)));
    guard.0.held.set(true);
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(manager.configure(&few), Err(Error::AlreadyConfigured));
    drop(waiting);
    guard.0.held.set(false);
    manager.configure(&few).unwrap();
    assert_eq!(manager.configure(&few), Err(Error::AlreadyConfigured));
    create(&manager, 1, 60).unwrap();
    assert_eq!(create(&manager, 1, 60), reached(Limit::Sessions));
    let (manager, ..) = self::manager();
    let id = create(&manager, 1, 60).unwrap();
    manager.invalidate(id).unwrap();
    assert_eq!(manager.configure(&few), Err(Error::AlreadyConfigured));
}

#[test]
fn statistics_count_what_is_in_the_state() {
    let (manager, guard, _) = manager();
    let empty = manager.stats().state_bytes;
    guard.0.held.set(true);
    let mut creates = [1, 2].map(|agent| Box::pin(manager.create(request(agent, 60))));
    for (create, count) in creates.iter_mut().zip(1..) {
        assert!(poll(create.as_mut()).is_pending());
        let stats = manager.stats();
        assert_eq!(
            (stats.creates_in_flight, stats.tracked_agents),
            (count, count)
        );
    }
    guard.0.held.set(false);
    for create in creates {
        now(create).unwrap();
    }
    let stats = manager.stats();
    assert_eq!((stats.creates_in_flight, stats.tracked_agents), (0, 2));
    assert_eq!(stats.live_sessions, 2);
    // Both sessions are equal, except for their ids.
    let bytes = (stats.state_bytes - empty) / 2;
    assert!((300..2_000).contains(&bytes), "{bytes} bytes for a session");
    let mut large = request(3, 60);
    large.attributes.metadata = Metadata::parse(format!("\"{}\"", "x".repeat(998))).unwrap();
    now(manager.create(large)).unwrap();
    let added = manager.stats().state_bytes - stats.state_bytes;
    assert_eq!(added, bytes + 1_000 - 2);
}

#[test]
fn r19_sessions_that_a_kill_switch_has_left_make_way_for_new_ones() {
    let (manager, ..) = limited(&Config {
        max_sessions: Some(12_000),
        max_sessions_per_agent: Some(12_000),
        ..Config::default()
    });
    create_many(&manager, 12_000, 1, 60);
    assert_eq!(now(manager.revoke_all(RevokeFilter::Everything)), 10_000);
    create_many(&manager, 12_000, 2, 60);
    assert_eq!(manager.active_count(), 12_000);
    assert!(create(&manager, 3, 60).is_err());
}

#[test]
fn r19_sessions_of_an_agent_that_a_kill_switch_has_left_make_way_for_new_ones_of_it() {
    let (manager, ..) = manager();
    for agent in 1..=12 {
        create_many(&manager, 1_000, agent, 60);
    }
    assert_eq!(now(manager.revoke_all(RevokeFilter::Everything)), 10_000);
    create_many(&manager, 1_000, 12, 60);
    assert!(create(&manager, 12, 60).is_err());
}

#[test]
fn r20_a_refused_create_ends_64_of_the_sessions_that_a_kill_switch_has_left() {
    let (manager, ..) = limited(&Config {
        max_sessions_per_agent: Some(11_000),
        ..Config::default()
    });
    create_many(&manager, 11_000, 1, 60);
    let agent = RevokeFilter::Agent(request(1, 60).agent_id);
    assert_eq!(now(manager.revoke_all(agent)), 10_000);
    create_many(&manager, 11_000, 2, 60);
    for refused in 1..=16_u64 {
        assert!(create(&manager, 2, 60).is_err());
        let ended = 10_000 + (refused * 64).min(1_000);
        assert_eq!(manager.stats().totals.ended, ended);
    }
}

#[test]
fn r19_sessions_below_a_root_that_a_kill_switch_has_left_make_way_for_new_ones() {
    let (manager, ..) = manager();
    let with_role = |agent, role: &str| {
        let mut it = request(agent, 60);
        it.attributes.role = Role::parse(role.into()).unwrap();
        it
    };
    for agent in 1..=11 {
        create_many(&manager, 1_000, agent, 60);
    }
    let root = now(manager.create(with_role(20, "leader"))).unwrap();
    for _ in 0..1_000 {
        delegate(&manager, root.session.id, 21, 60).unwrap();
    }
    let role = RevokeFilter::Role(request(1, 60).attributes.role);
    assert_eq!(now(manager.revoke_all(role)), 10_000);
    for _ in 0..1_000 {
        now(manager.delegate(root.session.id, with_role(22, "other"))).unwrap();
    }
    let refused = delegate(&manager, root.session.id, 23, 60);
    assert_eq!(refused, reached(Limit::SessionsPerRoot));
}

#[test]
fn r20_while_a_root_has_a_place_its_expired_descendants_are_not_ended() {
    let (manager, _, clock) = limited(&Config {
        max_sessions_per_root: Some(3),
        ..Config::default()
    });
    let root = create(&manager, 1, 600).unwrap();
    delegate(&manager, root, 2, 60).unwrap();
    clock.0.set(clock.0.get() + 60_000);
    delegate(&manager, root, 2, 60).unwrap();
    assert_eq!(manager.stats().prunable_sessions, 1);
}

#[test]
fn r19_the_earliest_end_of_an_agent_is_exact_when_a_create_ends_some_of_many_due_sessions() {
    let (manager, _, clock) = manager();
    let config = Config {
        max_sessions_per_agent: Some(100),
        ..Config::default()
    };
    manager.configure(&config).unwrap();
    create_many(&manager, 100, 1, 60);
    clock.0.set(clock.0.get() + 100_000);
    now(manager.create(request(1, 60))).unwrap();
    manager.check_invariants(false).unwrap();
}

#[test]
fn r20_a_revocation_asks_the_guard_about_the_own_token_and_at_most_1000_below_it() {
    let (manager, guard, _) = limited(&Config {
        max_sessions_per_agent: Some(2_000),
        max_sessions_per_root: Some(1_001),
        ..Config::default()
    });
    let root = create(&manager, 1, 600).unwrap();
    for _ in 0..1_001 {
        delegate(&manager, root, 1, 600).unwrap();
    }
    assert_eq!(now(manager.revoke(root)).unwrap().descendants, 1_001);
    assert_eq!(guard.0.revoked.borrow().len(), 1_001);
    assert_eq!(manager.stats().pending_revocations, 1);
}
