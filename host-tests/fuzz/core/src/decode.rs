//! The decoder of records, with and without a valid seal.

use clawdb_session::{Change, Error, RecordKeys, SealedWith, WorkspaceId};
use serde_json::Value;

use crate::records::STATE_KEY;
use crate::script::Script;

/// Decodes a record with the content of the input.
///
/// # Panics
/// If the core breaks a promise.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let keys = RecordKeys::new(&STATE_KEY, &[vec![6; 32]]).unwrap();
    let kind = script.byte();
    let object = String::from_utf8_lossy(script.rest()).into_owned();
    if kind == u8::MAX {
        // Nothing has a seal by chance.
        let result = keys.rewrite(&named("meta".into(), 1, object), WorkspaceId::NIL);
        assert!(matches!(result, Err(Error::RefusedRecord(_))), "{result:?}");
        return;
    }
    let previous = RecordKeys::new(&[6; 32], &[]).unwrap();
    let sealed = if kind.is_multiple_of(2) {
        keys.seal(&object)
    } else {
        previous.seal(&object)
    };
    let (key, sequence) = name_of(&object);
    let change = named(key, sequence, sealed);
    let sealed_with = keys.sealed_with(&change.key, change.sequence, &change.value);
    if object.starts_with('{') {
        let expected = [SealedWith::Current, SealedWith::Previous][usize::from(kind % 2)];
        assert_eq!(sealed_with, expected);
    }
    match keys.rewrite(&change, WorkspaceId::NIL) {
        Ok(rewritten) => {
            check_json(&object);
            assert_eq!(keys.rewrite(&rewritten, WorkspaceId::NIL), Ok(rewritten));
            check_name(&keys, &change);
        }
        Err(Error::RefusedRecord(refused)) => {
            let is_visible = refused.key.bytes().all(|byte| byte.is_ascii_graphic());
            assert!(is_visible && refused.key.len() <= 64 && !refused.reason.is_empty());
        }
        Err(error) => panic!("a refused record is reported as {error}"),
    }
}

fn named(key: String, sequence: u64, value: String) -> Change {
    Change {
        sequence,
        key,
        value,
        forget_at: None,
    }
}

/// Returns the key and the sequence number in a record, so that most records get past that check.
fn name_of(object: &str) -> (String, u64) {
    let object: Value = serde_json::from_str(object).unwrap_or_default();
    let key = object.get("key").and_then(Value::as_str);
    let sequence = object.get("sequence").and_then(Value::as_u64);
    (key.unwrap_or("meta").into(), sequence.unwrap_or_default())
}

/// Checks that another decoder accepts the content.
fn check_json(object: &str) {
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(object);
    assert!(parsed.is_ok(), "{object} is accepted and is not JSON");
}

/// Checks that the record is refused under any other name.
fn check_name(keys: &RecordKeys, change: &Change) {
    let mut moved = change.clone();
    moved.sequence ^= 1;
    let mut renamed = change.clone();
    renamed.key.push('0');
    for other in [moved, renamed] {
        let result = keys.rewrite(&other, WorkspaceId::NIL);
        assert!(matches!(result, Err(Error::RefusedRecord(_))), "{result:?}");
    }
}
