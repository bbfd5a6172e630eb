//! R24: records are sealed, and a record that was changed is refused with its key.

use clawdb_session_host::{Change, Config, RefusedRecord, SessionError};
use clawdb_session_testkit::fixture::{AGENT, Fixture, at, invalid_field, refusal};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::persistence::{KEY, changes_since, feed, keyed, restored};

const OTHER_KEY: [u8; 32] = [9; 32];

/// Seals a record as `wit/persistence.wit` documents it, without the component.
fn seal(key: &[u8], mut record: Value) -> Change {
    let hmac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes()
    };
    record.as_object_mut().unwrap().remove("seal");
    let object = record.to_string();
    let members = object.strip_prefix('{').unwrap();
    let seal = hmac(&hmac(key, "clawdb:session records are sealed"), members);
    Change {
        sequence: record["sequence"].as_u64().unwrap(),
        key: record["key"].as_str().unwrap().into(),
        value: format!("{{\"seal\":\"{}\",{members}", hex::encode(seal)),
        forget_at: None,
    }
}

fn opened(change: &Change) -> Value {
    serde_json::from_str(&change.value).expect("a record is JSON")
}

/// Starts an instance with two sessions, and returns it with all records.
async fn two_sessions() -> (Fixture, Vec<Change>) {
    let fixture = Fixture::configured(keyed()).await;
    fixture.session().await;
    fixture.session().await;
    let changes = feed(&fixture).await;
    assert_eq!(changes.len(), 3, "meta and two sessions");
    (fixture, changes)
}

/// Restores records that are refused, checks that none of them was restored, and returns the
/// reason.
async fn refused_record(fixture: &Fixture, config: Config, changes: Vec<Change>) -> RefusedRecord {
    let other = fixture.another(config).await;
    let refused = match refusal(other.host.restore(changes).await) {
        SessionError::RefusedRecord(refused) => refused,
        error => panic!("a refused record was expected, not {error:?}"),
    };
    assert_eq!(other.host.active_count().await.unwrap(), 0);
    let stats = other.stats().await;
    assert_eq!((stats.state_bytes, stats.last_change), (0, 0));
    refused
}

#[tokio::test]
async fn r24_a_changed_or_truncated_record_is_refused_with_its_key_and_no_record_is_restored() {
    let (fixture, changes) = two_sessions().await;
    for at in 0..changes.len() {
        let record = &changes[at].value;
        for cut in [0, 1, 40, 80, record.len() / 2, record.len() - 1] {
            let mut changes = changes.clone();
            changes[at].value.truncate(cut);
            let refused = refused_record(&fixture, keyed(), changes.clone()).await;
            assert_eq!(refused.key, changes[at].key);
        }
        for position in (0..record.len()).step_by(37) {
            let mut bytes = record.clone().into_bytes();
            bytes[position] ^= 1;
            let mut changes = changes.clone();
            changes[at].value = String::from_utf8(bytes).unwrap();
            let refused = refused_record(&fixture, keyed(), changes.clone()).await;
            assert_eq!(refused.key, changes[at].key);
        }
    }
    restored(&fixture, keyed(), changes).await;
}

#[tokio::test]
async fn r24_a_record_with_another_key_or_sequence_number_is_refused() {
    let (fixture, changes) = two_sessions().await;
    let mut swapped = changes.clone();
    (swapped[1].value, swapped[2].value) = (changes[2].value.clone(), changes[1].value.clone());
    let refused = refused_record(&fixture, keyed(), swapped).await;
    assert_eq!(refused.key, changes[1].key);
    let reason = refused.reason;
    assert!(reason.contains(&changes[2].key), "{reason}");
    let mut newer = changes.clone();
    newer[1].sequence += 1;
    let refused = refused_record(&fixture, keyed(), newer).await;
    assert_eq!(refused.key, changes[1].key);
}

