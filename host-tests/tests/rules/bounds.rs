//! R19 to R21: limits, the cost of calls, and the release of memory.

use std::time::{Duration, Instant};

use clawdb_session_host::{Config, CreateRequest, Limit, Page, SessionError};
use clawdb_session_testkit::fixture::{AGENT, Fixture, OTHER_AGENT, refusal, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

#[tokio::test]
async fn r19_creates_that_overlap_do_not_exceed_the_limits_together() {
    let fixture = Fixture::configured(Config {
        max_sessions: Some(5),
        max_sessions_per_agent: Some(3),
        ..Config::default()
    })
    .await;
    fixture.hold(GuardFunction::Issue);
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(fixture.start_create(request(AGENT)).await);
    }
    let of_agent = SessionError::LimitReached(Limit::MaxSessionsPerAgent);
    assert_eq!(refusal(fixture.host.create(request(AGENT)).await), of_agent);
    for _ in 0..2 {
        running.push(fixture.start_create(request(OTHER_AGENT)).await);
    }
    assert_eq!(
        refusal(fixture.host.create(request(OTHER_AGENT)).await),
        SessionError::LimitReached(Limit::MaxSessions)
    );
    assert_eq!(
        fixture.guard.calls().issue,
        5,
        "the guard was not asked for creates beyond the limit"
    );
    fixture.release();
    for create in running {
        create.await.unwrap();
    }
    assert_eq!(fixture.host.active_count().await, Ok(5));
    assert_eq!(refusal(fixture.host.create(request(AGENT)).await), of_agent);
}

#[tokio::test]
async fn r19_a_place_is_free_again_after_a_failure_an_end_or_an_expiry() {
    let fixture = Fixture::configured(Config {
        max_sessions: Some(2),
        max_sessions_per_agent: Some(1),
        ..Config::default()
    })
    .await;
    fixture.guard.set_all(GuardMode::Deny);
    for _ in 0..3 {
        assert!(matches!(
            refusal(fixture.host.create(request(AGENT)).await),
            SessionError::Guard(_)
        ));
    }
    fixture.release();
    let first = fixture.session().await;
    fixture.host.revoke(first.session.id).await.unwrap();
    let second = fixture.session().await;
    fixture.session_of(OTHER_AGENT).await;
    fixture.advance(60.0);
    // An expired session does not count against the limits of its agent and of the instance,
    // although nothing was pruned.
    let third = fixture.session().await;
    assert_eq!(fixture.validate(&third).await, Ok(()));
    assert_eq!(
        refusal(fixture.host.get(second.session.id).await),
        SessionError::SessionNotFound
    );
    fixture
        .session_of("0a9e0000-0000-4000-8000-000000000003")
        .await;
    assert_eq!(fixture.host.active_count().await, Ok(2));
}

#[tokio::test]
async fn r20_a_prune_ends_at_most_10000_sessions_in_order_of_expiry() {
    let fixture = Fixture::configured(Config {
        max_sessions_per_agent: Some(20_000),
        event_capacity: Some(20),
        ..Config::default()
    })
    .await;
    let last = fixture.session_of(OTHER_AGENT).await;
    for n in 0..10_050_u64 {
        let asked = CreateRequest {
            expires_in: Some(1 + n % 50),
            ..request(AGENT)
        };
        fixture.host.create(asked).await.unwrap();
    }
    assert_eq!(fixture.host.prune_expired(None).await, Ok(0));
    fixture.advance(60.0);
    assert_eq!(fixture.host.prune_expired(Some(0)).await, Ok(0));
    assert_eq!(fixture.host.prune_expired(Some(30)).await, Ok(30));
    assert_eq!(fixture.host.prune_expired(Some(u32::MAX)).await, Ok(10_000));
    assert_eq!(fixture.stats().await.prunable_sessions, 21);
    assert_eq!(fixture.host.prune_expired(None).await, Ok(21));
    assert_eq!(
        fixture.events().await.last().unwrap().session_id,
        last.session.id,
        "the session with the latest expiry ends last"
    );
    assert_eq!(fixture.host.prune_expired(None).await, Ok(0));
}

