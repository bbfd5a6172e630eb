//! The fixture of the tests: a manager over an instance whose guard and clock tests control.

use std::sync::Arc;

use clawdb_session_host::{
    AnswersAtOnce, Config, HostOptions, LocalEngine, LocalOptions, LocalSessions, SessionHost,
    World,
};
use clawdb_session_manager::SessionManager;
use clawdb_session_testkit::fixture::{PlainGuard, engine};
use clawdb_session_testkit::{CONTROLLED_START, ControlledGuard, ManualClock};
use uuid::Uuid;

pub const WORLDS: [World; 2] = [World::Session, World::SessionSync];

/// A manager with the controls of its instance.
pub struct Fixture {
    pub manager: Arc<SessionManager>,
    pub guard: Arc<ControlledGuard>,
    pub tokens: Arc<PlainGuard>,
    pub clock: Arc<ManualClock>,
}

impl Fixture {
    /// Starts an instance of a world, without a runtime.
    pub fn new(world: World) -> Self {
        Self::configured(world, Config::default())
    }

    pub fn configured(world: World, config: Config) -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let tokens = Arc::new(PlainGuard::default());
        let guard = Arc::new(ControlledGuard::new(tokens.clone()));
        let manager = if world == World::SessionSync {
            let options = LocalOptions {
                clock: clock.clone(),
                ..LocalOptions::new(AnswersAtOnce::new(guard.clone()))
            };
            let sessions = LocalSessions::start(&LocalEngine::new().unwrap(), options).unwrap();
            sessions.configure(config).unwrap();
            SessionManager::new(sessions)
        } else {
            let options = HostOptions {
                clock: clock.clone(),
                guard_deadline: None,
                ..HostOptions::with_shared_guard(guard.clone())
            };
            let host = SessionHost::start_on_own_thread(engine(), options).unwrap();
            let calls = host.blocking_calls().unwrap();
            let configured = calls.wait_for(|host| async move { host.configure(config).await });
            configured.unwrap().unwrap();
            SessionManager::new(host)
        };
        Self {
            manager: Arc::new(manager.unwrap()),
            guard,
            tokens,
            clock,
        }
    }

    /// Creates a session of an agent.
    pub async fn session(&self, agent: Uuid) -> clawdb_session_manager::ClawDBSession {
        let scopes = vec!["memory:read".into(), "tool:search".into()];
        let created = self.manager.create(agent, "worker", scopes, None).await;
        created.expect("a session is created")
    }
}

/// Returns the id of an agent.
pub fn agent() -> Uuid {
    Uuid::new_v4()
}
