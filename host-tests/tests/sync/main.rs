//! The component of the world `session-sync`, in plain wasmtime without a runtime.

use std::collections::BTreeMap;

use clawdb_session_component::SYNC_COMPONENT;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/sync",
        world: "session-sync",
    });
}

use bindings::SessionSync;
use bindings::clawdb::session_sync::guard::{self, Claims, GuardError, IssueRequest, IssuedToken};
use bindings::exports::clawdb::session_sync::sessions::{CreateRequest, Error, Grant, Session};
use bindings::exports::clawdb::session_sync::settings;
use bindings::wasi::clocks::wall_clock::{self, Datetime};
use bindings::wasi::random::random;

const AGENT: &str = "0a9e0000-0000-4000-8000-000000000001";

/// The host: a guard that keeps its tokens in a map, a clock, and random bytes.
#[derive(Default)]
struct Host {
    /// The handle of each token, and when it expires. A revoked token is removed.
    tokens: BTreeMap<String, (String, u64)>,
    issued: u32,
    /// Whether the guard is unavailable for revocations.
    revokes_fail: bool,
    /// Seconds since 1970.
    now: u64,
    random: u64,
}

impl guard::Host for Host {
    fn issue_session_token(&mut self, request: IssueRequest) -> Result<IssuedToken, GuardError> {
        self.issued += 1;
        let (token, handle) = (
            format!("token-{}", self.issued),
            format!("handle-{}", self.issued),
        );
        let known = (handle.clone(), request.expires_at);
        self.tokens.insert(token.clone(), known);
        Ok(IssuedToken {
            token,
            handle,
            expires_at: request.expires_at,
        })
    }

    fn validate_token(&mut self, token: String) -> Result<Claims, GuardError> {
        let known = self.tokens.get(&token).cloned();
        let (handle, expires_at) = known.ok_or(GuardError::Revoked)?;
        Ok(Claims { handle, expires_at })
    }

    fn validate_tokens(&mut self, tokens: Vec<String>) -> Vec<Result<Claims, GuardError>> {
        let tokens = tokens.into_iter();
        tokens.map(|token| self.validate_token(token)).collect()
    }

    fn revoke_tokens(&mut self, handles: Vec<String>) -> Vec<Result<(), GuardError>> {
        if self.revokes_fail {
            let reason = "the changes are not stored yet".into();
            return vec![Err(GuardError::Unavailable(reason)); handles.len()];
        }
        self.tokens
            .retain(|_, (handle, _)| !handles.contains(handle));
        vec![Ok(()); handles.len()]
    }
}

impl wall_clock::Host for Host {
    fn now(&mut self) -> Datetime {
        Datetime {
            seconds: self.now,
            nanoseconds: 0,
        }
    }

    fn resolution(&mut self) -> Datetime {
        unreachable!("the component reads the time only")
    }
}

impl random::Host for Host {
    fn get_random_bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < len {
            self.random += 1;
            bytes.extend(
                self.random
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .to_le_bytes(),
            );
        }
        bytes
    }

    fn get_random_u64(&mut self) -> u64 {
        unreachable!("the component draws bytes only")
    }
}

struct Instance {
    store: Store<Host>,
    component: SessionSync,
}

/// Returns the default configuration.
fn defaults() -> settings::Config {
    settings::Config {
        workspace_id: None,
        default_ttl: None,
        max_lifetime: None,
        max_sessions: None,
        max_sessions_per_agent: None,
        agent_overflow: None,
        max_sessions_per_root: None,
        max_depth: None,
        rotation_grace: None,
        idle_timeout: None,
        guard_recheck_interval: None,
        clock_tolerance: None,
        event_capacity: None,
        max_state_bytes: None,
        state_key: None,
        previous_state_keys: Vec::new(),
    }
}

fn engine() -> Engine {
    // Calls of a world without `async func` need no support for concurrency, which costs time.
    let mut config = Config::new();
    config.concurrency_support(false);
    Engine::new(&config).unwrap()
}

