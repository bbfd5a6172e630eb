//! R22: where a token does not stand.

use clawdb_session_host::{CreateRequest, IssuedToken, Page};
use clawdb_session_testkit::fixture::{AGENT, Fixture, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

const SECRET: &str = "a-very-secret-token";

#[tokio::test]
async fn r22_no_answer_but_the_grant_holds_a_token() {
    let fixture = Fixture::new().await;
    for _ in 0..2 {
        fixture.tokens.alter_next_token(|issued| IssuedToken {
            token: format!("{SECRET}-{}", issued.handle),
            ..issued
        });
    }
    let host = &fixture.host;
    let mut said = Vec::new();
    let first = host.create(request(AGENT)).await.unwrap();
    assert!(first.token.contains(SECRET));
    said.push(format!("{first:?}"));
    let second = host.refresh(&*first.session.id).await.unwrap();
    said.push(format!("{second:?}"));
    said.push(format!(
        "{:?}",
        host.validate(&*second.token).await.unwrap()
    ));
    said.push(format!("{:?}", host.authorize(&*second.token, "a").await));
    let both = vec![first.token.to_string(), second.token.to_string()];
    said.push(format!("{:?}", host.validate_many(both).await));
    said.push(format!("{:?}", host.rotate(&*first.token).await));
    for mode in [
        GuardMode::Deny,
        GuardMode::Unavailable,
        GuardMode::WrongHandle,
        GuardMode::Ok,
    ] {
        fixture.guard.set(GuardFunction::Validate, mode);
        said.push(format!("{:?}", host.validate(&*first.token).await));
        said.push(format!("{:?}", host.validate(&*second.token).await));
    }
    said.push(format!("{:?}", host.validate(SECRET.repeat(1_000)).await));
    said.push(format!("{:?}", host.get(&*second.token).await));
    said.push(format!(
        "{:?}",
        host.list_for_agent(
            AGENT,
            Page {
                cursor: None,
                limit: None
            }
        )
        .await
    ));
    // A token as long as this is not accepted from the guard, and not repeated either.
    fixture.tokens.alter_next_token(|issued| IssuedToken {
        token: SECRET.repeat(1_000),
        ..issued
    });
    said.push(format!("{:?}", host.create(request(AGENT)).await));
    said.push(format!(
        "{:?}",
        host.create(CreateRequest {
            metadata: Some(SECRET.into()),
            ..request(AGENT)
        })
        .await
    ));
    said.push(format!("{:?}", host.revoke(&*second.session.id).await));
    said.push(format!("{:?}", fixture.stats().await));
    said.push(format!("{:?}", fixture.events().await));
    for said in said {
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn r22_debug_output_of_the_core_shows_no_token() {
    let token = clawdb_session::Token::parse(SECRET.into()).unwrap();
    assert_eq!(token.expose(), SECRET);
    assert!(!format!("{token:?}").contains(SECRET));
}
