//! Calls every operation of an instance, and searches all that it returns.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{
    AnyEngine, AnySessions, CallError, Change, Config, CreateRequest, Grant, InstanceOptions,
    IssueRequest, LocalGuard, Page, RevokeFilter, World,
};
use clawdb_session_testkit::{
    CONTROLLED_START, ControlledGuard, GuardFunction, GuardMode, ManualClock, Secrets,
    controlled_instances,
};
use futures::future::join_all;

use crate::guard::RecordingGuard;
use crate::output::Output;

/// The secret of the guard, the current state key, a previous one, and another that is never
/// configured with success. Each half of each is different.
pub const GUARD_KEY: &[u8; 32] = b"the-guard-key-that-is-a-secret-1";
pub const STATE_KEY: &[u8; 32] = b"the-state-key-that-is-a-secret-2";
const OLD_STATE_KEY: &[u8; 32] = b"an-old-state-key-of-the-records3";
pub const OTHER_KEY: &[u8; 32] = b"some-other-key-of-another-guard4";

/// The role of sessions: a text that is not secret, to check that a search finds something.
pub const ROLE: &str = "the-role-that-every-session-has";

/// The number of operations that a round calls, about.
pub const CALLS_IN_ROUND: u64 = 64;

/// An instance, and all that is known about it.
pub struct Caller {
    instance: AnySessions,
    options: InstanceOptions,
    world: World,
    guard: Arc<ControlledGuard>,
    tokens: Arc<RecordingGuard>,
    clock: Arc<ManualClock>,
    /// All tokens and keys so far.
    pub secrets: Secrets,
    /// The output of the calls that has not been searched yet.
    output: Output,
    /// The role of the session that [`Caller::end_everything`] leaves. No other session of this
    /// process has it. It is shorter than the forms that are searched for by halves.
    pub live_role: String,
    rounds: u64,
    /// The sequence number of the last record that was read.
    last_change: u64,
}

/// Returns the id of an agent.
pub fn agent(number: u64) -> String {
    format!("0a9e0000-0000-4000-8000-{number:012}")
}

/// Returns a token of another guard, which this one refuses.
pub fn foreign_token() -> String {
    let guard = JwtGuard::new(OTHER_KEY).unwrap();
    guard.issue_session_token(issue_request()).unwrap().token
}

/// Returns the request for a token of a session.
pub fn issue_request() -> IssueRequest {
    IssueRequest {
        principal: "agent:a".into(),
        task: "default".into(),
        session_id: "s".into(),
        agent_id: "a".into(),
        workspace_id: "w".into(),
        role: "reader".into(),
        scopes: Vec::new(),
        expires_at: 4_000_000_000_000,
    }
}

/// Returns a token with another signature.
pub fn altered(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let reversed: String = signature.chars().rev().collect();
    // The last digit of 32 bytes has two unused bits, which must be 0.
    format!("{message}.{}A", &reversed[..reversed.len() - 1])
}