#[tokio::test]
async fn r24_records_of_another_state_key_or_workspace_are_refused() {
    let (fixture, changes) = two_sessions().await;
    let other_key = Config::with_state_key(OTHER_KEY);
    let reason = refused_record(&fixture, other_key, changes.clone())
        .await
        .reason;
    assert!(reason.contains("state-key"), "{reason}");
    let other_workspace = Config {
        workspace_id: Some(AGENT.into()),
        ..keyed()
    };
    let reason = refused_record(&fixture, other_workspace, changes)
        .await
        .reason;
    assert!(reason.contains("workspace"), "{reason}");
}

#[tokio::test]
async fn r24_the_state_key_is_rotated_by_a_restore_and_reading_the_changes_to_the_end() {
    let (fixture, changes) = two_sessions().await;
    let grant = fixture.session().await;
    let changes = [changes, feed(&fixture).await].concat();
    let both = Config {
        previous_state_keys: vec![vec![7; 64], KEY.into()],
        ..Config::with_state_key(OTHER_KEY)
    };
    let newest = changes.iter().map(|change| change.sequence).max().unwrap();
    let rotated = restored(&fixture, both, changes).await;
    let again = changes_since(&rotated, newest, 1_000).await;
    assert_eq!(
        again.len(),
        4,
        "every record is a change with a higher sequence number"
    );
    rotated.validate(&grant).await.unwrap();

    // The records can be restored without the old key.
    let only_new = Config::with_state_key(OTHER_KEY);
    let third = restored(&rotated, only_new, again).await;
    third.validate(&grant).await.unwrap();
    assert_eq!(third.host.active_count().await.unwrap(), 3);
}

#[tokio::test]
async fn r24_state_keys_outside_their_bounds_are_refused() {
    for (key, previous, field) in [
        (Some(vec![1; 31]), vec![], "state-key"),
        (Some(vec![1; 65]), vec![], "state-key"),
        (Some(vec![1; 32]), vec![vec![1; 31]], "previous-state-keys"),
        (
            Some(vec![1; 32]),
            vec![vec![1; 32]; 9],
            "previous-state-keys",
        ),
        (None, vec![vec![1; 32]], "previous-state-keys"),
    ] {
        let fixture = Fixture::new().await;
        let config = Config {
            state_key: key,
            previous_state_keys: previous,
            ..Config::default()
        };
        assert_eq!(invalid_field(fixture.host.configure(config).await), field);
    }
}

#[tokio::test]
async fn r24_unknown_members_are_ignored_and_a_newer_format_is_refused() {
    let (fixture, mut changes) = two_sessions().await;
    let mut record = opened(&changes[1]);
    record["tomorrow"] = json!({ "deep": [1.5, null, -1, false, { "a": "\\u0000" }] });
    record["session"]["tomorrow"] = json!("a text");
    changes[1] = seal(&KEY, record.clone());
    let other = restored(&fixture, keyed(), changes.clone()).await;
    assert_eq!(other.host.active_count().await.unwrap(), 2);
    let again = feed(&other).await;
    assert!(
        again
            .iter()
            .all(|change| !change.value.contains("tomorrow"))
    );

    record["format"] = json!(3);
    changes[1] = seal(&KEY, record);
    let refused = refused_record(&fixture, keyed(), changes.clone()).await;
    assert_eq!(refused.key, changes[1].key);
    let reason = refused.reason;
    assert!(reason.contains("format 3"), "{reason}");
}

