//! R23: the state as records, and `restore`. A restored instance has the state of the first one,
//! and no record restores a session that has ended (R12).

use clawdb_session_host::{
    Change, Config, CreateRequest, EndReason, Grant, GuardError, Limit, Overflow, Page,
    RevokeFilter, SessionError,
};
use clawdb_session_testkit::fixture::{
    AGENT, Fixture, NOBODY, OTHER_AGENT, invalid_field, refusal, request,
};
use clawdb_session_testkit::{GuardFunction, GuardMode};

pub const KEY: [u8; 32] = [3; 32];

/// Returns the default configuration with a state key.
pub fn keyed() -> Config {
    Config::with_state_key(KEY)
}

/// Reads the records that changed after `since`, in pages of `page` records.
pub async fn changes_since(fixture: &Fixture, mut since: u64, page: u32) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let page = fixture
            .host
            .changes(since, page)
            .await
            .expect("the records are readable");
        let sequences = page.changes.iter().map(|change| change.sequence);
        assert!(sequences.clone().is_sorted() && sequences.clone().all(|it| it > since));
        assert_eq!(page.next, sequences.max().unwrap_or(since));
        since = page.next;
        changes.extend(page.changes);
        if !page.more {
            return changes;
        }
    }
}

/// Reads all records.
pub async fn feed(fixture: &Fixture) -> Vec<Change> {
    let changes = changes_since(fixture, 0, 1_000).await;
    let mut keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), changes.len(), "each key once");
    changes
}

/// Starts another instance and restores these records.
pub async fn restored(fixture: &Fixture, config: Config, changes: Vec<Change>) -> Fixture {
    let other = fixture.another(config).await;
    for part in changes.chunks(1_000) {
        let restored = other.host.restore(part.to_vec()).await;
        restored.expect("the records are accepted");
    }
    other
}

/// Starts another instance and restores all records of this one.
async fn restarted(fixture: &Fixture, config: &Config) -> Fixture {
    restored(fixture, config.clone(), feed(fixture).await).await
}

/// Returns the records in several orders: alternating between the oldest and the newest, all of
/// them twice, the newest first, and the oldest first.
fn orders(changes: &[Change]) -> Vec<Vec<Change>> {
    let forward = changes.to_vec();
    let backward: Vec<Change> = changes.iter().rev().cloned().collect();
    let mixed = forward
        .iter()
        .zip(&backward)
        .flat_map(|(a, b)| [a.clone(), b.clone()]);
    vec![
        mixed.collect(),
        [forward.clone(), forward.clone()].concat(),
        backward,
        forward,
    ]
}

#[tokio::test]
async fn r23_a_restored_instance_has_the_state_of_the_first_one() {
    let fixture = Fixture::configured(keyed()).await;
    let full = CreateRequest {
        task_type: Some("plan \"ä\" \\".into()),
        metadata: Some("{ \"deep\": [1, {\"a\":\"\\u0001\\n\"}], \"ü\": null }".into()),
        max_uses: Some(3),
        ..request(AGENT)
    };
    let limited = fixture.host.create(full).await.unwrap();
    fixture.validate(&limited).await.unwrap();
    let bare = CreateRequest {
        scopes: vec![],
        ..request(AGENT)
    };
    let bare = fixture.host.create(bare).await.unwrap();
    let parent = fixture.session().await;
    let child = fixture.child(&parent).await;
    let grandchild = fixture.child(&child).await;
    fixture.advance(5.0);
    let refreshed = fixture.host.refresh(&*bare.session.id).await.unwrap();
    let rotated = fixture.rotate(&parent).await.unwrap();
    let revoked = fixture.session().await;
    fixture.host.revoke(&*revoked.session.id).await.unwrap();

    for changes in orders(&feed(&fixture).await) {
        let other = restored(&fixture, keyed(), changes).await;
        assert_eq!(
            other.ids_of(AGENT).await,
            fixture.ids_of(AGENT).await,
            "oldest first"
        );
        assert_eq!(
            other.ids_of(OTHER_AGENT).await,
            fixture.ids_of(OTHER_AGENT).await
        );
        for id in [&limited, &bare, &parent, &child, &grandchild].map(|grant| &*grant.session.id) {
            let session = other.host.get(id).await.unwrap();
            assert_eq!(session, fixture.host.get(id).await.unwrap());
        }
        for grant in [&refreshed, &rotated, &child, &grandchild] {
            other.validate(grant).await.unwrap();
        }
        for grant in [&bare, &parent, &revoked] {
            assert_eq!(other.validate(grant).await, Err(SessionError::InvalidToken));
        }
    }

    let other = restarted(&fixture, &keyed()).await;
    other.validate(&limited).await.unwrap();
    other.validate(&limited).await.unwrap();
    assert_eq!(
        other.validate(&limited).await,
        Err(SessionError::InvalidToken),
        "R29"
    );
    let revocation = other.host.revoke(&*parent.session.id).await.unwrap();
    assert_eq!(revocation.descendants, 2, "R26");
    assert_eq!(
        other.validate(&grandchild).await,
        Err(SessionError::InvalidToken)
    );
    other.host.revoke_all_for_agent(AGENT).await.unwrap();
    let stats = other.stats().await;
    assert_eq!((stats.live_sessions, stats.pending_revocations), (0, 0));
    assert_eq!(stats.tombstones, 7, "six sessions and the kill switch");
}

