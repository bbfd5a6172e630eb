//! The fixture of the tests: durable hosts on one journal, with a controlled guard and clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_durable::{DurableError, DurableHost, DurableOptions, Journal, TenantId};
use clawdb_session_host::{AnyEngine, Config, Grant, InstanceOptions, SessionError};
use clawdb_session_testkit::fixture::{AGENT, PlainGuard, request};
use clawdb_session_testkit::{
    CONTROLLED_START, ControlledGuard, ManualClock, controlled_instances,
};

use crate::WORLD;
use crate::journal::TestJournal;

pub const TENANT: TenantId = TenantId::new(uuid::Uuid::from_u128(7));

/// Returns the component of the world of these tests.
pub fn engine() -> AnyEngine {
    AnyEngine::new(WORLD).expect("the component compiles")
}

pub struct DurableFixture {
    pub journal: TestJournal,
    pub guard: Arc<ControlledGuard>,
    /// The guard that `guard` controls.
    pub tokens: Arc<PlainGuard>,
    pub clock: Arc<ManualClock>,
    pub options: DurableOptions,
}

impl DurableFixture {
    pub fn new() -> Self {
        Self::on(TestJournal::new())
    }

    pub fn on(journal: TestJournal) -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let tokens = Arc::new(PlainGuard::default());
        let guard = Arc::new(ControlledGuard::new(tokens.clone()));
        let instances = controlled_instances(engine(), guard.clone(), clock.clone());
        let options = DurableOptions {
            tick: Duration::from_millis(10),
            report: Some(Arc::new(|_, text| eprintln!("the host {text}"))),
            ..DurableOptions::new(instances, keyed(1))
        };
        Self {
            journal,
            guard,
            tokens,
            clock,
            options,
        }
    }

    pub fn set_max_memory(&mut self, bytes: usize) {
        match &mut self.options.instances {
            InstanceOptions::Session(_, options) => options.max_memory = bytes,
            InstanceOptions::SessionSync(_, options) => options.max_memory = bytes,
        }
    }

    pub fn set_interrupt_after(&mut self, time: Duration) {
        match &mut self.options.instances {
            InstanceOptions::Session(_, options) => options.interrupt_after = time,
            InstanceOptions::SessionSync(_, options) => options.interrupt_after = time,
        }
    }

    pub async fn host(&self) -> DurableHost {
        self.try_host().await.expect("the host starts")
    }

    pub async fn try_host(&self) -> Result<DurableHost, DurableError> {
        self.host_on(self.journal.clone()).await
    }

    pub async fn host_on(&self, journal: TestJournal) -> Result<DurableHost, DurableError> {
        DurableHost::start(self.options.clone(), Arc::new(journal), TENANT).await
    }

    pub fn shared_journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.journal.clone())
    }
}

/// Returns the default configuration with this state key.
pub fn keyed(key: u8) -> Config {
    Config::with_state_key([key; 32])
}

pub async fn create(host: &DurableHost) -> Grant {
    host.create(request(AGENT))
        .await
        .expect("a session is created")
}

pub async fn assert_lives(host: &DurableHost, grant: &Grant) {
    let session = host.validate(&*grant.token).await;
    assert_eq!(
        session.map(|session| session.id),
        Ok(grant.session.id.clone())
    );
}

pub async fn assert_dead(host: &DurableHost, grant: &Grant) {
    let answer = host.validate(&*grant.token).await;
    assert!(
        matches!(
            answer,
            Err(DurableError::Session(
                SessionError::InvalidToken
                    | SessionError::SessionRevoked
                    | SessionError::SessionExpired
            ))
        ),
        "{answer:?}"
    );
}

/// Waits until the condition holds, for at most 30 s.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "not within 30 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Returns the reason of a `Retry`.
pub fn retry<T: std::fmt::Debug>(answer: Result<T, DurableError>) -> String {
    match answer {
        Err(DurableError::Retry(reason)) => reason.to_string(),
        answer => panic!("a retry was expected, not {answer:?}"),
    }
}
