//! The programs in the guides are the files beside them, and these files print what the guides say.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawdb_session_host::{AnyEngine, World};
use clawdb_session_testkit::{Conversation, Vector};

#[allow(dead_code, reason = "the example is a program of its own, too")]
#[path = "../guides/guard.rs"]
mod guard;
#[allow(dead_code, reason = "the example is a program of its own, too")]
#[path = "../guides/operations.rs"]
mod operations;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guides")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

/// Returns the blocks of a guide with this language.
fn blocks(guide: &str, language: &str) -> Vec<String> {
    let text = read(guide);
    let start = format!("\n```{language}\n");
    let parts = text.split(&start).skip(1);
    parts
        .filter_map(|it| Some(format!("{}\n", it.split_once("\n```\n")?.0)))
        .collect()
}

#[test]
fn the_programs_in_the_guides_are_the_files() {
    for (guide, language, file) in [
        ("write-a-guard.md", "rust", "guard.rs"),
        ("write-a-guard.md", "python", "guard.py"),
        ("write-a-guard.md", "js", "guard.mjs"),
        ("operations.md", "rust", "operations.rs"),
    ] {
        assert_eq!(blocks(guide, language), [read(file)], "{guide}, {file}");
    }
}

#[test]
fn the_program_with_a_guard_prints_what_its_guide_says() {
    let mut out = Vec::new();
    guard::run(&mut out).unwrap();
    let printed = String::from_utf8(out).unwrap();
    assert_eq!(blocks("write-a-guard.md", "text"), [printed]);
}

#[tokio::test]
async fn the_program_that_survives_a_trap_prints_what_its_guide_says() {
    let mut out = Vec::new();
    operations::run(&mut out).await.unwrap();
    let printed = String::from_utf8(out).unwrap();
    assert_eq!(blocks("operations.md", "text"), [printed]);
}

#[tokio::test]
async fn the_guard_of_the_guide_answers_every_vector_as_expected() {
    let vectors = folder().join("../vectors");
    let mut vectors = Vector::read_all(&vectors).unwrap();
    vectors.retain(|vector| vector.runs_in(World::SessionSync));
    assert!(vectors.len() > 50);
    let engine = AnyEngine::new(World::SessionSync).unwrap();
    for vector in &vectors {
        let guard = |clock| Arc::new(guard::TableGuard::new(clock)) as Arc<_>;
        let conversation = Conversation::start_controlled(engine.clone(), guard);
        let replayed = vector.replay(conversation.await.unwrap()).await;
        assert!(replayed.is_ok(), "{}", replayed.unwrap_err());
    }
}