#[tokio::test]
async fn r23_changes_since_a_number_have_each_record_that_changed_once() {
    let fixture = Fixture::configured(keyed()).await;
    let first = fixture.session().await;
    let second = fixture.session().await;
    let before = feed(&fixture).await;
    let read_to = before.last().unwrap().sequence;
    assert!(changes_since(&fixture, read_to, 10).await.is_empty());
    for _ in 0..5 {
        fixture.host.refresh(&*first.session.id).await.unwrap();
    }
    let changed = changes_since(&fixture, read_to, 1).await;
    assert_eq!(changed.len(), 1, "five refreshes are one record");
    assert_eq!(changed[0].key, format!("session/{}", first.session.id));
    assert_eq!(changed[0].forget_at, Some(first.session.expires_at));
    let again = feed(&fixture).await;
    assert_eq!(again.len(), before.len());
    assert_eq!(
        fixture.stats().await.last_change,
        again.last().unwrap().sequence
    );
    assert!(
        again[..2]
            .iter()
            .any(|change| change.key.ends_with(&second.session.id))
    );

    // A reader that is ahead of the newest change continues at the newest change.
    let page = fixture.host.changes(u64::MAX, 1).await.unwrap();
    assert_eq!(
        (page.next, page.more),
        (fixture.stats().await.last_change, false)
    );
}

#[tokio::test]
async fn r23_pages_are_bounded_in_rows_and_in_bytes() {
    let fixture = Fixture::configured(keyed()).await;
    let large = CreateRequest {
        metadata: Some(format!("\"{}\"", "x".repeat(16_000))),
        ..request(AGENT)
    };
    for _ in 0..100 {
        fixture.host.create(large.clone()).await.unwrap();
    }
    let page = fixture.host.changes(0, 1_000).await.unwrap();
    let bytes: usize = page.changes.iter().map(|change| change.value.len()).sum();
    assert!(
        page.more && (1 << 20..1_100_000).contains(&bytes),
        "{bytes}"
    );
    assert_eq!(changes_since(&fixture, 0, 7).await.len(), 101);
    for max in [0, 1_001] {
        assert_eq!(invalid_field(fixture.host.changes(0, max).await), "limit");
    }
}

#[tokio::test]
async fn r23_the_largest_record_is_below_350_kib() {
    let fixture = Fixture::configured(keyed()).await;
    let odd = |bytes: usize| "\u{1}".repeat(bytes);
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let enlarge_next_handle = || {
        fixture.tokens.alter_next_token(move |mut issued| {
            issued.handle = format!("{}{}", odd(512 - issued.handle.len()), issued.handle);
            issued
        });
    };
    enlarge_next_handle();
    let largest = CreateRequest {
        role: odd(64),
        scopes: (0..128).map(|n| format!("{n:0>256}")).collect(),
        task_type: Some(odd(128)),
        metadata: Some(format!("\"{}\"", "\\\"".repeat(8_191))),
        ..request(AGENT)
    };
    let id = fixture.host.create(largest).await.unwrap().session.id;
    for _ in 0..64 {
        enlarge_next_handle();
        fixture.host.refresh(&*id).await.unwrap();
    }
    let refused = refusal(fixture.host.refresh(&*id).await);
    assert_eq!(
        refused,
        SessionError::LimitReached(Limit::UnconfirmedRevocations)
    );
    let changes = feed(&fixture).await;
    let size = changes
        .iter()
        .map(|change| change.value.len())
        .max()
        .unwrap();
    assert!((250_000..350 << 10).contains(&size), "{size}");
    let other = restored(&fixture, keyed(), changes).await;
    assert_eq!(other.stats().await.pending_revocations, 64);
    fixture.release();
    assert_eq!(
        other.host.flush_guard_revocations().await.unwrap().settled,
        64
    );
    other.host.refresh(&*id).await.unwrap();
}

/// Ends a session for this reason.
async fn end(fixture: &Fixture, reason: EndReason, grant: &Grant) {
    let id = &*grant.session.id;
    match reason {
        EndReason::Revoked => drop(fixture.host.revoke(id).await.unwrap()),
        EndReason::RevokedAll => drop(fixture.host.revoke_all_for_agent(AGENT).await.unwrap()),
        EndReason::Invalidated => fixture.host.invalidate(id).await.unwrap(),
        EndReason::Theft => {
            fixture.rotate(grant).await.unwrap();
            assert_eq!(fixture.rotate(grant).await, Err(SessionError::InvalidToken));
        }
        EndReason::Exhausted => fixture.validate(grant).await.unwrap(),
        EndReason::Limit => drop(fixture.session().await),
        EndReason::Idle => {
            fixture.advance(30.0);
            fixture.host.prune_expired(None).await.unwrap();
        }
        EndReason::Cascade | EndReason::Expired | EndReason::MaxLifetime => unreachable!(),
    }
    assert_eq!(fixture.ends_of(id).await, [reason]);
}

