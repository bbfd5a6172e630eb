//! The content of records, as another decoder sees it.

use std::collections::BTreeMap;

use clawdb_session::{AgentId, Change, RecordKeys, SessionId};
use serde_json::Value;

fn record(change: &Change) -> Option<Value> {
    let object = RecordKeys::object(&change.value)?;
    serde_json::from_str(&object).ok()
}

/// Returns the agent of a session.
pub fn agent(change: &Change) -> Option<AgentId> {
    let record = record(change)?;
    AgentId::parse("agent", record.get("session")?.get("agent")?.as_str()?).ok()
}

/// Returns the session whose end a record is.
pub fn ended(change: &Change) -> Option<SessionId> {
    record(change)?.get("ended")?.as_object()?;
    SessionId::parse("id", change.key.strip_prefix("session/")?).ok()
}

/// Returns whether the sequence number, the serial number, the tokens and the handles of each
/// record are in it once, and in no record with another key.
pub fn are_distinct(changes: &[Change]) -> bool {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    changes.iter().all(|change| {
        let mut marks = vec![format!("sequence {}", change.sequence)];
        if let Some(record) = record(change) {
            add_marks(&record, &mut marks);
        }
        let count = marks.len();
        marks.sort_unstable();
        marks.dedup();
        let is_repeated = marks.len() < count;
        let mut marks = marks.into_iter();
        !is_repeated && marks.all(|mark| *owners.entry(mark).or_insert(&change.key) == change.key)
    })
}

/// Adds what distinguishes the sessions and tokens in a record from others.
fn add_marks(value: &Value, marks: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if matches!(name.as_str(), "serial" | "fingerprint" | "handle") {
                    marks.push(format!("{name} {value}").to_lowercase());
                }
                add_marks(value, marks);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| add_marks(value, marks)),
        _ => {}
    }
}