/// Returns the shortest of many runs, which is the least affected by other work of the machine.
async fn shortest(runs: usize, mut run: impl AsyncFnMut() -> Duration) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..runs {
        best = best.min(run().await);
    }
    best
}

#[tokio::test]
async fn r20_the_cost_of_a_call_depends_on_the_sessions_touched_not_on_those_stored() {
    const STORED: u32 = 60_000;
    let fixture = Fixture::new().await;
    let host = &fixture.host;
    let costs = async || {
        let revoke_all = async || {
            for _ in 0..10 {
                fixture.session().await;
            }
            let begin = Instant::now();
            assert_eq!(host.revoke_all_for_agent(AGENT).await.unwrap(), 10);
            begin.elapsed()
        };
        let prune = async || {
            let begin = Instant::now();
            assert_eq!(host.prune_expired(None).await, Ok(0));
            begin.elapsed()
        };
        let count = async || {
            let begin = Instant::now();
            host.active_count().await.unwrap();
            begin.elapsed()
        };
        [
            ("revoke-all of 10", shortest(20, revoke_all).await),
            ("prune with nothing expired", shortest(50, prune).await),
            ("active-count", shortest(50, count).await),
        ]
    };
    let few = costs().await;
    for n in 0..STORED {
        let agent = format!("0a9e0000-0000-4000-8000-{:012x}", 1_000 + n / 100);
        // The sessions expire at different times, so they spread over the expiry index.
        let asked = CreateRequest {
            expires_in: Some(u64::from(3_600 + n)),
            ..request(&agent)
        };
        host.create(asked).await.unwrap();
    }
    assert_eq!(host.active_count().await, Ok(STORED));
    let many = costs().await;
    fixture.advance(200_000.0);
    let count_due = async || {
        let begin = Instant::now();
        assert_eq!(host.active_count().await, Ok(0));
        begin.elapsed()
    };
    let all_due = shortest(50, count_due).await;
    assert!(
        all_due < many[2].1 * 10 + Duration::from_millis(1),
        "{all_due:?} with all sessions expired"
    );
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        // Work on all 60,000 sessions would take a hundred times as long. The margin allows for
        // caches and for other work of the machine.
        assert!(
            many < few * 10 + Duration::from_micros(20),
            "{what}: {few:?} with few sessions, {many:?} with many"
        );
    }
}

#[tokio::test]
async fn r20_a_listing_continues_across_sessions_that_ended_between_its_pages() {
    let fixture = Fixture::new().await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(fixture.session().await.session.id);
    }
    let page = async |cursor| {
        let page = Page {
            cursor,
            limit: Some(2),
        };
        let page = fixture.host.list_for_agent(AGENT, page).await.unwrap();
        (
            page.sessions
                .into_iter()
                .map(|session| session.id)
                .collect::<Vec<_>>(),
            page.next,
        )
    };
    let (rows, next) = page(None).await;
    assert_eq!(rows, ids[..2]);
    fixture.host.revoke(&*ids[1]).await.unwrap();
    fixture.host.revoke(&*ids[2]).await.unwrap();
    let (rows, next) = page(next).await;
    assert_eq!(rows, ids[3..5]);
    let (rows, next) = page(next).await;
    assert_eq!((rows, next), (ids[5..].to_vec(), None));
    // A last page that is full has no next page.
    fixture.host.revoke(&*ids[5]).await.unwrap();
    let (_, next) = page(None).await;
    let (rows, next) = page(next).await;
    assert_eq!((rows, next), (ids[4..5].to_vec(), None));
}

