//! Checks of what this crate reads from a stream, for fuzz targets. They are compiled with the
//! feature `checks` only, and are no part of the crate's interface.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use clawdb_session_durable::TenantId;
use uuid::Uuid;

use crate::index::{Index, StreamDigest};
use crate::message::{OwnerRecord, Record, WriterHeaders};
use crate::stream::StreamNames;

/// The sequence number of a message that is read.
const AT: u64 = 7;

/// Reads bytes as a message: a line with the subject after the tenant's prefix, lines with headers,
/// an empty line, and the body. Each part is refused, or is written again as it was read.
///
/// # Panics
/// If a part that was read is written in another way.
pub fn read_message(input: &[u8]) {
    let names = StreamNames::new("fuzz", TenantId::new(Uuid::nil()));
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split('\n');
    let prefix = names.owner_subject();
    let prefix = prefix.strip_suffix("owner").unwrap_or_default();
    let subject = format!("{prefix}{}", lines.next().unwrap_or_default());
    let headers = read_headers(lines);

    if let Ok(read) = WriterHeaders::read(&headers, AT) {
        let again = WriterHeaders::read(&read.headers(), AT);
        assert_eq!(again.ok(), Some(read), "the headers are not those read");
    }
    if let Ok(read) = OwnerRecord::read(body, AT) {
        let written = read.body().expect("an owner record is written");
        let again = OwnerRecord::read(&written, AT);
        assert_eq!(again.ok(), Some(read), "the owner is not the one read");
    }
    if let Ok(Some(read)) = Record::read(&names, &subject, &headers, body, AT) {
        let written_subject = names.record_subject(&read.change.key);
        assert_eq!(written_subject.as_deref(), Some(subject.as_str()));
        let mut written = HeaderMap::new();
        Record::add_headers(&read.change, &mut written);
        let value = read.change.value.as_bytes();
        assert_eq!(value, body, "the body is not the one read");
        let again = Record::read(&names, &subject, &written, value, AT);
        assert_eq!(again.ok(), Some(Some(read)), "the record is not that read");
    }
}

/// Returns the headers in lines of `NAME: VALUE`. Skips lines that a client cannot receive.
fn read_headers<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        let (name, value) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Calls the index as a writer does, four bytes a step, over a stream without a server.
///
/// # Panics
/// If another writer would find the stream damaged after a step, or if a record is deleted that is
/// still needed.
pub fn use_index(input: &[u8]) {
    let mut stream = Stream::default();
    let mut index = Index::new(StreamDigest::default());
    for step in input.chunks_exact(4) {
        let &[kind, key, number, count] = step else {
            continue;
        };
        let forget_at = (number > 0).then_some(u64::from(number));
        let max = usize::from(count);
        match kind % 8 {
            0..=2 => stream.append(&mut index, &key_of(key), forget_at),
            3 => stream.publish_owner(),
            4 => {
                stream.time = stream.time.max(u64::from(number));
                index.expire(stream.time, max);
            }
            5 | 6 => stream.delete(&mut index, max, kind % 8 == 6),
            _ => index = stream.read(),
        }
        assert_eq!(
            stream.read().digest(),
            stream.digest,
            "another writer finds the stream damaged"
        );
        assert!(
            stream.digest.count >= stream.live(),
            "a record that has not expired is not counted"
        );
    }
}

/// Returns one of eight keys. Half of them have the form of a session's key.
fn key_of(byte: u8) -> String {
    match byte % 8 {
        number @ 0..4 => format!("session/{}", Uuid::from_u128(u128::from(number))),
        number => format!("agent/{number}"),
    }
}

/// The messages that a server keeps: the last one of each subject.
#[derive(Default)]
struct Stream {
    /// The sequence number and `forget-at` of the record of each key.
    records: BTreeMap<String, (u64, Option<u64>)>,
    /// The sequence number of the last message.
    last: u64,
    /// The digest in the last message.
    digest: StreamDigest,
    /// The largest time at which records were expired.
    time: u64,
}

impl Stream {
    fn append(&mut self, index: &mut Index, key: &str, forget_at: Option<u64>) {
        self.last += 1;
        self.digest = index.digest_with(key, self.last, forget_at);
        self.records.insert(key.into(), (self.last, forget_at));
        index.put(key, self.last, forget_at);
        assert_eq!(index.digest(), self.digest, "the digest is not as declared");
    }

    fn publish_owner(&mut self) {
        self.last += 1;
    }

    /// Deletes messages as a writer does. If `fails`, the server answers none of the requests.
    fn delete(&mut self, index: &mut Index, max: usize, fails: bool) {
        for at in index.take_deletable(self.digest, max) {
            if fails || at == self.last {
                index.retry_deletion(at);
                continue;
            }
            self.records.retain(|_, (sequence, forget_at)| {
                let deleted = *sequence == at;
                let expired = forget_at.is_some_and(|forget_at| forget_at <= self.time);
                assert!(!deleted || expired, "message {at} is deleted too early");
                !deleted
            });
        }
    }

    /// Returns the index of a writer that takes the stream over and reads it.
    fn read(&self) -> Index {
        let mut records: Vec<_> = self.records.iter().collect();
        records.sort_unstable_by_key(|(_, (sequence, _))| *sequence);
        let mut index = Index::new(self.digest);
        for (key, (sequence, forget_at)) in records {
            index.put(key, *sequence, *forget_at);
        }
        index
    }

    /// Returns the number of records that have not expired.
    fn live(&self) -> u64 {
        let live = |forget_at: &Option<u64>| forget_at.is_none_or(|time| time > self.time);
        let records = self.records.values();
        records.filter(|(_, forget_at)| live(forget_at)).count() as u64
    }
}
