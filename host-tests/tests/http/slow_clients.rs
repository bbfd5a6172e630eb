//! Clients that send or read slowly, or not at all. Each loses its connection within the time
//! limits, and other clients are served meanwhile.

use std::time::{Duration, Instant};

use clawdb_session_http::ServeOptions;
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::bounds::with;
use crate::connection::{admin, assert_refused, assert_serves_others, rest, send, status};
use crate::service::{TestService, answer, text, until};

/// The time limits of the service in these tests.
const LIMIT: Duration = Duration::from_millis(300);
/// The pause between two bytes. It is much shorter than the limits.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest time until a connection is closed, on a busy machine. The attacks would last longer.
const LONGEST: Duration = Duration::from_secs(10);

/// The maximum number of readers of events in a workspace.
const MAX_READERS: usize = 64;

fn short_limits(options: ServeOptions) -> ServeOptions {
    ServeOptions {
        header_timeout: LIMIT,
        body_timeout: LIMIT,
        write_timeout: LIMIT,
        ..options
    }
}

/// Sends these bytes again and again, with pauses, until the service closes the connection. Returns
/// what the service has answered, and how long after `begin` it closed.
async fn trickle(begin: Instant, connection: TcpStream, bytes: &str) -> (String, Duration) {
    let (mut reading, mut writing) = connection.into_split();
    let sending = async {
        for byte in bytes.bytes().cycle() {
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = sending => {}
        // A reset, after the answer, is an end too.
        _ = timeout(LONGEST * 2, reading.read_to_end(&mut answer)) => {}
    }
    let answer = String::from_utf8(answer).unwrap();
    (answer, begin.elapsed())
}

/// Opens a connection with a small receive buffer, so that the service soon cannot write.
async fn narrow(service: &TestService, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut connection = socket.connect(service.address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_arrives_byte_by_byte_is_cut_off_after_the_header_timeout() {
    let service = with(short_limits).await;
    let first = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for before in ["", first] {
        // The service measures from a later time.
        let begin = Instant::now();
        let mut connection = send(&service, before).await;
        if !before.is_empty() {
            let mut some = [0; 12];
            connection.read_exact(&mut some).await.unwrap();
            assert_eq!(&some, b"HTTP/1.1 200");
        }
        let head = "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ";
        connection.write_all(head.as_bytes()).await.unwrap();
        let head = trickle(begin, connection, "x");
        let ((_, took), ()) = tokio::join!(head, assert_serves_others(&service));
        assert!(took >= LIMIT && took < LONGEST, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_arrives_byte_by_byte_is_refused_after_the_body_timeout() {
    let service = with(short_limits).await;
    for (fields, bytes) in [
        ("Content-Length: 60000\r\n", " "),
        ("Transfer-Encoding: chunked\r\n", "1\r\n \r\n"),
        // The size of a chunk that never ends.
        ("Transfer-Encoding: chunked\r\n", "0"),
    ] {
        let fields = format!("Content-Type: application/json\r\n{fields}");
        let begin = Instant::now();
        let connection = send(&service, admin("POST /v1/sessions", &fields)).await;
        let body = trickle(begin, connection, bytes);
        let ((answer, took), ()) = tokio::join!(body, assert_serves_others(&service));
        assert!(took >= LIMIT && took < LONGEST, "{bytes:?}: {took:?}");
        let expected = if bytes == "0" { [400, 408] } else { [408; 2] };
        assert!(expected.contains(&status(&answer)), "{bytes:?}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_and_sends_no_body_is_refused() {
    let service = with(short_limits).await;
    let fields = "Content-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n";
    let begin = Instant::now();
    let answer = rest(send(&service, admin("POST /v1/sessions", fields)).await).await;
    assert!(begin.elapsed() < LONGEST, "{answer}");
    let (interim, last) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(status(interim), 100, "{answer}");
    assert_refused(last, 408, "request_timeout");
}

#[tokio::test]
async fn a_body_that_no_route_reads_does_not_keep_its_connection() {
    let service = with(short_limits).await;
    let endless = "Transfer-Encoding: chunked\r\n";
    for request in ["GET /healthz", "GET /v1/nowhere", "DELETE /v1/sessions/x"] {
        let begin = Instant::now();
        let connection = send(&service, admin(request, endless) + "1\r\nx\r\n").await;
        let (answer, took) = trickle(begin, connection, "1\r\nx\r\n").await;
        assert!(status(&answer) < 500, "{answer}");
        assert!(took < LONGEST, "{request}: {took:?}");
    }
}

#[tokio::test]
async fn a_half_closed_connection_keeps_its_place_for_its_requests_only() {
    let service = with(|options| ServeOptions {
        max_connections: 1,
        ..short_limits(options)
    })
    .await;
    let fields = "Content-Type: application/json\r\nContent-Length: 100\r\n";
    for begin in [
        String::new(),
        "GET /healthz HT".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("{}{{", admin("POST /v1/sessions", fields)),
    ] {
        let mut connection = send(&service, &begin).await;
        connection.shutdown().await.unwrap();
        // There is one place, so the next client is served when this connection is closed.
        timeout(LONGEST, assert_serves_others(&service))
            .await
            .unwrap_or_else(|_| panic!("the connection is still open after {begin:?}"));
        drop(connection);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_events_that_never_read_lose_their_places_and_delay_no_call() {
    // The other time limits would close the connections of the client that makes the events.
    let service = with(|options| ServeOptions {
        write_timeout: LIMIT,
        ..options
    })
    .await;
    let reader = async |service: &TestService| -> Response {
        let request = service.admin(Method::GET, "/v1/events?since=0");
        request.send().await.unwrap()
    };
    // About 1,000 events, which are more than the buffers of a connection take.
    for _ in 0..500 {
        let grant = service.session().await;
        let path = format!("/v1/sessions/{}", text(&grant["session_id"]));
        assert_eq!(
            answer(service.admin(Method::DELETE, &path)).await.status,
            200
        );
    }
    let events = admin("GET /v1/events?since=0", "");
    let mut readers = Vec::new();
    for _ in 0..MAX_READERS {
        readers.push(narrow(&service, &events).await);
    }
    let mut some = [0; 12];
    for reader in &mut readers {
        reader.read_exact(&mut some).await.unwrap();
        assert_eq!(&some, b"HTTP/1.1 200");
    }
    assert_serves_others(&service).await;
    until("the readers have lost their places", async || {
        service.metric("clawdb_session_subscribers").await == 0
    })
    .await;
    let mut reading = reader(&service).await;
    assert_eq!(reading.status(), 200);
    assert!(reading.chunk().await.unwrap().is_some());
    drop(readers);
}

/// The error of an answer.
fn error(reply: &Value) -> &str {
    text(&reply["error"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_requests_for_events_open_at_most_64_streams_of_a_workspace() {
    let service = with(|options| options).await;
    service.session().await;
    let mut streams = Vec::new();
    for _ in 0..MAX_READERS {
        let stream = service.admin(Method::GET, "/v1/events").send().await;
        streams.push(stream.unwrap());
        assert_eq!(streams.last().unwrap().status(), 200);
    }
    for _ in 0..2_000 {
        let refused = answer(service.admin(Method::GET, "/v1/events")).await;
        assert_eq!(
            (refused.status.as_u16(), error(&refused.body)),
            (429, "limit_reached")
        );
    }
    assert_eq!(service.metric("clawdb_session_subscribers").await, 64);
    assert_serves_others(&service).await;
}
