//! Records of an instance of one world, restored by an instance of the other.

use std::sync::Arc;

use clawdb_session_host::{
    AnswersAtOnce, AnyEngine, AnySessions, Change, Config, Grant, InstanceOptions, SessionError,
    World,
};
use clawdb_session_testkit::fixture::{AGENT, OTHER_AGENT, PlainGuard, refusal, request};

/// An instance of a world, with a state key.
async fn instance(world: World, guard: &Arc<PlainGuard>) -> AnySessions {
    let guard = AnswersAtOnce::new(guard.clone());
    let instances = InstanceOptions::new(AnyEngine::new(world).unwrap(), guard);
    let sessions = AnySessions::start(instances).await.unwrap();
    let config = Config::with_state_key([1; 32]);
    sessions.configure(config).await.unwrap();
    sessions
}

async fn records(sessions: &AnySessions) -> Vec<Change> {
    let page = sessions.changes(0, 1_000).await.unwrap();
    assert!(!page.more);
    page.changes
}

async fn create(sessions: &AnySessions, agent: &str) -> Grant {
    sessions.create(request(agent)).await.unwrap()
}

#[tokio::test]
async fn r23_each_world_restores_the_records_of_the_other() {
    for (first, second) in [
        (World::Session, World::SessionSync),
        (World::SessionSync, World::Session),
    ] {
        let guard = Arc::new(PlainGuard::default());
        let before = instance(first, &guard).await;
        let live = create(&before, AGENT).await;
        let refreshed = create(&before, AGENT).await;
        let newest = before.refresh(&*refreshed.session.id).await.unwrap();
        let revoked = create(&before, AGENT).await;
        before.revoke(&*revoked.session.id).await.unwrap();
        let killed = create(&before, OTHER_AGENT).await;
        assert_eq!(before.revoke_all_for_agent(OTHER_AGENT).await, Ok(1));
        let kept = records(&before).await;

        let after = instance(second, &guard).await;
        after.restore(kept.clone()).await.unwrap();
        assert_eq!(records(&after).await.len(), kept.len(), "{second}");
        for grant in [&live, &newest] {
            let session = after.validate(&*grant.token).await.unwrap();
            assert_eq!(session, grant.session, "{second}");
        }
        for grant in [&refreshed, &revoked, &killed] {
            let refused = refusal(after.validate(&*grant.token).await);
            assert_eq!(refused, SessionError::InvalidToken, "{second}");
        }
    }
}
