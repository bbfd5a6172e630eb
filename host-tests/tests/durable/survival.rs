//! A change is acknowledged once it is in the journal, and not before.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawdb_session_durable::{DurableError, DurableHost, DurableOptions, Journal, JournalError};
use clawdb_session_host::{
    Config, CreateRequest, Grant, GuardError, InstanceOptions, RevokeFilter, SessionError, World,
};

use clawdb_session_testkit::fixture::{AGENT, NOBODY, OTHER_AGENT, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};
use futures::future::{join, join_all};
use futures::poll;

use crate::WORLD;
use crate::fixture::{
    DurableFixture, TENANT, assert_dead, assert_lives, create, keyed, retry, until,
};
use crate::journal::JournalMode;

#[tokio::test]
async fn an_acknowledged_create_survives_the_host_and_its_token_validates() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    assert_eq!(grant.session.workspace_id, TENANT.to_string());
    // The first host is not shut down. The session is in the journal already.
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_lives(&next, &grant).await;
    assert_eq!(next.active_count().await, Ok(1));
}

#[tokio::test]
async fn a_revoked_session_stays_dead_and_a_refreshed_one_has_its_newest_token() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (revoked, refreshed) = (create(&host).await, create(&host).await);
    host.revoke(&*revoked.session.id).await.unwrap();
    let newest = host.refresh(&*refreshed.session.id).await.unwrap();
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_dead(&next, &revoked).await;
    assert_dead(&next, &refreshed).await;
    assert_lives(&next, &newest).await;
}

#[tokio::test]
async fn r35_a_logout_is_acknowledged_when_it_is_durable_and_not_before() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (done, refused) = (create(&host).await, create(&host).await);
    let revocation = host.revoke_by_token(&*done.token).await.unwrap();
    assert_eq!(revocation.session_id, done.session.id);
    assert!(revocation.guard_confirmed);
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.revoke_by_token(&*refused.token).await);
    fixture.journal.set(JournalMode::Hold);
    let mut again = Box::pin(host.revoke_by_token(&*refused.token));
    assert!(poll!(&mut again).is_pending());
    fixture.journal.set(JournalMode::Ok);
    let answer = again.await;
    assert_eq!(
        answer,
        Err(DurableError::Session(SessionError::InvalidToken))
    );
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_dead(&next, &done).await;
    assert_dead(&next, &refused).await;
}

#[tokio::test]
async fn an_acknowledged_kill_switch_survives_the_host() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grants = [create(&host).await, create(&host).await];
    assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(2));
    let later = create(&host).await;
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    for grant in &grants {
        assert_dead(&next, grant).await;
    }
    assert_lives(&next, &later).await;
}

#[tokio::test]
async fn a_call_is_not_answered_before_its_change_is_durable() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    fixture.journal.set(JournalMode::Hold);
    let mut creating = Box::pin(host.create(request(AGENT)));
    assert!(poll!(&mut creating).is_pending());
    until("the instance has the session", async || {
        host.active_count().await == Ok(1)
    })
    .await;
    assert!(poll!(&mut creating).is_pending());
    assert!(!has_sessions(&fixture));
    fixture.journal.set(JournalMode::Ok);
    creating.await.unwrap();
    assert!(has_sessions(&fixture));
}

/// Waits until a call has rotated this token, which is no longer valid then.
async fn until_rotated(host: &DurableHost, token: &str) {
    until("the instance has rotated the token", async || {
        host.validate(token).await == Err(DurableError::Session(SessionError::InvalidToken))
    })
    .await;
}

/// Rotates a token while the journal stores nothing, so that the call has no answer.
async fn rotate_unstored(fixture: &DurableFixture, host: &DurableHost, token: &str) {
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.rotate(token).await);
    fixture.journal.set(JournalMode::Ok);
}

/// Begins to rotate a token while the journal stores nothing, and waits until the instance has
/// rotated it.
async fn start_rotation(
    fixture: &DurableFixture,
    host: &DurableHost,
    token: &str,
) -> Pin<Box<impl Future<Output = Result<Grant, DurableError>>>> {
    fixture.journal.set(JournalMode::Hold);
    let mut rotating = Box::pin(host.rotate(token));
    assert!(poll!(&mut rotating).is_pending());
    until_rotated(host, token).await;
    rotating
}

