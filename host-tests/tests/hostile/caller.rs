//! Random calls, and the promises that their answers must keep.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{
    AnyEngine, AnySessions, CallError, Clock, Config, CreateRequest, EventKind, Grant, HostError,
    InstanceOptions, RevokeFilter, Session, SessionError, World,
};
use clawdb_session_testkit::{Random, controlled_instances};
use futures::future::join_all;

use crate::ports::{HostileClock, HostileEntropy, HostileGuard, Hostility};

/// How many calls run at the same time.
const AT_ONCE: u64 = 8;
/// How many sessions and tokens are kept to choose from.
const MAX_KNOWN: usize = 64;
/// The lifetime of a session in seconds.
const LIFETIME: u64 = 600;
/// The default `clock-tolerance` in seconds.
const TOLERANCE: u64 = 60;
/// How many events are read at a time.
const EVENTS: u32 = 1_000;
const AGENTS: usize = 4;
const ROLES: [&str; 2] = ["reader", "writer"];

/// Makes calls, and remembers what was promised.
pub struct Caller {
    instance: AnySessions,
    guard: Arc<HostileGuard>,
    clock: Arc<HostileClock>,
    entropy: Arc<HostileEntropy>,
    random: Random,
    hostility: Hostility,
    /// The bytes of an instance without sessions.
    empty_bytes: u64,
    sessions: Vec<String>,
    tokens: Vec<String>,
    /// The sessions that each token was granted for: several, if the guard has repeated it after
    /// its session had ended.
    granted: HashMap<String, HashSet<String>>,
    /// The sessions that have ended, and during which batch of calls. An id is removed if the
    /// random source has repeated it.
    ended: HashMap<String, u64>,
    successes: u64,
    /// The sessions that are live by the events, and the last event that was read.
    live: HashSet<String>,
    since: u64,
}

/// What a call has returned.
enum Answer {
    Granted(Grant),
    Used(String, Session),
    Ended(String),
    Other,
    Refused(CallError),
}

fn agent(number: usize) -> String {
    format!("0a9e0000-0000-4000-8000-{number:012}")
}

impl Caller {
    pub async fn start(world: World, hostility: Hostility, seed: u64) -> Self {
        let clock = Arc::new(HostileClock::new(seed ^ 1, hostility.clock));
        let guard = HostileGuard::new(seed ^ 2, hostility.guard, Arc::clone(&clock));
        let guard = Arc::new(guard);
        let entropy = Arc::new(HostileEntropy::new(seed ^ 3, hostility.entropy));
        let engine = AnyEngine::new(world).unwrap();
        let mut options = controlled_instances(engine, guard.clone(), clock.clone());
        match &mut options {
            InstanceOptions::Session(_, options) => {
                options.entropy = entropy.clone();
                // The guard does not answer each call.
                options.guard_deadline = Some(Duration::from_secs(1));
            }
            InstanceOptions::SessionSync(_, options) => options.entropy = entropy.clone(),
        }
        let instance = AnySessions::start(options).await.unwrap();
        let config = Config {
            default_ttl: Some(LIFETIME),
            max_sessions: Some(40),
            max_sessions_per_agent: Some(16),
            rotation_grace: Some(30),
            ..Config::default()
        };
        instance.configure(config).await.unwrap();
        assert!(guard.instance.set(instance.clone()).is_ok());
        let empty_bytes = instance.stats().await.unwrap().state_bytes;
        Self {
            instance,
            guard,
            clock,
            entropy,
            random: Random::new(seed),
            hostility,
            empty_bytes,
            sessions: Vec::new(),
            tokens: Vec::new(),
            granted: HashMap::new(),
            ended: HashMap::new(),
            successes: 0,
            live: HashSet::new(),
            since: 0,
        }
    }

    /// Makes this many calls, some of them at the same time.
    pub async fn make_calls(&mut self, calls: u64) {
        for batch in 0..calls.div_ceil(AT_ONCE) {
            let begun = (0..AT_ONCE).map(|_| self.begin());
            let answers = join_all(begun.collect::<Vec<_>>()).await;
            let repeated = self.repeated_ids(&answers);
            for id in &repeated {
                self.ended.remove(id);
            }
            for answer in answers {
                self.check(answer, batch, &repeated);
            }
            self.check_events().await;
            self.check_ended(batch).await;
            if self.random.once_in(4) {
                let seconds = self.random.below(60);
                self.clock.advance(Duration::from_secs(seconds as u64));
            }
        }
        println!("{} calls succeeded", self.successes);
        assert!(
            self.successes > calls / 20,
            "{} of {calls} succeeded",
            self.successes
        );
    }

