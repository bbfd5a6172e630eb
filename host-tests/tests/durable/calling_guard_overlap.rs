//! The guard's call of its own host overlaps the call that waits for the guard. Only in the world
//! `session` can both take effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawdb_session_durable::{DurableError, DurableHost};
use clawdb_session_host::{
    Grant, GuardError, GuardFailure, HostOptions, InstanceOptions, SessionError,
};
use clawdb_session_testkit::fixture::{AGENT, OTHER_AGENT, request};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::calling_guard::{
    CallingGuard, HostCall, OPERATIONS, Operation, Sessions, fixture, within,
};
use crate::fixture::{DurableFixture, assert_dead, assert_lives, create, engine, retry};

/// Returns the options of the instances.
fn instance_options(fixture: &mut DurableFixture) -> &mut HostOptions {
    match &mut fixture.options.instances {
        InstanceOptions::Session(_, options) => options,
        InstanceOptions::SessionSync(..) => panic!("these tests are in the world `session`"),
    }
}

/// Returns the error of a call whose guard did not answer in time.
fn not_within(millis: u64) -> DurableError {
    let reason = format!("the guard did not answer within {millis} ms");
    DurableError::Session(SessionError::Guard(GuardError::Unavailable(reason)))
}

/// Begins a create whose guard calls the host until the host refuses a call or `stop` is set.
/// Returns when the guard makes calls. The receiver gets the error of the refused call.
async fn create_while_the_guard_calls(
    host: &DurableHost,
    guard: &CallingGuard,
    stop: Arc<AtomicBool>,
) -> (
    JoinHandle<Result<Grant, DurableError>>,
    oneshot::Receiver<DurableError>,
) {
    let (begin, has_begun) = oneshot::channel();
    let (refuse, refused) = oneshot::channel();
    guard.before_answer({
        let host = host.clone();
        async move {
            let _ = begin.send(());
            while !stop.load(Ordering::SeqCst) {
                if let Err(error) = host.active_count().await {
                    let _ = refuse.send(error);
                    break;
                }
            }
            Ok(())
        }
    });
    let host = host.clone();
    let creating = tokio::spawn(async move { host.create(request(AGENT)).await });
    within(has_begun).await.expect("the guard is asked");
    (creating, refused)
}

#[tokio::test]
async fn a_session_that_the_guard_ends_is_neither_granted_nor_validated() {
    let (fixture, guard) = fixture();
    let host = fixture.host().await;
    let revoked = DurableError::Session(SessionError::SessionRevoked);
    for (operation, of_guard) in [
        (Operation::Validate, Operation::Revoke),
        (Operation::Validate, Operation::KillSwitch),
        (Operation::Create, Operation::KillSwitch),
    ] {
        let call = HostCall::new(&host, operation).await;
        let of_guard = HostCall {
            operation: of_guard,
            ..call.clone()
        };
        let answered = guard.call_before_answer(&host, &of_guard);
        let answer = within(call.make(&host)).await;
        assert_eq!(answer, Err(revoked.clone()), "{operation:?}");
        let answer = within(answered).await.expect("the guard's call has ended");
        assert_eq!(answer, Ok(None));
        assert_dead(&host, &call.grant).await;
    }
    let call = HostCall::new(&host, Operation::Revoke).await;
    let answered = guard.call_before_answer(&host, &call);
    let refreshed = within(host.refresh(&*call.grant.session.id)).await;
    assert_eq!(refreshed, Err(revoked));
    let answer = within(answered).await.expect("the guard's call has ended");
    assert_eq!(answer, Ok(None));
    Sessions::default().check_with_next(&host, &fixture).await;
}

#[tokio::test]
async fn a_guard_that_revokes_the_session_again_finds_that_it_has_ended() {
    let (fixture, guard) = fixture();
    let host = fixture.host().await;
    let call = HostCall::new(&host, Operation::Revoke).await;
    let answered = guard.call_before_answer(&host, &call);
    assert_eq!(within(call.make(&host)).await, Ok(None));
    let answer = within(answered).await.expect("the guard's call has ended");
    let not_found = DurableError::Session(SessionError::SessionNotFound);
    assert_eq!(answer, Err(not_found));
    Sessions::default().check_with_next(&host, &fixture).await;
}

#[tokio::test]
async fn a_guard_can_flush_the_pending_revocations() {
    let (fixture, guard) = fixture();
    let host = fixture.host().await;
    let mut sessions = Sessions::default();
    for operation in OPERATIONS {
        let call = HostCall::new(&host, operation).await;
        let flush = HostCall::new(&host, Operation::Flush).await;
        let answered = guard.call_before_answer(&host, &flush);
        let answer = within(call.make(&host)).await;
        assert!(answer.is_ok(), "{operation:?}: {answer:?}");
        sessions.add(call, answer);
        let answer = within(answered).await.expect("the guard's call has ended");
        assert_eq!(answer, Ok(None), "{operation:?}");
        sessions.add(flush, answer);
    }
    Box::pin(sessions.check_with_next(&host, &fixture)).await;
}

