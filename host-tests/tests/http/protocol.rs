//! HTTP: methods, invalid heads and bodies, and connections that are incomplete or slow.

use std::time::{Duration, Instant};

use clawdb_session_http::ServeOptions;
use clawdb_session_testkit::{GuardFunction, GuardMode};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::bounds::with;
use crate::connection::{admin, assert_refused, create, exchange, rest, send, status};
use crate::failures::until_issued;
use crate::service::{ADMIN_KEY, AGENT, NOBODY, TestService, answer, text, until, worker};

#[tokio::test]
async fn a_head_request_takes_no_use_and_changes_nothing() {
    let service = TestService::new().await;
    let mut once = worker();
    once["max_uses"] = json!(1);
    let grant = service.create(&once).await.body;
    let other = "00000000-0000-4000-8000-0000000000aa";
    for path in [
        "/v1/sessions/me".to_owned(),
        format!("/v1/sessions/{NOBODY}"),
        format!("/v1/agents/{AGENT}/sessions"),
        "/v1/events".to_owned(),
    ] {
        for (name, value) in [
            ("authorization", format!("Bearer {}", text(&grant["token"]))),
            ("x-admin-key", ADMIN_KEY.to_owned()),
        ] {
            let head = service.request(Method::HEAD, &path);
            let head = head.header(name, value).header("x-workspace-id", other);
            let refused = head.send().await.unwrap();
            assert_eq!(refused.status(), 405, "{path}");
            let allow = refused.headers()["allow"].to_str().unwrap();
            assert!(
                allow.contains("GET") && !allow.contains("HEAD"),
                "{path}: {allow}"
            );
        }
    }
    let me = service.request(Method::HEAD, "/v1/sessions/me");
    let me = me.bearer_auth(text(&grant["token"])).send().await.unwrap();
    assert_eq!(me.status(), 405);
    assert_eq!(service.tenants.loaded(), 1, "no workspace was created");
    assert_eq!(service.metric("clawdb_session_subscribers").await, 0);
    assert_eq!(service.me(&grant["token"]).await.status, 200);
    service
        .me(&grant["token"])
        .await
        .assert_refused(401, "invalid_token");
    for path in ["/metrics", "/healthz"] {
        let head = service.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
    }
    let nowhere = service.request(Method::HEAD, "/v1/nowhere");
    assert_eq!(nowhere.send().await.unwrap().status(), 404);
    let metrics = service.metrics().await;
    let counted = r#"{method="HEAD",route="/v1/sessions/me",status="405"} 3"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(!metrics.contains(r#"method="other""#), "{metrics}");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_gets_its_answer() {
    let service = TestService::overlapping().await;
    service.session().await;
    service.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let mut connection = send(&service, create()).await;
    connection.shutdown().await.unwrap();
    until_issued(&service, 2).await;
    service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    let answer = rest(connection).await;
    assert_eq!(status(&answer), 201, "{answer}");
    assert!(answer.contains("\"token\""), "{answer}");
}

#[tokio::test]
async fn a_disconnected_reader_of_events_frees_its_connection_within_the_keep_alive_interval() {
    const KEEP_ALIVE: Duration = Duration::from_secs(2);
    let service = with(|options| ServeOptions {
        max_connections: 1,
        keep_alive: KEEP_ALIVE,
        ..options
    })
    .await;
    let mut reader = send(&service, admin("GET /v1/events", "")).await;
    let mut some = [0; 12];
    reader.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");
    // All received bytes are read, so that closing sends no reset.
    let mut headers = Vec::new();
    while !headers.ends_with(b"\r\n\r\n") {
        headers.push(reader.read_u8().await.unwrap());
    }
    drop(reader);
    let begin = Instant::now();
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&exchange(&service, health).await), 200);
    let took = begin.elapsed();
    // The second write to a closed connection would come later.
    assert!(took < KEEP_ALIVE * 2, "{took:?}");
}