#[tokio::test]
async fn r27_a_rotation_that_was_not_stored_in_time_can_be_repeated_with_the_same_token() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let old = create(&host).await;
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.rotate(&*old.token).await);
    retry(host.rotate(&*old.token).await);
    fixture.journal.set(JournalMode::Ok);
    let rotated = host.rotate(&*old.token).await.unwrap();
    assert_eq!(rotated.session.id, old.session.id);
    assert_eq!(rotated.session.generation, 1);
    assert_lives(&host, &rotated).await;
    // Its bearer has the new token, so the old one shows a theft.
    let again = host.rotate(&*old.token).await;
    assert_eq!(
        again,
        Err(DurableError::Session(SessionError::InvalidToken))
    );
    assert_dead(&host, &rotated).await;
}

#[tokio::test]
async fn r14_a_rotation_that_waits_for_the_journal_is_not_repeated_until_its_call_has_ended() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let old = create(&host).await;
    let rotating = start_rotation(&fixture, &host, &old.token).await;
    let mut both = Box::pin(join(rotating, host.rotate(&*old.token)));
    assert!(poll!(&mut both).is_pending());
    fixture.journal.set(JournalMode::Ok);
    let (rotated, other) = both.await;
    assert_eq!(other, Err(DurableError::Session(SessionError::Conflict)));
    assert_lives(&host, &rotated.unwrap()).await;
}

#[tokio::test]
async fn r27_a_rotation_whose_call_was_dropped_can_be_repeated_with_the_same_token() {
    if WORLD == World::Session {
        // There the call ends in the instance too, which counts as an answer.
        return;
    }
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let old = create(&host).await;
    let rotating = start_rotation(&fixture, &host, &old.token).await;
    drop(rotating);
    fixture.journal.set(JournalMode::Ok);
    let rotated = host.rotate(&*old.token).await.unwrap();
    assert_lives(&host, &rotated).await;
}

#[tokio::test]
async fn r27_the_token_of_a_rotation_that_was_not_stored_in_time_is_not_returned_after_a_refresh() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let old = create(&host).await;
    rotate_unstored(&fixture, &host, &old.token).await;
    let refreshed = host.refresh(&*old.session.id).await.unwrap();
    for _ in 0..2 {
        let repeated = host.rotate(&*old.token).await;
        assert_eq!(repeated, Err(DurableError::Session(SessionError::Conflict)));
    }
    assert_lives(&host, &refreshed).await;
}

#[tokio::test]
async fn r12_the_token_of_a_rotation_that_was_not_stored_in_time_is_not_returned_after_the_end() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let old = create(&host).await;
    rotate_unstored(&fixture, &host, &old.token).await;
    host.revoke(&*old.session.id).await.unwrap();
    for _ in 0..2 {
        let repeated = host.rotate(&*old.token).await;
        assert_eq!(
            repeated,
            Err(DurableError::Session(SessionError::InvalidToken))
        );
    }
}

#[tokio::test]
async fn r27_a_rotation_that_was_lost_with_its_instance_can_be_repeated() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (old, other) = (create(&host).await, create(&host).await);
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.rotate(&*old.token).await);
    fixture.guard.set(GuardFunction::Validate, GuardMode::Trap);
    retry(host.validate(&*other.token).await);
    fixture.guard.set_all(GuardMode::Ok);
    fixture.journal.set(JournalMode::Ok);
    let rotated = host.rotate(&*old.token).await.unwrap();
    assert_lives(&host, &rotated).await;
}

fn has_sessions(fixture: &DurableFixture) -> bool {
    let records = fixture.journal.records(TENANT);
    records.iter().any(|it| it.key.starts_with("session/"))
}

