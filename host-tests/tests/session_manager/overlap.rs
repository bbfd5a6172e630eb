//! Calls that overlap: the guard is held, in the world `session`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use clawdb_session_host::{GuardError, HostOptions, SessionError, SessionHost, World};
use clawdb_session_manager::ClawDBError;
use clawdb_session_testkit::fixture::{PlainGuard, engine};
use clawdb_session_testkit::{GuardFunction, GuardMode};
use futures::poll;

use crate::fixture::{Fixture, agent};

/// Begins a call and waits until it waits for the guard.
async fn start<T>(
    fixture: &Fixture,
    call: impl Future<Output = T>,
) -> Pin<Box<impl Future<Output = T>>> {
    let mut call = Box::pin(call);
    assert!(poll!(&mut call).is_pending());
    fixture.manager.sessions().wait_until_idle().await.unwrap();
    assert!(poll!(&mut call).is_pending());
    call
}

#[tokio::test]
async fn r12_revoke_beats_a_refresh_in_flight() {
    let fixture = Fixture::new(World::Session);
    let session = fixture.session(agent()).await;
    let (manager, id) = (&fixture.manager, session.id);
    fixture.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let refresh = start(&fixture, manager.refresh(id)).await;
    manager.revoke(id).await.unwrap();
    fixture.guard.set_all(GuardMode::Ok);

    let not_found = ClawDBError::SessionNotFound(id);
    assert_eq!(refresh.await.unwrap_err(), not_found);
    assert_eq!(manager.get_session(id).unwrap_err(), not_found);
    assert_eq!(manager.active_count(), 0);
    // The guard was asked to revoke the token that it issued for the refresh, too.
    assert_eq!(fixture.tokens.revoked().len(), 2);
}

#[tokio::test]
async fn r12_invalidate_beats_a_validate_in_flight() {
    let fixture = Fixture::new(World::Session);
    let session = fixture.session(agent()).await;
    let manager = &fixture.manager;
    fixture.guard.set(GuardFunction::Validate, GuardMode::Hold);
    let validate = start(&fixture, manager.validate(&session.guard_token)).await;
    manager.invalidate(session.id);
    fixture.guard.set_all(GuardMode::Ok);
    let error = validate.await.unwrap_err();
    assert_eq!(error, ClawDBError::Guard(GuardError::Revoked));
}

#[tokio::test]
async fn r13_a_kill_switch_beats_a_create_in_flight() {
    let fixture = Fixture::new(World::Session);
    let (manager, agent) = (&fixture.manager, agent());
    fixture.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let create = start(&fixture, manager.create(agent, "worker", vec![], None)).await;
    assert_eq!(manager.revoke_all_for_agent(agent).await.unwrap(), 0);
    fixture.guard.set_all(GuardMode::Ok);
    let error = create.await.unwrap_err();
    assert_eq!(error, ClawDBError::Session(SessionError::SessionRevoked));
    assert_eq!(manager.active_count(), 0);
}

#[tokio::test]
async fn r14_one_of_two_refreshes_succeeds() {
    let fixture = Fixture::new(World::Session);
    let session = fixture.session(agent()).await;
    let manager = &fixture.manager;
    fixture.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let first = start(&fixture, manager.refresh(session.id)).await;
    let second = start(&fixture, manager.refresh(session.id)).await;
    fixture.guard.set_all(GuardMode::Ok);
    let (first, second) = futures::join!(first, second);
    let (refreshed, error) = match (first, second) {
        (Ok(refreshed), Err(error)) | (Err(error), Ok(refreshed)) => (refreshed, error),
        other => panic!("one refresh must succeed: {other:?}"),
    };
    assert_eq!(error, ClawDBError::Session(SessionError::Conflict));
    manager.validate(&refreshed.token).await.unwrap();
}

#[tokio::test]
async fn plain_calls_do_not_wait_for_a_guard_that_another_call_waits_for() {
    let fixture = Fixture::new(World::Session);
    let session = fixture.session(agent()).await;
    let manager = &fixture.manager;
    fixture.guard.set_all(GuardMode::Hold);
    let validate = start(&fixture, manager.validate(&session.guard_token)).await;
    assert_eq!(
        manager.get_session(session.id).unwrap().session_id,
        session.id
    );
    assert_eq!(manager.active_count(), 1);
    assert_eq!(manager.prune_expired(), 0);
    fixture.guard.set_all(GuardMode::Ok);
    validate.await.unwrap();
}

#[test]
fn a_panic_in_a_blocking_call_reaches_its_caller_and_the_instance_goes_on() {
    let options = HostOptions::new(PlainGuard::default());
    let host = SessionHost::start_on_own_thread(engine(), options).unwrap();
    let calls = host.blocking_calls().unwrap();
    let fault: fn() = || panic!("a fault of the caller");
    let call = || calls.wait_for(|_| async move { fault() });
    let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"a fault of the caller"));
    let live = calls.wait_for(|host| async move { host.active_count().await });
    assert_eq!(live.unwrap().unwrap(), 0);
}
