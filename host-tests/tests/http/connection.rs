//! Raw TCP connections of a client to the service.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::{ADMIN_KEY, TestService, text, worker};

/// The longest time that a request may take during an attack, on a busy machine.
const LONGEST: Duration = Duration::from_secs(10);

/// Opens a connection and sends these bytes.
pub async fn send(service: &TestService, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut connection = TcpStream::connect(service.address).await.unwrap();
    connection.write_all(bytes.as_ref()).await.unwrap();
    connection
}

/// Reads all that the service sends until it closes the connection.
pub async fn rest(mut connection: TcpStream) -> String {
    let mut answer = Vec::new();
    let end = connection.read_to_end(&mut answer);
    let end = tokio::time::timeout(Duration::from_secs(20), end).await;
    end.expect("the service closes")
        .expect("the service does not reset the connection");
    String::from_utf8(answer).unwrap()
}

/// Sends one request on a new connection, and returns the answer.
pub async fn exchange(service: &TestService, request: impl AsRef<[u8]>) -> String {
    rest(send(service, request).await).await
}

/// Returns the status of an answer.
pub fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// Checks the status and the error of a refusal, which is JSON with `no-store`.
pub fn assert_refused(answer: &str, expected: u16, error: &str) {
    assert_eq!(status(answer), expected, "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.contains("cache-control: no-store"), "{answer}");
    assert!(head.contains("content-type: application/json"), "{answer}");
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!(body["error"], error, "{answer}");
}

/// Returns the head of a request with the admin key and these fields.
pub fn admin(request: &str, fields: &str) -> String {
    format!("{request} HTTP/1.1\r\nHost: x\r\nX-Admin-Key: {ADMIN_KEY}\r\n{fields}\r\n")
}

/// Returns a complete create request, after which the service closes the connection.
pub fn create() -> String {
    let body = worker().to_string();
    let fields = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    admin("POST /v1/sessions", &fields) + &body
}

/// Checks that a client with a new connection creates a session, and uses it, within the time that
/// a request may take.
pub async fn assert_serves_others(service: &TestService) {
    let begin = Instant::now();
    let created = exchange(service, create()).await;
    assert_eq!(status(&created), 201, "{created}");
    let (_, body) = created.split_once("\r\n\r\n").unwrap();
    let grant: Value = serde_json::from_str(body).unwrap();
    let fields = format!(
        "Host: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        text(&grant["token"])
    );
    let me = exchange(service, format!("GET /v1/sessions/me HTTP/1.1\r\n{fields}")).await;
    assert_eq!(status(&me), 200, "{me}");
    let took = begin.elapsed();
    assert!(took < LONGEST, "{took:?}");
}
