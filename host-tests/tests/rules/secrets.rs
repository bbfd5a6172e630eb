//! R22: no output other than the grant contains a token.

use clawdb_session_host::{CreateRequest, IssuedToken, Page};
use clawdb_session_testkit::fixture::{AGENT, Fixture, request};
use clawdb_session_testkit::{GuardFunction, GuardMode};

const SECRET: &str = "a-very-secret-token";

#[tokio::test]
async fn r22_no_answer_contains_a_token_except_the_token_of_a_grant() {
    let fixture = Fixture::new().await;
    for _ in 0..2 {
        fixture.tokens.alter_next_token(|issued| IssuedToken {
            token: format!("{SECRET}-{}", issued.handle),
            ..issued
        });
    }
    let host = &fixture.host;
    let mut outputs = Vec::new();
    let first = host.create(request(AGENT)).await.unwrap();
    assert!(first.token.contains(SECRET));
    outputs.push(format!("{first:?}"));
    let second = host.refresh(&*first.session.id).await.unwrap();
    outputs.push(format!("{second:?}"));
    outputs.push(format!(
        "{:?}",
        host.validate(&*second.token).await.unwrap()
    ));
    outputs.push(format!("{:?}", host.authorize(&*second.token, "a").await));
    let both = vec![first.token.to_string(), second.token.to_string()];
    outputs.push(format!("{:?}", host.validate_many(both).await));
    outputs.push(format!("{:?}", host.rotate(&*first.token).await));
    for mode in [
        GuardMode::Deny,
        GuardMode::Unavailable,
        GuardMode::WrongHandle,
        GuardMode::Ok,
    ] {
        fixture.guard.set(GuardFunction::Validate, mode);
        outputs.push(format!("{:?}", host.validate(&*first.token).await));
        outputs.push(format!("{:?}", host.validate(&*second.token).await));
    }
    outputs.push(format!("{:?}", host.validate(SECRET.repeat(1_000)).await));
    outputs.push(format!("{:?}", host.get(&*second.token).await));
    outputs.push(format!(
        "{:?}",
        host.list_for_agent(AGENT, Page::default()).await
    ));
    // A token that is longer than the bound is refused, and the error does not contain it.
    fixture.tokens.alter_next_token(|issued| IssuedToken {
        token: SECRET.repeat(1_000),
        ..issued
    });
    outputs.push(format!("{:?}", host.create(request(AGENT)).await));
    outputs.push(format!(
        "{:?}",
        host.create(CreateRequest {
            metadata: Some(SECRET.into()),
            ..request(AGENT)
        })
        .await
    ));
    outputs.push(format!("{:?}", host.revoke(&*second.session.id).await));
    outputs.push(format!("{:?}", fixture.stats().await));
    outputs.push(format!("{:?}", fixture.events().await));
    for output in outputs {
        assert!(!output.contains(SECRET), "{output}");
    }
}

#[test]
fn r22_debug_output_of_the_core_shows_no_token() {
    let token = clawdb_session::Token::parse(SECRET.into()).unwrap();
    assert_eq!(token.expose(), SECRET);
    assert!(!format!("{token:?}").contains(SECRET));
}
