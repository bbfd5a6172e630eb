//! `validate-many`: each token as `validate` would have it, and what is the call's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use clawdb_session_host::bindings::exports::clawdb::session::events::{Denial, EndReason};
use clawdb_session_host::bindings::exports::clawdb::session::sessions::{CreateRequest, Error};
use clawdb_session_host::control::{ControlledGuard, GuardFunction, GuardMode};
use clawdb_session_host::error::CallError;
use clawdb_session_host::guard::{
    Claims, Guard, GuardError, GuardResult, IssueRequest, IssuedToken,
};
use clawdb_session_host::host::{Grant, HostOptions, SessionHost, Validated};
use futures::future::join_all;
use futures::poll;
use tokio::sync::Notify;

use crate::scene::{
    AGENT, InFlight, OTHER_AGENT, PlainGuard, Scene, engine, invalid_field, no_config, request,
};

fn tokens(grants: &[&Grant]) -> Vec<String> {
    let tokens = grants.iter().map(|grant| grant.token.to_string());
    tokens.collect()
}

async fn start_many(
    scene: &Scene,
    tokens: Vec<String>,
) -> InFlight<Result<Vec<Validated>, CallError>> {
    let host = scene.host.clone();
    scene
        .start(async move { host.validate_many(tokens).await })
        .await
}

/// The errors of the tokens, in their order; of those that were good, none.
fn errors(answers: Result<Vec<Validated>, CallError>) -> Vec<Option<Error>> {
    let answers = answers.unwrap().into_iter();
    answers.map(Result::err).collect()
}

fn with_uses(uses: u32) -> CreateRequest {
    CreateRequest {
        max_uses: Some(uses),
        ..request(AGENT)
    }
}

#[tokio::test]
async fn r09_each_of_many_tokens_is_answered_as_validate_would_and_in_their_order() {
    let scene = Scene::new().await;
    let brief = CreateRequest {
        expires_in: Some(5),
        ..request(AGENT)
    };
    let brief = scene.host.create(brief).await.unwrap();
    scene.advance(5.0);
    let (first, second) = (scene.session().await, scene.session_of(OTHER_AGENT).await);
    let refreshed = scene.host.refresh(&*first.session.id).await.unwrap();
    let revoked = scene.session().await;
    scene.host.revoke(&*revoked.session.id).await.unwrap();
    let mut presented = tokens(&[&second, &first, &revoked, &brief, &refreshed]);
    presented.insert(1, "x".repeat(8_193));
    presented.insert(2, String::new());
    let mut answers = scene.host.validate_many(presented).await.unwrap();
    assert_eq!(answers.pop(), Some(Ok(refreshed.session.clone())));
    assert_eq!(answers.remove(0), Ok(second.session.clone()));
    let long = CallError::Session(answers.remove(0).unwrap_err());
    assert_eq!(invalid_field::<()>(Err(long)), "token");
    let errors: Vec<_> = answers.into_iter().map(Result::unwrap_err).collect();
    let unknown = Error::InvalidToken;
    assert_eq!(
        errors,
        [
            unknown.clone(),
            unknown.clone(),
            unknown,
            Error::SessionExpired
        ]
    );
    let id = &first.session.id;
    assert_eq!(scene.denials_of(id).await, [Denial::Superseded]);
    let ends = scene.ends_of(&brief.session.id).await;
    assert_eq!(ends, [EndReason::Lapsed]);
}

#[tokio::test]
async fn r02_a_call_takes_at_most_256_tokens() {
    let scene = Scene::new().await;
    assert_eq!(scene.host.validate_many(Vec::new()).await, Ok(Vec::new()));
    let grant = scene.session().await;
    let many = vec![grant.token.to_string(); 257];
    let answer = scene.host.validate_many(many.clone()).await;
    assert_eq!(invalid_field(answer), "tokens");
    assert_eq!(scene.guard.calls().validate, 0);
    let most = scene.host.validate_many(many[1..].to_vec()).await.unwrap();
    assert_eq!(most, vec![Ok(grant.session); 256]);
    let long = vec!["x".repeat(8_192); 256];
    let answers = errors(scene.host.validate_many(long).await);
    assert_eq!(answers, vec![Some(Error::InvalidToken); 256]);
}