#[tokio::test]
async fn while_the_journal_is_unavailable_changes_return_retry_and_none_is_lost() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (old, revoked) = (create(&host).await, create(&host).await);
    fixture.journal.set(JournalMode::Unavailable);
    assert!(retry(host.create(request(AGENT)).await).contains("the test journal is unavailable"));
    retry(host.revoke(&*revoked.session.id).await);
    retry(host.rotate("unknown-token").await);
    assert_lives(&host, &old).await;
    fixture.journal.set(JournalMode::Ok);
    let later = create(&host).await;
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_lives(&next, &old).await;
    assert_lives(&next, &later).await;
    // The create and the revoke answered `Retry`, and took effect.
    assert_dead(&next, &revoked).await;
    assert_eq!(next.active_count().await, Ok(3));
}

#[tokio::test]
async fn changes_that_failed_to_append_are_appended_later_without_a_call() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.revoke(&*grant.session.id).await);
    let before = host.metrics().changes;
    fixture.journal.set(JournalMode::Ok);
    until("the change is appended", async || {
        host.metrics().changes > before
    })
    .await;
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_dead(&next, &grant).await;
}

#[tokio::test]
async fn concurrent_calls_share_appends() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let before = host.metrics().appends;
    fixture.journal.set(JournalMode::Hold);
    let creates = (0..64).map(|_| {
        tokio::spawn({
            let host = host.clone();
            async move { host.create(request(AGENT)).await }
        })
    });
    let creates: Vec<_> = creates.collect();
    until("all sessions are created", async || {
        host.active_count().await == Ok(64)
    })
    .await;
    fixture.journal.set(JournalMode::Ok);
    for answer in join_all(creates).await {
        answer.unwrap().unwrap();
    }
    let appends = host.metrics().appends - before;
    assert!((1..=8).contains(&appends), "{appends} appends");
}

#[tokio::test]
async fn only_counted_uses_wait_for_the_journal() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let plain = create(&host).await;
    let counted = CreateRequest {
        max_uses: Some(3),
        ..request(AGENT)
    };
    let counted = host.create(counted).await.unwrap();
    fixture.journal.set(JournalMode::Unavailable);
    assert_lives(&host, &plain).await;
    let many = vec![plain.token.to_string(); 2];
    assert!(host.validate_many(many.clone()).await.is_ok());
    let with_counted = [many, vec![counted.token.to_string()]].concat();
    retry(host.validate_many(with_counted).await);
    retry(host.validate(&*counted.token).await);
    retry(host.authorize(&*counted.token, "memory:read").await);
    fixture.journal.set(JournalMode::Ok);
    host.touch(&*plain.session.id).await.unwrap();
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_dead(&next, &counted).await;
}

#[tokio::test]
async fn r06_a_session_reported_as_expired_is_not_live_in_the_next_host() {
    for call in 0..3 {
        let mut fixture = DurableFixture::new();
        // The periodic flush does not run, so only calls make changes durable.
        fixture.options.tick = Duration::from_hours(1);
        let first = fixture.host().await;
        let grant = create(&first).await;
        fixture.clock.advance(Duration::from_mins(1));
        let (id, token) = (&*grant.session.id, grant.token.to_string());
        let expired = match call {
            0 => first.validate(token).await.map(drop),
            1 => first.get(id).await.map(drop),
            _ => match first.validate_many(vec![token]).await.unwrap().remove(0) {
                Ok(_) => Ok(()),
                Err(error) => Err(DurableError::Session(error)),
            },
        };
        assert_eq!(
            expired,
            Err(DurableError::Session(SessionError::SessionExpired))
        );
        // The clock was ahead and is corrected.
        fixture.clock.rewind(Duration::from_mins(1));
        let second = fixture
            .host_on(fixture.journal.ignoring_leases())
            .await
            .unwrap();
        assert_dead(&second, &grant).await;
    }
}

#[tokio::test]
async fn a_refused_call_is_answered_with_the_components_error() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let answer = host.revoke(NOBODY).await;
    assert_eq!(
        answer,
        Err(DurableError::Session(SessionError::SessionNotFound))
    );
}

