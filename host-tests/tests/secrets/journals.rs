//! The journals: the bytes of their files, also those that are free, and the messages on NATS.

use std::error::Error;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawdb_session_durable::{DurableError, DurableHost, DurableOptions, Journal, TenantId};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{AnyEngine, Config, CreateRequest, Grant, Page, RevokeFilter, World};
use clawdb_session_journal_redb::RedbJournal;
use clawdb_session_testkit::{
    CONTROLLED_START, ControlledGuard, GuardFunction, GuardMode, ManualClock, Secrets,
    controlled_instances, number_in_environment,
};

use crate::caller::{GUARD_KEY, OTHER_KEY, ROLE, STATE_KEY, agent, altered, foreign_token};
use crate::guard::RecordingGuard;
use crate::output::Output;

/// The number of calls, unless `SESSION_SECRETS_CALLS` is set.
const CALLS: u64 = 400;
/// The number of calls of a round, about.
const CALLS_IN_ROUND: u64 = 150;

/// A durable host, and what its calls have returned.
struct Caller {
    host: DurableHost,
    guard: Arc<ControlledGuard>,
    clock: Arc<ManualClock>,
    secrets: Secrets,
    output: Output,
    rounds: u64,
}

/// Makes calls of every operation, and returns the tokens and keys, which are not in the answers
/// nor in the lines for a log. The last session lives.
async fn fill(journal: Arc<dyn Journal>, world: World) -> Secrets {
    let clock = Arc::new(ManualClock::new(CONTROLLED_START));
    let jwt = JwtGuard::new(GUARD_KEY).unwrap().with_clock(clock.clone());
    let tokens = Arc::new(RecordingGuard::new(jwt));
    let guard = Arc::new(ControlledGuard::new(Arc::new(tokens.clone())));
    let engine = AnyEngine::new(world).unwrap();
    let instances = controlled_instances(engine, guard.clone(), clock.clone());
    let config = Config {
        previous_state_keys: vec![OTHER_KEY.to_vec()],
        rotation_grace: Some(10),
        ..Config::with_state_key(STATE_KEY)
    };
    let log = Arc::new(Mutex::new(Output::default()));
    let lines = log.clone();
    let options = DurableOptions {
        report: Some(Arc::new(move |_, line| lines.lock().unwrap().add(line))),
        ..DurableOptions::new(instances, config)
    };
    let host = DurableHost::start(options, journal, TenantId::default());
    let mut caller = Caller {
        host: host.await.unwrap(),
        guard,
        clock,
        secrets: Secrets::default(),
        output: Output::default(),
        rounds: 0,
    };
    let calls = number_in_environment("SESSION_SECRETS_CALLS").unwrap_or(CALLS);
    for _ in 0..calls.div_ceil(CALLS_IN_ROUND) {
        Box::pin(caller.make_round()).await;
    }
    caller.lose_the_instance().await;
    caller.host.shutdown().await;

    let Caller {
        mut secrets,
        mut output,
        ..
    } = caller;
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
    for reason in ["told to deny", "told to be unavailable"] {
        output.assert_contains(reason);
    }
    output.search(&secrets);
    let mut log = log.lock().unwrap();
    log.assert_contains("told to trap");
    log.search(&secrets);
    secrets
}

