//! The stream of events, `GET /v1/events`.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_durable::{MemoryJournal, TenantId};
use clawdb_session_host::Config;
use clawdb_session_testkit::{GuardFunction, GuardMode};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::service::{AGENT, ServiceSetup, TestService, answer, keyed, members, text, worker};

/// A reader of server-sent events.
struct EventReader {
    response: Response,
    read: String,
}

/// A server-sent event.
#[derive(Debug, PartialEq)]
struct ReceivedEvent {
    id: Option<String>,
    /// The `event` field, if present.
    name: Option<String>,
    data: Value,
}

impl ReceivedEvent {
    /// Returns the run and the sequence number.
    fn id(&self) -> (&str, u64) {
        let (run, sequence) = self.id.as_deref().unwrap().split_once('-').unwrap();
        assert!(run.len() == 16 && run != "0000000000000000", "{run}");
        let sequence = sequence.parse().unwrap();
        assert_eq!(self.data["sequence"], sequence);
        (run, sequence)
    }

    /// Checks that this is a `gap` after the event with this id.
    fn assert_gap(&self, last: Option<&str>) {
        assert_eq!(
            (self.name.as_deref(), &self.id),
            (Some("gap"), &None),
            "{self:?}"
        );
        assert_eq!(self.data["last_event_id"], json!(last));
        assert_eq!(members(&self.data), ["last_event_id", "message", "run"]);
    }
}

impl EventReader {
    async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            read: String::new(),
        }
    }

    /// Opens a reader that reconnects with the id of its last event.
    async fn after(service: &TestService, id: &str) -> Self {
        Self::open(reconnect(service, id)).await
    }

    async fn since(service: &TestService, since: u64) -> Self {
        Self::open(service.admin(Method::GET, &format!("/v1/events?since={since}"))).await
    }

    /// Returns the next event, or `None` at the end of the stream.
    async fn next(&mut self) -> Option<ReceivedEvent> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.read_one());
        next.await.expect("the stream has an event or an end")
    }

    async fn read_one(&mut self) -> Option<ReceivedEvent> {
        loop {
            while let Some((block, rest)) = self.read.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.trim_start().to_owned()))
                };
                // A block without data is a keep-alive comment.
                if let Some(data) = field("data:") {
                    return Some(ReceivedEvent {
                        id: field("id:"),
                        name: field("event:"),
                        data: serde_json::from_str(&data).unwrap(),
                    });
                }
            }
            let bytes = self.response.chunk().await.ok()??;
            self.read.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn sent(&mut self) -> ReceivedEvent {
        self.next().await.expect("the stream continues")
    }

    async fn event(&mut self) -> Value {
        let sent = self.sent().await;
        sent.id();
        sent.data
    }
}

fn reconnect(service: &TestService, id: &str) -> RequestBuilder {
    let request = service.admin(Method::GET, "/v1/events");
    request.header("Last-Event-ID", id)
}

#[tokio::test]
async fn events_are_streamed_as_they_occur_with_their_sequence_numbers() {
    let service = TestService::new().await;
    let mut reader = EventReader::open(service.admin(Method::GET, "/v1/events")).await;
    let grant = service.session().await;
    let id = text(&grant["session_id"]);
    let first = reader.sent().await;
    assert_eq!((first.id().1, &first.name), (1, &None));
    assert_eq!(
        first.data,
        json!({
            "sequence": 1, "time": "2030-01-01T00:00:00Z", "session_id": id, "agent_id": AGENT,
            "parent": null, "root": id, "generation": 0, "kind": "created", "reason": null,
            "missed": 0,
        })
    );
    let path = format!("/v1/agents/{AGENT}/sessions");
    answer(service.admin(Method::DELETE, &path)).await;
    let second = reader.sent().await;
    assert_eq!(second.id(), (first.id().0, 2));
    assert_eq!(
        (&second.data["kind"], &second.data["reason"]),
        (&json!("ended"), &json!("revoked_all"))
    );
    assert!(!reader.read.contains(text(&grant["token"])));
}

#[tokio::test]
async fn a_reader_that_reconnects_continues_after_its_last_event() {
    let service = TestService::new().await;
    for _ in 0..4 {
        service.session().await;
    }
    let mut first = EventReader::since(&service, 1).await;
    let second = first.sent().await;
    assert_eq!(second.id().1, 2);
    drop(first);
    let again = service.admin(Method::GET, "/v1/events?since=1");
    let again = again.header("Last-Event-ID", second.id.as_deref().unwrap());
    let mut again = EventReader::open(again).await;
    for sequence in [3, 4] {
        let sent = again.sent().await;
        assert_eq!(sent.id(), (second.id().0, sequence));
        assert_eq!(sent.data["missed"], 0);
    }
}