#[tokio::test]
async fn a_request_has_exactly_one_valid_host() {
    let service = TestService::new().await;
    for (fields, expected) in [
        ("", 400),
        ("Host: a\r\nHost: a\r\n", 400),
        ("Host: a\r\nhost: b\r\n", 400),
        ("Host: user@a\r\n", 400),
        ("Host: a b\r\n", 400),
        ("Host: a/b\r\n", 400),
        ("Host: x:abc\r\n", 400),
        ("Host: x:+1\r\n", 400),
        ("Host: x:99999\r\n", 400),
        ("Host: [::1]:99999\r\n", 400),
        ("Host: x,y\r\n", 400),
        ("Host:\r\n", 200),
        ("Host: a\r\n", 200),
        ("Host: a:\r\n", 200),
        ("Host: localhost:8787\r\n", 200),
        ("Host: [::1]\r\n", 200),
        ("Host: [::1]:8787\r\n", 200),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        let answer = exchange(&service, request).await;
        match expected {
            200 => assert_eq!(status(&answer), 200, "{fields:?}: {answer}"),
            _ => assert_refused(&answer, 400, "bad_request"),
        }
    }
    let old = exchange(&service, "GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&old), 200, "{old}");
    let twice = "GET /healthz HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n";
    assert_refused(&exchange(&service, twice).await, 400, "bad_request");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_with_json_up_to_the_limits_of_hyper() {
    let service = TestService::new().await;
    let close = "Connection: close\r\n";
    let target = |bytes: usize| format!("GET /v1/{}", "x".repeat(bytes - "/v1/".len()));
    let largest = exchange(&service, admin(&target(8_192), close)).await;
    assert_refused(&largest, 404, "not_found");
    for bytes in [8_193, 60_000] {
        let answer = exchange(&service, admin(&target(bytes), close)).await;
        assert_refused(&answer, 414, "uri_too_long");
    }
    // The request has three other fields.
    let many = |count: usize| format!("{close}{}", "X-A: b\r\n".repeat(count - 3));
    let most = exchange(&service, admin("GET /v1/nowhere", &many(100))).await;
    assert_refused(&most, 404, "not_found");
    for count in [101, 256] {
        let answer = exchange(&service, admin("GET /v1/nowhere", &many(count))).await;
        assert_refused(&answer, 431, "header_fields_too_large");
    }
    let large = format!("{close}X-A: {}\r\n", "b".repeat(65_537));
    let answer = exchange(&service, admin("GET /v1/nowhere", &large)).await;
    assert_refused(&answer, 431, "header_fields_too_large");

    // hyper refuses these requests before the service receives them, without a body.
    for (request, expected) in [
        (admin(&target(66_000), close), 414),
        (admin(&target(270_000), close), 431),
        (admin(&target(500_000), close), 431),
        (admin("GET /v1/nowhere", &many(257)), 431),
        (
            admin("GET /healthz", "Content-Length: 18446744073709551615\r\n"),
            431,
        ),
        ("NONSENSE\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost x\r\n\r\n".to_owned(), 400),
    ] {
        let answer = exchange(&service, request).await;
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
    let http_2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(exchange(&service, http_2).await, "");
    assert_eq!(service.metric("clawdb_session_live_sessions").await, 0);
}

#[tokio::test]
async fn a_chunked_body_is_refused_as_soon_as_it_is_too_large() {
    let service = TestService::new().await;
    let fields = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let head = admin("POST /v1/sessions", fields);
    let chunk = format!("1001\r\n{}\r\n", " ".repeat(0x1001));
    // Seventeen chunks without a last chunk.
    let answer = exchange(&service, head.clone() + &chunk.repeat(17)).await;
    assert_refused(&answer, 413, "body_too_large");
    // One incomplete chunk.
    let answer = exchange(&service, format!("{head}fffff\r\n{}", " ".repeat(65_537))).await;
    assert_refused(&answer, 413, "body_too_large");
    // A body with too large a `Content-Length` is refused before it is read.
    let fields = "Content-Type: application/json\r\nContent-Length: 65537\r\n";
    let answer = exchange(&service, admin("POST /v1/sessions", fields)).await;
    assert_refused(&answer, 413, "body_too_large");
}

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_is_refused() {
    let service = TestService::new().await;
    let body = worker().to_string();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let post = |fields: &str| {
        let fields = format!("Content-Type: application/json\r\nConnection: close\r\n{fields}");
        admin("POST /v1/sessions", &fields) + &chunks
    };
    for codings in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
    ] {
        let answer = exchange(&service, post(codings)).await;
        assert_refused(&answer, 501, "not_implemented");
    }
    // hyper refuses codings that do not end with `chunked`.
    let answer = exchange(&service, post("Transfer-Encoding: gzip\r\n")).await;
    assert_eq!(status(&answer), 400, "{answer}");
    assert_eq!(service.metric("clawdb_session_live_sessions").await, 0);
    let answer = exchange(&service, post("Transfer-Encoding: Chunked\r\n")).await;
    assert_eq!(status(&answer), 201, "{answer}");
}

#[tokio::test]
async fn a_content_length_beside_chunks_is_ignored_and_ends_the_connection() {
    let service = TestService::new().await;
    let body = worker().to_string();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let fields = format!("Content-Type: application/json\r\n{fields}");
        let request = admin("POST /v1/sessions", &fields) + &chunks;
        let answer = exchange(&service, request).await;
        assert_eq!(status(&answer), 201, "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_receives_its_refusal_without_a_reset() {
    let service = TestService::new().await;
    let fields = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
    let request = admin("POST /v1/sessions", fields) + &chunk.repeat(2);
    let mut connection = send(&service, request).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        answer.push(connection.read_u8().await.unwrap());
    }
    assert_refused(std::str::from_utf8(&answer).unwrap(), 413, "body_too_large");
    // The client can read the answer later than it arrives.
    for _ in 0..8 {
        connection.write_all(chunk.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(rest(connection).await, "");
}

#[tokio::test]
async fn a_body_with_a_content_encoding_is_refused() {
    let service = TestService::new().await;
    let post = |coding: &str| {
        let post = service.admin(Method::POST, "/v1/sessions").json(&worker());
        answer(post.header("Content-Encoding", coding.to_owned()))
    };
    for coding in ["gzip", "br", "identity, gzip", "nonsense"] {
        let refused = post(coding).await;
        refused.assert_refused(415, "unsupported_media_type");
        assert_eq!(refused.header("accept-encoding"), Some("identity"));
    }
    for coding in ["identity", "Identity", ""] {
        assert_eq!(post(coding).await.status, 201, "{coding:?}");
    }
    let other_kind = service.admin(Method::POST, "/v1/sessions").body("x");
    let refused = answer(other_kind).await;
    refused.assert_refused(415, "unsupported_media_type");
    assert_eq!(refused.header("accept-encoding"), None);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_with_the_services_own_message() {
    let service = TestService::new().await;
    let fields = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let request = admin("POST /v1/sessions", fields) + "not a size\r\n";
    let answer = exchange(&service, request).await;
    assert_refused(&answer, 400, "bad_request");
    assert!(
        answer.contains(r#""message":"the body ended early or is malformed""#),
        "{answer}"
    );
}

#[tokio::test]
async fn a_wrong_key_or_token_is_refused_before_the_body_is_read() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let waiting = |path: &str, bearer: &str, fields: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n{fields}\r\n")
    };
    let comes = "Content-Type: application/json\r\nContent-Length: 20\r\n";
    let begin = Instant::now();
    for path in [
        "/v1/sessions",
        "/v1/sessions/me/authorize",
        "/v1/revoke-all",
    ] {
        for fields in [
            comes,
            "Content-Type: application/json\r\nContent-Length: 100000\r\n",
            "Content-Type: text/plain\r\nContent-Length: 20\r\n",
            "Content-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: 20\r\n",
        ] {
            let answer = exchange(&service, waiting(path, "wrong", fields)).await;
            assert_refused(&answer, 401, "invalid_token");
        }
    }
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "the service waited for a body"
    );

    // The answer to a wrong token does not reveal what is wrong with a complete body.
    let revoked = service.session().await;
    let path = format!("/v1/sessions/{}", text(&revoked["session_id"]));
    let revocation = answer(service.admin(Method::DELETE, &path)).await;
    assert_eq!(revocation.status, 200);
    let long = "x".repeat(300);
    for scope in ["", "a b", &long] {
        let authorize = |token: &str| {
            let request = service.request(Method::POST, "/v1/sessions/me/authorize");
            answer(request.bearer_auth(token).json(&json!({ "scope": scope })))
        };
        for wrong in ["bad", text(&revoked["token"])] {
            let refused = authorize(wrong).await;
            refused.assert_refused(401, "invalid_token");
            let challenge = refused.header("www-authenticate");
            assert_eq!(challenge, Some(r#"Bearer error="invalid_token""#));
        }
        let good = authorize(text(&grant["token"])).await;
        let message = good.assert_refused(400, "invalid_argument");
        assert!(message.starts_with("scope: "), "{message}");
    }

    let asked = service.guard.calls().validate;
    // With a valid token, the service waits for the body.
    let request = waiting("/v1/sessions/me/authorize", text(&grant["token"]), comes);
    let mut connection = send(&service, request).await;
    until("the guard is asked", async || {
        service.guard.calls().validate > asked
    })
    .await;
    connection
        .write_all(br#"{"scope":"tool:run"}"#)
        .await
        .unwrap();
    let mut some = [0; 12];
    connection.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_token_is_validated_once_for_a_request_with_a_body() {
    let service = TestService::new().await;
    let grant = service.session().await;
    let authorize = service.request(Method::POST, "/v1/sessions/me/authorize");
    let authorize = authorize
        .bearer_auth(text(&grant["token"]))
        .json(&json!({ "scope": "tool:search" }));
    assert_eq!(answer(authorize).await.status, 200);
    assert_eq!(service.guard.calls().validate, 1);
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_connection_after_the_write_timeout() {
    let service = with(|options| ServeOptions {
        max_connections: 1,
        write_timeout: Duration::from_millis(200),
        ..options
    })
    .await;
    let mut large = worker();
    large["metadata"] = json!("x".repeat(16_000));
    {
        // With one connection allowed, each create must close its connection before the next one.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0);
        let client = client.build().unwrap();
        for _ in 0..60 {
            let create = client.post(format!("{}/v1/sessions", service.url));
            let create = create.header("X-Admin-Key", ADMIN_KEY).json(&large);
            let created = create.header("Connection", "close").send().await.unwrap();
            assert_eq!(created.status(), 201);
        }
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stalled = socket.connect(service.address).await.unwrap();
    let list = admin(&format!("GET /v1/agents/{AGENT}/sessions"), "");
    // The answers have about 50 MB.
    stalled.write_all(list.repeat(50).as_bytes()).await.unwrap();
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&exchange(&service, health).await), 200);
    drop(stalled);
}

#[tokio::test]
async fn a_client_that_reads_slowly_receives_the_whole_answer() {
    const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
    let service = with(|options| ServeOptions {
        write_timeout: WRITE_TIMEOUT,
        ..options
    })
    .await;
    let mut large = worker();
    large["metadata"] = json!("x".repeat(16_000));
    for _ in 0..200 {
        assert_eq!(service.create(&large).await.status, 201);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut slow = socket.connect(service.address).await.unwrap();
    let path = format!("GET /v1/agents/{AGENT}/sessions?limit=200");
    let list = admin(&path, "Connection: close\r\n");
    slow.write_all(list.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let begin = Instant::now();
    // At this pace, a third of a send buffer takes longer than the write timeout.
    while begin.elapsed() < WRITE_TIMEOUT * 4 {
        let mut some = [0; 2_048];
        let read = slow
            .read(&mut some)
            .await
            .expect("the service does not reset the connection");
        assert!(read > 0, "the answer ended after {} bytes", answer.len());
        answer.extend_from_slice(&some[..read]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    slow.read_to_end(&mut answer)
        .await
        .expect("the service does not reset the connection");
    assert!(answer.len() > 200 * 16_000, "{}", answer.len());
    assert!(answer.ends_with(b"}"), "the answer is complete");
}

#[tokio::test]
async fn an_incomplete_request_does_not_delay_a_shutdown() {
    let fields = "Content-Type: application/json\r\nContent-Length: 100\r\n";
    for half in [
        "G".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(),
        format!("{}{{", admin("POST /v1/sessions", fields)),
    ] {
        for before in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let mut service = TestService::new().await;
            let mut connection = send(&service, format!("{before}{half}")).await;
            let mut some = [0; 12];
            if !before.is_empty() {
                connection.read_exact(&mut some).await.unwrap();
                assert_eq!(&some, b"HTTP/1.1 200");
            }
            // Connections are accepted in order. When this one is answered, the other one was read.
            let health = answer(service.request(Method::GET, "/healthz")).await;
            assert_eq!(health.status, 200);
            service.stop();
            let begin = Instant::now();
            service.ended().await;
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(5), "{half:?} took {took:?}");
            drop(connection);
        }
    }
}

#[tokio::test]
async fn a_shutdown_completes_an_answer_that_is_read_slowly() {
    let mut service = TestService::new().await;
    let mut large = worker();
    large["metadata"] = json!("x".repeat(16_000));
    for _ in 0..200 {
        assert_eq!(service.create(&large).await.status, 201);
    }
    let path = format!("GET /v1/agents/{AGENT}/sessions?limit=200");
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut slow: TcpStream = socket.connect(service.address).await.unwrap();
    let list = admin(&path, "");
    slow.write_all(list.as_bytes()).await.unwrap();
    let mut some = [0; 12];
    slow.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");
    service.stop();
    until("no new connection is accepted", async || {
        TcpStream::connect(service.address).await.is_err()
    })
    .await;
    let answer = rest(slow).await;
    assert!(answer.len() > 200 * 16_000, "{}", answer.len());
    assert!(answer.ends_with('}'), "the answer is complete");
    service.ended().await;
}