impl Caller {
    fn report<T: Debug, E: Error + 'static>(&mut self, answer: Result<T, E>) -> Option<T> {
        self.output.report(answer)
    }

    fn granted(&mut self, answer: Result<Grant, DurableError>) -> Grant {
        self.report(answer).expect("a token is granted")
    }

    fn succeeds<T: Debug, E: Error + 'static>(&mut self, answer: Result<T, E>) {
        assert!(self.report(answer).is_some(), "a call has failed");
    }

    fn fails<T: Debug, E: Error + 'static>(&mut self, answer: Result<T, E>) {
        let answer = self.report(answer);
        assert!(answer.is_none(), "a call must fail: {answer:?}");
    }

    /// Adds a token that no session has, and returns it.
    fn wrong(&mut self, token: String) -> String {
        self.secrets.add_token("a token that is refused", &token);
        token
    }

    /// Returns a request of an agent of this round.
    fn request(&self, number: u64) -> CreateRequest {
        CreateRequest::new(self.agent(number), ROLE)
            .with_scopes(["memory:read"])
            .with_lifetime(Duration::from_mins(10))
    }

    fn agent(&self, number: u64) -> String {
        agent(4 * self.rounds + number)
    }

    /// Calls each operation, with success and without.
    async fn make_round(&mut self) {
        let host = self.host.clone();
        let first = self.granted(host.create(self.request(0)).await);
        let id = &*first.session.id;
        let child = self.granted(host.delegate(id, self.request(1)).await);
        let legacy = host.create_session(self.agent(1), ROLE, Vec::new(), None);
        let legacy = self.granted(legacy.await);
        let rotated = self.granted(host.rotate(&*first.token).await);
        let current = self.granted(host.refresh(id).await);
        self.succeeds(host.validate(&*current.token).await);
        self.succeeds(host.authorize(&*current.token, "memory:read").await);
        self.fails(host.authorize(&*current.token, "memory:write").await);
        let wrong = [
            self.wrong(foreign_token()),
            self.wrong(altered(&current.token)),
            rotated.token.to_string(),
        ];
        for token in &wrong {
            self.fails(host.validate(&**token).await);
            self.fails(host.authorize(&**token, "memory:read").await);
        }
        for token in &wrong[..2] {
            self.fails(host.rotate(&**token).await);
            self.fails(host.revoke_by_token(&**token).await);
        }
        let mut batch = wrong.to_vec();
        batch.extend([&child, &legacy, &current].map(|it| it.token.to_string()));
        self.succeeds(host.validate_many(batch.clone()).await);
        self.misplace(&current.token).await;

        self.succeeds(host.touch(id).await);
        self.succeeds(host.get(id).await);
        self.succeeds(host.get_session(id).await);
        let page = host.list_for_agent(self.agent(0), Page::default());
        self.succeeds(page.await);
        self.make_guard_fail(&current, &batch).await;
        self.make_lifespans().await;

        self.succeeds(host.revoke_by_token(&*child.token).await);
        self.succeeds(host.invalidate(&*legacy.session.id).await);
        // The theft of a token that was rotated.
        let stolen = self.granted(host.create(self.request(2)).await);
        self.granted(host.rotate(&*stolen.token).await);
        self.granted(host.rotate(&*current.token).await);
        self.fails(host.rotate(&*first.token).await);
        let last = self.granted(host.create(self.request(3)).await);
        self.succeeds(host.revoke(&*last.session.id).await);
        self.succeeds(host.revoke_all_for_agent(self.agent(2)).await);
        self.succeeds(host.poll_events(0, 1_000).await);
        let mut events = host.subscribe(0).await.unwrap();
        while let Some(event) = events.try_next() {
            self.succeeds(Ok::<_, DurableError>(event));
        }
        self.set_clock_back().await;
        self.succeeds(host.revoke_all(RevokeFilter::Everything).await);
        self.succeeds(host.flush_guard_revocations().await);
        self.succeeds(host.active_count().await);
        self.succeeds(host.stats().await);
        self.granted(host.create(self.request(3)).await);
        self.rounds += 1;
    }

    /// Gives a token in place of other arguments.
    async fn misplace(&mut self, token: &str) {
        let host = self.host.clone();
        self.fails(host.get(token).await);
        self.fails(host.touch(token).await);
        self.fails(host.refresh(token).await);
        self.fails(host.revoke(token).await);
        self.fails(host.invalidate(token).await);
        self.fails(host.list_for_agent(token, Page::default()).await);
        self.fails(host.revoke_all_for_agent(token).await);
        for filter in [
            RevokeFilter::Root(token.into()),
            RevokeFilter::Role(token.into()),
        ] {
            self.fails(host.revoke_all(filter).await);
        }
        let request = self.request(0);
        self.fails(host.delegate(token, request.clone()).await);
        self.fails(host.create(CreateRequest::new(token, ROLE)).await);
        let by_role = CreateRequest::new(self.agent(0), token);
        self.fails(host.create(by_role).await);
    }

    /// Makes the guard fail in each way, while tokens are issued, validated and revoked.
    async fn make_guard_fail(&mut self, current: &Grant, batch: &[String]) {
        let host = self.host.clone();
        for mode in [
            GuardMode::Deny,
            GuardMode::Unavailable,
            GuardMode::Revoked,
            GuardMode::WrongHandle,
            GuardMode::Short,
        ] {
            for function in [
                GuardFunction::Issue,
                GuardFunction::Validate,
                GuardFunction::Revoke,
            ] {
                self.guard.set(function, mode);
                self.report(host.validate(&*current.token).await);
                self.report(host.authorize(&*current.token, "memory:read").await);
                self.report(host.validate_many(batch.to_vec()).await);
                let created = host.create(self.request(3)).await;
                if let Some(created) = self.report(created) {
                    self.report(host.rotate(&*created.token).await);
                    self.report(host.refresh(&*created.session.id).await);
                    self.report(host.revoke(&*created.session.id).await);
                    self.report(host.flush_guard_revocations().await);
                }
                self.guard.set_all(GuardMode::Ok);
            }
        }
    }

    /// Lets sessions end by themselves: by their expiry, and by their last use.
    async fn make_lifespans(&mut self) {
        let host = self.host.clone();
        let short = self.request(2).with_lifetime(Duration::from_secs(1));
        let short = self.granted(host.create(short).await);
        let used = self.request(2).with_max_uses(1);
        let used = self.granted(host.create(used).await);
        self.succeeds(host.validate(&*used.token).await);
        self.fails(host.validate(&*used.token).await);
        self.clock.advance(Duration::from_secs(2));
        self.fails(host.validate(&*short.token).await);
        self.fails(host.rotate(&*short.token).await);
        self.succeeds(host.prune_expired(None).await);
    }

    /// Sets the clock back, so that no session can be created until the clock is accepted.
    async fn set_clock_back(&mut self) {
        let host = self.host.clone();
        self.fails(host.accept_clock().await);
        self.clock.rewind(Duration::from_hours(1));
        self.fails(host.create(self.request(2)).await);
        self.succeeds(host.accept_clock_fully().await);
        self.granted(host.create(self.request(2)).await);
    }

    /// Makes the guard end the instance during a call. Another one restores the sessions.
    async fn lose_the_instance(&mut self) {
        let host = self.host.clone();
        self.guard.set(GuardFunction::Issue, GuardMode::Trap);
        self.fails(host.create(self.request(3)).await);
        self.guard.set_all(GuardMode::Ok);
        self.granted(host.create(self.request(3)).await);
    }
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
