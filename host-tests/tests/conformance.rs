//! Replays the conformance vectors; `vectors/README.md` says how they are written.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use clawdb_session_host::engine::SessionEngine;
use clawdb_session_host::exec::Conversation;
use clawdb_session_host::jwt::JwtGuard;
use serde_json::Value;

/// The values that names stand for.
type Names = HashMap<String, Value>;

#[tokio::test]
async fn the_component_answers_every_vector_as_expected() {
    let engine = SessionEngine::new().unwrap();
    let mut numbers = BTreeSet::new();
    let mut rules = BTreeSet::new();
    let mut failed = Vec::new();
    for path in vectors() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let head = lines.next().expect("a vector has a head");
        assert!(
            numbers.insert(head["vector"].as_u64().unwrap()),
            "{}: the number is taken",
            path.display()
        );
        rules.extend(
            head["rules"]
                .as_array()
                .unwrap()
                .iter()
                .map(|rule| rule.as_str().unwrap().to_owned()),
        );

        let guard = JwtGuard::new(&[1; 32]).unwrap();
        let mut conversation = Conversation::start_controlled(&engine, guard)
            .await
            .unwrap();
        let mut names = Names::new();
        for (exchange, number) in lines.zip(2..) {
            let send = filled_in(&exchange["send"], &names).to_string();
            let answer = conversation.answer(send.as_bytes()).await;
            if !contains(&answer, &exchange["expect"], &mut names) {
                let expected = filled_in(&exchange["expect"], &names);
                failed.push(format!(
                    "{}:{number}\n  sent     {send}\n  answer   {answer}\n  expected {expected}",
                    path.display()
                ));
                break;
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} vectors failed:\n{}",
        failed.len(),
        numbers.len(),
        failed.join("\n")
    );
    assert_eq!(
        numbers,
        (1..=numbers.len() as u64).collect(),
        "vectors are numbered without gaps"
    );
    // R4, R8 and R22 are about what the guard is told and answers, and about what is not said: the
    // rules' own tests check them.
    let unspoken = ["R4", "R8", "R22"].map(String::from);
    let expected: BTreeSet<String> = (1..=22)
        .map(|rule| format!("R{rule}"))
        .filter(|rule| !unspoken.contains(rule))
        .collect();
    assert_eq!(
        rules, expected,
        "every rule that a conversation can show has a vector"
    );
}

fn vectors() -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    paths.sort();
    paths
}

fn is_name(text: &str) -> bool {
    text.starts_with('$') && text != "$*"
}

fn filled_in(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) if is_name(text) => names.get(text).unwrap_or(value).clone(),
        Value::Array(items) => items.iter().map(|item| filled_in(item, names)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), filled_in(value, names)))
            .collect(),
        _ => value.clone(),
    }
}

fn contains(answer: &Value, expected: &Value, names: &mut Names) -> bool {
    match (expected, answer) {
        (Value::String(any), _) if any == "$*" => true,
        (Value::String(name), _) if is_name(name) => {
            names.entry(name.clone()).or_insert_with(|| answer.clone()) == answer
        }
        (Value::Object(expected), Value::Object(answer)) => {
            expected.iter().all(|(field, value)| {
                answer
                    .get(field)
                    .is_some_and(|answer| contains(answer, value, names))
            })
        }
        (Value::Array(expected), Value::Array(answer)) => {
            expected.len() == answer.len()
                && answer
                    .iter()
                    .zip(expected)
                    .all(|(answer, item)| contains(answer, item, names))
        }
        _ => answer == expected,
    }
}

#[test]
fn an_answer_that_differs_is_told_from_one_that_contains_what_is_expected() {
    let holds = |answer: &str, expected: &str| {
        let read = |text| serde_json::from_str(text).unwrap();
        contains(&read(answer), &read(expected), &mut Names::new())
    };
    assert!(holds(
        r#"{"a":1,"b":[{"c":2,"d":3}]}"#,
        r#"{"b":[{"c":2}]}"#
    ));
    assert!(holds("[1,1]", r#"["$x","$x"]"#));
    for (answer, expected) in [
        (r#"{"a":1}"#, r#"{"a":2}"#),
        (r#"{"a":1}"#, r#"{"b":"$*"}"#),
        (r#"{"ok":null}"#, r#"{"err":{"kind":"conflict"}}"#),
        ("[1,2]", "[1]"),
        ("[1,2]", r#"["$x","$x"]"#),
        ("1", r#""1""#),
    ] {
        assert!(
            !holds(answer, expected),
            "{answer} does not contain {expected}"
        );
    }
}
