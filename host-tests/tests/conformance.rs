//! Replays the conformance vectors with the embedded guard.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::SessionEngine;
use clawdb_session_testkit::{Conversation, Vector};

fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    Vector::read_all(&folder).unwrap()
}

#[tokio::test]
async fn the_component_answers_every_vector_as_expected() {
    let engine = SessionEngine::new().unwrap();
    let vectors = vectors();
    let mut failed = Vec::new();
    for vector in &vectors {
        let guard = JwtGuard::new(&[1; 32]).unwrap();
        let conversation =
            Conversation::start_controlled(&engine, |clock| Arc::new(guard.with_clock(clock)));
        let replayed = vector.replay(conversation.await.unwrap()).await;
        failed.extend(replayed.err().map(|mismatch| mismatch.to_string()));
    }
    assert!(
        failed.is_empty(),
        "{} of {} vectors failed:\n{}",
        failed.len(),
        vectors.len(),
        failed.join("\n")
    );
}

#[test]
fn vectors_are_numbered_without_gaps_and_cover_every_rule_that_answers_can_show() {
    let vectors = vectors();
    let numbers = vectors.iter().map(|vector| vector.head.number);
    assert!(numbers.eq(1..=vectors.len() as u64));
    let rules = vectors.iter().flat_map(|vector| vector.head.rules.clone());
    // R4 and R8 are about requests to the guard and its answers, and R22 about the absence of
    // tokens. Vectors cannot show them; `tests/rules` checks them.
    let without_vector = ["R4", "R8", "R22"].map(String::from);
    let expected = (1..=35).map(|rule| format!("R{rule}"));
    let expected = expected.filter(|rule| !without_vector.contains(rule));
    assert_eq!(rules.collect::<BTreeSet<_>>(), expected.collect());
}