impl Caller {
    pub async fn start(world: World) -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let jwt = JwtGuard::new(GUARD_KEY).unwrap();
        let jwt = jwt.with_previous_secrets(&[OTHER_KEY.iter().rev().copied().collect()]);
        let tokens = Arc::new(RecordingGuard::new(jwt.unwrap().with_clock(clock.clone())));
        let guard = Arc::new(ControlledGuard::new(Arc::new(tokens.clone())));
        let engine = AnyEngine::new(world).unwrap();
        let options = controlled_instances(engine, guard.clone(), clock.clone());
        let instance = AnySessions::start(options.clone()).await.unwrap();
        instance.configure(config()).await.unwrap();
        let mut secrets = Secrets::default();
        for (name, key) in [
            ("the guard's key", GUARD_KEY),
            ("the state key", STATE_KEY),
            ("the previous state key", OLD_STATE_KEY),
            ("another key", OTHER_KEY),
        ] {
            secrets.add_key(name, key);
        }
        Self {
            instance,
            options,
            world,
            guard,
            tokens,
            clock,
            secrets,
            output: Output::default(),
            // The name of one world begins with that of the other, so it is not the end.
            live_role: format!("{}-live-role", world.name()),
            rounds: 0,
            last_change: 0,
        }
    }

    /// Returns a request of an agent of this round.
    fn request(&self, number: u64) -> CreateRequest {
        CreateRequest::new(self.agent(number), ROLE)
            .with_scopes(["memory:read", "tool:search"])
            .with_lifetime(Duration::from_mins(10))
    }

    fn agent(&self, number: u64) -> String {
        agent(4 * self.rounds + number)
    }

    fn report<T: Debug, E: Error + 'static>(&mut self, answer: Result<T, E>) -> Option<T> {
        self.output.report(answer)
    }

    fn granted(&mut self, answer: Result<Grant, CallError>) -> Grant {
        self.report(answer).expect("a token is granted")
    }

    /// Adds a token that no session has, and returns it.
    fn wrong(&mut self, token: String) -> String {
        self.secrets.add_token("a token that is refused", &token);
        token
    }

    /// Searches the output so far for all secrets so far.
    fn search(&mut self) {
        for token in self.tokens.take_issued() {
            self.secrets.add_token("a token that was issued", &token);
        }
        self.output.search(&self.secrets);
    }

    /// Calls each operation, with success and without.
    pub async fn make_round(&mut self) {
        let instance = self.instance.clone();
        let first = self.granted(instance.create(self.request(0)).await);
        let id = first.session.id.clone();
        let child = self.granted(instance.delegate(&*id, self.request(1)).await);
        let legacy = instance.create_session(self.agent(2), ROLE, Vec::new(), None);
        let legacy = self.granted(legacy.await);

        let rotated = self.granted(instance.rotate(&*first.token).await);
        let current = self.granted(instance.refresh(&*id).await);
        let wrong = [
            self.wrong(foreign_token()),
            self.wrong(altered(&current.token)),
            first.token.to_string(),
            rotated.token.to_string(),
        ];
        self.report(instance.validate(&*current.token).await);
        self.report(instance.authorize(&*current.token, "memory:read").await);
        self.report(instance.authorize(&*current.token, "memory:write").await);
        for token in &wrong {
            self.report(instance.validate(&**token).await);
            self.report(instance.authorize(&**token, "memory:read").await);
            self.report(instance.revoke_by_token(&**token).await);
        }
        self.report(instance.rotate(&*wrong[0]).await);
        self.report(instance.validate(current.token.repeat(100)).await);
        let mut batch = wrong.to_vec();
        batch.extend([&child, &legacy, &current].map(|it| it.token.to_string()));
        self.report(instance.validate_many(batch.clone()).await);
        // Tokens in place of other arguments.
        self.report(instance.get(&*current.token).await);
        self.report(instance.touch(&*current.token).await);
        self.report(instance.refresh(&*current.token).await);
        self.report(instance.revoke(&*current.token).await);
        self.report(
            instance
                .list_for_agent(&*current.token, Page::default())
                .await,
        );
        self.report(
            instance
                .create(CreateRequest::new(&*current.token, ROLE))
                .await,
        );

        self.report(instance.touch(&*id).await);
        self.report(instance.get(&*id).await);
        self.report(instance.get_session(&*id).await);
        let page = instance.list_for_agent(self.agent(0), Page::default());
        self.report(page.await);
        self.make_guard_fail(&current, &batch).await;
        self.overlap(&child).await;
        self.make_lifespans().await;
        self.read_and_restore().await;

        // The theft of a token that was rotated.
        self.report(instance.rotate(&*first.token).await);
        let third = self.granted(instance.create(self.request(3)).await);
        self.report(instance.rotate(&*third.token).await);
        self.report(instance.rotate(&*third.token).await);
        self.report(instance.invalidate(&*legacy.session.id).await);
        let last = self.granted(instance.create(self.request(3)).await);
        self.report(instance.revoke_by_token(&*last.token).await);
        self.report(instance.revoke(&*id).await);
        self.report(instance.revoke_all_for_agent(self.agent(3)).await);
        self.report(instance.flush_guard_revocations().await);
        self.report(instance.active_count().await);
        self.report(instance.stats().await);
        self.report(instance.accept_clock().await);
        self.rounds += 1;
        self.search();
    }

    /// Makes the guard fail in each way, while tokens are issued, validated and revoked.
    async fn make_guard_fail(&mut self, current: &Grant, batch: &[String]) {
        let instance = self.instance.clone();
        for mode in [
            GuardMode::Deny,
            GuardMode::Unavailable,
            GuardMode::Revoked,
            GuardMode::WrongHandle,
            GuardMode::Short,
        ] {
            let function = [
                GuardFunction::Issue,
                GuardFunction::Validate,
                GuardFunction::Revoke,
            ];
            for function in function {
                self.guard.set(function, mode);
                self.report(instance.validate(&*current.token).await);
                self.report(instance.validate_many(batch.to_vec()).await);
                let created = instance.create(self.request(3)).await;
                if let Some(created) = self.report(created) {
                    self.report(instance.rotate(&*created.token).await);
                    self.report(instance.refresh(&*created.session.id).await);
                    self.report(instance.revoke(&*created.session.id).await);
                }
                self.guard.set_all(GuardMode::Ok);
            }
        }
    }

    /// Renews a session with calls that overlap. All but one fail, and the guard has issued a token
    /// for each.
    async fn overlap(&mut self, grant: &Grant) {
        if self.world == World::SessionSync {
            return;
        }
        let instance = self.instance.clone();
        self.guard.set(GuardFunction::Issue, GuardMode::Hold);
        let calls = (0..4).map(|_| {
            let (instance, id) = (instance.clone(), grant.session.id.clone());
            tokio::spawn(async move { instance.refresh(id).await })
        });
        let calls: Vec<_> = calls.collect();
        tokio::task::yield_now().await;
        instance.wait_until_idle().await.unwrap();
        self.guard.set_all(GuardMode::Ok);
        for call in join_all(calls).await {
            self.report(call.unwrap());
        }
    }

    /// Lets sessions end by themselves: by their expiry, and by their last use.
    async fn make_lifespans(&mut self) {
        let instance = self.instance.clone();
        let short = self.request(2).with_lifetime(Duration::from_secs(1));
        let short = self.granted(instance.create(short).await);
        let used = self.request(2).with_max_uses(1);
        let used = self.granted(instance.create(used).await);
        for _ in 0..2 {
            self.report(instance.validate(&*used.token).await);
        }
        self.clock.advance(Duration::from_secs(2));
        self.report(instance.validate(&*short.token).await);
        self.report(instance.rotate(&*short.token).await);
        self.report(instance.refresh(&*short.session.id).await);
        self.report(instance.prune_expired(None).await);
    }

    /// Reads events and records, and restores the records in another instance. It refuses records
    /// that were changed, and those of another key.
    async fn read_and_restore(&mut self) {
        let instance = self.instance.clone();
        let since = instance.stats().await.unwrap().last_event;
        let since = since.saturating_sub(1_000);
        self.report(instance.poll_events(since, 1_000).await);
        if let Ok(mut events) = instance.subscribe(since).await {
            while let Some(event) = events.try_next() {
                self.report(Ok::<_, CallError>(event));
            }
        }
        // A start takes long, and so does reading all records.
        let restores = self.rounds.is_multiple_of(16);
        let last_read = if restores { 0 } else { self.last_change };
        let mut changes: Vec<Change> = Vec::new();
        loop {
            let since = changes.last().map_or(last_read, |change| change.sequence);
            let page = instance.changes(since, 1_000).await;
            let page = self.report(page).expect("the records are read");
            changes.extend(page.changes);
            if !page.more {
                break;
            }
        }
        for change in &changes {
            let text = format!("{} {}", change.key, change.value);
            self.output.add(&text);
        }
        self.last_change = changes.last().map_or(last_read, |change| change.sequence);
        let stored = instance.flush_stored_revocations(self.last_change);
        self.report(stored.await);
        if !restores {
            return;
        }
        let other = AnySessions::start(self.options.clone()).await.unwrap();
        let wrong_key = Config::with_state_key(OTHER_KEY);
        self.report(other.configure(wrong_key).await);
        self.report(other.restore(changes.clone()).await);
        let long_key = [&STATE_KEY[..], STATE_KEY, STATE_KEY].concat();
        self.report(other.configure(Config::with_state_key(long_key)).await);
        self.report(other.configure(config()).await);
        let mut refused = changes.clone();
        refused[0].value = refused[0].value.replace(':', "; ");
        self.report(other.restore(refused).await);
        self.report(other.restore(changes).await);
        self.report(other.close_event_run().await);
        self.report(other.stats().await);
        // The instance ends, and the error says why.
        self.guard.set(GuardFunction::Issue, GuardMode::Trap);
        self.report(other.create(self.request(2)).await);
        self.guard.set_all(GuardMode::Ok);
    }

    /// Ends all sessions, and returns when the guard has confirmed it. A last session lives, with
    /// the role [`live_role`](Self::live_role).
    pub async fn end_everything(&mut self) {
        let instance = self.instance.clone();
        let kept = self.granted(instance.create(self.request(1)).await);
        for filter in [
            RevokeFilter::Root(kept.session.id),
            RevokeFilter::Role(ROLE.into()),
            RevokeFilter::Everything,
        ] {
            self.report(instance.revoke_all(filter).await);
        }
        self.report(instance.flush_guard_revocations().await);
        let last = CreateRequest::new(self.agent(1), &*self.live_role);
        self.granted(instance.create(last).await);
        self.search();
    }
}

fn config() -> Config {
    Config {
        previous_state_keys: vec![OLD_STATE_KEY.to_vec()],
        ..Config::with_state_key(STATE_KEY)
    }
}