#[tokio::test]
async fn an_empty_last_event_id_is_ignored_and_an_invalid_one_is_refused() {
    let service = TestService::new().await;
    service.session().await;
    service.session().await;
    let empty = service.admin(Method::GET, "/v1/events?since=1");
    let mut empty = EventReader::open(empty.header("Last-Event-ID", "")).await;
    let second = empty.sent().await;
    assert_eq!(second.id().1, 2);
    let run = second.id().0;
    for nonsense in [
        "x",
        "1x",
        "+1",
        "-",
        "-1",
        &format!("{run}-"),
        &format!("{run}-x"),
        &format!("{run}-+1"),
        &format!("{run}-1-1"),
        &format!("{run}-18446744073709551616"),
        &format!("0{run}-1"),
        &format!("{}-1", &run[1..]),
        &format!("+{}-1", &run[1..]),
        "0000000000000000-1",
        "000000000000000G-1",
        "ABCDEFABCDEFABCD-1",
    ] {
        let refused = answer(reconnect(&service, nonsense)).await;
        let message = refused.assert_refused(400, "invalid_argument");
        assert!(
            message.starts_with("last-event-id"),
            "{nonsense}: {message}"
        );
    }
    let twice = reconnect(&service, second.id.as_deref().unwrap());
    let twice = twice.header("Last-Event-ID", second.id.as_deref().unwrap());
    answer(twice).await.assert_refused(400, "bad_request");
}

#[tokio::test]
async fn a_reader_with_an_id_without_a_run_receives_a_gap() {
    let service = TestService::new().await;
    for id in ["0", "1", "17", "18446744073709551616", &"9".repeat(100)] {
        let mut early = EventReader::after(&service, id).await;
        early.sent().await.assert_gap(None);
    }
    for _ in 0..3 {
        service.session().await;
    }
    for id in ["0", "1", "3", "17", "18446744073709551616"] {
        let mut late = EventReader::after(&service, id).await;
        late.sent().await.assert_gap(None);
        for sequence in 1..=3 {
            let event = late.event().await;
            assert_eq!(
                (&event["sequence"], &event["missed"]),
                (&json!(sequence), &json!(0)),
                "{id}"
            );
        }
    }
}

#[tokio::test]
async fn a_reader_with_an_id_of_another_run_receives_a_gap() {
    let service = TestService::new().await;
    let foreign = "00000000deadbeef-2";
    let mut early = EventReader::after(&service, foreign).await;
    let gap = early.sent().await;
    gap.assert_gap(Some(foreign));
    assert_eq!(
        gap.data["run"],
        Value::Null,
        "no session had been created yet"
    );
    for sequence in 1..=3 {
        service.session().await;
        assert_eq!(early.event().await["sequence"], sequence);
    }
    let mut late = EventReader::after(&service, foreign).await;
    let gap = late.sent().await;
    gap.assert_gap(Some(foreign));
    for sequence in 1..=3 {
        let sent = late.sent().await;
        assert_eq!(sent.id(), (text(&gap.data["run"]), sequence));
        assert_eq!(sent.data["missed"], 0);
    }
    // An id beyond the newest event of this run belongs to a lost history.
    let ahead = format!("{}-4", text(&gap.data["run"]));
    let mut ahead_reader = EventReader::after(&service, &ahead).await;
    ahead_reader.sent().await.assert_gap(Some(&ahead));
    assert_eq!(ahead_reader.event().await["sequence"], 1);
    // The id of the newest event causes no gap.
    let newest = format!("{}-3", text(&gap.data["run"]));
    let mut at_the_end = EventReader::after(&service, &newest).await;
    service.session().await;
    assert_eq!(at_the_end.event().await["sequence"], 4);
}

#[tokio::test]
async fn a_reader_of_a_run_that_was_closed_receives_a_gap_and_the_events_after_its_last() {
    let service = TestService::new().await;
    let mut reader = EventReader::since(&service, 0).await;
    service.session().await;
    service.session().await;
    let first = reader.sent().await;
    let last = reader.sent().await;
    let host = service.tenants.tenant(TenantId::default()).await.unwrap();
    let closed = host.run(|host| async move { host.close_event_run().await });
    closed.await.unwrap();
    service.session().await;
    let third = reader.sent().await;
    assert!(third.id().0 != first.id().0, "another run");
    assert_eq!((third.id().1, &third.data["missed"]), (3, &json!(0)));
    for (seen, left) in [(&first, 2), (&last, 3)] {
        let id = seen.id.as_deref().unwrap();
        let mut again = EventReader::after(&service, id).await;
        again.sent().await.assert_gap(Some(id));
        assert_eq!(again.sent().await.id().1, left);
    }
}