#[tokio::test]
async fn r21_ended_sessions_leave_no_state_and_their_memory_is_reused() {
    let fixture = Fixture::new().await;
    let empty = fixture.stats().await;
    let mut memory = Vec::new();
    for round in 0..6 {
        for n in 0..3_000 {
            let agent = format!("0a9e0000-0000-4000-8000-{n:012x}");
            let grant = fixture.session_of(&agent).await;
            match n % 4 {
                0 => drop(fixture.host.revoke(grant.session.id).await.unwrap()),
                1 => drop(fixture.host.refresh(grant.session.id).await.unwrap()),
                2 => fixture.host.invalidate(grant.session.id).await.unwrap(),
                _ => assert_eq!(fixture.host.revoke_all_for_agent(agent).await.unwrap(), 1),
            }
        }
        fixture.advance(60.0);
        assert_eq!(fixture.host.prune_expired(None).await, Ok(750));
        fixture.host.flush_guard_revocations().await.unwrap();
        let stats = fixture.stats().await;
        assert_eq!(
            (
                stats.live_sessions,
                stats.prunable_sessions,
                stats.tracked_agents,
                stats.pending_revocations
            ),
            (0, 0, 0, 0),
            "round {round}"
        );
        assert_eq!(stats.state_bytes, empty.state_bytes);
        memory.push(fixture.host.memory());
    }
    assert_eq!(memory[1], memory[5], "{memory:?}");
}

#[tokio::test]
async fn r21_an_agent_that_once_had_many_sessions_keeps_no_memory_for_them() {
    let fixture = Fixture::new().await;
    let mut memory = Vec::new();
    for round in 0..120_u32 {
        let agent = format!("0a9e0000-0000-4000-8000-{round:012x}");
        for n in 0..400 {
            let asked = CreateRequest {
                expires_in: Some(if n == 0 { 100_000 } else { 1 }),
                ..request(&agent)
            };
            fixture.host.create(asked).await.unwrap();
        }
        fixture.advance(1.0);
        assert_eq!(fixture.host.prune_expired(None).await, Ok(399));
        memory.push(fixture.host.memory());
    }
    let grown = memory[119] - memory[19];
    assert!(grown < 100 * 2_048, "{grown} bytes for 100 more sessions");
}

#[tokio::test]
async fn r19_each_expired_session_of_a_full_agent_frees_a_place() {
    let fixture = Fixture::configured(Config {
        max_sessions_per_agent: Some(2_500),
        ..Config::default()
    })
    .await;
    for n in 0..2_500 {
        let asked = CreateRequest {
            expires_in: Some(if n % 2 == 0 { 1 } else { 100 }),
            ..request(AGENT)
        };
        fixture.host.create(asked).await.unwrap();
    }
    assert_eq!(
        refusal(fixture.host.create(request(AGENT)).await),
        SessionError::LimitReached(Limit::MaxSessionsPerAgent)
    );
    fixture.advance(1.0);
    for n in 0..1_250 {
        let created = fixture.host.create(request(AGENT)).await;
        assert!(created.is_ok(), "{n}: {created:?}");
    }
    assert_eq!(
        refusal(fixture.host.create(request(AGENT)).await),
        SessionError::LimitReached(Limit::MaxSessionsPerAgent)
    );
    assert_eq!(fixture.ids_of(AGENT).await.len(), 100);
    assert_eq!(fixture.host.active_count().await, Ok(2_500));
}

#[tokio::test]
async fn r19_refreshes_that_overlap_do_not_exceed_max_state_bytes_together() {
    let fixture = Fixture::configured(Config {
        max_state_bytes: Some(65_536),
        ..Config::default()
    })
    .await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Issue);
    let mut waiting = Vec::new();
    for _ in 0..38 {
        waiting.push(fixture.start_refresh(&grant).await);
    }
    let full = SessionError::LimitReached(Limit::MaxStateBytes);
    assert_eq!(
        refusal(fixture.host.refresh(&*grant.session.id).await),
        full
    );
    assert_eq!(refusal(fixture.host.create(request(AGENT)).await), full);
    fixture.guard.set_all(GuardMode::Ok);
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    fixture.host.wait_until_idle().await.unwrap();
    let stats = fixture.stats().await;
    assert!(stats.state_bytes <= 65_536, "{}", stats.state_bytes);
    assert_eq!(stats.pending_revocations, 38);
    drop(waiting);
}

