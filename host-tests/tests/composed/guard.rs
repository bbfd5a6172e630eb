//! The guard component alone.

use std::sync::Arc;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{
    Claims as NativeClaims, GuardFailure, Instant, IssueRequest as NativeRequest, LocalGuard,
};
use clawdb_session_testkit::ManualClock;
use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use wasmtime::Store;

use crate::host::jwt_guard::JwtGuard as GuardComponent;
use crate::host::jwt_guard::exports::clawdb::session_sync::guard::{
    Claims, GuardError, IssueRequest, IssuedToken,
};
use crate::host::{GUARD, Host, KEY, START};

/// An instance of the guard component.
struct JwtGuardInstance {
    store: Store<Host>,
    component: GuardComponent,
}

impl JwtGuardInstance {
    /// Starts an instance without a key.
    fn without_key() -> Self {
        let (mut store, instance) = GUARD.start();
        let component = GuardComponent::new(&mut store, &instance).unwrap();
        Self { store, component }
    }

    /// Starts an instance with a key.
    fn start() -> Self {
        let mut guard = Self::without_key();
        let keys = guard.component.clawdb_jwt_guard_keys();
        keys.call_set_key(&mut guard.store, &KEY).unwrap().unwrap();
        guard
    }

    fn issue(&mut self, expires_at: u64) -> Result<IssuedToken, GuardError> {
        let request = IssueRequest {
            principal: "agent:a".into(),
            task: "default".into(),
            session_id: "s".into(),
            agent_id: "a".into(),
            workspace_id: "w".into(),
            role: "reader".into(),
            scopes: vec!["one".into(), "two".into()],
            expires_at,
        };
        let guard = self.component.clawdb_session_sync_guard();
        guard
            .call_issue_session_token(&mut self.store, &request)
            .unwrap()
    }

    fn validate(&mut self, token: &str) -> Result<Claims, GuardError> {
        let guard = self.component.clawdb_session_sync_guard();
        guard.call_validate_token(&mut self.store, token).unwrap()
    }

    fn validate_all(&mut self, tokens: &[String]) -> Vec<Result<Claims, GuardError>> {
        let guard = self.component.clawdb_session_sync_guard();
        guard.call_validate_tokens(&mut self.store, tokens).unwrap()
    }

    fn revoke(&mut self, handles: &[String]) -> Vec<Result<(), GuardError>> {
        let guard = self.component.clawdb_session_sync_guard();
        guard.call_revoke_tokens(&mut self.store, handles).unwrap()
    }
}

/// Returns the native guard with the same key and the same time.
fn native() -> JwtGuard {
    let start = Instant {
        seconds: START.try_into().unwrap(),
        nanoseconds: 0,
    };
    let guard = JwtGuard::new(&KEY).unwrap();
    guard.with_clock(Arc::new(ManualClock::new(start)))
}

/// Returns the token with these claims, signed with the key.
fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(&KEY);
    jsonwebtoken::encode(&Header::default(), claims, &key).unwrap()
}

/// Returns the time that is this many seconds after the start, in milliseconds.
fn after(seconds: u64) -> u64 {
    (START + seconds) * 1_000
}

#[test]
fn it_imports_a_clock_and_random_bytes_and_exports_the_guard_and_the_keys() {
    let (imports, exports) = GUARD.names();
    assert_eq!(
        imports,
        ["wasi:clocks/wall-clock@0.2.0", "wasi:random/random@0.2.0"]
    );
    assert_eq!(
        exports,
        [
            "clawdb:session-sync/guard@0.1.0",
            "clawdb:jwt-guard/keys@0.1.0"
        ]
    );
}

#[test]
fn without_a_key_each_function_is_unavailable() {
    let mut guard = JwtGuardInstance::without_key();
    let texts = ["x".to_owned(), "y".to_owned()];
    let issued = guard.issue(after(60)).map(drop);
    let validated = guard.validate("x").map(drop);
    let mut results = vec![issued, validated];
    let validated = guard.validate_all(&texts);
    results.extend(validated.into_iter().map(|it| it.map(drop)));
    results.extend(guard.revoke(&texts));
    assert_eq!(results.len(), 6);
    for result in results {
        assert!(
            matches!(&result, Err(GuardError::Unavailable(why)) if why.contains("set-key")),
            "{result:?}"
        );
    }
}

#[test]
fn it_and_the_native_guard_issue_the_same_token_except_for_its_id() {
    let issued = JwtGuardInstance::start().issue(after(60) - 500).unwrap();
    let request = NativeRequest {
        principal: "agent:a".into(),
        task: "default".into(),
        session_id: "s".into(),
        agent_id: "a".into(),
        workspace_id: "w".into(),
        role: "reader".into(),
        scopes: vec!["one".into(), "two".into()],
        expires_at: after(60) - 500,
    };
    let theirs = native().issue_session_token(request).unwrap();
    assert_eq!(issued.expires_at, theirs.expires_at);
    assert_ne!(issued.handle, theirs.handle);
    let claims = |token: &str, handle: &str| {
        let token = insecure_decode::<Value>(token).unwrap();
        assert_eq!(token.header.alg, Algorithm::HS256);
        token.claims.to_string().replace(handle, "HANDLE")
    };
    assert_eq!(
        claims(&issued.token, &issued.handle),
        claims(&theirs.token, &theirs.handle)
    );
    assert_eq!(issued.handle.len(), theirs.handle.len());
}