#[tokio::test]
async fn the_state_key_is_rotated_by_a_restart() {
    let mut fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    host.shutdown().await;
    fixture.options.config = keyed(2);
    fixture.options.config.previous_state_keys = vec![vec![1; 32]];
    fixture.host().await.shutdown().await;
    fixture.options.config = keyed(2);
    assert_lives(&fixture.host().await, &grant).await;
}

#[tokio::test]
async fn with_another_key_no_record_is_restored_and_the_host_does_not_start() {
    let mut fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    host.shutdown().await;
    let before = fixture.journal.records(TENANT);
    fixture.options.config = keyed(2);
    let Some(DurableError::StateKeyMissing(missing)) = fixture.try_host().await.err() else {
        panic!("the key is missing");
    };
    assert_eq!((missing.unopened, missing.records), (2, 2));
    assert_eq!(missing.tenant, TENANT);
    let error = DurableError::StateKeyMissing(missing);
    assert!(error.to_string().contains("state key") && !error.is_retryable());
    assert_eq!(fixture.journal.records(TENANT), before);
    fixture.options.config.previous_state_keys = vec![vec![1; 32]];
    assert_lives(&fixture.host().await, &grant).await;
}

#[tokio::test]
async fn the_error_for_a_damaged_record_names_its_key() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    host.shutdown().await;
    let key = format!("session/{}", grant.session.id);
    fixture.journal.damage(TENANT, &key);
    let error = fixture.try_host().await.err().unwrap();
    assert!(error.to_string().contains(&key), "{error}");
    assert!(!error.is_retryable());
    let damaged = matches!(error, DurableError::Journal(JournalError::Damaged(_)));
    assert!(damaged, "the error is not about the key: {error:?}");
}

#[tokio::test]
async fn a_host_answers_no_call_after_its_journal_reports_damage() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.journal.set(JournalMode::Damaged);
    let broken = Err(DurableError::Journal(JournalError::Damaged(
        "the test journal is damaged".into(),
    )));
    assert_eq!(host.create(request(AGENT)).await, broken);
    assert_eq!(
        host.validate(&*grant.token).await.map(|_| ()),
        broken.map(|_| ())
    );
}

