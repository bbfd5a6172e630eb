//! The composed component.

use std::sync::Arc;

use clawdb_session_component::{COMPOSED as BYTES, SYNC_COMPONENT};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{Instant, LocalGuard};
use clawdb_session_testkit::ManualClock;
#[cfg(target_os = "linux")]
use clawdb_session_testkit::{ProcessMemory, Secrets};
use wasmtime::Store;

use crate::host::session::SessionSync;
use crate::host::session::clawdb::session_sync::guard::GuardError;
use crate::host::session::exports::clawdb::session_sync::sessions::{
    CreateRequest, Error, Grant, Guest as Sessions, Session,
};
use crate::host::session::exports::clawdb::session_sync::settings::Config;
use crate::host::{COMPOSED, Host, KEY, KeyError, START, keyed::Keyed};

const AGENT: &str = "0a9e0000-0000-4000-8000-000000000001";
const OTHER_KEY: [u8; 32] = [8; 32];

/// An instance of the composed component.
struct Composed {
    store: Store<Host>,
    component: SessionSync,
    keyed: Keyed,
}

impl Composed {
    /// Starts an instance without a key.
    fn start() -> Self {
        let (mut store, instance) = COMPOSED.start();
        let component = SessionSync::new(&mut store, &instance).unwrap();
        let keyed = Keyed::new(&mut store, &instance).unwrap();
        Self {
            store,
            component,
            keyed,
        }
    }

    /// Starts an instance with a key.
    fn with_key() -> Self {
        let mut composed = Self::start();
        composed.set_key(&KEY).unwrap();
        composed
    }

    fn set_key(&mut self, key: &[u8]) -> Result<(), KeyError> {
        let keys = self.keyed.clawdb_jwt_guard_keys();
        keys.call_set_key(&mut self.store, key).unwrap()
    }

    fn drop_previous_keys(&mut self) -> u32 {
        let keys = self.keyed.clawdb_jwt_guard_keys();
        keys.call_drop_previous_keys(&mut self.store).unwrap()
    }

    fn sessions(&mut self) -> (&Sessions, &mut Store<Host>) {
        (
            self.component.clawdb_session_sync_sessions(),
            &mut self.store,
        )
    }

    fn create(&mut self) -> Result<Grant, Error> {
        self.create_with_role("worker")
    }

    fn create_with_role(&mut self, role: &str) -> Result<Grant, Error> {
        let request = CreateRequest {
            agent_id: AGENT.into(),
            role: role.into(),
            scopes: vec!["tool:*".into()],
            task_type: None,
            expires_in: Some(60),
            metadata: None,
            max_uses: None,
        };
        let (sessions, store) = self.sessions();
        sessions.call_create(store, &request).unwrap()
    }

    fn validate(&mut self, token: &str) -> Result<Session, Error> {
        let (sessions, store) = self.sessions();
        sessions.call_validate(store, token).unwrap()
    }

    fn rotate(&mut self, token: &str) -> Result<Grant, Error> {
        let (sessions, store) = self.sessions();
        sessions.call_rotate(store, token).unwrap()
    }

    fn refresh(&mut self, session: &str) -> Result<Grant, Error> {
        let (sessions, store) = self.sessions();
        sessions.call_refresh(store, session).unwrap()
    }

    /// Returns whether the guard confirmed the revocation of the token.
    fn revoke(&mut self, session: &str) -> Result<bool, Error> {
        let (sessions, store) = self.sessions();
        let revoked = sessions.call_revoke(store, session).unwrap();
        revoked.map(|it| it.guard_confirmed)
    }

    /// Returns how many revocations the guard settled, and how many are pending.
    fn flush(&mut self) -> (u32, u32) {
        let (sessions, store) = self.sessions();
        let report = sessions.call_flush_guard_revocations(store).unwrap();
        (report.settled, report.pending)
    }

    /// Returns an instance without a key that has the sessions of this one.
    fn restored(&mut self) -> Self {
        let persistence = self.component.clawdb_session_sync_persistence();
        let page = persistence.call_changes(&mut self.store, 0, 1_000);
        let changes = page.unwrap().unwrap().changes;
        let mut other = Self::start();
        other.configure();
        let persistence = other.component.clawdb_session_sync_persistence();
        let restored = persistence.call_restore(&mut other.store, &changes);
        restored.unwrap().unwrap();
        other
    }

