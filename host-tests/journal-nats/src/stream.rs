//! A tenant's stream: its name, its settings and the requests to it. Each request ends in a bounded
//! time.

use std::collections::BTreeSet;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind, RequestErrorKind,
};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, LastRawMessageErrorKind, RawMessageErrorKind, RetentionPolicy,
    StorageType, Stream,
};
use clawdb_session_durable::{JournalError, Reason, TenantId};
use futures::StreamExt;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::options::NatsOptions;

/// The names of a tenant's stream and subjects.
#[derive(Clone, Debug)]
pub(super) struct StreamNames {
    stream: String,
    /// The prefix of all its subjects, without the dot after it.
    subjects: String,
}

impl StreamNames {
    pub(super) fn new(prefix: &str, tenant: TenantId) -> Self {
        Self {
            stream: format!("{prefix}-{}", tenant.workspace().as_simple()),
            subjects: format!("{prefix}.{tenant}"),
        }
    }

    /// Returns the tenant whose stream has this name, or `None` if it has another prefix or is not
    /// the stream of a tenant.
    fn tenant_of(prefix: &str, stream: &str) -> Option<TenantId> {
        let digits = stream.strip_prefix(prefix)?.strip_prefix('-')?;
        let workspace = Uuid::try_parse(digits).ok()?;
        let tenant = TenantId::new(workspace);
        (Self::new(prefix, tenant).stream == stream).then_some(tenant)
    }

    /// Returns the subject of the owner record.
    pub(super) fn owner_subject(&self) -> String {
        format!("{}.owner", self.subjects)
    }

    /// Returns the subject of the record with this key, or `None` if the key is invalid. A valid
    /// key has at most 64 bytes and one or more parts of `a-z`, `0-9` and `-`, separated by `/`.
    pub(super) fn record_subject(&self, key: &str) -> Option<String> {
        let fits = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        (key.len() <= 64 && key.split('/').all(fits))
            .then(|| format!("{}.record.{}", self.subjects, key.replace('/', ".")))
    }

    /// Returns the key of the record with this subject, or `None` if it is not that of a record.
    pub(super) fn record_key(&self, subject: &str) -> Option<String> {
        let rest = subject.strip_prefix(&self.subjects)?;
        let key = rest.strip_prefix(".record.")?.replace('.', "/");
        // Two subjects must not have the same key.
        (self.record_subject(&key).as_deref() == Some(subject)).then_some(key)
    }
}

/// The server's answer to a message that expects a certain last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublishOutcome {
    /// The message is stored after the expected one.
    Accepted,
    /// Another message is the last one.
    WrongLastSequence,
}

/// A tenant's stream.
#[derive(Clone, Debug)]
pub(super) struct TenantStream {
    context: Context,
    handle: Stream<()>,
    pub(super) names: StreamNames,
    pub(super) patience: Duration,
}

const NOT_ENABLED: &str = "JetStream is not enabled: set jetstream { store_dir: ... }, and enable \
                           it for the account";

/// Checks that `JetStream` is enabled. Repeats the check for `patience`, because a server that has
/// just started needs some time.
pub(super) async fn check_account(
    context: &Context,
    patience: Duration,
) -> Result<(), JournalError> {
    let deadline = Instant::now() + patience;
    loop {
        // The client's type for the account needs members that nats-server 2.9 does not send.
        let reason = match with_timeout(patience, context.request("INFO", b"")).await? {
            Ok(Response::Ok(IgnoredAny)) => return Ok(()),
            Ok(Response::Err { error }) => match error.error_code() {
                ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                    Reason::with_source(NOT_ENABLED, error)
                }
                _ => return Err(unavailable(error)),
            },
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Reason::with_source(NOT_ENABLED, error)
            }
            Err(error) => return Err(unavailable(error)),
        };
        if Instant::now() >= deadline {
            return Err(JournalError::Misconfigured(reason));
        }
        sleep(patience / 20).await;
    }
}

/// Returns the stream of a tenant. Creates it if it does not exist, and checks its settings.
pub(super) async fn open(
    context: &Context,
    names: StreamNames,
    options: &NatsOptions,
) -> Result<TenantStream, JournalError> {
    let wanted = config(&names, options.replicas);
    let found = with_timeout(options.patience, context.get_stream(&names.stream)).await?;
    let config = match found {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(inner)
                if inner.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                create(context, &wanted, options.patience).await?
            }
            _ => return Err(unavailable(error)),
        },
    };
    check(&config, &wanted)?;
    open_handle(context, names, options.patience).await
}

