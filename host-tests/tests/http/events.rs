//! The stream of events.

use std::time::Duration;

use clawdb_session_host::bindings::exports::clawdb::session::settings::Config;
use clawdb_session_host::control::{GuardFunction, GuardMode};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::service::{AGENT, Setting, TestService, answer, keyed, text, worker};

/// A reader of server-sent events.
struct Reader {
    response: Response,
    read: String,
}

/// One of them: its id and its data.
type Sent = (String, Value);

impl Reader {
    async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            read: String::new(),
        }
    }

    async fn since(service: &TestService, since: u64) -> Self {
        Self::open(service.admin(Method::GET, &format!("/v1/events?since={since}"))).await
    }

    /// The next one; none at the end of the stream.
    async fn next(&mut self) -> Option<Sent> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.read_one());
        next.await.expect("an event, or the end")
    }

    async fn read_one(&mut self) -> Option<Sent> {
        loop {
            while let Some((block, rest)) = self.read.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.trim_start().to_owned()))
                };
                // A comment keeps the connection alive, and is no event.
                if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                    return Some((id, serde_json::from_str(&data).unwrap()));
                }
            }
            let bytes = self.response.chunk().await.ok()??;
            self.read.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn event(&mut self) -> Value {
        self.next().await.expect("the stream goes on").1
    }
}

#[tokio::test]
async fn events_come_as_they_happen_each_under_its_number() {
    let service = TestService::new().await;
    let mut reader = Reader::open(service.admin(Method::GET, "/v1/events")).await;
    let grant = service.session().await;
    let id = text(&grant["session_id"]);
    let (number, event) = reader.next().await.unwrap();
    assert_eq!(number, "1");
    assert_eq!(
        event,
        json!({
            "sequence": 1, "time": "2030-01-01T00:00:00Z", "session_id": id, "agent_id": AGENT,
            "parent": null, "root": id, "generation": 0, "kind": "created", "reason": null,
            "missed": 0,
        })
    );
    let path = format!("/v1/agents/{AGENT}/sessions");
    answer(service.admin(Method::DELETE, &path)).await;
    let (number, event) = reader.next().await.unwrap();
    assert_eq!(number, "2");
    assert_eq!(
        (&event["kind"], &event["reason"]),
        (&json!("expired"), &json!("revoked_all"))
    );
    assert!(!reader.read.contains(text(&grant["token"])));
}

#[tokio::test]
async fn a_reader_that_comes_back_goes_on_where_it_was() {
    let service = TestService::new().await;
    for _ in 0..4 {
        service.session().await;
    }
    let mut first = Reader::since(&service, 1).await;
    assert_eq!(first.next().await.unwrap().0, "2");
    drop(first);
    let again = service
        .admin(Method::GET, "/v1/events?since=1")
        .header("Last-Event-ID", "2");
    let mut again = Reader::open(again).await;
    assert_eq!(again.next().await.unwrap().0, "3");
    assert_eq!(again.next().await.unwrap().0, "4");

    let nonsense = service
        .admin(Method::GET, "/v1/events")
        .header("Last-Event-ID", "x");
    let refused = answer(nonsense).await;
    assert!(
        refused
            .assert_refused(400, "invalid_argument")
            .starts_with("last-event-id")
    );
}

#[tokio::test]
async fn a_reader_that_comes_too_late_is_told_what_it_missed() {
    let service = TestService::with(Setting {
        config: Config {
            event_capacity: Some(2),
            ..keyed()
        },
        ..Setting::default()
    })
    .await;
    for _ in 0..5 {
        service.session().await;
    }
    let event = Reader::since(&service, 1).await.event().await;
    assert_eq!(
        (&event["sequence"], &event["missed"]),
        (&json!(4), &json!(2))
    );
}

#[tokio::test]
async fn a_stream_goes_on_when_the_instance_is_replaced() {
    let service = TestService::new().await;
    let mut reader = Reader::since(&service, 0).await;
    service.session().await;
    assert_eq!(reader.event().await["sequence"], 1);
    service.guard.set(GuardFunction::Issue, GuardMode::Trap);
    service
        .create(&worker())
        .await
        .assert_refused(503, "unavailable");
    service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    let grant = service.session().await;
    let event = reader.event().await;
    assert_eq!(event["session_id"], grant["session_id"]);
    assert!(event["sequence"].as_u64() > Some(1), "{event}");
}

#[tokio::test]
async fn a_stream_ends_with_the_service() {
    let mut service = TestService::new().await;
    let mut reader = Reader::since(&service, 0).await;
    service.session().await;
    reader.event().await;
    service.stop();
    assert_eq!(reader.next().await, None);
    service.ended().await;
}

#[tokio::test]
async fn sessions_whose_time_is_over_end_without_being_called_for() {
    let service = TestService::new().await;
    let mut reader = Reader::since(&service, 0).await;
    let grant = service.session().await;
    reader.event().await;
    service.clock.advance(Duration::from_mins(1));
    let event = reader.event().await;
    assert_eq!(event["session_id"], grant["session_id"]);
    assert_eq!(
        (&event["kind"], &event["reason"]),
        (&json!("expired"), &json!("lapsed"))
    );
}

#[tokio::test]
async fn more_readers_than_there_may_be_are_refused() {
    let service = TestService::new().await;
    let mut readers = Vec::new();
    for _ in 0..64 {
        readers.push(Reader::since(&service, 0).await);
    }
    let refused = answer(service.admin(Method::GET, "/v1/events")).await;
    assert!(
        refused
            .assert_refused(429, "limit_reached")
            .contains("subscribers")
    );
    readers.clear();
    crate::service::until("readers that have gone make room", async || {
        let request = service.admin(Method::GET, "/v1/events");
        request.send().await.unwrap().status() == 200
    })
    .await;
}