#[tokio::test]
async fn r24_a_sealed_record_with_an_invalid_member_is_refused() {
    let (fixture, changes) = two_sessions().await;
    let record = opened(&changes[1]);
    assert_eq!(seal(&KEY, record.clone()).sequence, changes[1].sequence);
    for (member, value) in [
        ("agent", json!("nobody")),
        ("role", json!("")),
        ("scopes", json!("a\"b")),
        ("metadata", json!("{")),
        ("fingerprint", json!("00")),
        ("handle", json!("")),
        ("expires-at", json!(-1)),
        ("expires-at", Value::Null),
        ("parent", json!(AGENT)),
        ("uses-left", json!(0)),
        ("serial", json!("1")),
    ] {
        let mut changes = changes.clone();
        let mut record = record.clone();
        record["session"][member] = value;
        changes[1] = seal(&KEY, record);
        let refused = refused_record(&fixture, keyed(), changes.clone()).await;
        assert_eq!(refused.key, changes[1].key);
        let reason = refused.reason;
        assert!(reason.contains(member), "{reason}");
    }
    for (name, body) in [
        ("session", json!({})),
        ("ended", json!({ "until": "x" })),
        ("meta", json!({})),
    ] {
        let mut changes = changes.clone();
        let mut record = record.clone();
        record.as_object_mut().unwrap().remove("session");
        record[name] = body;
        changes[1] = seal(&KEY, record);
        refused_record(&fixture, keyed(), changes).await;
    }
}

#[tokio::test]
async fn r24_records_that_are_not_needed_are_sealed_with_the_new_key_too() {
    let (fixture, mut changes) = two_sessions().await;
    let mut record = opened(&changes[1]);
    let revocation =
        json!({ "handle": record["session"]["handle"], "expires-at": 1_893_460_000_000_u64 });
    record.as_object_mut().unwrap().remove("session");
    record["key"] = json!("revocation/1");
    record["sequence"] = json!(50);
    record["revocation"] = revocation;
    changes.push(seal(&KEY, record));
    let rotating = Config {
        previous_state_keys: vec![KEY.into()],
        ..Config::with_state_key(OTHER_KEY)
    };
    let rotated = restored(&fixture, rotating, changes.clone()).await;
    let again = changes_since(&rotated, 50, 1_000).await;
    for change in &changes {
        assert!(
            again.iter().any(|it| it.key == change.key),
            "{}",
            change.key
        );
    }
    let only_new = Config::with_state_key(OTHER_KEY);
    let after = self::restored(&fixture, only_new, again).await;
    assert_eq!(after.host.active_count().await.unwrap(), 2);
    assert_eq!(after.stats().await.pending_revocations, 0);
}

/// Records in format 1, made by an earlier version.
const FORMAT_1: &str = include_str!("../fixtures/records-of-format-1.jsonl");

#[tokio::test]
async fn r24_records_of_format_1_are_restored_and_written_in_the_current_format() {
    let old: Vec<Change> = FORMAT_1
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            Change {
                sequence: record["sequence"].as_u64().unwrap(),
                key: record["key"].as_str().unwrap().into(),
                value: line.into(),
                forget_at: None,
            }
        })
        .collect();
    assert!(old.iter().all(|change| opened(change)["format"] == 1));
    let fixture = Fixture::new().await;
    fixture.clock.set(at(1_893_456_010));
    let restored = restored(&fixture, keyed(), old).await;
    let live = "7d4c1a52-0d0e-4f61-9a43-2f0b8d1c5e01";
    let session = restored.host.get(live).await.unwrap();
    assert_eq!((session.root.as_str(), session.generation), (live, 0));
    assert_eq!((session.parent, session.uses_left), (None, None));
    assert_eq!(session.scopes, ["memory:read", "tool:search"]);
    assert_eq!(session.metadata, "{\"team\":\"blue\"}");
    assert_eq!(
        restored.host.active_count().await.unwrap(),
        1,
        "the other session has ended"
    );
    let child = restored
        .host
        .delegate(live, clawdb_session_testkit::fixture::request(AGENT))
        .await
        .unwrap();
    assert_eq!(child.session.root, live);

    let again = feed(&restored).await;
    assert!(
        again
            .iter()
            .all(|change| opened(change)["format"] == 2 && change.sequence > 4),
        "{again:?}"
    );
    assert_eq!(
        again.len(),
        4,
        "meta, the session, the ended session, the child"
    );
}
