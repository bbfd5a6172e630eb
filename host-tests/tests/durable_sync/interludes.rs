//! Calls of the world `session-sync` if the guard fails or takes long between two steps of a call.

use std::time::Duration;

use clawdb_session_durable::DurableError;
use clawdb_session_host::{GuardError, GuardFailure, SessionError};
use tokio::time::timeout;

use crate::fixture::{assert_lives, create};
use crate::waiting_guard::fixture;

#[tokio::test]
async fn r27_a_rotation_that_was_stored_is_answered_even_if_the_guard_ends_the_instance_later() {
    let (fixture, guard) = fixture(Duration::from_mins(1));
    let host = fixture.host().await;
    let (old, revoked) = (create(&host).await, create(&host).await);
    let unavailable = || GuardError::Unavailable("the test says so".into());
    guard.before(move || Err(unavailable().into()));
    host.revoke(&*revoked.session.id).await.unwrap();
    // The guard validates the token, issues another one, revokes the former when the rotation is
    // stored, and is then asked for the pending revocation again.
    for _ in 0..3 {
        guard.before(|| Ok(()));
    }
    guard.before(|| Err(GuardFailure::Fatal("the test ends the instance".into())));
    let rotated = host.rotate(&*old.token).await.unwrap();
    assert_lives(&host, &rotated).await;
    assert_eq!(host.metrics().restarts, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_a_dropped_rotation_that_waits_for_the_instance_is_not_repeated_until_it_has_ended() {
    let (fixture, guard) = fixture(Duration::from_mins(1));
    let host = fixture.host().await;
    let (old, other) = (create(&host).await, create(&host).await);
    let held = guard.hold();
    let validating = tokio::spawn({
        let (host, token) = (host.clone(), other.token.to_string());
        async move { host.validate(token).await }
    });
    held.wait();
    // It waits for the instance on a thread when its caller gives up.
    let dropped = timeout(Duration::from_millis(200), host.rotate(&*old.token));
    assert!(dropped.await.is_err());
    let repeated = host.rotate(&*old.token).await;
    assert_eq!(repeated, Err(DurableError::Session(SessionError::Conflict)));
    held.release();
    validating.await.unwrap().unwrap();
    let rotated = loop {
        match host.rotate(&*old.token).await {
            Err(DurableError::Session(SessionError::Conflict)) => tokio::task::yield_now().await,
            rotated => break rotated.unwrap(),
        }
    };
    assert_eq!(rotated.session.generation, 1);
    assert_lives(&host, &rotated).await;
}
