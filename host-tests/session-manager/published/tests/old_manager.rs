//! The caller of the facade's tests, compiled against the old manager, and what the guide says
//! about that manager.

// The file `caller.rs` names the crate.
extern crate clawdb_published as clawdb;

#[path = "../../../tests/session_manager/caller.rs"]
mod caller;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use clawdb::config::ClawDBConfig;
use clawdb::events::bus::EventBus;
use clawdb::lifecycle::manager::{Answer, Claims, ComponentLifecycleManager, Guard, GuardError};
use clawdb::{ClawDBError, ClawDBSession, SessionManager};
use tokio::sync::Semaphore;
use uuid::Uuid;

use caller::{Gateway, record, signatures, stored_session, system_work};

/// A guard that issues numbered tokens, and validates each of them for one session.
struct TestGuard {
    issued: AtomicUsize,
    /// The permits to issue a token.
    may_issue: Arc<Semaphore>,
    /// The session of each token.
    session: Mutex<Uuid>,
}

impl Guard for TestGuard {
    fn issue_session_token(&self, _principal: &str, _task: &str) -> Answer<String> {
        let token = format!("token-{}", self.issued.fetch_add(1, Ordering::SeqCst));
        let may_issue = Arc::clone(&self.may_issue);
        Box::pin(async move {
            may_issue.acquire().await.unwrap().forget();
            Ok(token)
        })
    }

    fn validate_token(&self, token: &str) -> Answer<Claims> {
        let known = token.starts_with("token-");
        let claims = Claims(*self.session.lock().unwrap());
        Box::pin(async move { known.then_some(claims).ok_or(GuardError) })
    }

    fn revoke_session(&self, _session_id: Uuid) -> Answer<()> {
        Box::pin(async { Ok(()) })
    }
}

/// Returns a manager, and its guard with this number of permits.
fn manager(tokens: usize) -> (Arc<SessionManager>, Arc<TestGuard>) {
    let guard = Arc::new(TestGuard {
        issued: AtomicUsize::new(0),
        may_issue: Arc::new(Semaphore::new(tokens)),
        session: Mutex::new(Uuid::nil()),
    });
    let manager = SessionManager::new(
        Arc::new(ComponentLifecycleManager(guard.clone())),
        Arc::new(EventBus::default()),
        Arc::new(ClawDBConfig {
            workspace_id: Uuid::nil(),
        }),
    );
    (Arc::new(manager), guard)
}

#[tokio::test]
async fn the_caller_works_with_the_old_manager() {
    let (manager, guard) = manager(3);
    let gateway = Gateway::new(manager);
    let agent = Uuid::new_v4();
    let json = gateway.log_in(agent, None).await.unwrap();
    let session: ClawDBSession = stored_session(&json).unwrap();
    *guard.session.lock().unwrap() = session.id;
    let allowed = gateway.check(&session.guard_token, "memory:read").await;
    assert!(matches!(allowed, caller::Answer::Allowed { .. }));
    assert_eq!(record(session.clone())["lifetime"], 3_600);
    assert!(gateway.renew(session.id).await.unwrap().is_some());
    gateway.start_job(agent, "index").await.unwrap();
    assert!(gateway.describe(session.id).unwrap().contains("worker"));
    assert_eq!(gateway.sweep(), (0, 2));
    assert_eq!(gateway.lock_out(vec![agent]).await.unwrap(), 2);
    gateway.log_out(session.id).await.unwrap();
    assert_eq!(gateway.renew(session.id).await.unwrap(), None);
    assert_eq!(system_work().0.token, "system");
}

#[tokio::test]
async fn each_call_has_the_signature_that_the_facade_is_checked_for() {
    let (manager, _guard) = manager(2);
    signatures::create(&manager, Uuid::nil(), "", vec![], None).await;
    signatures::create_session(&manager, Uuid::nil(), "", vec![], "").await;
    signatures::validate(&manager, "").await;
    signatures::refresh(&manager, Uuid::nil()).await;
    signatures::revoke(&manager, Uuid::nil()).await;
    assert_eq!((signatures::ACTIVE_COUNT)(&manager), 2);
    assert_eq!((signatures::PRUNE_EXPIRED)(&manager), 0);
    (signatures::INVALIDATE)(&manager, Uuid::nil());
    let not_found = (signatures::GET_SESSION)(&manager, Uuid::nil());
    assert!(matches!(not_found, Err(ClawDBError::SessionNotFound(_))));
    signatures::revoke_all_for_agent(&manager, Uuid::nil()).await;
    let session = (signatures::FROM_CONTEXT)((signatures::SYSTEM)());
    assert!((signatures::SESSION_IS_VALID)(&session));
    let context = (signatures::AS_CONTEXT)(&session);
    assert!((signatures::HAS_SCOPE)(&context, "any"));
    // The expiry of this context does not fit into a session, which then has an hour.
    assert!((signatures::CONTEXT_IS_VALID)(&context));
}

#[tokio::test]
async fn a_refresh_in_flight_brings_a_revoked_session_back() {
    let (manager, guard) = manager(1);
    let created = manager.create(Uuid::nil(), "worker", vec![], None).await;
    let id = created.unwrap().id;
    let refreshing = Arc::clone(&manager);
    let refresh = tokio::spawn(async move { refreshing.refresh(id).await });
    while guard.issued.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    manager.revoke(id).await.unwrap();
    guard.may_issue.add_permits(1);
    refresh.await.unwrap().unwrap();
    assert_eq!(manager.get_session(id).unwrap().session_id, id);
}

#[tokio::test]
async fn a_refreshed_session_keeps_its_old_token() {
    let (manager, guard) = manager(2);
    let created = manager.create(Uuid::nil(), "worker", vec![], None).await;
    let session = created.unwrap();
    *guard.session.lock().unwrap() = session.id;
    manager.refresh(session.id).await.unwrap();
    // The guard alone decides, and the manager did not ask it to revoke this token.
    manager.validate(&session.guard_token).await.unwrap();
}