    fn configure(&mut self) {
        let settings = self.component.clawdb_session_sync_settings();
        let config = Config {
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
            state_key: Some(vec![1; 32]),
            previous_state_keys: Vec::new(),
        };
        let configured = settings.call_configure(&mut self.store, &config);
        configured.unwrap().unwrap();
    }
}

/// Returns whether the guard was unavailable because it has no key.
fn has_no_key(error: &Error) -> bool {
    matches!(error, Error::Guard(GuardError::Unavailable(why)) if why.contains("set-key"))
}

#[test]
fn it_imports_a_clock_and_random_bytes_of_wasi_and_exports_the_sessions_and_the_keys() {
    let (imports, exports) = COMPOSED.names();
    assert_eq!(
        imports,
        ["wasi:clocks/wall-clock@0.2.0", "wasi:random/random@0.2.0"]
    );
    assert_eq!(
        exports,
        [
            "clawdb:session-sync/sessions@0.1.0",
            "clawdb:session-sync/legacy@0.1.0",
            "clawdb:session-sync/events@0.1.0",
            "clawdb:session-sync/persistence@0.1.0",
            "clawdb:session-sync/settings@0.1.0",
            "clawdb:jwt-guard/keys@0.1.0",
        ]
    );
}

#[test]
fn the_guard_adds_at_most_70_kb() {
    let added = BYTES.len() - SYNC_COMPONENT.len();
    assert!(added <= 70_000, "{added} bytes");
}

#[test]
fn without_a_key_nothing_is_created_and_the_instance_goes_on() {
    let mut composed = Composed::start();
    assert_eq!(composed.drop_previous_keys(), 0);
    let refused = composed.create().unwrap_err();
    assert!(has_no_key(&refused), "{refused:?}");
    composed.set_key(&KEY).unwrap();
    let grant = composed.create().unwrap();
    composed.validate(&grant.token).unwrap();
}

#[test]
fn a_key_has_32_to_1024_bytes_and_a_refused_one_changes_nothing() {
    let mut composed = Composed::with_key();
    let grant = composed.create().unwrap();
    for (bytes, result) in [
        (0, Err(KeyError::TooShort)),
        (31, Err(KeyError::TooShort)),
        (1_025, Err(KeyError::TooLong)),
        (1_000_000, Err(KeyError::TooLong)),
    ] {
        assert_eq!(composed.set_key(&vec![9; bytes]), result, "{bytes}");
    }
    assert_eq!(composed.drop_previous_keys(), 0);
    composed.validate(&grant.token).unwrap();
    for bytes in [32, 64, 65, 1_024] {
        composed.set_key(&vec![9; bytes]).unwrap();
        let grant = composed.create().unwrap();
        composed.validate(&grant.token).unwrap();
    }
    assert_eq!(composed.drop_previous_keys(), 4);
}

#[test]
fn a_session_is_created_validated_rotated_and_revoked() {
    let mut composed = Composed::with_key();
    let grant = composed.create().unwrap();
    let session = composed.validate(&grant.token).unwrap();
    assert_eq!(
        (&session.id, &*session.agent_id),
        (&grant.session.id, AGENT)
    );
    let rotated = composed.rotate(&grant.token).unwrap();
    let refused = composed.validate(&grant.token);
    assert!(matches!(refused, Err(Error::InvalidToken)), "{refused:?}");
    composed.validate(&rotated.token).unwrap();
    assert!(composed.revoke(&session.id).unwrap(), "the guard confirms");
    let refused = composed.validate(&rotated.token);
    assert!(matches!(refused, Err(Error::InvalidToken)), "{refused:?}");
    let refused = composed.revoke(&session.id);
    assert!(
        matches!(refused, Err(Error::SessionNotFound)),
        "{refused:?}"
    );
}

#[test]
fn a_session_expires_by_the_wall_clock_of_the_host() {
    let mut composed = Composed::with_key();
    let grant = composed.create().unwrap();
    composed.store.data_mut().now = (START + 60, 0);
    let refused = composed.validate(&grant.token);
    assert!(matches!(refused, Err(Error::SessionExpired)), "{refused:?}");
}

#[test]
fn tokens_that_it_did_not_issue_are_refused() {
    let mut composed = Composed::with_key();
    let grant = composed.create().unwrap();
    let mut other = Composed::with_key();
    other.create().unwrap();
    let foreign = other.create().unwrap().token;
    let changed = grant.token.replace('.', ".A");
    for token in ["", "x", "a.b.c", &foreign, &changed, &"x".repeat(8_192)] {
        let refused = composed.validate(token);
        assert!(matches!(refused, Err(Error::InvalidToken)), "{refused:?}");
    }
    composed.validate(&grant.token).unwrap();
}