    /// Lets the ports behave, and ends all sessions. Nothing may be left.
    pub async fn end_everything(self) {
        self.guard.behave();
        self.clock.behave();
        self.entropy.behave();
        let instance = self.instance;
        let latest = self.clock.now_millis() + (LIFETIME + TOLERANCE) * 1_000;
        for token in &self.tokens {
            if let Ok(session) = instance.validate(&**token).await {
                assert!(session.expires_at <= latest, "R6: {}", session.expires_at);
            }
        }
        instance.revoke_all(RevokeFilter::Everything).await.unwrap();
        while instance.prune_expired(None).await.unwrap() > 0 {}
        for _ in 0..100 {
            if instance.flush_guard_revocations().await.unwrap().pending == 0 {
                break;
            }
        }
        let stats = instance.stats().await.unwrap();
        assert_eq!(stats.live_sessions, 0);
        assert_eq!(stats.creates_in_flight, 0);
        assert_eq!(stats.pending_revocations, 0);
        assert_eq!(stats.tracked_agents, 0);
        assert_eq!(stats.state_bytes, self.empty_bytes);
        for token in self.granted.keys() {
            assert!(instance.validate(&**token).await.is_err(), "{token}");
        }
        if stats.clock_behind {
            instance.accept_clock().await.unwrap();
        }
        let grant = instance.create(request(0, "reader")).await.unwrap();
        instance.validate(&*grant.token).await.unwrap();
    }

    /// Begins a call that is chosen at random.
    fn begin(&self) -> impl Future<Output = Answer> + use<> {
        let instance = self.instance.clone();
        let session = self
            .random
            .pick(&self.sessions)
            .cloned()
            .unwrap_or_else(|| agent(99));
        let token = self.random.pick(&self.tokens).cloned().unwrap_or_default();
        let (agent_number, role) = (self.random.below(AGENTS), ROLES[self.random.below(2)]);
        let choice = self.random.below(100);
        async move {
            let answer = match choice {
                0..=24 => instance
                    .create(request(agent_number, role))
                    .await
                    .map(Answer::Granted),
                25..=34 => {
                    let request = request(agent_number, role);
                    instance
                        .delegate(session, request)
                        .await
                        .map(Answer::Granted)
                }
                35..=54 => {
                    let session = instance.validate(&*token).await;
                    session.map(|session| Answer::Used(token, session))
                }
                55..=59 => {
                    let session = instance.authorize(&*token, "tool:search").await;
                    session.map(|session| Answer::Used(token, session))
                }
                60..=69 => instance.rotate(token).await.map(Answer::Granted),
                70..=76 => instance.refresh(session).await.map(Answer::Granted),
                77..=81 => {
                    let revoked = instance.revoke(&*session).await;
                    revoked.map(|_| Answer::Ended(session))
                }
                82..=84 => {
                    let revoked = instance.revoke_by_token(token).await;
                    revoked.map(|revoked| Answer::Ended(revoked.session_id))
                }
                85..=86 => {
                    let invalidated = instance.invalidate(&*session).await;
                    invalidated.map(|()| Answer::Ended(session))
                }
                87 => {
                    let filter = RevokeFilter::Role(role.into());
                    instance.revoke_all(filter).await.map(|_| Answer::Other)
                }
                88 => {
                    let ended = instance.revoke_all_for_agent(agent(agent_number)).await;
                    ended.map(|_| Answer::Other)
                }
                89..=91 => {
                    let tokens = vec![token.clone(), token, String::new()];
                    instance.validate_many(tokens).await.map(|_| Answer::Other)
                }
                92..=93 => instance.touch(session).await.map(|()| Answer::Other),
                94..=95 => {
                    let flushed = instance.flush_guard_revocations().await;
                    flushed.map(|_| Answer::Other).map_err(CallError::Host)
                }
                96..=97 => {
                    let pruned = instance.prune_expired(None).await;
                    pruned.map(|_| Answer::Other).map_err(CallError::Host)
                }
                98 => instance.accept_clock().await.map(|_| Answer::Other),
                _ => instance.get(session).await.map(|_| Answer::Other),
            };
            answer.unwrap_or_else(Answer::Refused)
        }
    }

