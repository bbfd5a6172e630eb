//! Connections with `tls://`.

use std::process::{Command, Output};

use clawdb_session_durable::JournalError;
use clawdb_session_journal_nats::NatsJournal;
use clawdb_session_testkit::nats_server::{NatsServer, Setup};

use crate::fixture::options;

macro_rules! fixture {
    ($file:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tls/", $file)
    };
}

/// The settings of a server that also accepts connections without TLS, so that the fixture can
/// connect.
const TLS: Setup = Setup {
    jetstream: Some(""),
    more: concat!(
        "tls { cert_file: \"",
        fixture!("server.pem"),
        "\", key_file: \"",
        fixture!("server.key"),
        "\" }\nallow_non_tls: true\n"
    ),
};

/// Returns the URL of a server with TLS, by the name in its certificate.
fn url(server: &NatsServer) -> String {
    let url = server.url().replace("nats://", "tls://");
    url.replace("127.0.0.1", "localhost")
}

/// Creates a session with `exec`, which trusts the authority of the fixtures.
fn exec(url: &str) -> Output {
    let line = r#"{"op":"create","agent-id":"0a9e0000-0000-4000-8000-000000000001","role":"x"}"#;
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::write(&input, line).unwrap();
    Command::new(env!("CARGO_BIN_EXE_clawdb-session"))
        .args(["exec", "--single", "--nats", url])
        .arg(input)
        .env("SSL_CERT_FILE", fixture!("authority.pem"))
        .env("CLAWDB_SESSION_STATE_KEY", "07".repeat(32))
        .env("CLAW_GUARD_JWT_SECRET", "x".repeat(32))
        .output()
        .unwrap()
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_server_whose_certificate_the_system_trusts_is_used_with_tls() {
    let server = NatsServer::start_with(TLS).await;
    let output = exec(&url(&server));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("\"ok\""),
        "{output:?}"
    );
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_server_whose_certificate_the_system_does_not_trust_is_refused() {
    let server = NatsServer::start_with(TLS).await;
    let refused = NatsJournal::connect(options(url(&server)).single()).await;
    assert!(
        matches!(refused, Err(JournalError::Unavailable(_))),
        "{refused:?}"
    );
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_server_without_tls_is_refused_if_the_url_requires_it() {
    let server = NatsServer::start().await;
    let output = exec(&url(&server));
    assert!(!output.status.success(), "{output:?}");
    let refused = NatsJournal::connect(options(url(&server)).single()).await;
    assert!(
        matches!(refused, Err(JournalError::Unavailable(_))),
        "{refused:?}"
    );
}