/// Returns the stream of a tenant for reading, if it exists. Its settings are not checked.
pub(super) async fn find(
    context: &Context,
    names: StreamNames,
    options: &NatsOptions,
) -> Result<Option<TenantStream>, JournalError> {
    if !exists(context, &names, options.patience).await? {
        return Ok(None);
    }
    open_handle(context, names, options.patience)
        .await
        .map(Some)
}

async fn open_handle(
    context: &Context,
    names: StreamNames,
    patience: Duration,
) -> Result<TenantStream, JournalError> {
    let handle = context.get_stream_no_info(names.stream.as_str());
    let handle = with_timeout(patience, handle).await?.map_err(unavailable)?;
    Ok(TenantStream {
        context: context.clone(),
        handle,
        names,
        patience,
    })
}

/// Returns the tenants that have streams, ordered by id.
pub(super) async fn tenants(
    context: &Context,
    options: &NatsOptions,
) -> Result<Vec<TenantId>, JournalError> {
    let mut names = context.stream_names();
    let mut tenants = BTreeSet::new();
    while let Some(name) = with_timeout(options.patience, names.next()).await? {
        let name = name.map_err(unavailable)?;
        tenants.extend(StreamNames::tenant_of(&options.prefix, &name));
    }
    Ok(tenants.into_iter().collect())
}

/// Returns whether the tenant has a stream.
pub(super) async fn exists(
    context: &Context,
    names: &StreamNames,
    patience: Duration,
) -> Result<bool, JournalError> {
    match with_timeout(patience, context.get_stream(&names.stream)).await? {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(inner)
                if inner.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(false)
            }
            _ => Err(unavailable(error)),
        },
    }
}

async fn create(
    context: &Context,
    wanted: &Config,
    patience: Duration,
) -> Result<Config, JournalError> {
    let error = match with_timeout(patience, context.create_stream(wanted)).await? {
        Ok(stream) => return Ok(stream.cached_info().config.clone()),
        Err(error) => error,
    };
    let CreateStreamErrorKind::JetStream(inner) = error.kind() else {
        return Err(unavailable(error));
    };
    match inner.error_code() {
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            let text = format!(
                "replicas is {}, but the server is not part of a cluster: use a cluster of three \
                 servers, or accept one replica with allow_single",
                wanted.num_replicas
            );
            let reason = Reason::in_place_of(text, inner);
            Err(JournalError::Misconfigured(reason))
        }
        ErrorCode::STREAM_SUBJECT_OVERLAP | ErrorCode::STREAM_NAME_EXIST => {
            let text = format!(
                "the stream {} cannot be created: another stream has its name or its subjects",
                wanted.name
            );
            Err(JournalError::Misconfigured(Reason::with_source(
                text, inner,
            )))
        }
        _ => Err(unavailable(inner)),
    }
}

/// Returns the settings of a new stream. It drops no message because of age, number or size; if it
/// is full, it refuses new messages.
fn config(names: &StreamNames, replicas: usize) -> Config {
    Config {
        name: names.stream.clone(),
        subjects: vec![format!("{}.>", names.subjects)],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: 1,
        max_message_size: -1,
        max_consumers: -1,
        max_age: Duration::ZERO,
        ..Config::default()
    }
}

