//! R30: which scopes a granted scope covers, and `authorize`.

use clawdb_session_host::{CreateRequest, Denial, GuardError, SessionError};
use clawdb_session_testkit::fixture::{AGENT, Fixture, invalid_field, refusal, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

/// Reads the rows of the truth table in `wit/sessions.wit`: granted, wanted, covered.
fn truth_table() -> Vec<(String, String, bool)> {
    let wit = include_str!("../../../wit/sessions.wit");
    let rows = wit.lines().filter_map(|line| {
        let cells = line.trim().strip_prefix("/// |")?.strip_suffix('|')?;
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        let code = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
        let [granted, wanted, covered] = cells[..] else {
            return None;
        };
        Some((code(granted)?, code(wanted)?, covered == "yes"))
    });
    rows.collect()
}

#[tokio::test]
async fn r30_scopes_cover_each_other_as_the_truth_table_says() {
    let fixture = Fixture::new().await;
    let table = truth_table();
    assert_eq!(table.len(), 23, "{table:?}");
    for (granted, wanted, covered) in table {
        let request = CreateRequest {
            scopes: vec!["unrelated".into(), granted.clone()],
            ..request(AGENT)
        };
        let grant = fixture.host.create(request.clone()).await.unwrap();
        let answer = fixture.host.authorize(&*grant.token, &*wanted).await;
        let child = CreateRequest {
            scopes: vec![wanted.clone()],
            ..request
        };
        let child = fixture.host.delegate(&*grant.session.id, child).await;
        if covered {
            assert_eq!(answer.unwrap().id, grant.session.id, "{granted} {wanted}");
            child.unwrap();
        } else {
            let denied = SessionError::ScopeDenied(wanted.clone());
            assert_eq!(refusal(answer), denied, "{granted} {wanted}");
            assert_eq!(refusal(child), denied, "{granted} {wanted}");
        }
    }
}

#[tokio::test]
async fn r30_every_scope_that_a_child_covers_is_covered_by_its_parent() {
    // Covering is transitive.
    let fixture = Fixture::new().await;
    let patterns = [
        "*", "a:*", "a:b:*", "a:b", "a:b:c", "a", "a:", "b:*", ":*", "a*", "*:b",
    ];
    let mut delegated = 0;
    for granted in patterns {
        let with_scope = |scope: &str| CreateRequest {
            scopes: vec![scope.into()],
            ..request(AGENT)
        };
        let parent = fixture.host.create(with_scope(granted)).await.unwrap();
        for delegated_scope in patterns {
            let child = fixture
                .host
                .delegate(&*parent.session.id, with_scope(delegated_scope));
            let Ok(child) = child.await else {
                continue;
            };
            delegated += 1;
            for wanted in patterns {
                let child = fixture.host.authorize(&*child.token, wanted).await;
                let parent = fixture.host.authorize(&*parent.token, wanted).await;
                assert!(
                    parent.is_ok() || child.is_err(),
                    "{granted} covers {delegated_scope} and not {wanted}"
                );
            }
        }
    }
    // Each pattern covers itself, `*` covers all, and there are four other pairs.
    assert_eq!(delegated, 11 + 10 + 4);
}

#[tokio::test]
async fn r30_authorize_checks_everything_that_validate_checks() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let authorize =
        |token: &str, scope: &str| fixture.host.authorize(token.to_owned(), scope.to_owned());
    assert_eq!(
        refusal(authorize("unknown", "memory:read").await),
        SessionError::InvalidToken
    );
    for scope in ["", "two words", "quo\"te", &"x".repeat(257)] {
        assert_eq!(invalid_field(authorize(&grant.token, scope).await), "scope");
    }
    let long = "x".repeat(8_193);
    assert_eq!(
        invalid_field(authorize(&long, "memory:read").await),
        "token"
    );
    fixture
        .guard
        .set(GuardFunction::Validate, GuardMode::Revoked);
    // A caller whose token is refused does not learn which scope the session lacks.
    let answer = authorize(&grant.token, "memory:write").await;
    assert_eq!(refusal(answer), SessionError::Guard(GuardError::Revoked));
    fixture.release();
    fixture.hold(GuardFunction::Validate);
    let (host, token) = (fixture.host.clone(), grant.token.clone());
    let call = fixture
        .start(async move { host.authorize(token, "memory:read").await })
        .await;
    fixture.host.revoke(&*grant.session.id).await.unwrap();
    fixture.release();
    assert_eq!(refusal(call.await), SessionError::SessionRevoked);
}

#[tokio::test]
async fn r30_a_missing_scope_is_named_in_the_error_and_recorded() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let answer = fixture.host.authorize(&*grant.token, "memory:write").await;
    assert_eq!(
        refusal(answer),
        SessionError::ScopeDenied("memory:write".into())
    );
    assert_eq!(fixture.denials_of(&grant.session.id).await, [Denial::Scope]);
    fixture.validate(&grant).await.unwrap();
}