#[tokio::test]
async fn a_guard_whose_call_waits_for_a_permit_of_its_caller_is_unavailable_at_its_deadline() {
    let (mut fixture, guard) = fixture();
    let options = instance_options(&mut fixture);
    options.max_in_flight = 1;
    options.guard_deadline = Some(Duration::from_millis(200));
    let host = fixture.host().await;
    let mut sessions = Sessions::default();
    for operation in [Operation::Create, Operation::Validate] {
        let call = HostCall::new(&host, operation).await;
        let of_guard = HostCall::new(&host, Operation::Validate).await;
        let answered = guard.call_before_answer(&host, &of_guard);
        let answer = within(call.make(&host)).await;
        assert_eq!(answer, Err(not_within(200)));
        assert!(within(answered).await.is_err(), "the guard's call ended");
        sessions.add(call, answer);
        sessions.add(of_guard, Ok(None));
    }
    // A revocation needs no permit.
    for of_guard in [Operation::Revoke, Operation::KillSwitch] {
        let call = HostCall::new(&host, Operation::Validate).await;
        let of_guard = HostCall::new(&host, of_guard).await;
        let answered = guard.call_before_answer(&host, &of_guard);
        let answer = within(call.make(&host)).await;
        assert_eq!(answer, Ok(None));
        sessions.add(call, answer);
        let answer = within(answered).await.expect("the guard's call has ended");
        assert_eq!(answer, Ok(None));
        sessions.add(of_guard, answer);
    }
    Box::pin(sessions.check_with_next(&host, &fixture)).await;
}

#[tokio::test]
async fn a_change_that_the_guard_has_made_survives_its_trap() {
    let (fixture, guard) = fixture();
    let host = fixture.host().await;
    let (grant, revoked) = (create(&host).await, create(&host).await);
    let (reply, replied) = oneshot::channel();
    guard.before_answer({
        let (host, revoked) = (host.clone(), revoked.session.id.clone());
        async move {
            let revocation = host.revoke(revoked).await;
            let created = host.create(request(OTHER_AGENT)).await;
            let _ = reply.send((revocation, created));
            Err(GuardFailure::Fatal("the signing key is gone".into()))
        }
    });
    let reason = retry(within(host.validate(&*grant.token)).await);
    assert!(reason.contains("the guard is broken"), "{reason}");
    let (revocation, created) = within(replied).await.expect("the guard's calls have ended");
    assert!(revocation.unwrap().guard_confirmed);
    within(assert_lives(&host, &created.unwrap())).await;
    within(assert_lives(&host, &grant)).await;
    within(assert_dead(&host, &revoked)).await;
    assert_eq!(host.metrics().restarts, 1);
}

#[tokio::test]
async fn a_call_returns_retry_if_the_guards_own_call_ends_the_instance() {
    let (fixture, guard) = fixture();
    let host = fixture.host().await;
    let grant = create(&host).await;
    let call = HostCall::new(&host, Operation::Validate).await;
    let _answered = guard.call_before_answer(&host, &call);
    guard.before_answer(async { Err(GuardFailure::Fatal("the signing key is gone".into())) });
    let reason = retry(within(host.validate(&*grant.token)).await);
    assert!(reason.contains("the guard is broken"), "{reason}");
    within(assert_lives(&host, &grant)).await;
    within(assert_lives(&host, &call.grant)).await;
    assert_eq!(host.metrics().restarts, 1);
}

#[tokio::test]
async fn an_upgrade_fails_after_the_drain_time_if_the_guard_calls_the_host_without_end() {
    let (mut fixture, guard) = fixture();
    fixture.options.drain = Duration::from_millis(50);
    let host = fixture.host().await;
    let grant = create(&host).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (creating, _refused) = create_while_the_guard_calls(&host, &guard, stop.clone()).await;
    // Its drain waits for the create, and a call of the guard waits for the drain.
    let answer = within(host.upgrade(engine())).await;
    assert!(
        matches!(answer, Err(DurableError::Upgrade(_))),
        "{answer:?}"
    );
    stop.store(true, Ordering::SeqCst);
    let created = within(creating).await.unwrap().unwrap();
    within(assert_lives(&host, &created)).await;
    within(assert_lives(&host, &grant)).await;
    assert_eq!(host.metrics().upgrades, 0);
}

#[tokio::test]
async fn an_upgrade_succeeds_after_the_deadline_of_a_guard_that_calls_the_host_without_end() {
    let (mut fixture, guard) = fixture();
    instance_options(&mut fixture).guard_deadline = Some(Duration::from_secs(1));
    let host = fixture.host().await;
    let grant = create(&host).await;
    let (creating, _refused) = create_while_the_guard_calls(&host, &guard, Arc::default()).await;
    assert_eq!(within(host.upgrade(engine())).await, Ok(()));
    let answer = within(creating).await.unwrap();
    assert_eq!(answer, Err(not_within(1_000)));
    within(assert_lives(&host, &grant)).await;
    assert_eq!(within(host.active_count()).await, Ok(1));
    assert_eq!(host.metrics().upgrades, 1);
}

#[tokio::test]
async fn a_shutdown_ends_after_the_drain_time_while_the_guard_calls_the_host() {
    let (mut fixture, guard) = fixture();
    fixture.options.drain = Duration::from_millis(50);
    let host = fixture.host().await;
    let grant = create(&host).await;
    let (creating, refused) = create_while_the_guard_calls(&host, &guard, Arc::default()).await;
    within(host.shutdown()).await;
    retry(within(creating).await.unwrap());
    let error = within(refused).await.expect("the guard's call is refused");
    assert_eq!(retry::<()>(Err(error)), "the host was shut down");
    let next = within(fixture.try_host()).await.unwrap();
    within(assert_lives(&next, &grant)).await;
}

#[tokio::test]
async fn a_guard_can_shut_its_host_down() {
    let (mut fixture, guard) = fixture();
    fixture.options.drain = Duration::from_millis(50);
    let host = fixture.host().await;
    let grant = create(&host).await;
    let (reply, ended) = oneshot::channel();
    guard.before_answer({
        let host = host.clone();
        async move {
            host.shutdown().await;
            let _ = reply.send(());
            Ok(())
        }
    });
    retry(within(host.validate(&*grant.token)).await);
    within(ended).await.expect("the shutdown ends");
    let next = within(fixture.try_host()).await.unwrap();
    within(assert_lives(&next, &grant)).await;
}
