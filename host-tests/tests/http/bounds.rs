//! Timeouts, the limit of connections, and the shutdown of the service.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_durable::MemoryJournal;
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::World;
use clawdb_session_http::{AdminKey, BadAdminKey, ServeOptions, serve};
use clawdb_session_testkit::{GuardFunction, GuardMode};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::failures::until_issued;
use crate::service::{ADMIN_KEY, ServiceSetup, TestService, answer, until, worker};

pub async fn with(serve: fn(ServeOptions) -> ServeOptions) -> TestService {
    TestService::with(ServiceSetup {
        serve,
        // Some of the tests hold the guard.
        world: World::Session,
        ..ServiceSetup::default()
    })
    .await
}

#[test]
fn an_admin_key_has_at_least_16_printable_ascii_characters_without_spaces() {
    for key in [
        "",
        "fifteen-letters",
        "sixteen letters!",
        "sixteen-letters\n",
        "ümlaut-ümlaut-ümlaut",
    ] {
        let refused: Result<_, BadAdminKey> = AdminKey::new(key);
        assert!(refused.is_err(), "{key:?}");
    }
    assert!(AdminKey::new("sixteen-letters!").is_ok());
    let random = AdminKey::random().unwrap();
    assert_eq!(random.reveal().len(), 64);
    assert_ne!(random.reveal(), AdminKey::random().unwrap().reveal());
    assert_eq!(format!("{random:?}"), "AdminKey(..)");
}

