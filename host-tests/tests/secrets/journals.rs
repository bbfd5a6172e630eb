//! The journals: the bytes of their files, also those that are free, and the messages on NATS.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clawdb_session_durable::{DurableHost, DurableOptions, Journal, TenantId};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{AnyEngine, Config, CreateRequest, InstanceOptions, RevokeFilter, World};
use clawdb_session_journal_redb::RedbJournal;
use clawdb_session_testkit::{Secrets, number_in_environment};

use crate::caller::{GUARD_KEY, OTHER_KEY, ROLE, STATE_KEY, agent, foreign_token};
use crate::guard::RecordingGuard;

/// The number of calls, unless `SESSION_SECRETS_CALLS` is set.
const CALLS: u64 = 200;
/// The number of calls of a round.
const CALLS_IN_ROUND: u64 = 16;

/// Makes all calls that write records, and returns the tokens and keys. The last session lives.
async fn fill(journal: Arc<dyn Journal>, world: World) -> Secrets {
    let tokens = Arc::new(RecordingGuard::new(JwtGuard::new(GUARD_KEY).unwrap()));
    let engine = AnyEngine::new(world).unwrap();
    let instances = InstanceOptions::new(engine, tokens.clone());
    let config = Config {
        previous_state_keys: vec![OTHER_KEY.to_vec()],
        rotation_grace: Some(10),
        ..Config::with_state_key(STATE_KEY)
    };
    let options = DurableOptions::new(instances, config);
    let host = DurableHost::start(options, journal, TenantId::default());
    let host = host.await.unwrap();
    let calls = number_in_environment("SESSION_SECRETS_CALLS").unwrap_or(CALLS);
    for round in 0..calls.div_ceil(CALLS_IN_ROUND) {
        make_round(&host, round).await;
    }
    host.shutdown().await;

    let mut secrets = Secrets::default();
    for (name, key) in [
        ("the guard's key", GUARD_KEY),
        ("the state key", STATE_KEY),
        ("the previous state key", OTHER_KEY),
    ] {
        secrets.add_key(name, key);
    }
    for token in tokens.take_issued() {
        secrets.add_token("a token that was issued", &token);
    }
    secrets.add_token("a token that is refused", &foreign_token());
    secrets
}

async fn make_round(host: &DurableHost, round: u64) {
    let request = |number| {
        CreateRequest::new(agent(4 * round + number), ROLE)
            .with_scopes(["memory:read"])
            .with_lifetime(Duration::from_mins(10))
    };
    let first = host.create(request(0)).await.unwrap();
    let id = &*first.session.id;
    let child = host.delegate(id, request(1)).await.unwrap();
    let rotated = host.rotate(&*first.token).await.unwrap();
    let current = host.refresh(id).await.unwrap();
    host.validate(&*current.token).await.unwrap();
    host.validate(&*rotated.token).await.unwrap_err();
    host.validate(foreign_token()).await.unwrap_err();
    host.rotate(foreign_token()).await.unwrap_err();
    host.touch(id).await.unwrap();
    host.revoke_by_token(&*child.token).await.unwrap();
    let stolen = host.create(request(2)).await.unwrap();
    host.rotate(&*stolen.token).await.unwrap();
    host.rotate(&*current.token).await.unwrap();
    host.rotate(&*first.token).await.unwrap_err();
    host.revoke_all_for_agent(agent(4 * round + 2))
        .await
        .unwrap();
    host.revoke_all(RevokeFilter::Everything).await.unwrap();
    host.create(request(3)).await.unwrap();
}

/// Searches all files below a folder. They must contain the role of the sessions.
fn search_files(folder: &Path, secrets: &Secrets) {
    let role = Secrets::of("role", ROLE);
    let mut with_role = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            secrets.assert_absent(&path.display().to_string(), &bytes);
            with_role += role.found_in(&bytes).len();
        }
    }
    assert!(with_role > 0, "no file has the records of the sessions");
}

#[tokio::test]
async fn r22_the_file_of_the_redb_journal_contains_no_token_or_key() {
    let folder = tempfile::tempdir().unwrap();
    let journal = RedbJournal::open(folder.path().join("journal")).await;
    let secrets = fill(Arc::new(journal.unwrap()), World::SessionSync).await;
    search_files(folder.path(), &secrets);
}

#[tokio::test]
#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
async fn r22_the_files_and_messages_of_the_nats_journal_contain_no_token_or_key() {
    use async_nats::jetstream::consumer::{AckPolicy, pull};
    use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
    use clawdb_session_testkit::nats_server::NatsServer;
    use futures::StreamExt;

    let server = NatsServer::start().await;
    // A subscriber of all subjects receives each message that the host publishes.
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut published = client.subscribe(">").await.unwrap();
    client.flush().await.unwrap();
    let recording = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(message) = published.next().await {
            all.extend(message.subject.bytes());
            all.extend(format!("{:?}", message.headers).bytes());
            all.extend(&message.payload);
        }
        all
    });
    let journal = NatsJournal::connect(NatsOptions::new(server.url()).single()).await;
    let secrets = fill(Arc::new(journal.unwrap()), World::Session).await;
    // Messages that were sent before it have arrived.
    client.drain().await.unwrap();
    let published = recording.await.unwrap();
    let role = Secrets::of("role", ROLE);
    assert!(
        !role.found_in(&published).is_empty(),
        "no record was published"
    );
    secrets.assert_absent("the messages", &published);

    let stream = format!(
        "clawdb-session-{}",
        TenantId::default().workspace().as_simple()
    );
    let stream = server.context().await.get_stream(stream).await.unwrap();
    let consumer = stream.create_consumer(pull::Config {
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    });
    let mut consumer = consumer.await.unwrap();
    let pending = consumer.info().await.unwrap().num_pending;
    assert!(pending > 0, "the stream has no messages");
    let stored = consumer.fetch().max_messages(pending.try_into().unwrap());
    let mut stored = stored.messages().await.unwrap();
    while let Some(message) = stored.next().await {
        let message = message.unwrap();
        let head = format!("{} {:?}", message.subject, message.headers);
        secrets.assert_absent("the head of a stored message", head.as_bytes());
        secrets.assert_absent("a stored message", &message.payload);
    }
    search_files(server.folder(), &secrets);
}