    /// Returns the ids of the new sessions, if the random source can have repeated them. They may
    /// be those of sessions that have ended.
    fn repeated_ids(&self, answers: &[Answer]) -> HashSet<String> {
        let new = answers.iter().filter_map(|answer| match answer {
            Answer::Granted(Grant { session, .. }) => Some(session),
            _ => None,
        });
        let new = new.filter(|session| session.generation == 0 && self.hostility.entropy);
        new.map(|session| session.id.clone()).collect()
    }

    /// Checks what a call of a batch has returned. `repeated` has the ids of new sessions that the
    /// random source may have repeated: they can have ended before or after their creation.
    fn check(&mut self, answer: Answer, batch: u64, repeated: &HashSet<String>) {
        let ended_before = |id| self.ended.get(id).is_some_and(|ended| *ended < batch);
        self.successes += u64::from(!matches!(answer, Answer::Refused(_)));
        match answer {
            Answer::Granted(Grant { session, token }) => {
                let id = session.id;
                assert!(!ended_before(&id), "R12: {id} was granted after its end");
                let sessions = self.granted.entry(token.to_string()).or_default();
                let is_new = sessions.is_empty() || self.hostility.guard;
                assert!(is_new, "R16: a token was granted twice");
                sessions.insert(id.clone());
                keep(&self.random, &mut self.sessions, id);
                keep(&self.random, &mut self.tokens, token.to_string());
            }
            Answer::Used(token, session) => {
                let id = session.id;
                assert!(!ended_before(&id), "R12: {id} was used after its end");
                let sessions = self.granted.get(&token);
                let is_its = sessions.is_some_and(|sessions| sessions.contains(&id));
                assert!(is_its, "R9: the token was not granted for {id}");
            }
            Answer::Ended(id) if repeated.contains(&id) => {}
            Answer::Ended(id) => drop(self.ended.insert(id, batch)),
            Answer::Other | Answer::Refused(CallError::Session(_)) => {}
            Answer::Refused(CallError::Host(error)) => {
                // A function of the guard runs too long, in the world `session-sync`.
                assert!(matches!(error, HostError::Busy { .. }), "R3: {error}");
            }
        }
    }

    /// Checks that no live session was created again, and that no session changed after its end.
    async fn check_events(&mut self) {
        loop {
            let page = self.instance.poll_events(self.since, EVENTS).await.unwrap();
            assert_eq!(page.missed, 0);
            self.since = page.next;
            let is_last = page.events.is_empty();
            for event in page.events {
                let id = event.session_id;
                match event.kind {
                    EventKind::Created => {
                        assert!(
                            self.live.insert(id),
                            "R16: a live session was created again"
                        );
                    }
                    EventKind::Ended(_) => assert!(self.live.remove(&id), "R17: {id}"),
                    _ => assert!(self.live.contains(&id), "R12: {id} has ended"),
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Checks that the sessions that have ended in a batch, and some others, are not live.
    async fn check_ended(&self, batch: u64) {
        let ended = self.ended.iter().filter(|(_, ended)| **ended == batch);
        for (id, _) in ended.chain(self.ended.iter().take(8)) {
            let error = self.instance.get(&**id).await.unwrap_err();
            let not_found = CallError::Session(SessionError::SessionNotFound);
            assert_eq!(error, not_found, "R12: {id}");
        }
    }
}

/// Keeps an item to choose from, in place of another one if there are many.
fn keep(random: &Random, items: &mut Vec<String>, item: String) {
    if items.len() < MAX_KNOWN {
        items.push(item);
    } else {
        let place = random.below(MAX_KNOWN);
        items[place] = item;
    }
}

fn request(agent_number: usize, role: &str) -> CreateRequest {
    CreateRequest::new(agent(agent_number), role).with_scopes(["tool:*"])
}