#[test]
fn options_of_zero_are_refused() {
    let options = || {
        let key = AdminKey::new(ADMIN_KEY).unwrap();
        ServeOptions::new(key, Arc::new(JwtGuard::new(&[7; 32]).unwrap()))
    };
    assert_eq!(options().check(), Ok(()));
    let zero = Duration::ZERO;
    for (options, expected) in [
        (
            ServeOptions {
                max_connections: 0,
                ..options()
            },
            "max_connections (0) must be at least 1",
        ),
        (
            ServeOptions {
                request_timeout: zero,
                ..options()
            },
            "request_timeout (0 s) must be longer than 0 s",
        ),
        (
            ServeOptions {
                body_timeout: zero,
                ..options()
            },
            "body_timeout (0 s) must be longer than 0 s",
        ),
        (
            ServeOptions {
                header_timeout: zero,
                ..options()
            },
            "header_timeout (0 s) must be longer than 0 s",
        ),
        (
            ServeOptions {
                write_timeout: zero,
                ..options()
            },
            "write_timeout (0 s) must be longer than 0 s",
        ),
        (
            ServeOptions {
                keep_alive: zero,
                ..options()
            },
            "keep_alive (0 s) must be longer than 0 s",
        ),
        (
            ServeOptions {
                housekeeping: zero,
                ..options()
            },
            "housekeeping (0 s) must be longer than 0 s",
        ),
    ] {
        assert_eq!(options.check().unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_service_does_not_start_with_an_option_outside_its_bounds() {
    let service = TestService::new().await;
    let key = AdminKey::new(ADMIN_KEY).unwrap();
    let options = ServeOptions {
        max_connections: 0,
        ..ServeOptions::new(key, service.guard.clone())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forever = std::future::pending();
    let served = serve(listener, service.tenants.clone(), options, forever).await;
    let error = served.unwrap_err();
    assert_eq!(error.to_string(), "max_connections (0) must be at least 1");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_with_a_timeout() {
    let service = with(|options| ServeOptions {
        request_timeout: Duration::from_millis(100),
        ..options
    })
    .await;
    service.session().await;
    service.guard.set(GuardFunction::Issue, GuardMode::Hold);
    service
        .create(&worker())
        .await
        .assert_refused(504, "timeout");
    service.guard.set(GuardFunction::Issue, GuardMode::Ok);
}

#[tokio::test]
async fn the_request_timeout_does_not_end_a_stream_of_events() {
    let service = with(|options| ServeOptions {
        request_timeout: Duration::from_millis(200),
        header_timeout: Duration::from_millis(200),
        ..options
    })
    .await;
    // Waits for the start of the instance, which takes longer than the request timeout.
    until("the service is healthy", async || {
        service
            .request(Method::GET, "/healthz")
            .send()
            .await
            .unwrap()
            .status()
            == 200
    })
    .await;
    let mut stream = service
        .admin(Method::GET, "/v1/events")
        .send()
        .await
        .unwrap();
    // The stream must outlive the request timeout in real time.
    tokio::time::sleep(Duration::from_millis(500)).await;
    service.session().await;
    assert!(stream.chunk().await.unwrap().is_some());
}

#[tokio::test]
async fn a_connection_with_an_incomplete_head_is_closed_after_the_header_timeout() {
    let service = with(|options| ServeOptions {
        header_timeout: Duration::from_millis(100),
        ..options
    })
    .await;
    for begin in [
        "",
        "GET /healthz HT",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    ] {
        let mut connection = TcpStream::connect(service.address).await.unwrap();
        connection.write_all(begin.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = connection.read_to_end(&mut answer);
        let end = tokio::time::timeout(Duration::from_secs(10), end).await;
        assert!(end.is_ok(), "the connection is still open after {begin:?}");
    }
}

#[tokio::test]
async fn an_incomplete_body_is_refused_after_the_body_timeout() {
    let service = with(|options| ServeOptions {
        body_timeout: Duration::from_millis(100),
        ..options
    })
    .await;
    let mut connection = TcpStream::connect(service.address).await.unwrap();
    let request = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nX-Admin-Key: {ADMIN_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let end = connection.read_to_string(&mut answer);
    let end = tokio::time::timeout(Duration::from_secs(10), end).await;
    assert!(end.is_ok(), "the service closes the connection");
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_connection_beyond_max_connections_waits_for_another_to_close() {
    let service = with(|options| ServeOptions {
        max_connections: 1,
        header_timeout: Duration::from_mins(10),
        ..options
    })
    .await;
    let mut first = TcpStream::connect(service.address).await.unwrap();
    let health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    first.write_all(health).await.unwrap();
    let mut some = [0; 12];
    first.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");

    let mut second = TcpStream::connect(service.address).await.unwrap();
    second.write_all(health).await.unwrap();
    let early =
        tokio::time::timeout(Duration::from_millis(200), second.read_exact(&mut some)).await;
    assert!(
        early.is_err(),
        "the second connection was served beyond max_connections"
    );
    drop(first);
    second.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_shutdown_answers_requests_in_flight_and_accepts_no_new_connections() {
    let mut service = TestService::overlapping().await;
    service.session().await;
    service.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let create = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let creating = tokio::spawn(answer(create));
    until_issued(&service, 2).await;
    service.stop();
    until("no new connection is accepted", async || {
        TcpStream::connect(service.address).await.is_err()
    })
    .await;
    service.guard.set(GuardFunction::Issue, GuardMode::Ok);
    let created = creating.await.unwrap();
    assert_eq!(created.status, 201, "{created:?}");
    service.ended().await;
}

#[tokio::test]
async fn a_request_that_never_ends_delays_a_shutdown_by_the_drain_time_at_most() {
    let mut service = with(|options| ServeOptions {
        drain: Duration::from_millis(100),
        ..options
    })
    .await;
    service.session().await;
    service.guard.set(GuardFunction::Issue, GuardMode::Hold);
    let create = service.admin(Method::POST, "/v1/sessions").json(&worker());
    let creating = tokio::spawn(create.send());
    until_issued(&service, 2).await;
    service.stop();
    service.ended().await;
    assert!(
        creating.await.unwrap().is_err(),
        "the connection was closed without an answer"
    );
}

#[tokio::test]
async fn idle_connections_do_not_delay_a_shutdown() {
    let mut service = TestService::new().await;
    let mut idle = TcpStream::connect(service.address).await.unwrap();
    let request = format!(
        "GET /v1/agents/x/sessions HTTP/1.1\r\nHost: x\r\nX-Admin-Key: {ADMIN_KEY}\r\n\r\n"
    );
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut some = [0; 12];
    idle.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 400");
    let unused = TcpStream::connect(service.address).await.unwrap();
    service.stop();
    let begin = std::time::Instant::now();
    service.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(5));
    drop((idle, unused));
}

#[tokio::test]
async fn a_time_that_the_clock_cannot_reach_counts_as_a_year() {
    let service = with(|options| ServeOptions {
        request_timeout: Duration::MAX,
        body_timeout: Duration::MAX,
        header_timeout: Duration::MAX,
        write_timeout: Duration::MAX,
        keep_alive: Duration::MAX,
        drain: Duration::MAX,
        housekeeping: Duration::MAX,
        ..options
    })
    .await;
    let grant = service.session().await;
    assert_eq!(service.me(&grant["token"]).await.status, 200);
    let events = service.admin(Method::GET, "/v1/events").send();
    assert_eq!(events.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_service_that_is_dropped_releases_its_journal() {
    let journal = Arc::new(MemoryJournal::default());
    let service = TestService::with(ServiceSetup {
        journal: journal.clone(),
        ..ServiceSetup::default()
    })
    .await;
    service.session().await;
    service.abort();
    until("nothing refers to the journal", async || {
        Arc::strong_count(&journal) == 1
    })
    .await;
}