#[test]
fn it_and_the_native_guard_judge_tokens_alike() {
    let mut guard = JwtGuardInstance::start();
    let native = native();
    let good = json!({ "iss": "clawdb-session", "exp": START + 60, "jti": "x" });
    let with = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        signed(&claims)
    };
    let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjbGF3ZGItc2Vzc2lvbiJ9.";
    let tokens = [
        signed(&good),
        guard.issue(after(60)).unwrap().token,
        with("exp", json!(START)),
        with("exp", json!(START + 1)),
        with("exp", json!(u64::MAX)),
        with("exp", json!("x")),
        with("iat", json!(START + 60)),
        with("iat", json!(START + 61)),
        with("iss", json!("another issuer")),
        with("aud", json!("someone")),
        with("jti", Value::Null),
        signed(&good) + "A",
        unsigned.into(),
        "x".repeat(9_000),
        "\u{1f600}.\u{1f600}.\u{1f600}".into(),
        String::new(),
    ];
    let mut accepted = 0;
    for token in &tokens {
        let validated = guard.validate(token);
        let theirs = native.validate_token(token.clone());
        accepted += u32::from(validated.is_ok());
        assert_eq!(text(&validated), native_text(&theirs), "{token}");
    }
    assert_eq!(accepted, 5);
    let alone: Vec<_> = tokens
        .iter()
        .map(|token| text(&guard.validate(token)))
        .collect();
    let together: Vec<_> = guard.validate_all(&tokens).iter().map(text).collect();
    assert_eq!(alone, together);
}

/// Returns what a guard answered about a token.
fn text(validated: &Result<Claims, GuardError>) -> String {
    match validated {
        Ok(claims) => format!("{} until {}", claims.handle, claims.expires_at),
        Err(error) => format!("{error:?}").replace("GuardError::", ""),
    }
}

fn native_text(validated: &Result<NativeClaims, GuardFailure>) -> String {
    match validated {
        Ok(claims) => format!("{} until {}", claims.handle, claims.expires_at),
        Err(GuardFailure::Error(error)) => format!("{error:?}"),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn a_revoked_token_is_refused_until_it_has_expired() {
    let mut guard = JwtGuardInstance::start();
    let issued = guard.issue(after(60)).unwrap();
    let other = guard.issue(after(60)).unwrap();
    let handles = [issued.handle.clone(), "no handle".into(), issued.handle];
    let revoked = guard.revoke(&handles);
    assert!(
        matches!(revoked[..], [Ok(()), Err(GuardError::InvalidToken), Ok(())]),
        "{revoked:?}"
    );
    assert_eq!(text(&guard.validate(&issued.token)), "Revoked");
    guard.validate(&other.token).unwrap();
    guard.store.data_mut().now = (START + 60, 0);
    assert_eq!(text(&guard.validate(&issued.token)), "Expired");
}

#[test]
fn no_reading_of_the_clock_and_no_request_makes_it_trap() {
    let mut guard = JwtGuardInstance::start();
    let issued = guard.issue(after(60)).unwrap();
    for seconds in [0, 1, START, u64::MAX / 1_000, u64::MAX] {
        for nanoseconds in [0, 999_999_999, u32::MAX] {
            guard.store.data_mut().now = (seconds, nanoseconds);
            for expires_at in [0, 1, after(60), u64::MAX] {
                guard.issue(expires_at).unwrap();
            }
            let _ = guard.validate(&issued.token);
            let handles = [
                format!("x.{}", u64::MAX),
                "x".repeat(100_000),
                String::new(),
            ];
            assert!(guard.revoke(&handles)[0].is_ok());
        }
    }
    guard.store.data_mut().now = (START, 0);
    guard.validate(&issued.token).unwrap();
    assert!(guard.validate_all(&[]).is_empty());
    assert!(guard.revoke(&[]).is_empty());
}

#[test]
fn a_failed_reading_is_replaced_with_the_last_good_one() {
    let mut guard = JwtGuardInstance::start();
    let issued = guard.issue(after(60)).unwrap();
    guard.store.data_mut().now = (0, 0);
    guard.validate(&issued.token).unwrap();
    guard.store.data_mut().now = (START + 60, 0);
    guard.validate(&issued.token).unwrap_err();
    guard.store.data_mut().now = (0, 0);
    guard.validate(&issued.token).unwrap_err();
}