#[tokio::test]
async fn a_reader_that_read_all_events_misses_none_after_a_restart_of_the_service() {
    let journal = MemoryJournal::default();
    let on = |journal: &MemoryJournal| {
        TestService::with(ServiceSetup {
            journal: Arc::new(journal.clone()),
            ..ServiceSetup::default()
        })
    };
    let mut service = on(&journal).await;
    let mut reader = EventReader::since(&service, 0).await;
    for _ in 0..3 {
        service.session().await;
    }
    let first = reader.sent().await;
    reader.sent().await;
    let last = reader.sent().await;
    service.stop();
    assert_eq!(reader.next().await, None);
    service.ended().await;

    let service = on(&journal).await;
    let mut had_all = EventReader::after(&service, last.id.as_deref().unwrap()).await;
    let mut had_one = EventReader::after(&service, first.id.as_deref().unwrap()).await;
    service.session().await;
    let next = had_all.sent().await;
    assert_eq!(next.id(), (last.id().0, 4));
    assert_eq!(next.data["missed"], 0);
    let next = had_one.sent().await;
    assert_eq!((next.id().1, &next.data["missed"]), (4, &json!(2)));
}

#[tokio::test]
async fn a_slow_reader_receives_the_number_of_events_that_it_missed() {
    let service = TestService::with(ServiceSetup {
        config: Config {
            event_capacity: Some(2),
            ..keyed()
        },
        ..ServiceSetup::default()
    })
    .await;
    for _ in 0..5 {
        service.session().await;
    }
    let event = EventReader::since(&service, 1).await.event().await;
    assert_eq!(
        (&event["sequence"], &event["missed"]),
        (&json!(4), &json!(2))
    );
}

#[tokio::test]
async fn a_stream_continues_when_the_instance_is_replaced() {
    let service = TestService::new().await;
    let mut reader = EventReader::since(&service, 0).await;
    service.session().await;
    let first = reader.sent().await;
    service.guard.set(GuardFunction::Issue, GuardMode::Trap);
    service
        .create(&worker())
        .await
        .assert_refused(503, "unavailable");
    service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    let grant = service.session().await;
    let gap = reader.sent().await;
    gap.assert_gap(first.id.as_deref());
    let next = reader.sent().await;
    assert_eq!(next.data["session_id"], grant["session_id"]);
    assert!(next.id().0 == text(&gap.data["run"]) && next.id().0 != first.id().0);
    assert!(next.id().1 > 1);
    assert_eq!(next.data["missed"], 0, "the gap reports the missing events");

    // A reader that reconnects receives the same gap and event.
    let mut other = EventReader::after(&service, first.id.as_deref().unwrap()).await;
    other.sent().await.assert_gap(first.id.as_deref());
    assert_eq!(other.sent().await, next);
}

#[tokio::test]
async fn a_stream_ends_with_the_service() {
    let mut service = TestService::new().await;
    let mut reader = EventReader::since(&service, 0).await;
    service.session().await;
    reader.event().await;
    service.stop();
    assert_eq!(reader.next().await, None);
    service.ended().await;
}

#[tokio::test]
async fn expired_sessions_end_without_a_call() {
    let service = TestService::new().await;
    let mut reader = EventReader::since(&service, 0).await;
    let grant = service.session().await;
    reader.event().await;
    service.clock.advance(Duration::from_mins(1));
    let event = reader.event().await;
    assert_eq!(event["session_id"], grant["session_id"]);
    assert_eq!(
        (&event["kind"], &event["reason"]),
        (&json!("ended"), &json!("expired"))
    );
}

#[tokio::test]
async fn a_reader_beyond_the_limit_of_64_is_refused() {
    let service = TestService::new().await;
    let mut readers = Vec::new();
    for _ in 0..64 {
        readers.push(EventReader::since(&service, 0).await);
    }
    let refused = answer(service.admin(Method::GET, "/v1/events")).await;
    assert!(
        refused
            .assert_refused(429, "limit_reached")
            .contains("subscribers")
    );
    readers.clear();
    crate::service::until("closed readers free their slots", async || {
        let request = service.admin(Method::GET, "/v1/events");
        request.send().await.unwrap().status() == 200
    })
    .await;
}