#[tokio::test]
async fn r12_no_records_in_any_order_restore_a_session_that_has_ended() {
    for reason in [
        EndReason::Revoked,
        EndReason::RevokedAll,
        EndReason::Invalidated,
        EndReason::Theft,
        EndReason::Exhausted,
        EndReason::Limit,
        EndReason::Idle,
    ] {
        let config = Config {
            idle_timeout: (reason == EndReason::Idle).then_some(30),
            max_sessions_per_agent: Some(1),
            agent_overflow: Some(Overflow::EvictOldest),
            ..keyed()
        };
        let fixture = Fixture::configured(config.clone()).await;
        let asked = CreateRequest {
            max_uses: (reason == EndReason::Exhausted).then_some(1),
            ..request(AGENT)
        };
        let grant = fixture.host.create(asked).await.unwrap();
        let mut changes = feed(&fixture).await;
        // An older record whose expiry is later than that of the newest record.
        if reason == EndReason::Revoked {
            let refreshed = fixture.host.refresh(&*grant.session.id).await.unwrap();
            changes.extend(feed(&fixture).await);
            let sooner = fixture.now() + 1_000;
            fixture
                .tokens
                .alter_next_token(move |issued| clawdb_session_host::IssuedToken {
                    expires_at: sooner,
                    ..issued
                });
            fixture.host.refresh(&*refreshed.session.id).await.unwrap();
        }
        end(&fixture, reason, &grant).await;
        let live = fixture.ids_of(AGENT).await.len();
        changes.extend(feed(&fixture).await);
        for changes in orders(&changes) {
            let other = restored(&fixture, config.clone(), changes).await;
            let id = &*grant.session.id;
            assert_eq!(other.ids_of(AGENT).await.len(), live, "{reason:?}");
            assert_eq!(
                refusal(other.host.get(id).await),
                SessionError::SessionNotFound,
                "{reason:?}"
            );
            assert_eq!(
                other.validate(&grant).await,
                Err(SessionError::InvalidToken),
                "{reason:?}"
            );
            // The same holds for an instance that is restored from this one.
            let third = restarted(&other, &config).await;
            assert_eq!(
                refusal(third.host.refresh(id).await),
                SessionError::SessionNotFound,
                "{reason:?}"
            );
        }
    }
}

#[tokio::test]
async fn r12_a_restored_instance_flushes_the_revocations_that_the_guard_has_not_confirmed() {
    let fixture = Fixture::configured(keyed()).await;
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    let revoked = fixture.session().await;
    fixture.host.revoke(&*revoked.session.id).await.unwrap();
    let refreshed = fixture.session().await;
    fixture.host.refresh(&*refreshed.session.id).await.unwrap();
    // The create fails because the token is too long, and the token is to be revoked.
    fixture.tokens.alter_next_token(|mut issued| {
        issued.token = "t".repeat(9_000);
        issued
    });
    let refused = refusal(fixture.host.create(request(AGENT)).await);
    assert!(matches!(
        refused,
        SessionError::Guard(GuardError::Unavailable(_))
    ));
    assert_eq!(fixture.stats().await.pending_revocations, 3);

    for changes in orders(&feed(&fixture).await) {
        let other = restored(&fixture, keyed(), changes).await;
        assert_eq!(other.stats().await.pending_revocations, 3);
        let before = fixture.tokens.revoked().len();
        fixture.release();
        let report = other.host.flush_guard_revocations().await.unwrap();
        assert_eq!((report.settled, report.pending), (3, 0));
        let asked: Vec<String> = fixture.tokens.revoked()[before..].to_vec();
        for grant in [&revoked, &refreshed] {
            assert!(
                asked.contains(&fixture.tokens.handle_of(&grant.token)),
                "{asked:?}"
            );
        }
        // Settled revocations are not restored.
        let third = restarted(&other, &keyed()).await;
        assert_eq!(third.stats().await.pending_revocations, 0);
        fixture
            .guard
            .set(GuardFunction::Revoke, GuardMode::Unavailable);
    }
}

#[tokio::test]
async fn r12_a_token_is_not_revoked_before_the_change_that_supersedes_it_is_stored() {
    let fixture = Fixture::configured(keyed()).await;
    let created = fixture.session().await;
    let stored = fixture.host.changes(0, 1_000).await.unwrap();
    let (revoke, unavailable) = (GuardFunction::Revoke, GuardMode::Unavailable);
    fixture.guard.set(revoke, unavailable);
    fixture.host.refresh(&*created.session.id).await.unwrap();
    fixture.guard.set(revoke, GuardMode::Ok);

    let report = fixture.host.flush_stored_revocations(stored.next).await;
    let report = report.unwrap();
    assert_eq!((report.settled, report.pending), (0, 1));
    // If the instance is lost now, the restored session has the token again.
    let other = restored(&fixture, keyed(), stored.changes).await;
    assert_eq!(other.validate(&created).await, Ok(()));

    let stored = fixture.host.changes(stored.next, 1_000).await.unwrap();
    let report = fixture.host.flush_stored_revocations(stored.next).await;
    let report = report.unwrap();
    assert_eq!((report.settled, report.pending), (1, 0));
    assert_eq!(
        other.validate(&created).await,
        Err(SessionError::Guard(GuardError::Revoked))
    );
}

