//! A stream with missing or foreign messages is reported as damaged.

use clawdb_session_durable::{Journal, JournalError, TenantId};
use clawdb_session_testkit::nats_server::NatsServer;

use crate::fixture::{change, journal, read_all, stream, subject, tenant};

/// Creates a tenant with 21 records, and releases it.
async fn filled(server: &NatsServer) -> TenantId {
    let journal = journal(server).await;
    let tenant = tenant();
    let mut writer = journal.take_over(tenant).await.unwrap();
    for i in 1..=20 {
        writer
            .append(
                &[
                    change(i, &format!("cut-off/{i}"), ""),
                    change(i, "meta", ""),
                ],
                0,
            )
            .await
            .unwrap();
    }
    writer.release().await.unwrap();
    tenant
}

/// Takes the tenant over and reads all records. Returns their number.
async fn read(server: &NatsServer, tenant: TenantId) -> Result<usize, JournalError> {
    let mut writer = journal(server).await.take_over(tenant).await?;
    let read = read_all(writer.as_mut()).await;
    writer.release().await?;
    Ok(read?.len())
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_stream_that_lost_a_record_is_damaged() {
    let server = NatsServer::start().await;
    let tenant = filled(&server).await;
    assert_eq!(read(&server, tenant).await, Ok(21));

    let stream = stream(&server, tenant).await;
    let lost = stream
        .get_last_raw_message_by_subject(&subject(tenant, "cut-off/9"))
        .await
        .unwrap();
    stream.delete_message(lost.sequence).await.unwrap();
    for _ in 0..2 {
        let answer = read(&server, tenant).await;
        assert!(
            matches!(answer, Err(JournalError::Damaged(_))),
            "{answer:?}"
        );
    }
    // Appends are refused too.
    let mut writer = journal(&server).await.take_over(tenant).await.unwrap();
    let answer = writer.append(&[change(99, "meta", "")], 0).await;
    assert!(
        matches!(answer, Err(JournalError::Damaged(_))),
        "{answer:?}"
    );
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_stream_with_a_foreign_message_is_damaged() {
    let server = NatsServer::start().await;
    for key in ["cut-off/9", "cut-off/77"] {
        let tenant = filled(&server).await;
        let context = server.context().await;
        let foreign = context
            .publish(subject(tenant, key), "{}".into())
            .await
            .unwrap();
        foreign.await.unwrap();
        let answer = read(&server, tenant).await;
        assert!(
            matches!(answer, Err(JournalError::Damaged(_))),
            "{answer:?}"
        );
    }
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_writer_stops_at_a_foreign_message() {
    let server = NatsServer::start().await;
    let tenant = tenant();
    let mut writer = journal(&server).await.take_over(tenant).await.unwrap();
    writer.append(&[change(1, "meta", "")], 0).await.unwrap();
    let context = server.context().await;
    let foreign = context
        .publish(subject(tenant, "meta"), "{}".into())
        .await
        .unwrap();
    foreign.await.unwrap();
    let answer = writer.append(&[change(2, "meta", "")], 0).await;
    assert!(
        matches!(answer, Err(JournalError::Damaged(_))),
        "{answer:?}"
    );
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn an_invalid_key_is_refused_and_the_tenant_is_not_affected() {
    let server = NatsServer::start().await;
    let tenant = tenant();
    let mut writer = journal(&server).await.take_over(tenant).await.unwrap();
    for key in [
        "",
        "/",
        "a//b",
        "A",
        "a.b",
        "a b",
        "*",
        ">",
        "a\r\nb",
        &"a".repeat(65),
    ] {
        let answer = writer.append(&[change(1, key, "")], 0).await;
        assert!(
            matches!(answer, Err(JournalError::Damaged(_))),
            "{key:?}: {answer:?}"
        );
    }
    writer.append(&[change(2, "meta", "")], 0).await.unwrap();
    writer.release().await.unwrap();
    assert_eq!(read(&server, tenant).await, Ok(1));
}