#[tokio::test]
async fn a_host_does_not_start_with_a_setting_outside_its_bounds() {
    async fn refused(change: fn(&mut DurableOptions)) -> String {
        let mut fixture = DurableFixture::new();
        change(&mut fixture.options);
        for standby in [false, true] {
            fixture.options.standby = standby;
            let error = fixture.try_host().await.err();
            assert!(
                matches!(error, Some(DurableError::Settings(_))),
                "{error:?}"
            );
            assert_eq!(fixture.options.check().await.err(), error);
        }
        assert_eq!(fixture.journal.take_overs(), 0, "the journal was opened");
        fixture.options.check().await.unwrap_err().to_string()
    }
    for (message, expected) in [
        (
            refused(|options| options.config = Config::default()).await,
            "state-key (none) must be set",
        ),
        (
            refused(|options| options.config.max_sessions = Some(0)).await,
            "max-sessions (0) must be from 1 to 10000000",
        ),
        (
            refused(|options| options.config.max_lifetime = Some(31_536_001)).await,
            "max-lifetime (31536001) must be from 1 to 31536000",
        ),
        (
            refused(|options| options.config.state_key = Some(vec![7; 31])).await,
            "state-key (31 bytes) must have 32 to 64 bytes",
        ),
        (
            refused(|options| options.config.previous_state_keys = vec![vec![7; 32]; 9]).await,
            "previous-state-keys (9 keys of 32 bytes) must be at most 8",
        ),
        (
            refused(|options| options.patience = Duration::ZERO).await,
            "patience (0 s) must be longer than 0 s",
        ),
        (
            refused(|options| options.tick = Duration::ZERO).await,
            "tick (0 s) must be longer than 0 s",
        ),
        (
            refused(|options| match &mut options.instances {
                InstanceOptions::Session(_, options) => options.max_in_flight = 0,
                InstanceOptions::SessionSync(_, options) => options.busy_after = Duration::ZERO,
            })
            .await,
            match WORLD {
                World::Session => "max_in_flight (0) must be at least 1",
                _ => "busy_after (0 s) must be longer than 0 s",
            },
        ),
    ] {
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test]
async fn a_restore_reports_its_progress_after_each_page_and_what_the_host_does() {
    let mut fixture = DurableFixture::new();
    let host = fixture.host().await;
    // A page has 1,000 records.
    let creates = (0..1_100).map(|number: u64| {
        let agent = format!("0a9e0000-0000-4000-8000-{number:012}");
        host.create(request(&agent))
    });
    for created in join_all(creates).await {
        created.unwrap();
    }
    host.shutdown().await;
    let (reports, lines) = (Arc::new(Mutex::new(Vec::new())), Arc::default());
    let (recorded, logged) = (reports.clone(), Arc::<Mutex<Vec<String>>>::clone(&lines));
    fixture.options = DurableOptions {
        progress: Some(Arc::new(move |progress| {
            recorded.lock().unwrap().push(progress);
        })),
        report: Some(Arc::new(move |tenant, line| {
            logged.lock().unwrap().push(format!("{tenant}: {line}"));
        })),
        ..fixture.options
    };
    fixture.host().await;
    let reports = reports.lock().unwrap();
    let [first, last] = reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(last.tenant, TENANT);
    assert_eq!((first.restored, first.total), (1_000, last.total));
    assert!(
        last.restored > 1_100 && last.restored == last.total,
        "{last:?}"
    );
    let line = format!("{TENANT}: has taken the tenant over and restores its sessions");
    assert_eq!(lines.lock().unwrap()[..], [line]);
}

#[tokio::test]
async fn a_host_that_was_shut_down_returns_retry_and_has_released_the_tenant() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    host.shutdown().await;
    retry(host.validate(&*grant.token).await);
    host.shutdown().await;
    assert_lives(&fixture.host().await, &grant).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_calls_in_flight() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    fixture.journal.set(JournalMode::Hold);
    let creating = tokio::spawn({
        let host = host.clone();
        async move { host.create(request(AGENT)).await }
    });
    until("the instance has the session", async || {
        host.active_count().await == Ok(1)
    })
    .await;
    let mut closing = Box::pin(host.shutdown());
    assert!(poll!(&mut closing).is_pending());
    fixture.journal.set(JournalMode::Ok);
    closing.await;
    let grant = creating.await.unwrap().unwrap();
    assert_lives(&fixture.host().await, &grant).await;
}

#[tokio::test]
async fn a_host_whose_last_handle_is_dropped_releases_the_tenant() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    drop(host);
    assert_lives(&fixture.host().await, &grant).await;
}

#[tokio::test]
async fn a_refresh_that_is_lost_with_its_host_leaves_the_old_token_valid() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.refresh(&*grant.session.id).await);
    assert!(fixture.tokens.revoked().is_empty());
    // The host loses the tenant before the journal is available again.
    let _fence = fixture
        .journal
        .ignoring_leases()
        .take_over(TENANT)
        .await
        .unwrap();
    fixture.journal.set(JournalMode::Ok);
    let next = fixture
        .host_on(fixture.journal.ignoring_leases())
        .await
        .unwrap();
    assert_lives(&next, &grant).await;
}

#[tokio::test]
async fn the_guard_is_asked_to_revoke_only_after_the_revocation_is_durable() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let (first, second) = (create(&host).await, create(&host).await);
    let revoked = host.revoke(&*first.session.id).await.unwrap();
    assert!(revoked.guard_confirmed);
    fixture.journal.set(JournalMode::Unavailable);
    retry(host.revoke(&*second.session.id).await);
    assert_eq!(fixture.tokens.revoked().len(), 1);
    fixture.journal.set(JournalMode::Ok);
    let flushed = host.flush_guard_revocations().await.unwrap();
    assert_eq!((flushed.settled, flushed.pending), (1, 0));
    assert_eq!(fixture.tokens.revoked().len(), 2);
}