#[tokio::test]
async fn r31_the_first_record_of_a_kill_switch_revokes_all_its_sessions() {
    let filters = [
        (RevokeFilter::Everything, vec![AGENT, OTHER_AGENT]),
        (
            RevokeFilter::Role("worker".into()),
            vec![AGENT, OTHER_AGENT],
        ),
        (RevokeFilter::Root(String::new()), vec![AGENT]),
    ];
    for (filter, ended) in filters {
        let fixture = Fixture::configured(keyed()).await;
        let parent = fixture.session().await;
        let child = fixture.delegated(&parent, request(AGENT)).await;
        let other_one = fixture.session_of(OTHER_AGENT).await;
        let before = feed(&fixture).await;
        let read_to = before.last().unwrap().sequence;
        let filter = match filter {
            RevokeFilter::Root(_) => RevokeFilter::Root(parent.session.id.clone()),
            filter => filter,
        };
        fixture.host.revoke_all(filter.clone()).await.unwrap();
        let later = fixture.session().await;
        let after = changes_since(&fixture, read_to, 1_000).await;
        // The host stored only the first record.
        for changes in orders(&[&before[..], &after[..1]].concat()) {
            let other = restored(&fixture, keyed(), changes).await;
            for grant in [&parent, &child, &other_one] {
                let agent = &*grant.session.agent_id;
                let expected = if ended.contains(&agent) {
                    Err(SessionError::InvalidToken)
                } else {
                    Ok(())
                };
                assert_eq!(
                    other.validate(grant).await.map_err(ignore_error),
                    expected.map_err(ignore_error),
                    "{filter:?}"
                );
            }
        }
        // With all records, the session created after the switch is live.
        let other = restored(&fixture, keyed(), [before, after].concat()).await;
        other.validate(&later).await.unwrap();
        while other.host.prune_expired(None).await.unwrap() > 0 {}
        assert_eq!(
            other.host.active_count().await.unwrap(),
            if ended.len() == 1 { 2 } else { 1 }
        );
    }
}

/// Discards the error, because the test checks only that the call fails.
fn ignore_error(_: SessionError) {}

#[tokio::test]
async fn r13_a_restored_cut_off_ends_restored_sessions_and_no_later_ones() {
    let fixture = Fixture::configured(keyed()).await;
    let one = fixture.session().await;
    let other_agents = fixture.session_of(OTHER_AGENT).await;
    let before = feed(&fixture).await;
    fixture.host.revoke_all_for_agent(AGENT).await.unwrap();
    let after = feed(&fixture).await;
    let cut_off: Vec<Change> = after
        .iter()
        .filter(|it| it.key.starts_with("cut-off/"))
        .cloned()
        .collect();
    assert_eq!(cut_off.len(), 1);
    for changes in orders(&[before, cut_off].concat()) {
        let other = restored(&fixture, keyed(), changes).await;
        assert_eq!(other.ids_of(AGENT).await, Vec::<String>::new());
        other.validate(&other_agents).await.unwrap();
        let later = other.session().await;
        assert_eq!(other.host.prune_expired(None).await.unwrap(), 1);
        assert_eq!(
            other.ends_of(&one.session.id).await,
            [EndReason::RevokedAll],
            "the restored session has its end event"
        );
        other.validate(&later).await.unwrap();
        assert_eq!(other.host.active_count().await.unwrap(), 2);
    }
}

#[tokio::test]
async fn r26_a_child_is_not_restored_without_its_parent() {
    let fixture = Fixture::configured(keyed()).await;
    let parent = fixture.session().await;
    let child = fixture.child(&parent).await;
    let grandchild = fixture.child(&child).await;
    let mut changes = feed(&fixture).await;
    changes.retain(|change| !change.key.ends_with(&parent.session.id));
    for changes in orders(&changes) {
        let other = restored(&fixture, keyed(), changes).await;
        assert_eq!(other.ids_of(OTHER_AGENT).await, Vec::<String>::new());
        for grant in [&grandchild, &child] {
            assert_eq!(other.validate(grant).await.map_err(ignore_error), Err(()));
        }
        while other.host.prune_expired(None).await.unwrap() > 0 {}
        for grant in [&child, &grandchild] {
            assert_eq!(other.ends_of(&grant.session.id).await, [EndReason::Cascade]);
        }
        assert_eq!(other.stats().await.live_sessions, 0);
    }
}