#[tokio::test]
async fn r10_the_guard_is_asked_only_about_tokens_that_count_here() {
    let scene = Scene::new().await;
    let unknown = || vec!["unknown".to_owned(); 2];
    let before_the_first = errors(scene.host.validate_many(unknown()).await);
    assert_eq!(before_the_first, vec![Some(Error::InvalidToken); 2]);
    let grant = scene.session().await;
    let mut presented = unknown();
    presented.insert(1, grant.token.to_string());
    let answers = errors(scene.host.validate_many(presented).await);
    let refused = Some(Error::InvalidToken);
    assert_eq!(answers, [refused.clone(), None, refused]);
    assert_eq!(scene.guard.calls().validate, 1);
    assert_eq!(scene.stats().await.denied, 4);
}

#[tokio::test]
async fn r11_what_the_guard_says_of_many_tokens_is_held_against_each() {
    let scene = Scene::new().await;
    let (first, second) = (scene.session().await, scene.session().await);
    let answer = async |mode| {
        scene.guard.set(GuardFunction::Validate, mode);
        errors(scene.host.validate_many(tokens(&[&first, &second])).await)
    };
    let away = GuardError::Unavailable("the guard was told to be unavailable".into());
    for (mode, error) in [
        (GuardMode::Unavailable, Error::Guard(away)),
        (GuardMode::Revoked, Error::Guard(GuardError::Revoked)),
        (GuardMode::WrongHandle, Error::InvalidToken),
    ] {
        assert_eq!(answer(mode).await, vec![Some(error); 2]);
    }
    scene.release();
    scene.tokens.let_claims_expire(scene.now());
    let expired = Error::Guard(GuardError::Expired);
    assert_eq!(answer(GuardMode::Ok).await, vec![Some(expired); 2]);
    for grant in [&first, &second] {
        let denials = scene.denials_of(&grant.session.id).await;
        assert_eq!(denials, [Denial::Guard, Denial::Handle]);
    }
}

#[tokio::test]
async fn r12_what_ends_while_the_guard_is_asked_is_refused_and_spoils_nothing_for_the_others() {
    let scene = Scene::new().await;
    let (good, revoked, renewed) = (
        scene.session().await,
        scene.session().await,
        scene.session().await,
    );
    let (switched_off, child) = (
        scene.session_of(OTHER_AGENT).await,
        scene.child(&revoked).await,
    );
    let brief = CreateRequest {
        expires_in: Some(5),
        ..request(AGENT)
    };
    let brief = scene.host.create(brief).await.unwrap();
    let presented = tokens(&[&revoked, &renewed, &good, &switched_off, &child, &brief]);
    scene.hold(GuardFunction::Validate);
    let call = start_many(&scene, presented).await;
    scene.host.revoke(&*revoked.session.id).await.unwrap();
    scene.host.refresh(&*renewed.session.id).await.unwrap();
    let ended = scene.host.revoke_all_for_agent(OTHER_AGENT).await;
    assert_eq!(ended, Ok(1));
    scene.advance(5.0);
    scene.release();
    assert_eq!(
        errors(call.await),
        [
            Some(Error::SessionRevoked),
            Some(Error::InvalidToken),
            None,
            Some(Error::SessionRevoked),
            Some(Error::SessionRevoked),
            Some(Error::SessionExpired),
        ]
    );
    let id = &renewed.session.id;
    assert_eq!(scene.denials_of(id).await, [Denial::Superseded]);
}

#[tokio::test]
async fn r20_the_guard_is_asked_about_sixteen_tokens_at_a_time() {
    let scene = Scene::new().await;
    let mut grants = Vec::new();
    for _ in 0..40 {
        grants.push(scene.session().await);
    }
    scene.hold(GuardFunction::Validate);
    let presented = tokens(&grants.iter().collect::<Vec<_>>());
    let call = start_many(&scene, presented).await;
    assert_eq!(scene.guard.calls().validate, 16);
    // Others do not wait for them.
    scene.session().await;
    scene.release();
    let sessions: Vec<_> = grants.into_iter().map(|grant| Ok(grant.session)).collect();
    assert_eq!(call.await, Ok(sessions));
    assert_eq!(scene.guard.calls().validate, 40);
}

#[tokio::test]
async fn r28_each_of_many_tokens_counts_as_a_use() {
    let mut config = no_config();
    config.idle_timeout = Some(10);
    let scene = Scene::configured(config).await;
    let (used, unused) = (scene.session().await, scene.session().await);
    scene.advance(9.0);
    let answers = scene.host.validate_many(tokens(&[&used])).await;
    assert_eq!(errors(answers), [None]);
    scene.advance(9.0);
    let answers = scene.host.validate_many(tokens(&[&unused, &used])).await;
    assert_eq!(errors(answers), [Some(Error::SessionExpired), None]);
}