#[tokio::test]
async fn r12_a_revocation_that_the_guard_does_not_confirm_has_the_guards_error() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    fixture.guard.set_all(GuardMode::Unavailable);
    let revoked = host.revoke(&*grant.session.id).await.unwrap();
    let reason = "the guard was told to be unavailable";
    assert_eq!(
        revoked.guard_error,
        Some(GuardError::Unavailable(reason.into()))
    );
    assert!(!revoked.guard_confirmed);
    fixture.guard.set_all(GuardMode::Ok);
    let flushed = host.flush_guard_revocations().await.unwrap();
    assert_eq!((flushed.settled, flushed.pending), (1, 0));
}

#[tokio::test]
async fn r12_a_revocation_is_confirmed_while_many_others_are_pending() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    for agent in [AGENT, OTHER_AGENT, NOBODY] {
        let creating = (0..700).map(|_| host.create(request(agent)));
        for created in join_all(creating).await {
            created.unwrap();
        }
    }
    assert_eq!(host.revoke_all(RevokeFilter::Everything).await, Ok(2_100));
    assert!(host.stats().await.unwrap().pending_revocations > 1_000);
    let late = request(AGENT).with_lifetime(Duration::from_mins(10));
    let grant = host.create(late).await.unwrap();
    let revoked = host.revoke(&*grant.session.id).await.unwrap();
    assert_eq!((revoked.guard_confirmed, revoked.guard_error), (true, None));
    let handle = fixture.tokens.handle_of(&grant.token);
    assert!(fixture.tokens.revoked().contains(&handle));
    while host.stats().await.unwrap().pending_revocations > 0 {
        assert!(host.flush_guard_revocations().await.unwrap().settled > 0);
    }
}

#[tokio::test]
async fn the_guard_has_revoked_the_tokens_that_a_call_ended_when_it_is_answered() {
    let fixture = DurableFixture::new();
    let host = fixture.host().await;
    let grant = create(&host).await;
    let handle = |grant: &Grant| fixture.tokens.handle_of(&grant.token);
    let refreshed = host.refresh(&*grant.session.id).await.unwrap();
    assert_eq!(fixture.tokens.revoked(), [handle(&grant)]);
    let rotated = host.rotate(refreshed.token.clone()).await.unwrap();
    assert_eq!(
        fixture.tokens.revoked(),
        [handle(&grant), handle(&refreshed)]
    );
    let others = (0..300).map(|_| create(&host));
    let mut expected: Vec<_> = join_all(others).await.iter().map(handle).collect();
    expected.extend([&grant, &refreshed, &rotated].map(handle));
    assert_eq!(host.revoke_all_for_agent(AGENT).await, Ok(301));
    let mut revoked = fixture.tokens.revoked();
    expected.sort_unstable();
    revoked.sort_unstable();
    assert_eq!(revoked, expected);
    assert_eq!(host.stats().await.unwrap().pending_revocations, 0);
}

#[tokio::test]
async fn r06_the_clock_is_accepted_fully_in_as_many_calls_as_that_takes() {
    let mut fixture = DurableFixture::new();
    fixture.options.config.max_sessions_per_agent = Some(20_000);
    let host = fixture.host().await;
    fixture.clock.advance(Duration::from_hours(1));
    let mut grants = Vec::new();
    // So few at a time that none waits too long for the others.
    for _ in 0..21 {
        grants.extend(join_all((0..500).map(|_| create(&host))).await);
    }
    fixture.clock.rewind(Duration::from_hours(1));
    assert_eq!(host.accept_clock_fully().await, Ok(10_500));
    let stats = host.stats().await.unwrap();
    assert_eq!((stats.clock_lag, stats.live_sessions), (0, 0));
    let refused = host.accept_clock_fully().await;
    assert_eq!(
        refused,
        Err(DurableError::Session(SessionError::ClockNotBehind))
    );
    // Another host finds the sessions ended too.
    host.shutdown().await;
    let host = fixture.host().await;
    let refused = host.validate(&*grants[10_499].token).await;
    let invalid = DurableError::Session(SessionError::InvalidToken);
    assert_eq!(refused.err(), Some(invalid));
    assert_lives(&host, &create(&host).await).await;
}