/// Checks that a stream cannot lose records and accepts all messages of a journal.
///
/// # Errors
/// [`JournalError::Misconfigured`] with the names of the wrong settings.
fn check(found: &Config, wanted: &Config) -> Result<(), JournalError> {
    let faults = [
        (found.subjects != wanted.subjects, "subjects"),
        (found.retention != wanted.retention, "retention"),
        (found.discard != wanted.discard, "discard"),
        (found.storage != wanted.storage, "storage"),
        (found.num_replicas < wanted.num_replicas, "num_replicas"),
        (found.max_messages > 0, "max_msgs"),
        (found.max_bytes > 0, "max_bytes"),
        (
            found.max_messages_per_subject != wanted.max_messages_per_subject,
            "max_msgs_per_subject",
        ),
        (found.max_message_size > 0, "max_msg_size"),
        (found.max_age != Duration::ZERO, "max_age"),
        (found.discard_new_per_subject, "discard_new_per_subject"),
        (found.allow_rollup, "allow_rollup_hdrs"),
        (found.no_ack, "no_ack"),
        (found.sealed, "sealed"),
        (found.deny_delete, "deny_delete"),
        (found.mirror.is_some(), "mirror"),
        (found.sources.is_some(), "sources"),
    ];
    let names: Vec<&str> = faults
        .into_iter()
        .filter_map(|(wrong, name)| wrong.then_some(name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the stream {} has settings that could lose or refuse records: {}. Set them to the values \
         of a new stream, with num_replicas of at least {}",
        found.name,
        names.join(", "),
        wanted.num_replicas,
    );
    Err(JournalError::Misconfigured(text.into()))
}

impl TenantStream {
    /// Returns the client's handle of the stream, for consumers.
    pub(super) fn handle(&self) -> &Stream<()> {
        &self.handle
    }

    /// Returns the sequence number of the last message; 0 if the stream is empty.
    ///
    /// A server that no longer leads the stream can return an old number. A message that expects it
    /// is refused.
    pub(super) async fn last(&self) -> Result<u64, JournalError> {
        let info = with_timeout(self.patience, self.handle.get_info())
            .await?
            .map_err(unavailable)?;
        Ok(info.state.last_sequence)
    }

    /// Returns the message with this sequence number, if it still exists.
    pub(super) async fn message(
        &self,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, JournalError> {
        match with_timeout(self.patience, self.handle.get_raw_message(sequence)).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Returns the newest message of a subject, if one exists.
    pub(super) async fn newest(
        &self,
        subject: &str,
    ) -> Result<Option<StreamMessage>, JournalError> {
        let newest = self.handle.get_last_raw_message_by_subject(subject);
        match with_timeout(self.patience, newest).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Publishes a message that the server accepts only as the next one after `last`.
    ///
    /// After `Unavailable` it is unknown whether the message was accepted, or will be.
    pub(super) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Vec<u8>,
        last: u64,
    ) -> Result<PublishOutcome, JournalError> {
        let message = PublishMessage::build()
            .payload(body.into())
            .headers(headers)
            .expected_stream(&self.names.stream)
            .expected_last_sequence(last);
        let answer = with_timeout(self.patience, async {
            self.context.send_publish(subject, message).await?.await
        })
        .await?;
        match answer {
            Ok(ack) if ack.sequence == last.saturating_add(1) && !ack.duplicate => {
                Ok(PublishOutcome::Accepted)
            }
            Ok(ack) => {
                let text = format!(
                    "the stream {} stored the message after {last} with the number {}",
                    self.names.stream, ack.sequence
                );
                Err(JournalError::Damaged(text.into()))
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Ok(PublishOutcome::WrongLastSequence)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Deletes the message with this sequence number. Succeeds if it does not exist.
    pub(super) async fn delete(&self, sequence: u64) -> Result<(), JournalError> {
        #[derive(Deserialize)]
        struct Deleted {
            #[allow(dead_code, reason = "its presence distinguishes success from an error")]
            success: bool,
        }
        let request = json!({ "seq": sequence, "no_erase": true });
        let subject = format!("STREAM.MSG.DELETE.{}", self.names.stream);
        let answer: Response<Deleted> =
            with_timeout(self.patience, self.context.request(subject, &request))
                .await?
                .map_err(unavailable)?;
        match answer {
            Response::Ok(_) => Ok(()),
            // The message does not exist.
            Response::Err { error } if error.error_code() == ErrorCode::SEQUENCE_NOT_FOUND => {
                Ok(())
            }
            Response::Err { error } => {
                if self.message(sequence).await?.is_none() {
                    return Ok(());
                }
                Err(unavailable(error))
            }
        }
    }
}

/// Waits for an answer for a little longer than `patience`. The client itself can wait without a
/// bound, when its queue is full.
pub(super) async fn with_timeout<T>(
    patience: Duration,
    answer: impl IntoFuture<Output = T, IntoFuture: Future<Output = T>>,
) -> Result<T, JournalError> {
    // The client's own timeout comes first, because its error says more.
    timeout(patience + patience / 10, answer.into_future())
        .await
        .map_err(|_| {
            let seconds = patience.as_secs_f64();
            let text = format!("the server did not answer within {seconds} s");
            JournalError::Unavailable(text.into())
        })
}

/// Returns the port's error for an error of the client.
pub(super) fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> JournalError {
    JournalError::Unavailable(Reason::with_source("a request to NATS failed", error))
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::Source;

    use super::*;
    use crate::scripted_server::{Answer, context, error};

    type Change = fn(&mut Config);

    fn names() -> StreamNames {
        StreamNames::new("p", TenantId::new(Uuid::from_u128(0xa)))
    }

    #[test]
    fn a_valid_key_has_one_subject_and_a_subject_one_key() {
        let prefix = "p.00000000-0000-0000-0000-00000000000a";
        assert_eq!(names().owner_subject(), format!("{prefix}.owner"));
        let longest = "a".repeat(64);
        for (key, subject) in [
            ("header", "record.header"),
            ("session/0-9", "record.session.0-9"),
            ("a/b/z", "record.a.b.z"),
            (longest.as_str(), &format!("record.{longest}")),
        ] {
            let subject = format!("{prefix}.{subject}");
            assert_eq!(names().record_subject(key).as_ref(), Some(&subject));
            assert_eq!(names().record_key(&subject).as_deref(), Some(key));
        }
        let too_long = "a".repeat(65);
        for key in [
            "", "/a", "a/", "a//b", "A", "a.b", "a_b", "a*", "ä", &too_long,
        ] {
            assert_eq!(names().record_subject(key), None, "{key}");
        }
        for subject in ["owner", "record", "record.", "record.a/b", "other.a"] {
            let subject = format!("{prefix}.{subject}");
            assert_eq!(names().record_key(&subject), None, "{subject}");
        }
        let other = names()
            .owner_subject()
            .replace("owner", "record.a")
            .replacen("p.", "q.", 1);
        assert_eq!(names().record_key(&other), None);
    }

    #[test]
    fn the_tenant_of_a_stream_is_found_by_its_name() {
        let name = "p-0000000000000000000000000000000a";
        let tenant = StreamNames::tenant_of("p", name);
        assert_eq!(tenant, Some(TenantId::new(Uuid::from_u128(0xa))));
        for (prefix, name) in [
            ("q", name),
            ("p", "p-0000000000000000000000000000000A"),
            ("p", "p-00000000-0000-0000-0000-00000000000a"),
            ("p", "p0000000000000000000000000000000a"),
            ("p", "p-x"),
        ] {
            assert_eq!(StreamNames::tenant_of(prefix, name), None, "{name}");
        }
    }

    #[test]
    fn each_setting_that_could_lose_or_refuse_records_is_named() {
        let wanted = config(&names(), 3);
        assert_eq!(check(&wanted, &wanted), Ok(()));
        let more = Config {
            num_replicas: 5,
            max_messages: 0,
            max_bytes: 0,
            max_message_size: 0,
            ..wanted.clone()
        };
        assert_eq!(check(&more, &wanted), Ok(()));
        let changes: [(&str, Change); 17] = [
            ("subjects", |it| it.subjects.push("other".into())),
            ("retention", |it| it.retention = RetentionPolicy::WorkQueue),
            ("discard", |it| it.discard = DiscardPolicy::Old),
            ("storage", |it| it.storage = StorageType::Memory),
            ("num_replicas", |it| it.num_replicas = 2),
            ("max_msgs", |it| it.max_messages = 1),
            ("max_bytes", |it| it.max_bytes = 1),
            ("max_msgs_per_subject", |it| it.max_messages_per_subject = 2),
            ("max_msg_size", |it| it.max_message_size = 1),
            ("max_age", |it| it.max_age = Duration::from_nanos(1)),
            ("discard_new_per_subject", |it| {
                it.discard_new_per_subject = true;
            }),
            ("allow_rollup_hdrs", |it| it.allow_rollup = true),
            ("no_ack", |it| it.no_ack = true),
            ("sealed", |it| it.sealed = true),
            ("deny_delete", |it| it.deny_delete = true),
            ("mirror", |it| it.mirror = Some(Source::default())),
            ("sources", |it| it.sources = Some(Vec::new())),
        ];
        for (setting, change) in changes {
            let mut found = wanted.clone();
            change(&mut found);
            let error = check(&found, &wanted).unwrap_err();
            assert!(matches!(error, JournalError::Misconfigured(_)), "{error}");
            let named = format!("records: {setting}.");
            assert!(error.to_string().contains(&named), "{error}");
        }
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    /// The stream has no leader at the moment.
    const NO_LEADER: ErrorCode = ErrorCode::CLUSTER_NOT_AVAILABLE;

    /// Returns the tenant's stream on a server with these answers.
    async fn scripted(answer: Answer) -> TenantStream {
        let context = context(answer).await;
        open_handle(&context, names(), PATIENCE).await.unwrap()
    }

    fn assert_unavailable<T: std::fmt::Debug>(answer: &Result<T, JournalError>) {
        assert!(
            matches!(answer, Err(JournalError::Unavailable(_))),
            "{answer:?}"
        );
    }

    #[tokio::test]
    async fn a_stream_is_missing_only_if_the_server_says_so() {
        let options = NatsOptions {
            patience: PATIENCE,
            ..NatsOptions::new("nats://unused")
        };
        let without_leader = context(|subject| {
            error(if subject.contains("CREATE") {
                ErrorCode::STREAM_NAME_EXIST
            } else {
                NO_LEADER
            })
        })
        .await;
        assert_unavailable(&exists(&without_leader, &names(), PATIENCE).await);
        // It does not try to create the stream.
        assert_unavailable(&open(&without_leader, names(), &options).await);
        let missing = context(|_| error(ErrorCode::STREAM_NOT_FOUND)).await;
        assert_eq!(exists(&missing, &names(), PATIENCE).await, Ok(false));
    }

    #[tokio::test]
    async fn a_subject_has_no_message_only_if_the_server_says_so() {
        let stream = scripted(|_| error(NO_LEADER)).await;
        assert_unavailable(&stream.newest("s").await);
        assert_unavailable(&stream.message(1).await);
        let stream = scripted(|_| error(ErrorCode::NO_MESSAGE_FOUND)).await;
        assert!(stream.newest("s").await.unwrap().is_none());
        assert!(stream.message(1).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_message_is_accepted_only_with_the_next_number() {
        type Check = fn(Result<PublishOutcome, JournalError>) -> bool;
        let is_damaged: Check = |answer| matches!(answer, Err(JournalError::Damaged(_)));
        let cases: [(Answer, Check); 5] = [
            (
                |_| json!({ "stream": "s", "seq": 8 }).to_string(),
                |answer| answer == Ok(PublishOutcome::Accepted),
            ),
            (
                |_| json!({ "stream": "s", "seq": 9 }).to_string(),
                is_damaged,
            ),
            (
                |_| json!({ "stream": "s", "seq": 8, "duplicate": true }).to_string(),
                is_damaged,
            ),
            (
                |_| error(ErrorCode::STREAM_WRONG_LAST_SEQUENCE),
                |answer| answer == Ok(PublishOutcome::WrongLastSequence),
            ),
            (
                |_| error(NO_LEADER),
                |answer| matches!(answer, Err(JournalError::Unavailable(_))),
            ),
        ];
        for (number, (answer, is_expected)) in cases.into_iter().enumerate() {
            let stream = scripted(answer).await;
            let published = stream.publish("s".into(), HeaderMap::new(), Vec::new(), 7);
            assert!(is_expected(published.await), "case {number}");
        }
    }

    #[tokio::test]
    async fn a_message_is_deleted_if_the_server_says_so_or_no_longer_has_it() {
        fn message() -> String {
            let time = "2026-01-01T00:00:00Z";
            json!({ "message": { "subject": "s", "seq": 7, "time": time, "data": "" } }).to_string()
        }
        /// Returns the first answer to the deletion, and the second one to the reading after it.
        fn answers(subject: &str, deletion: String, reading: String) -> String {
            if subject.contains("DELETE") {
                deletion
            } else {
                reading
            }
        }
        let cases: [(Answer, bool); 4] = [
            (|_| json!({ "success": true }).to_string(), true),
            // Another server that answers the reading has not deleted it yet.
            (
                |subject| answers(subject, error(ErrorCode::SEQUENCE_NOT_FOUND), message()),
                true,
            ),
            (
                |subject| {
                    answers(
                        subject,
                        error(NO_LEADER),
                        error(ErrorCode::NO_MESSAGE_FOUND),
                    )
                },
                true,
            ),
            (
                |subject| answers(subject, error(NO_LEADER), message()),
                false,
            ),
        ];
        for (number, (answer, is_deleted)) in cases.into_iter().enumerate() {
            let deleted = scripted(answer).await.delete(7).await;
            if is_deleted {
                assert_eq!(deleted, Ok(()), "case {number}");
            } else {
                assert_unavailable(&deleted);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_awaited_for_a_tenth_longer_than_the_patience() {
        let asked_at = Instant::now();
        assert_unavailable(&with_timeout(PATIENCE, std::future::pending::<()>()).await);
        assert_eq!(asked_at.elapsed().as_secs(), 11);
    }
}
