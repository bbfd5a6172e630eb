//! Replays the conformance vectors in both worlds, with the embedded guard.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{AnyEngine, World};
use clawdb_session_testkit::{Conversation, Vector};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

fn vectors() -> Vec<Vector> {
    Vector::read_all(&folder()).unwrap()
}

/// Replays the vectors of a world. Checks their number, and that of their exchanges, so that none
/// is lost without notice.
async fn replay(world: World) {
    let mut vectors = vectors();
    vectors.retain(|vector| vector.runs_in(world));
    let exchanges: usize = vectors.iter().map(Vector::exchanges).sum();
    println!("{world}: {} vectors, {exchanges} exchanges", vectors.len());
    let counted = json!({ "vectors": vectors.len(), "exchanges": exchanges });
    let counts = fs::read_to_string(folder().join("COUNTS.json")).unwrap();
    let counts: Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts[world.to_string()], counted);
    let engine = AnyEngine::new(world).unwrap();
    let mut failed = Vec::new();
    for vector in &vectors {
        let guard = JwtGuard::new(&[1; 32]).unwrap();
        let guard = |clock| Arc::new(guard.with_clock(clock)) as Arc<_>;
        let conversation = Conversation::start_controlled(engine.clone(), guard);
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

#[tokio::test]
async fn the_component_of_the_world_session_answers_every_vector_as_expected() {
    replay(World::Session).await;
}

#[tokio::test]
async fn the_component_of_the_world_session_sync_answers_every_vector_without_overlapping_calls() {
    replay(World::SessionSync).await;
}

#[test]
fn a_vector_needs_the_world_session_exactly_if_it_holds_the_guard() {
    for vector in vectors() {
        assert!(vector.runs_in(World::Session), "{}", vector.file);
        let text = fs::read_to_string(folder().join(&vector.file)).unwrap();
        let holds = text.contains(r#""mode":"hold""#);
        assert_eq!(
            vector.runs_in(World::SessionSync),
            !holds,
            "{}",
            vector.file
        );
    }
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
