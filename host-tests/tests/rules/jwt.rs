//! The component with the embedded guard: the size of its tokens, which tokens it accepts, and
//! which requests it denies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{
    Claims, Clock, CreateRequest, Grant, Guard, GuardError, GuardFailure, GuardResult, HostOptions,
    IssueRequest, IssuedToken, Session, SessionError, SessionHost,
};
use clawdb_session_testkit::fixture::{AGENT, OTHER_AGENT, at, engine, refusal, request};
use clawdb_session_testkit::{CONTROLLED_START, ControlledGuard, ManualClock};
use jsonwebtoken::{EncodingKey, Header, dangerous};
use serde_json::{Value, json};
use uuid::Uuid;

const SECRET: [u8; 32] = [7; 32];

/// The largest documented sets of scopes: their number, and the bytes of each.
const DOCUMENTED: [(usize, usize); 3] = [(128, 44), (23, 256), (128, 256)];

/// A guard that can be replaced while sessions are live, as in an upgrade or a change of its key.
struct ReplaceableGuard(Mutex<Arc<dyn Guard>>);

impl ReplaceableGuard {
    fn current(&self) -> Arc<dyn Guard> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Guard for ReplaceableGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.current().issue_session_token(request).await
    }
    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.current().validate_token(token).await
    }
    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.current().revoke_token(handle).await
    }
}

/// A guard that issues tokens as the first version of the embedded guard did.
struct FirstVersion;

#[async_trait]
impl Guard for FirstVersion {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let exp = request.expires_at.div_ceil(1_000);
        let handle = format!("{}.{exp}", Uuid::new_v4());
        let claims = json!({
            "iss": "clawdb-session",
            "sub": request.principal,
            "jti": handle,
            "iat": CONTROLLED_START.seconds,
            "exp": exp,
            "sid": request.session_id,
            "agent_id": request.agent_id,
            "workspace_id": request.workspace_id,
            "task": request.task,
            "role": request.role,
            "scope": request.scopes.join(" "),
        });
        let key = EncodingKey::from_secret(&SECRET);
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        Ok(IssuedToken {
            token,
            handle,
            expires_at: exp * 1_000,
        })
    }
    async fn validate_token(&self, _: String) -> GuardResult<Claims> {
        unreachable!("this guard only issues tokens")
    }
    async fn revoke_token(&self, _: String) -> GuardResult<()> {
        unreachable!("this guard only issues tokens")
    }
}

/// An instance with a guard that can be replaced.
struct JwtFixture {
    host: SessionHost,
    guard: Arc<ReplaceableGuard>,
    clock: Arc<ManualClock>,
}

impl JwtFixture {
    async fn new(guard: impl Guard) -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = Arc::new(ReplaceableGuard(Mutex::new(Arc::new(guard))));
        let options = HostOptions {
            clock: clock.clone(),
            ..HostOptions::with_shared_guard(guard.clone())
        };
        let host = SessionHost::start(engine(), options).await.unwrap();
        Self { host, guard, clock }
    }

    /// Starts an instance with the embedded guard. Both use the fixture's clock.
    async fn with_jwt() -> Self {
        let fixture = Self::new(FirstVersion).await;
        fixture.replace_guard(fixture.jwt());
        fixture
    }

    fn jwt(&self) -> JwtGuard {
        jwt(&SECRET, &self.clock)
    }

    /// Replaces the guard of the instance.
    fn replace_guard(&self, guard: impl Guard) -> Arc<dyn Guard> {
        let guard: Arc<dyn Guard> = Arc::new(guard);
        *self.guard.0.lock().unwrap() = guard.clone();
        guard
    }

    async fn create(&self) -> Grant {
        self.host.create(request(AGENT)).await.unwrap()
    }

    async fn validate(&self, grant: &Grant) -> Result<Session, SessionError> {
        match self.host.validate(grant.token.clone()).await {
            Ok(session) => Ok(session),
            refused => Err(refusal(refused)),
        }
    }
}

fn jwt(secret: &[u8], clock: &Arc<ManualClock>) -> JwtGuard {
    JwtGuard::new(secret).unwrap().with_clock(clock.clone())
}

fn scopes(count: usize, bytes: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:0>bytes$}")).collect()
}

/// Returns a request with these scopes and the largest other fields.
fn full_request(agent: &str, scopes: Vec<String>) -> CreateRequest {
    CreateRequest {
        role: "r".repeat(64),
        scopes,
        task_type: Some("t".repeat(128)),
        metadata: Some(json!("m".repeat(16_000)).to_string()),
        ..request(agent)
    }
}

fn claims_of(token: &str) -> Value {
    dangerous::insecure_decode::<Value>(token).unwrap().claims
}

fn denied(error: SessionError) -> String {
    match error {
        SessionError::Guard(GuardError::Denied(reason)) => reason,
        error => panic!("denied was expected, not {error:?}"),
    }
}

