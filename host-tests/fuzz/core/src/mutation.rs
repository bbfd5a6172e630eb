//! Changes of the content of records. The changed records are sealed again, so that the seal does
//! not hide what follows it.

use clawdb_session::{Change, RecordKeys};
use serde_json::{Map, Value, json};

use crate::script::Script;

/// Texts that records have, besides those of the records that are changed.
const TEXTS: [&str; 8] = [
    "",
    "*",
    "handle-0",
    "5e550000-0000-4000-8000-000000000001",
    "5E550000-0000-4000-8000-000000000002",
    "0a9e0000-0000-4000-8000-000000000001",
    "session/5e550000-0000-4000-8000-000000000001",
    "\u{e4}\"\\\n",
];

/// The names of members and of kinds of records.
const NAMES: [&str; 38] = [
    "format",
    "key",
    "sequence",
    "at",
    "clocks-accepted",
    "workspace",
    "last-serial",
    "last-era",
    "meta",
    "session",
    "ended",
    "cut-off",
    "revocation",
    "fingerprint-key",
    "salt",
    "events",
    "closed-run",
    "agent",
    "role",
    "scopes",
    "metadata",
    "created-at",
    "expires-at",
    "parent",
    "root",
    "generation",
    "uses-left",
    "lifetime",
    "serial",
    "used-at",
    "fingerprint",
    "handle",
    "token-expires-at",
    "superseded",
    "grace-until",
    "until",
    "began",
    "owed",
];

/// Changes a record as the script chooses, and seals it.
pub fn mutate(change: &mut Change, others: &[Change], keys: &RecordKeys, script: &mut Script<'_>) {
    let object = RecordKeys::object(&change.value).unwrap_or_else(|| "{}".into());
    let mut record: Value = serde_json::from_str(&object).unwrap_or_else(|_| json!({}));
    for _ in 0..=script.below(4) {
        match script.byte() % 16 {
            0 => to_first_format(&mut record),
            1 => rename(change, &mut record, others, script),
            2 => {
                change.sequence = script.number();
                record["sequence"] = change.sequence.into();
            }
            3 => {
                let other = script
                    .pick(others)
                    .and_then(|it| RecordKeys::object(&it.value));
                let other = other.and_then(|it| serde_json::from_str::<Value>(&it).ok());
                graft(&mut record, &other.unwrap_or_default(), script);
            }
            _ => change_member(&mut record, script),
        }
    }
    let mut text = record.to_string();
    if script.byte() >= 224 {
        splice(&mut text, script);
    }
    change.value = if script.byte() >= 250 {
        script.text(255)
    } else {
        keys.seal(&text)
    };
}

/// Removes what format 1 does not have.
fn to_first_format(record: &mut Value) {
    record["format"] = 1.into();
    for name in ["workspace", "last-serial", "last-era", "clocks-accepted"] {
        remove(record, name);
    }
    let added = [
        "parent",
        "root",
        "generation",
        "uses-left",
        "superseded",
        "grace-until",
        "grace-until-by-host",
        "until",
        "began",
        "owed",
    ];
    for name in added {
        if let Some(session) = record.get_mut("session") {
            remove(session, name);
        }
    }
    if let Some(meta) = record.get_mut("meta") {
        remove(meta, "closed-run");
    }
}

fn remove(value: &mut Value, name: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(name);
    }
}

/// Gives a record the key of another one, or a key of the same kind.
fn rename(change: &mut Change, record: &mut Value, others: &[Change], script: &mut Script<'_>) {
    let other = script.pick(others).map_or_else(String::new, |it| it.key);
    change.key = match script.byte() % 4 {
        0 => other,
        1 => format!("session/5e550000-0000-4000-8000-{:012x}", script.byte() % 4),
        2 => format!("cut-off/{}", script.number()),
        _ => format!("revocation/{}", script.number()),
    };
    record["key"] = change.key.clone().into();
}

/// Takes a member of the other record.
fn graft(record: &mut Value, other: &Value, script: &mut Script<'_>) {
    let members: Vec<(String, Value)> = other.as_object().map_or_else(Vec::new, |members| {
        let inner = members.values().filter_map(Value::as_object).flatten();
        let all = members.iter().chain(inner);
        all.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    });
    if let Some((name, value)) = script.pick(&members)
        && let Some(object) = target(record, script)
    {
        object.insert(name, value);
    }
}

/// Changes, adds or removes a member.
fn change_member(record: &mut Value, script: &mut Script<'_>) {
    let Some(object) = target(record, script) else {
        return;
    };
    let names: Vec<String> = object.keys().cloned().collect();
    let name = match script.byte() {
        0..=199 => script.pick(&names).unwrap_or_default(),
        other => NAMES[usize::from(other - 200) % NAMES.len()].to_owned(),
    };
    match script.byte() % 8 {
        0..=2 => drop(object.insert(name, script.number().into())),
        3 => drop(object.insert(name, script.pick(&TEXTS).unwrap().into())),
        4 => drop(object.insert(name, script.text(64).into())),
        5 => drop(object.remove(&name)),
        6 => {
            // A list with more elements, or an object in which this one is.
            let value = object.get(&name).cloned().unwrap_or_default();
            let mut list = value.as_array().cloned().unwrap_or_default();
            let element = list.last().cloned().unwrap_or(value);
            list.extend(std::iter::repeat_n(element, script.below(70)));
            object.insert(name, list.into());
        }
        _ => drop(object.insert(name, json!({}))),
    }
}

/// Returns the record, its object, or an object in a list of that.
fn target<'a>(
    record: &'a mut Value,
    script: &mut Script<'_>,
) -> Option<&'a mut Map<String, Value>> {
    let mut target = record;
    for _ in 0..script.below(3) {
        let children: Vec<String> = match &*target {
            Value::Object(members) => {
                let nested = members
                    .iter()
                    .filter(|(_, it)| it.is_object() || it.is_array());
                nested.map(|(name, _)| name.clone()).collect()
            }
            _ => Vec::new(),
        };
        let Some(name) = script.pick(&children) else {
            break;
        };
        target = target.get_mut(&name)?;
        if let Value::Array(list) = target {
            let index = script.below(256).checked_rem(list.len())?;
            target = list.get_mut(index)?;
        }
    }
    target.as_object_mut()
}

/// Replaces some bytes of the text.
fn splice(text: &mut String, script: &mut Script<'_>) {
    let at = usize::from(u16::from_le_bytes(script.bytes())) % (text.len() + 1);
    let end = (at + script.below(16)).min(text.len());
    if text.is_char_boundary(at) && text.is_char_boundary(end) {
        text.replace_range(at..end, &script.text(16));
    }
}