impl Instance {
    fn start() -> Self {
        let engine = engine();
        let component = Component::new(&engine, SYNC_COMPONENT).unwrap();
        let mut linker = Linker::new(&engine);
        SessionSync::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host).unwrap();
        let host = Host {
            now: 1_893_456_000,
            ..Host::default()
        };
        let mut store = Store::new(&engine, host);
        let component = SessionSync::instantiate(&mut store, &component, &linker).unwrap();
        Self { store, component }
    }

    fn configure(&mut self, config: &settings::Config) {
        let settings = self.component.clawdb_session_sync_settings();
        let configured = settings.call_configure(&mut self.store, config);
        configured.unwrap().unwrap();
    }

    fn create(&mut self) -> Result<Grant, Error> {
        let request = CreateRequest {
            agent_id: AGENT.into(),
            role: "worker".into(),
            scopes: vec!["tool:*".into()],
            task_type: None,
            expires_in: Some(60),
            metadata: None,
            max_uses: None,
        };
        let sessions = self.component.clawdb_session_sync_sessions();
        sessions.call_create(&mut self.store, &request).unwrap()
    }

    fn validate(&mut self, token: &str) -> Result<Session, Error> {
        let sessions = self.component.clawdb_session_sync_sessions();
        sessions.call_validate(&mut self.store, token).unwrap()
    }

    /// Returns the sequence number of the newest change.
    fn last_change(&mut self) -> u64 {
        let persistence = self.component.clawdb_session_sync_persistence();
        let page = persistence.call_changes(&mut self.store, 0, 1_000);
        page.unwrap().unwrap().next
    }

    /// Flushes with a guard that is available. Returns how many revocations are settled, and how
    /// many are pending.
    fn flush_stored_revocations(&mut self, stored: u64) -> (u32, u32) {
        let persistence = self.component.clawdb_session_sync_persistence();
        self.store.data_mut().revokes_fail = false;
        let report = persistence.call_flush_stored_revocations(&mut self.store, stored);
        self.store.data_mut().revokes_fail = true;
        let report = report.unwrap().unwrap();
        (report.settled, report.pending)
    }

    fn revoke_all_for_agent(&mut self) -> u32 {
        let sessions = self.component.clawdb_session_sync_sessions();
        let ended = sessions.call_revoke_all_for_agent(&mut self.store, AGENT);
        ended.unwrap().unwrap()
    }
}

#[test]
fn the_component_imports_a_guard_a_clock_and_random_bytes_of_wasi_0_2_and_nothing_else() {
    let engine = engine();
    let component = Component::new(&engine, SYNC_COMPONENT).unwrap();
    let component = component.component_type();
    let imports: Vec<_> = component.imports(&engine).map(|(name, _)| name).collect();
    assert_eq!(
        imports,
        [
            "clawdb:session-sync/guard@0.1.0",
            "wasi:clocks/wall-clock@0.2.0",
            "wasi:random/random@0.2.0"
        ]
    );
    let exports: Vec<_> = component.exports(&engine).map(|(name, _)| name).collect();
    assert_eq!(
        exports,
        [
            "clawdb:session-sync/sessions@0.1.0",
            "clawdb:session-sync/legacy@0.1.0",
            "clawdb:session-sync/events@0.1.0",
            "clawdb:session-sync/persistence@0.1.0",
            "clawdb:session-sync/settings@0.1.0",
        ]
    );
}

#[test]
fn the_component_is_smaller_than_252_kb() {
    assert!(
        SYNC_COMPONENT.len() < 252_000,
        "{} bytes",
        SYNC_COMPONENT.len()
    );
}

#[test]
fn r12_a_session_is_created_and_validated_until_the_kill_switch_ends_it() {
    let mut instance = Instance::start();
    let grant = instance.create().unwrap();
    let session = instance.validate(&grant.token).unwrap();
    assert_eq!(
        (session.id, session.agent_id.as_str()),
        (grant.session.id, AGENT)
    );
    assert_eq!(instance.revoke_all_for_agent(), 1);
    let refused = instance.validate(&grant.token);
    assert!(matches!(refused, Err(Error::InvalidToken)), "{refused:?}");
    assert!(
        instance.store.data().tokens.is_empty(),
        "the guard has revoked it"
    );
}

#[test]
fn r12_a_host_stores_the_changes_of_a_call_before_its_guard_revokes_the_tokens() {
    let mut instance = Instance::start();
    instance.configure(&settings::Config {
        state_key: Some(vec![7; 32]),
        ..defaults()
    });
    instance.store.data_mut().revokes_fail = true;
    for _ in 0..3 {
        instance.create().unwrap();
    }
    let stored = instance.last_change();
    assert_eq!(instance.revoke_all_for_agent(), 3);
    assert_eq!(instance.flush_stored_revocations(stored), (0, 3));
    assert_eq!(instance.store.data().tokens.len(), 3);
    let stored = instance.last_change();
    assert_eq!(instance.flush_stored_revocations(stored), (3, 0));
    assert!(instance.store.data().tokens.is_empty());
}

#[test]
fn r05_a_session_expires_by_the_wall_clock_of_the_host() {
    let mut instance = Instance::start();
    let grant = instance.create().unwrap();
    instance.store.data_mut().now += 60;
    let refused = instance.validate(&grant.token);
    assert!(matches!(refused, Err(Error::SessionExpired)), "{refused:?}");
}

#[test]
fn r20_a_kill_switch_for_many_sessions_ends_10_000_in_a_call_and_revokes_all() {
    let mut instance = Instance::start();
    instance.configure(&settings::Config {
        max_sessions_per_agent: Some(20_000),
        ..defaults()
    });
    let grants: Vec<_> = (0..10_500).map(|_| instance.create().unwrap()).collect();
    assert_eq!(instance.revoke_all_for_agent(), 10_000);
    for grant in grants.iter().step_by(500) {
        let refused = instance.validate(&grant.token);
        assert!(matches!(refused, Err(Error::InvalidToken)), "{refused:?}");
    }
    let sessions = instance.component.clawdb_session_sync_sessions();
    let left = sessions
        .call_prune_expired(&mut instance.store, None)
        .unwrap();
    assert!((490..=500).contains(&left), "{left}");
}