#[tokio::test]
async fn r02_the_embedded_guard_issues_tokens_for_all_documented_scopes() {
    let fixture = JwtFixture::with_jwt().await;
    let host = &fixture.host;
    for (count, bytes) in DOCUMENTED {
        let scopes = scopes(count, bytes);
        let asked = full_request(AGENT, scopes.clone());
        let created = host.create(asked).await.unwrap();
        let child = full_request(OTHER_AGENT, scopes.clone());
        let delegated = host.delegate(&*created.session.id, child).await.unwrap();
        let refreshed = host.refresh(&*created.session.id).await.unwrap();
        let rotated = host.rotate(refreshed.token.clone()).await.unwrap();
        for grant in [&delegated, &rotated] {
            let session = fixture.validate(grant).await.unwrap();
            assert_eq!(session.scopes, scopes);
        }
        for grant in [created, delegated, refreshed, rotated] {
            let length = grant.token.len();
            assert!(length <= 400, "{length} bytes: {}", claims_of(&grant.token));
        }
    }
}

#[tokio::test]
async fn a_token_has_six_claims_a_short_header_and_at_most_400_bytes() {
    let fixture = JwtFixture::with_jwt().await;
    // Times in the year 9999 have the largest number of digits.
    fixture.clock.set(at(253_402_300_700));
    let asked = full_request(AGENT, scopes(128, 256));
    let grant = fixture.host.create(asked).await.unwrap();
    assert!(grant.token.len() <= 400, "{} bytes", grant.token.len());

    let claims = claims_of(&grant.token);
    let mut names: Vec<_> = claims.as_object().unwrap().keys().cloned().collect();
    names.sort_unstable();
    assert_eq!(names, ["exp", "iat", "iss", "jti", "sid", "sub"]);
    assert_eq!(claims["sub"], format!("agent:{AGENT}"));
    assert_eq!(claims["sid"], grant.session.id);
    assert_eq!(claims["iat"], 253_402_300_700_u64);
    assert!(
        grant.token.starts_with("eyJhbGciOiJIUzI1NiJ9."),
        "the header has only `alg`"
    );
}