#[tokio::test]
async fn r26_a_tree_is_restored_from_old_and_new_records_in_any_order() {
    let config = Config {
        max_sessions_per_root: Some(4),
        ..keyed()
    };
    let fixture = Fixture::configured(config.clone()).await;
    let root = fixture.session().await;
    let mut changes = feed(&fixture).await;
    let left = fixture.child(&root).await;
    let right = fixture.child(&root).await;
    changes.extend(feed(&fixture).await);
    let grandchild = fixture.child(&left).await;
    let rotated = fixture.rotate(&root).await.unwrap();
    let rotated_left = fixture.rotate(&left).await.unwrap();
    changes.extend(feed(&fixture).await);
    for changes in orders(&changes) {
        let other = restored(&fixture, config.clone(), changes).await;
        for grant in [&rotated, &rotated_left, &right, &grandchild] {
            other.validate(grant).await.unwrap();
        }
        // The root has three descendants, so one slot is left.
        other.child(&grandchild).await;
        let full = other
            .host
            .delegate(&*right.session.id, request(OTHER_AGENT))
            .await;
        assert_eq!(
            refusal(full),
            SessionError::LimitReached(Limit::MaxSessionsPerRoot)
        );
        // `invalidate` does not revoke the tokens with the guard, which validates them for the next
        // instance.
        other.host.invalidate(&*root.session.id).await.unwrap();
        assert_eq!(other.host.active_count().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn r27_a_restored_instance_detects_reuse_of_tokens_superseded_before() {
    let fixture = Fixture::configured(keyed()).await;
    let stolen = fixture.session().await;
    let rotated = fixture.rotate(&stolen).await.unwrap();
    let by_host = fixture.session().await;
    let refreshed = fixture.host.refresh(&*by_host.session.id).await.unwrap();
    let other = restarted(&fixture, &keyed()).await;
    assert_eq!(
        other.rotate(&by_host).await,
        Err(SessionError::InvalidToken)
    );
    other.validate(&refreshed).await.unwrap();
    other.validate(&rotated).await.unwrap();
    assert_eq!(other.rotate(&stolen).await, Err(SessionError::InvalidToken));
    assert_eq!(other.ends_of(&stolen.session.id).await, [EndReason::Theft]);
}

#[tokio::test]
async fn r27_a_rotation_whose_answer_was_lost_with_the_instance_can_be_repeated() {
    let fixture = Fixture::configured(keyed()).await;
    let grant = fixture.session().await;
    fixture.hold(GuardFunction::Revoke);
    let _unanswered = fixture.start_rotate(&grant).await;
    let changes = feed(&fixture).await;
    let other = restored(&fixture, keyed(), changes).await;
    fixture.release();
    fixture.advance(20.0);
    let retried = other
        .rotate(&grant)
        .await
        .expect("the rotation can be repeated");
    other.validate(&retried).await.unwrap();
    assert_eq!(
        other.rotate(&grant).await,
        Err(SessionError::InvalidToken),
        "it can be repeated only once"
    );
}

#[tokio::test]
async fn r27_the_grace_of_a_rotation_continues_in_a_restored_instance() {
    let config = Config {
        rotation_grace: Some(10),
        ..keyed()
    };
    let fixture = Fixture::configured(config.clone()).await;
    let grant = fixture.session().await;
    fixture.rotate(&grant).await.unwrap();
    for (seconds, within) in [(9.0, true), (1.0, false)] {
        fixture.advance(seconds);
        let other = restarted(&fixture, &config).await;
        assert_eq!(other.rotate(&grant).await.is_ok(), within);
    }
}

#[tokio::test]
async fn r28_a_use_is_recorded_once_in_a_tenth_of_the_idle_timeout() {
    let config = Config {
        idle_timeout: Some(30),
        ..keyed()
    };
    let fixture = Fixture::configured(config.clone()).await;
    let grant = fixture.session().await;
    let mut read = feed(&fixture).await;
    let before = read.len();
    for _ in 0..20 {
        fixture.advance(1.0);
        fixture.validate(&grant).await.unwrap();
        let read_to = read.last().unwrap().sequence;
        read.extend(changes_since(&fixture, read_to, 10).await);
    }
    assert_eq!(read.len() - before, 20 / 3);
    // The last recorded use was two seconds before the last use.
    fixture.advance(27.9);
    let other = restored(&fixture, config.clone(), read.clone()).await;
    other.host.touch(&*grant.session.id).await.unwrap();
    fixture.advance(0.1);
    let late = restored(&fixture, config, read).await;
    let touched = late.host.touch(&*grant.session.id).await;
    assert_eq!(refusal(touched), SessionError::SessionExpired);
}

#[tokio::test]
async fn r06_the_time_inside_does_not_go_back_across_a_restore() {
    let fixture = Fixture::configured(keyed()).await;
    let short = fixture.session().await;
    let long = CreateRequest {
        expires_in: Some(3_600),
        ..request(AGENT)
    };
    fixture.host.create(long).await.unwrap();
    let before = feed(&fixture).await;
    fixture.advance(60.0);
    assert_eq!(
        fixture.validate(&short).await,
        Err(SessionError::SessionExpired)
    );
    let changes = [before, feed(&fixture).await].concat();
    let newest = fixture.stats().await.now;
    fixture.advance(-600.0);
    for changes in orders(&changes) {
        let other = restored(&fixture, keyed(), changes).await;
        assert_eq!(other.stats().await.now, newest);
        assert_eq!(other.validate(&short).await.map_err(ignore_error), Err(()));
        assert_eq!(other.host.active_count().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn r07_lifetimes_are_counted_from_the_same_created_at_after_a_restore() {
    let config = Config {
        max_lifetime: Some(100),
        ..keyed()
    };
    let fixture = Fixture::configured(config.clone()).await;
    let grant = fixture.session().await;
    fixture.advance(50.0);
    let other = restarted(&fixture, &config).await;
    let refreshed = other
        .host
        .refresh(&*grant.session.id)
        .await
        .unwrap()
        .session;
    assert_eq!(refreshed.created_at, grant.session.created_at);
    assert_eq!(refreshed.expires_at, grant.session.created_at + 100_000);
}

#[tokio::test]
async fn r17_sequence_numbers_continue_after_a_restore_and_readers_get_the_number_missed() {
    let fixture = Fixture::configured(keyed()).await;
    let grant = fixture.session().await;
    for _ in 0..2_000 {
        fixture.host.refresh(&*grant.session.id).await.unwrap();
    }
    let last = fixture.stats().await.last_event;
    let other = restarted(&fixture, &keyed()).await;
    other.host.revoke(&*grant.session.id).await.unwrap();
    let page = other.host.poll_events(last, 10).await.unwrap();
    assert_eq!(page.events.len(), 1);
    assert!(page.events[0].sequence > last);
    assert_eq!(page.missed, page.events[0].sequence - last - 1);
    assert!(page.missed <= 1_024, "{}", page.missed);
}

/// Starts an instance and makes events. Returns the run and the sequence number of the newest
/// event.
async fn with_events(config: Config) -> (Fixture, u64, u64) {
    let fixture = Fixture::configured(config).await;
    let grant = fixture.session().await;
    for _ in 0..5 {
        fixture.host.refresh(&*grant.session.id).await.unwrap();
    }
    let stats = fixture.stats().await;
    assert_ne!(stats.event_run, 0);
    (fixture, stats.event_run, stats.last_event)
}

#[tokio::test]
async fn r17_the_next_instance_continues_a_closed_run_of_events_without_a_gap() {
    let (fixture, run, last) = with_events(keyed()).await;
    let before = feed(&fixture).await;
    fixture.host.close_event_run().await.unwrap();
    fixture.host.close_event_run().await.unwrap();
    // The later time changes the `meta` record again.
    fixture.advance(61.0);
    let changes = [before, feed(&fixture).await].concat();
    for changes in orders(&changes) {
        let other = restored(&fixture, keyed(), changes).await;
        let stats = other.stats().await;
        assert_eq!((stats.event_run, stats.last_event), (run, last));
        let empty = other.host.poll_events(last, 10).await.unwrap();
        assert_eq!((empty.events.len(), empty.missed, empty.run), (0, 0, run));
        other.session().await;
        let page = other.host.poll_events(last, 10).await.unwrap();
        assert_eq!((page.events.len(), page.missed, page.run), (1, 0, run));
        assert_eq!(
            (page.events[0].sequence, page.events[0].run),
            (last + 1, run)
        );
        let late = other.host.poll_events(last - 2, 10).await.unwrap();
        assert_eq!(late.missed, 2, "events are not restored");
    }
}

#[tokio::test]
async fn r17_a_run_of_events_that_was_not_closed_is_not_continued() {
    let (fixture, run, last) = with_events(keyed()).await;
    let first = restarted(&fixture, &keyed()).await;
    let second = restarted(&fixture, &keyed()).await;
    let mut runs = vec![run];
    for other in [&first, &second] {
        let stats = other.stats().await;
        assert!(stats.event_run != 0 && !runs.contains(&stats.event_run));
        assert!(stats.last_event >= last);
        runs.push(stats.event_run);
        other.session().await;
        let page = other.host.poll_events(last, 10).await.unwrap();
        assert_eq!(
            (page.run, page.events[0].run),
            (stats.event_run, stats.event_run)
        );
    }
}

#[tokio::test]
async fn r17_only_the_instance_that_continues_a_run_of_events_can_close_it_again() {
    let (fixture, run, last) = with_events(keyed()).await;
    fixture.host.close_event_run().await.unwrap();
    let kept = feed(&fixture).await;
    let newest = kept.iter().map(|change| change.sequence).max().unwrap();
    let other = restored(&fixture, keyed(), kept.clone()).await;
    // Before any event, the changes after the restore record that the run is open.
    let opened = changes_since(&other, newest, 10).await;
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].key, "meta");
    let unclosed = restored(&fixture, keyed(), [kept.clone(), opened.clone()].concat()).await;
    assert_ne!(unclosed.stats().await.event_run, run);

    // Without an event in between, the run is closed at the same number.
    other.host.close_event_run().await.unwrap();
    let closed = changes_since(&other, opened[0].sequence, 10).await;
    let next = restored(&fixture, keyed(), [kept, opened, closed].concat()).await;
    let stats = next.stats().await;
    assert_eq!((stats.event_run, stats.last_event), (run, last));
}

#[tokio::test]
async fn r17_an_event_after_a_run_was_closed_begins_another_run() {
    let (fixture, run, last) = with_events(keyed()).await;
    fixture.host.close_event_run().await.unwrap();
    assert_eq!(
        fixture.stats().await.event_run,
        run,
        "the newest event still has this run"
    );
    let closed = feed(&fixture).await;
    fixture.session().await;
    let page = fixture.host.poll_events(last - 1, 10).await.unwrap();
    let numbers: Vec<(u64, bool)> = page
        .events
        .iter()
        .map(|event| (event.sequence, event.run == run))
        .collect();
    assert_eq!(numbers, [(last, true), (last + 1, false)]);
    assert_eq!(page.run, page.events[1].run);
    let other = restarted(&fixture, &keyed()).await;
    let stats = other.stats().await;
    assert!(stats.event_run != run && stats.event_run != page.run);
    assert!(stats.last_event > last);
    // An instance that has only the older records continues the closed run.
    let older = restored(&fixture, keyed(), closed).await;
    assert_eq!(older.stats().await.event_run, run);
}

#[tokio::test]
async fn r17_an_instance_without_sessions_has_no_run_and_closing_one_needs_a_state_key() {
    let fixture = Fixture::configured(keyed()).await;
    assert_eq!(fixture.stats().await.event_run, 0);
    assert_eq!(fixture.host.poll_events(0, 1).await.unwrap().run, 0);
    fixture.host.close_event_run().await.unwrap();
    assert!(feed(&fixture).await.is_empty());
    fixture.session().await;
    assert_ne!(fixture.stats().await.event_run, 0);

    let bare = Fixture::new().await;
    bare.session().await;
    assert_eq!(
        refusal(bare.host.close_event_run().await),
        SessionError::NoStateKey
    );
    fixture
        .entropy
        .set(clawdb_session_testkit::EntropyMode::Empty);
    let refused = refusal(fixture.host.close_event_run().await);
    assert_eq!(refused, SessionError::EntropyUnavailable);
    fixture
        .entropy
        .set(clawdb_session_testkit::EntropyMode::Random);
    let run = fixture.stats().await.event_run;
    let other = restarted(&fixture, &keyed()).await;
    assert_ne!(other.stats().await.event_run, run, "the run was not closed");
}

#[tokio::test]
async fn r21_tombstones_are_dropped_when_the_session_would_have_expired() {
    let fixture = Fixture::configured(keyed()).await;
    let empty = fixture.stats().await.state_bytes;
    for agent in [AGENT, OTHER_AGENT] {
        fixture.session_of(agent).await;
        fixture.session_of(agent).await;
    }
    fixture.host.revoke_all_for_agent(AGENT).await.unwrap();
    fixture
        .host
        .revoke(&*fixture.ids_of(OTHER_AGENT).await[0])
        .await
        .unwrap();
    assert_eq!(
        fixture.stats().await.tombstones,
        4,
        "three sessions and a kill switch"
    );
    fixture.advance(59.999);
    fixture.host.prune_expired(None).await.unwrap();
    assert_eq!(fixture.stats().await.tombstones, 4);
    fixture.advance(0.001);
    assert_eq!(fixture.host.prune_expired(None).await.unwrap(), 1);
    let stats = fixture.stats().await;
    assert_eq!((stats.tombstones, stats.state_bytes), (0, empty));
    let left = feed(&fixture).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].key, "meta");
}

#[tokio::test]
async fn r21_without_a_state_key_ended_sessions_leave_no_tombstones() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    let stats = fixture.stats().await;
    assert_eq!(
        (stats.tombstones, stats.last_change, stats.state_bytes),
        (0, 0, 0)
    );
    assert_eq!(
        refusal(fixture.host.changes(0, 1).await),
        SessionError::NoStateKey
    );
    let other = Fixture::new().await;
    assert_eq!(
        refusal(other.host.restore(vec![]).await),
        SessionError::NoStateKey
    );
}

#[tokio::test]
async fn r16_the_id_of_a_tombstone_is_not_used_again() {
    let fixture = Fixture::configured(keyed()).await;
    fixture
        .entropy
        .set(clawdb_session_testkit::EntropyMode::Repeat);
    let grant = fixture.session().await;
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    let again = refusal(fixture.host.create(request(AGENT)).await);
    assert!(matches!(again, SessionError::Collision(_)), "{again:?}");
    fixture.advance(60.0);
    fixture.host.prune_expired(None).await.unwrap();
    fixture.session().await;
}

#[tokio::test]
async fn r22_no_record_contains_a_token_or_the_key_of_the_fingerprints() {
    let fixture = Fixture::configured(keyed()).await;
    fixture
        .entropy
        .set(clawdb_session_testkit::EntropyMode::Repeat);
    let grant = fixture.session().await;
    let rotated = fixture.rotate(&grant).await.unwrap();
    let secret: Vec<u8> = (1..=32).collect();
    for change in feed(&fixture).await {
        for token in [&grant.token, &rotated.token] {
            assert!(!change.value.contains(&**token), "{}", change.value);
        }
        assert!(
            !change.value.contains(&hex::encode(&secret)),
            "{}",
            change.value
        );
        assert!(
            !change.value.contains(&hex::encode(KEY)),
            "{}",
            change.value
        );
    }
}

#[tokio::test]
async fn r23_records_are_restored_before_the_first_operation_only() {
    let fixture = Fixture::configured(keyed()).await;
    fixture.session().await;
    let changes = feed(&fixture).await;
    let other = restored(&fixture, keyed(), changes.clone()).await;
    other.host.stats().await.unwrap();
    other.host.changes(0, 1).await.unwrap();
    other.host.restore(changes.clone()).await.unwrap();
    assert_eq!(
        refusal(other.host.get(NOBODY).await),
        SessionError::SessionNotFound
    );
    assert_eq!(
        refusal(other.host.restore(changes.clone()).await),
        SessionError::AlreadyStarted
    );
    assert_eq!(
        refusal(fixture.host.restore(changes.clone()).await),
        SessionError::AlreadyStarted
    );
    let configured = other.host.configure(keyed()).await;
    assert_eq!(refusal(configured), SessionError::AlreadyConfigured);
    let many = vec![changes[0].clone(); 1_001];
    let third = fixture.another(keyed()).await;
    assert_eq!(invalid_field(third.host.restore(many).await), "changes");
}

#[tokio::test]
async fn r23_a_state_larger_than_max_state_bytes_is_restored() {
    let small = Config {
        max_state_bytes: Some(65_536),
        ..keyed()
    };
    let fixture = Fixture::configured(small.clone()).await;
    let full = loop {
        if let Err(error) = fixture.host.create(request(AGENT)).await {
            break error;
        }
    };
    let full = refusal::<()>(Err(full));
    assert_eq!(full, SessionError::LimitReached(Limit::MaxStateBytes));
    // Ending a session is never refused, and adds its tombstone and its pending revocation to the
    // state.
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    fixture.host.revoke_all_for_agent(AGENT).await.unwrap();
    let grown = fixture.stats().await;
    assert!(grown.state_bytes > 65_536, "{}", grown.state_bytes);
    for changes in orders(&feed(&fixture).await) {
        let other = restored(&fixture, small.clone(), changes).await;
        let stats = other.stats().await;
        assert_eq!(
            (
                stats.state_bytes,
                stats.pending_revocations,
                stats.tombstones
            ),
            (
                grown.state_bytes,
                grown.pending_revocations,
                grown.tombstones
            )
        );
        let refused = refusal(other.host.create(request(AGENT)).await);
        assert_eq!(refused, SessionError::LimitReached(Limit::MaxStateBytes));
    }
}

#[tokio::test]
async fn r21_a_tombstone_is_kept_until_the_guard_has_confirmed_the_revocation() {
    let fixture = Fixture::configured(keyed()).await;
    // The guard's token expires later than its session.
    fixture
        .tokens
        .alter_next_token(|issued| clawdb_session_host::IssuedToken {
            expires_at: u64::MAX,
            ..issued
        });
    let grant = fixture.session().await;
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    fixture.advance(60.0);
    fixture.host.prune_expired(None).await.unwrap();
    assert_eq!(
        fixture.stats().await.tombstones,
        1,
        "the revocation is pending"
    );
    fixture.release();
    let other = restarted(&fixture, &keyed()).await;
    assert_eq!(
        other.host.flush_guard_revocations().await.unwrap().settled,
        1
    );
    other.host.prune_expired(None).await.unwrap();
    assert_eq!(other.stats().await.tombstones, 0);
    assert_eq!(other.stats().await.state_bytes, 0);
}

#[tokio::test]
async fn r23_a_cursor_from_before_a_restore_misses_no_later_session() {
    let fixture = Fixture::configured(keyed()).await;
    fixture.session().await;
    let newest = fixture.session().await;
    fixture.host.revoke(&*newest.session.id).await.unwrap();
    let other = restarted(&fixture, &keyed()).await;
    let later = other.session().await;
    // The cursor is after the two sessions of the first instance.
    let page = Page::after(2);
    let listed = other.host.list_for_agent(AGENT, page).await.unwrap();
    assert_eq!(listed.sessions, [later.session]);
}

#[tokio::test]
async fn r24_the_record_of_a_settled_revocation_is_forgotten_at_once() {
    let fixture = Fixture::configured(keyed()).await;
    fixture
        .guard
        .set(GuardFunction::Revoke, GuardMode::Unavailable);
    fixture.tokens.alter_next_token(|mut issued| {
        issued.token = "t".repeat(9_000);
        issued
    });
    refusal(fixture.host.create(request(AGENT)).await);
    let before = feed(&fixture).await;
    let revocation = before
        .iter()
        .find(|change| change.key.starts_with("revocation/"))
        .expect("a record of the revocation");
    fixture.release();
    let read_to = before.last().unwrap().sequence;
    fixture.host.flush_guard_revocations().await.unwrap();
    let after = changes_since(&fixture, read_to, 10).await;
    let settled = after
        .iter()
        .find(|change| change.key == revocation.key)
        .expect("a change of the record");
    assert_eq!(
        settled.forget_at,
        Some(0),
        "the store can drop the record at once"
    );
    for changes in orders(&[settled.clone(), revocation.clone()]) {
        let other = restored(&fixture, keyed(), changes).await;
        assert_eq!(other.stats().await.pending_revocations, 0);
        assert!(other.stats().await.last_change >= settled.sequence);
        other.host.prune_expired(None).await.unwrap();
        assert_eq!(other.stats().await.state_bytes, 0);
    }
}

#[tokio::test]
async fn r19_restored_sessions_that_a_cut_off_revokes_take_no_places() {
    let config = Config {
        max_sessions_per_agent: Some(2),
        max_sessions: Some(2),
        ..keyed()
    };
    let fixture = Fixture::configured(config.clone()).await;
    fixture.session().await;
    fixture.session().await;
    let before = feed(&fixture).await;
    fixture.host.revoke_all_for_agent(AGENT).await.unwrap();
    let mut after = feed(&fixture).await;
    after.retain(|change| change.key.starts_with("cut-off/"));
    let other = restored(&fixture, config, [before, after].concat()).await;
    other.session().await;
    other.session().await;
}

#[tokio::test]
async fn r24_the_key_of_the_fingerprints_is_encrypted_even_if_made_before_configure() {
    let fixture = Fixture::new().await;
    fixture
        .guard
        .set(GuardFunction::Issue, GuardMode::Unavailable);
    refusal(fixture.host.create(request(AGENT)).await);
    fixture.release();
    fixture.host.configure(keyed()).await.unwrap();
    let grant = fixture.session().await;
    let changes = feed(&fixture).await;
    let meta = changes.iter().find(|change| change.key == "meta").unwrap();
    let meta: serde_json::Value = serde_json::from_str(&meta.value).unwrap();
    assert_ne!(meta["meta"]["salt"], "0".repeat(32));
    restored(&fixture, keyed(), changes)
        .await
        .validate(&grant)
        .await
        .unwrap();
}

#[tokio::test]
async fn r06_the_time_alone_is_recorded_once_in_a_minute() {
    let fixture = Fixture::configured(keyed()).await;
    fixture.session().await;
    let mut read = feed(&fixture).await;
    fixture.advance(3_600.0);
    read.extend(changes_since(&fixture, read.last().unwrap().sequence, 10).await);
    fixture.advance(-3_600.0);
    // With only the `meta` record left in the store, the time inside does not go back.
    read.retain(|change| change.key == "meta");
    let other = restored(&fixture, keyed(), read).await;
    assert_eq!(other.stats().await.now, fixture.stats().await.now);
    assert_eq!(other.stats().await.now, fixture.now() + 3_600_000);
}