#[test]
fn tokens_of_a_replaced_key_stay_valid_until_it_is_dropped() {
    let mut composed = Composed::with_key();
    let before = composed.create().unwrap();
    composed.set_key(&OTHER_KEY).unwrap();
    let after = composed.create().unwrap();
    composed.validate(&before.token).unwrap();
    composed.validate(&after.token).unwrap();
    assert_eq!(composed.drop_previous_keys(), 1);
    let refused = composed.validate(&before.token).unwrap_err();
    assert!(
        matches!(refused, Error::Guard(GuardError::InvalidToken)),
        "{refused:?}"
    );
    // A refresh gives the session a token of the current key.
    let refreshed = composed.refresh(&before.session.id).unwrap();
    composed.validate(&refreshed.token).unwrap();
    composed.validate(&after.token).unwrap();
}

/// Returns the native guard with this key and the composed component's clock.
fn native(key: &[u8]) -> JwtGuard {
    let start = Instant {
        seconds: START.try_into().unwrap(),
        nanoseconds: 0,
    };
    let guard = JwtGuard::new(key).unwrap();
    guard.with_clock(Arc::new(ManualClock::new(start)))
}

#[test]
fn the_native_guard_with_the_same_key_accepts_its_tokens() {
    let grant = Composed::with_key().create().unwrap();
    let claims = native(&KEY).validate_token(grant.token.clone()).unwrap();
    assert_eq!(claims.expires_at, grant.session.expires_at);
    native(&OTHER_KEY).validate_token(grant.token).unwrap_err();
}

#[test]
fn another_instance_restores_the_sessions_and_needs_the_key() {
    let mut composed = Composed::with_key();
    composed.configure();
    let grant = composed.create().unwrap();
    let ended = composed.create().unwrap();
    composed.revoke(&ended.session.id).unwrap();
    let mut other = composed.restored();
    let refused = other.validate(&grant.token).unwrap_err();
    assert!(has_no_key(&refused), "{refused:?}");
    other.set_key(&KEY).unwrap();
    other.validate(&grant.token).unwrap();
    let refused = other.validate(&ended.token);
    assert!(matches!(refused, Err(Error::InvalidToken)), "{refused:?}");
}

#[test]
fn a_session_ends_without_a_key_and_its_token_is_revoked_when_there_is_one() {
    let mut composed = Composed::with_key();
    composed.configure();
    let grant = composed.create().unwrap();
    let mut other = composed.restored();
    assert!(
        !other.revoke(&grant.session.id).unwrap(),
        "the guard has no key"
    );
    assert_eq!(other.flush(), (0, 1));
    other.set_key(&KEY).unwrap();
    let refused = other.validate(&grant.token);
    assert!(matches!(refused, Err(Error::InvalidToken)), "{refused:?}");
    assert_eq!(other.flush(), (1, 0));
}

#[test]
fn a_source_without_random_bytes_fails_a_create_and_not_the_instance() {
    let mut composed = Composed::with_key();
    let grant = composed.create().unwrap();
    composed.store.data_mut().most_random_bytes = 0;
    composed.create().unwrap_err();
    composed.validate(&grant.token).unwrap();
    composed.store.data_mut().most_random_bytes = 5;
    let grant = composed.create().unwrap();
    composed.validate(&grant.token).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn r22_after_calls_neither_linear_memory_contains_a_token_or_a_key_as_it_was_set() {
    let keys: [Vec<u8>; 2] = [(100..132).collect(), (200..232).collect()];
    let mut composed = Composed::start();
    let mut secrets = Secrets::default();
    for key in &keys {
        composed.set_key(key).unwrap();
        secrets.add_key("a key", key);
        for _ in 0..20 {
            let grant = composed.create().unwrap();
            composed.validate(&grant.token).unwrap();
            composed.validate(&grant.token[1..]).unwrap_err();
            secrets.add_token("a token", &grant.token);
        }
    }
    assert_eq!(composed.drop_previous_keys(), 1);
    let role = "the-role-of-a-live-session";
    let grant = composed.create_with_role(role).unwrap();
    secrets.add_token("a token", &grant.token);
    let memories = ProcessMemory::of("self").linear_memories();
    let role = Secrets::of("role", role);
    let has_session = |memory: &Vec<u8>| !role.found_in(memory).is_empty();
    assert!(memories.iter().any(has_session), "no memory was searched");
    for memory in memories {
        secrets.assert_absent("a linear memory", &memory);
    }
}