#[tokio::test]
async fn r29_a_token_that_is_given_twice_takes_two_uses_and_the_last_one_succeeds() {
    let scene = Scene::new().await;
    let counted = scene.host.create(with_uses(3)).await.unwrap();
    let plain = scene.session().await;
    let presented = tokens(&[&counted, &plain, &counted, &counted, &counted, &plain]);
    let answers = scene.host.validate_many(presented).await.unwrap();
    let left: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.map(|session| session.uses_left))
        .collect();
    assert_eq!(
        left,
        [
            Ok(Some(2)),
            Ok(None),
            Ok(Some(1)),
            Ok(Some(0)),
            Err(Error::SessionExpired),
            Ok(None)
        ]
    );
    let handle = scene.tokens.handle_of(&counted.token);
    assert_eq!(scene.tokens.revoked(), [handle]);
    let ends = scene.ends_of(&counted.session.id).await;
    assert_eq!(ends, [EndReason::Exhausted]);
    let again = scene.host.validate_many(tokens(&[&counted])).await;
    assert_eq!(errors(again), [Some(Error::InvalidToken)]);
}

/// Answers the first question when the second one is answered.
#[derive(Default)]
struct Backwards {
    inner: PlainGuard,
    asked: AtomicUsize,
    answered: Notify,
}

#[async_trait]
impl Guard for Backwards {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.inner.issue_session_token(request).await
    }
    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            self.answered.notified().await;
        } else {
            self.answered.notify_one();
        }
        self.inner.validate_token(token).await
    }
    async fn revoke_session(&self, handle: String) -> GuardResult<()> {
        self.inner.revoke_session(handle).await
    }
}

#[tokio::test]
async fn r29_uses_are_taken_in_the_order_of_the_tokens_whatever_the_order_of_the_guards_answers() {
    let options = HostOptions::new(Backwards::default());
    let host = SessionHost::start(engine(), options).await.unwrap();
    let grant = host.create(with_uses(1)).await.unwrap();
    let answers = host.validate_many(tokens(&[&grant, &grant])).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap().uses_left, Some(0));
    assert_eq!(answers[1], Err(Error::SessionExpired));
}

#[tokio::test]
async fn r29_when_the_guard_does_not_confirm_the_end_of_a_last_use_it_was_taken_all_the_same() {
    let scene = Scene::new().await;
    let grant = scene.host.create(with_uses(1)).await.unwrap();
    let mode = GuardMode::Unavailable;
    scene.guard.set(GuardFunction::Revoke, mode);
    let answers = scene.host.validate_many(tokens(&[&grant])).await;
    assert_eq!(errors(answers), [None]);
    assert_eq!(scene.stats().await.pending_revocations, 1);
}

#[tokio::test]
async fn a_call_about_many_tokens_takes_a_turn_for_each_and_no_more_than_there_are() {
    let guard = Arc::new(ControlledGuard::new(Arc::new(PlainGuard::default())));
    let options = HostOptions {
        max_in_flight: 3,
        guard_deadline: None,
        ..HostOptions::with_shared_guard(guard.clone())
    };
    let host = SessionHost::start(engine(), options).await.unwrap();
    let grant = host.create(request(AGENT)).await.unwrap();
    let begin = |count| host.validate_many(vec![grant.token.to_string(); count]);
    guard.set(GuardFunction::Validate, GuardMode::Hold);
    // One turn is left after the first, which is not enough for the second.
    let mut calls = [2, 5, 2].map(|count| Box::pin(begin(count)));
    for call in &mut calls {
        assert!(poll!(call).is_pending());
    }
    host.settle().await.unwrap();
    assert_eq!(guard.calls().validate, 2);
    guard.set_all(GuardMode::Ok);
    for (answers, count) in join_all(calls).await.into_iter().zip([2, 5, 2]) {
        assert_eq!(errors(answers), vec![None; count]);
    }
}

#[tokio::test]
async fn tokens_of_many_megabytes_are_refused_before_they_enter_the_instance() {
    let scene = Scene::new().await;
    let memory = scene.host.memory();
    for huge in [vec!["x".repeat(17 << 20)], vec![String::new(); 3 << 20]] {
        let answer = scene.host.validate_many(huge).await;
        assert_eq!(invalid_field(answer), "tokens");
    }
    assert_eq!(scene.host.memory(), memory);
}