#[tokio::test]
async fn full_claims_are_in_the_token_as_long_as_they_fit() {
    let fixture = JwtFixture::with_jwt().await;
    fixture.replace_guard(fixture.jwt().with_full_claims());
    let grant = fixture.create().await;
    let claims = claims_of(&grant.token);
    for (name, value) in [
        ("agent_id", AGENT),
        ("workspace_id", "00000000-0000-0000-0000-000000000000"),
        ("task", "default"),
        ("role", "worker"),
        ("scope", "memory:read tool:search"),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(fixture.validate(&grant).await, Ok(grant.session));

    // Each further scope makes the token 60 bytes longer, until it does not fit.
    let mut longest = 0;
    let mut refused = None;
    for count in 1..=128 {
        let asked = CreateRequest {
            scopes: scopes(count, 44),
            ..request(OTHER_AGENT)
        };
        match fixture.host.create(asked).await {
            Ok(grant) => longest = grant.token.len(),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    assert!((8_132..=8_192).contains(&longest), "{longest} bytes");
    let reason = denied(refusal::<Grant>(Err(refused.unwrap())));
    assert!(
        reason.contains("8192") && reason.contains("scopes"),
        "{reason}"
    );
}

#[tokio::test]
async fn r11_full_claims_that_do_not_fit_are_denied_and_change_nothing() {
    let clock = Arc::new(ManualClock::new(CONTROLLED_START));
    let guard = jwt(&SECRET, &clock).with_full_claims();
    let guard = Arc::new(ControlledGuard::new(Arc::new(guard)));
    let options = HostOptions {
        clock,
        ..HostOptions::with_shared_guard(guard.clone())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    host.create(request(OTHER_AGENT)).await.unwrap();
    let before = host.stats().await.unwrap();
    for (count, bytes) in DOCUMENTED {
        let asked = full_request(AGENT, scopes(count, bytes));
        denied(refusal(host.create(asked).await));
    }
    let legacy = host.create_session(AGENT, "worker", scopes(128, 256), None);
    denied(refusal(legacy.await));
    assert_eq!(host.stats().await.unwrap(), before);
    assert_eq!(guard.calls().revoke, 0, "nothing was issued");
}

#[tokio::test]
async fn a_renewal_that_is_denied_for_its_claims_leaves_the_token_valid() {
    let fixture = JwtFixture::with_jwt().await;
    let asked = full_request(AGENT, scopes(128, 44));
    let grant = fixture.host.create(asked).await.unwrap();
    fixture.replace_guard(fixture.jwt().with_full_claims());
    denied(refusal(fixture.host.refresh(&*grant.session.id).await));
    denied(refusal(fixture.host.rotate(grant.token.clone()).await));
    assert_eq!(fixture.validate(&grant).await, Ok(grant.session));
}

#[tokio::test]
async fn tokens_of_the_first_version_stay_valid_and_can_be_revoked() {
    let fixture = JwtFixture::new(FirstVersion).await;
    let (kept, ended) = (fixture.create().await, fixture.create().await);
    let guard = fixture.replace_guard(fixture.jwt());
    for grant in [&kept, &ended] {
        assert_eq!(fixture.validate(grant).await.as_ref(), Ok(&grant.session));
    }
    let revocation = fixture.host.revoke(&*ended.session.id).await.unwrap();
    assert!(revocation.guard_confirmed);
    assert_eq!(
        guard.validate_token(ended.token.into()).await,
        Err(GuardError::Revoked.into())
    );
    assert_eq!(fixture.validate(&kept).await.as_ref(), Ok(&kept.session));
    let renewed = fixture.host.refresh(&*kept.session.id).await.unwrap();
    assert!(fixture.validate(&renewed).await.is_ok());
    assert_eq!(
        guard.validate_token(kept.token.into()).await,
        Err(GuardError::Revoked.into()),
        "the refresh revoked the superseded token"
    );
}

#[tokio::test]
async fn tokens_of_a_previous_key_stay_valid_while_the_guard_has_it_and_can_be_revoked() {
    let fixture = JwtFixture::with_jwt().await;
    let (kept, ended) = (fixture.create().await, fixture.create().await);
    let second = jwt(&[8; 32], &fixture.clock);
    let second = second.with_previous_secrets(&[vec![9; 32], SECRET.to_vec()]);
    let guard = fixture.replace_guard(second.unwrap());
    let newer = fixture.create().await;
    for grant in [&kept, &ended, &newer] {
        assert_eq!(fixture.validate(grant).await.as_ref(), Ok(&grant.session));
    }
    let revocation = fixture.host.revoke(&*ended.session.id).await.unwrap();
    assert!(revocation.guard_confirmed);
    assert_eq!(
        guard.validate_token(ended.token.into()).await,
        Err(GuardError::Revoked.into())
    );

    // Without the previous key, the tokens that it signed are invalid, and only those.
    fixture.replace_guard(jwt(&[8; 32], &fixture.clock));
    assert_eq!(fixture.validate(&newer).await.as_ref(), Ok(&newer.session));
    assert_eq!(
        fixture.validate(&kept).await,
        Err(SessionError::Guard(GuardError::InvalidToken))
    );
}

#[tokio::test]
async fn r06_a_token_whose_iat_is_ahead_of_the_clock_by_more_than_the_tolerance_is_denied() {
    for (tolerance, seconds) in [(None, 60), (Some(0), 0), (Some(3_600), 3_600)] {
        // The guard has another clock than the component, so only the guard can refuse the token.
        let fixture = JwtFixture::with_jwt().await;
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = jwt(&SECRET, &clock);
        fixture.replace_guard(match tolerance {
            None => guard,
            Some(seconds) => guard
                .with_clock_tolerance(Duration::from_secs(seconds))
                .unwrap(),
        });
        let grant = fixture.create().await;
        clock.rewind(Duration::from_secs(seconds));
        assert_eq!(fixture.validate(&grant).await.as_ref(), Ok(&grant.session));
        clock.rewind(Duration::from_secs(1));
        let reason = denied(fixture.validate(&grant).await.unwrap_err());
        let ahead = format!("{} ms ahead", (seconds + 1) * 1_000);
        assert!(reason.contains(&ahead), "{reason}");
        // The token is valid again when the clock is within the tolerance.
        clock.advance(Duration::from_secs(1));
        assert_eq!(fixture.validate(&grant).await, Ok(grant.session));
    }
    let given = Duration::from_secs(3_601);
    let refused = jwt(&SECRET, &Arc::new(ManualClock::new(CONTROLLED_START)));
    let refused = refused.with_clock_tolerance(given).unwrap_err();
    assert_eq!(refused.given, given);
    assert!(refused.to_string().contains("3600000 ms"), "{refused}");
}

#[tokio::test]
async fn a_token_without_iat_is_accepted() {
    let clock = Arc::new(ManualClock::new(CONTROLLED_START));
    let exp = clock.now_millis() / 1_000 + 60;
    let claims = json!({ "iss": "clawdb-session", "jti": format!("x.{exp}"), "exp": exp });
    let key = EncodingKey::from_secret(&SECRET);
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    let validated = jwt(&SECRET, &clock).validate_token(token).await;
    assert_eq!(validated.unwrap().handle, format!("x.{exp}"));
}

#[tokio::test]
async fn a_malformed_token_is_invalid_and_not_denied() {
    let guard = jwt(&SECRET, &Arc::new(ManualClock::new(CONTROLLED_START)));
    for token in [
        "",
        "x",
        "a.b.c",
        "eyJhbGciOiJIUzI1NiJ9..",
        &"x.".repeat(4_000),
    ] {
        let refused = guard.validate_token(token.into()).await;
        assert_eq!(
            refused,
            Err(GuardFailure::Error(GuardError::InvalidToken)),
            "{token}"
        );
    }
}
