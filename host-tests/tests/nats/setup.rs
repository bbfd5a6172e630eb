//! Servers and streams that could lose acknowledged records are refused.

use std::error::Error;
use std::time::Duration;

use async_nats::ConnectError;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use clawdb_session_durable::{Journal, JournalError};
use clawdb_session_host::full_text;
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_testkit::nats_server::{NatsServer, Setup};

use crate::fixture::{change, journal, options, stream, tenant};

/// Returns the reason why an option, a server or a stream is refused.
fn misconfigured<T>(answer: Result<T, JournalError>) -> String {
    match answer {
        Err(JournalError::Misconfigured(reason)) => reason.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("expected a refusal"),
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_single_server_needs_allow_single() {
    let server = NatsServer::start().await;
    let one = NatsOptions {
        replicas: 1,
        ..options(server.url())
    };
    let reason = misconfigured(NatsJournal::connect(one).await);
    assert!(reason.contains("allow_single"), "{reason}");

    let three = NatsJournal::connect(options(server.url())).await.unwrap();
    let reason = misconfigured(three.take_over(tenant()).await);
    assert!(reason.contains("allow_single"), "{reason}");
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_server_without_jetstream_is_refused() {
    let server = NatsServer::start_with(Setup {
        jetstream: None,
        ..Setup::default()
    })
    .await;
    let reason = misconfigured(NatsJournal::connect(options(server.url()).single()).await);
    assert!(reason.contains("store_dir"), "{reason}");
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn an_account_without_jetstream_is_refused() {
    let server = NatsServer::start_with(Setup {
        more: "accounts {\n\
                with: { jetstream: enabled, users: [{ user: one, password: one }] }\n\
                without: { users: [{ user: two, password: two }] }\n\
                }\nno_auth_user: one\n",
        ..Setup::default()
    })
    .await;
    let url = server.url().replace("//", "//two:two@");
    let reason = misconfigured(NatsJournal::connect(options(url).single()).await);
    assert!(reason.contains("enable it for the account"), "{reason}");
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_server_needs_a_max_payload_of_512_kib() {
    let payloads = [
        ("max_payload: 524287\n", false),
        ("max_payload: 524288\n", true),
    ];
    for (more, is_enough) in payloads {
        let setup = Setup {
            more,
            ..Setup::default()
        };
        let server = NatsServer::start_with(setup).await;
        let connected = NatsJournal::connect(options(server.url()).single()).await;
        if is_enough {
            connected.unwrap();
        } else {
            let reason = misconfigured(connected);
            assert!(reason.contains("max_payload"), "{reason}");
        }
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn credentials_that_the_server_refuses_are_misconfigured() {
    let server = NatsServer::start_with(Setup {
        // Who gives no credentials is this user, so that the fixture can connect.
        more: "authorization { users: [{ user: me, password: secret }] }\nno_auth_user: me\n",
        ..Setup::default()
    })
    .await;
    let connect = |credentials: &str| {
        let url = server.url().replace("//", &format!("//{credentials}@"));
        NatsJournal::connect(options(url).single())
    };
    connect("me:secret").await.unwrap();
    let reason = misconfigured(connect("me:wrong").await);
    assert!(reason.contains("connecting to NATS failed"), "{reason}");
}

#[tokio::test]
async fn options_outside_their_bounds_are_refused() {
    let valid = || options("nats://127.0.0.1:1").single();
    let lease = |lease| NatsOptions { lease, ..valid() };
    let patience = |patience| NatsOptions {
        patience,
        ..valid()
    };
    let prefix = |prefix: &str| NatsOptions {
        prefix: prefix.into(),
        ..valid()
    };
    for invalid in [
        lease(Duration::from_millis(99)),
        lease(Duration::from_secs(3_601)),
        prefix(""),
        prefix("a.b"),
        prefix("a>"),
        NatsOptions {
            replicas: 0,
            ..valid()
        },
        NatsOptions {
            replicas: 6,
            ..valid()
        },
        patience(Duration::ZERO),
        patience(Duration::from_secs(3_601)),
        patience(Duration::MAX),
        NatsOptions {
            url: "not a url".into(),
            ..valid()
        },
    ] {
        let text = format!("{invalid:?}");
        let answer = NatsJournal::connect(invalid).await;
        assert!(
            matches!(answer, Err(JournalError::Misconfigured(_))),
            "{text}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn the_error_of_the_client_is_the_source() {
    let nobody = options("nats://127.0.0.1:1").single();
    let error = NatsJournal::connect(nobody).await.unwrap_err();
    assert!(matches!(error, JournalError::Unavailable(_)), "{error}");
    let source = error.source().unwrap();
    assert!(source.is::<ConnectError>(), "{source}");
    assert_eq!(full_text(&error), format!("{error}: {source}"));
}

#[test]
fn options_do_not_show_the_password() {
    let options = options("nats://me:secret@one:4222,tls://me:secret@two,three");
    let text = format!("{options:?}");
    assert!(text.contains("nats://one:4222,tls://two,three"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_stream_whose_subjects_another_stream_has_is_misconfigured() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let other = Config {
        name: "other".into(),
        subjects: vec!["clawdb-session.>".into()],
        ..Config::default()
    };
    server.context().await.create_stream(&other).await.unwrap();
    let reason = misconfigured(journal.take_over(tenant()).await);
    assert!(reason.contains("another stream has its name"), "{reason}");
}

/// Changes one setting of a stream.
type Set = fn(&mut Config);

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_stream_that_could_lose_records_is_refused_with_the_name_of_its_setting() {
    let server = NatsServer::start().await;
    let journal = journal(&server).await;
    let context = server.context().await;
    let settings: [(&str, Set); 8] = [
        ("max_age", |config| {
            config.max_age = Duration::from_hours(24);
        }),
        ("max_bytes", |config| config.max_bytes = 1_000_000),
        ("max_msgs", |config| config.max_messages = 1_000),
        ("max_msgs_per_subject", |config| {
            config.max_messages_per_subject = 2;
        }),
        ("max_msg_size", |config| config.max_message_size = 100_000),
        ("discard", |config| config.discard = DiscardPolicy::Old),
        ("allow_rollup_hdrs", |config| config.allow_rollup = true),
        ("storage", |config| config.storage = StorageType::Memory),
    ];
    for (name, set) in settings {
        let tenant = tenant();
        journal
            .take_over(tenant)
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
        let mut config = stream(&server, tenant).await.cached_info().config.clone();
        set(&mut config);
        if name == "storage" {
            context.delete_stream(&config.name).await.unwrap();
            context.create_stream(&config).await.unwrap();
        } else {
            context.update_stream(&config).await.unwrap();
        }
        let reason = misconfigured(journal.take_over(tenant).await);
        assert!(reason.contains(&format!(": {name}. ")), "{name}: {reason}");
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_full_server_is_unavailable_and_keeps_its_records() {
    let server = NatsServer::start_with(Setup {
        jetstream: Some("max_file_store: 4MB"),
        ..Setup::default()
    })
    .await;
    let journal = journal(&server).await;
    let tenant = tenant();
    let mut writer = journal.take_over(tenant).await.unwrap();
    let mut acknowledged = 0;
    let full = loop {
        let i = acknowledged + 1;
        let large = change(i, &format!("cut-off/{i}"), "x".repeat(300 * 1024));
        match writer.append(&[large], 0).await {
            Ok(()) => acknowledged = i,
            Err(error) => break error,
        }
        assert!(
            acknowledged < 20,
            "20 records of 300 KiB do not fit into 4 MB"
        );
    };
    assert!(matches!(full, JournalError::Unavailable(_)), "{full:?}");
    assert!(full_text(&full).contains("resource"), "{full:?}");
    assert!(acknowledged > 5);

    let held = writer.len();
    assert_eq!(held, 0);
    let info = stream(&server, tenant).await;
    assert!(info.cached_info().state.messages > acknowledged);
    for i in 1..=acknowledged {
        let subject = crate::fixture::subject(tenant, &format!("cut-off/{i}"));
        info.get_last_raw_message_by_subject(&subject)
            .await
            .unwrap();
    }
}