#[tokio::test]
async fn r19_refreshes_whose_old_tokens_cannot_be_revoked_stop_at_max_state_bytes() {
    let fixture = Fixture::configured(Config {
        max_state_bytes: Some(65_536),
        ..Config::default()
    })
    .await;
    let asked = CreateRequest {
        expires_in: Some(100_000),
        ..request(AGENT)
    };
    let grant = fixture.host.create(asked).await.unwrap();
    for _ in 0..30 {
        fixture.session_of(OTHER_AGENT).await;
    }
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let mut refreshed = 0;
    let error = loop {
        match fixture.host.refresh(&*grant.session.id).await {
            Ok(_) => refreshed += 1,
            answer => break refusal(answer),
        }
    };
    assert_eq!(error, SessionError::LimitReached(Limit::MaxStateBytes));
    assert!((20..40).contains(&refreshed), "{refreshed}");
    assert!(fixture.host.get(&*grant.session.id).await.is_ok());
    // Expired sessions free bytes for a refresh too.
    fixture.advance(60.0);
    fixture.host.refresh(&*grant.session.id).await.unwrap();
    // A revoke is never refused for lack of bytes.
    assert!(
        !fixture
            .host
            .revoke(&*grant.session.id)
            .await
            .unwrap()
            .guard_confirmed
    );
}

#[tokio::test]
async fn r19_an_agent_with_the_most_and_largest_sessions_leaves_room_for_others() {
    /// The bytes of a session with the largest role, scopes, task type and metadata, and with the
    /// longest handle and all superseded tokens that are remembered.
    const LARGEST: u64 = 1_024 + 64 + 128 * 257 - 1 + 128 + 16_384 + 512 + 8 * 128;
    let fixture = Fixture::new().await;
    let largest = || CreateRequest {
        role: "r".repeat(64),
        scopes: (0..128).map(|it| format!("{it:0256}")).collect(),
        task_type: Some("t".repeat(128)),
        metadata: Some(format!("\"{}\"", "x".repeat(16_382))),
        ..request(AGENT)
    };
    for _ in 0..1_000 {
        fixture.host.create(largest()).await.unwrap();
    }
    let full = SessionError::LimitReached(Limit::MaxSessionsPerAgent);
    assert_eq!(refusal(fixture.host.create(largest()).await), full);
    let bytes = fixture.stats().await.state_bytes;
    assert!((49_000_000..=1_000 * LARGEST).contains(&bytes), "{bytes}");
    let other = fixture.session_of(OTHER_AGENT).await;
    assert_eq!(fixture.validate(&other).await, Ok(()));
    assert_eq!(fixture.host.revoke_all_for_agent(AGENT).await, Ok(1_000));
    assert_eq!(fixture.validate(&other).await, Ok(()));
}

#[tokio::test]
async fn r21_a_bearer_that_rotates_without_end_takes_no_more_than_its_first_rotations() {
    let fixture = Fixture::configured(Config::with_state_key([1; 32])).await;
    let mut token = fixture.session().await.token.to_string();
    let mut bytes = Vec::new();
    for _ in 0..2 {
        for _ in 0..200 {
            token = fixture
                .host
                .rotate(&*token)
                .await
                .unwrap()
                .token
                .to_string();
        }
        let stats = fixture.stats().await;
        assert_eq!((stats.pending_revocations, stats.tombstones), (0, 0));
        bytes.push(stats.state_bytes);
    }
    assert_eq!(bytes[0], bytes[1]);
}

#[tokio::test]
async fn r19_a_bearer_that_rotates_while_the_guard_revokes_nothing_stops_after_64_rotations() {
    let fixture = Fixture::new().await;
    let other = fixture.session_of(OTHER_AGENT).await;
    let mut token = fixture.session().await.token.to_string();
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    for _ in 0..64 {
        let grant = fixture.host.rotate(&*token).await.unwrap();
        token = grant.token.to_string();
    }
    let full = SessionError::LimitReached(Limit::UnconfirmedRevocations);
    for _ in 0..3 {
        assert_eq!(refusal(fixture.host.rotate(&*token).await), full);
    }
    assert_eq!(fixture.stats().await.pending_revocations, 64);
    // The session lives, and others rotate.
    fixture.host.validate(&*token).await.unwrap();
    fixture.host.rotate(&*other.token).await.unwrap();
}
