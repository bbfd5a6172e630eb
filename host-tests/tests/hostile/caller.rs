//! Random calls, and the promises that their answers must keep.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{
    AnyEngine, AnySessions, CallError, Clock, Config, EventKind, Grant, HostError, InstanceOptions,
    RevokeFilter, SessionError, Statistics, World,
};
use clawdb_session_testkit::{Random, controlled_instances};
use futures::future::join_all;

use crate::calls::{Answer, Call, request};
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

/// Makes calls, and remembers what was promised.
pub struct Caller {
    world: World,
    options: InstanceOptions,
    config: Config,
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
    /// How often each token was accepted for a session in the current batch of calls.
    accepted: HashMap<(String, String), usize>,
    successes: u64,
    /// The sessions that are live by the events, and the last event that was read.
    live: HashSet<String>,
    since: u64,
}

impl Caller {
    pub async fn start(
        world: World,
        hostility: Hostility,
        seed: u64,
        state_key: Option<Vec<u8>>,
    ) -> Self {
        let clock = Arc::new(HostileClock::new(seed ^ 1, hostility.clock));
        let guard = HostileGuard::new(world, seed ^ 2, hostility.guard, Arc::clone(&clock));
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
        let config = Config {
            default_ttl: Some(LIFETIME),
            max_sessions: Some(40),
            max_sessions_per_agent: Some(16),
            rotation_grace: Some(30),
            state_key,
            ..Config::default()
        };
        let instance = start(&options, &config).await;
        assert!(guard.instance.set(instance.clone()).is_ok());
        let empty_bytes = instance.stats().await.unwrap().state_bytes;
        Self {
            world,
            options,
            config,
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
            accepted: HashMap::new(),
            successes: 0,
            live: HashSet::new(),
            since: 0,
        }
    }

    /// Makes this many calls, some of them at the same time.
    pub async fn make_calls(&mut self, calls: u64) {
        let mut guard_calls = 0;
        for batch in 0..calls.div_ceil(AT_ONCE) {
            let calls = (0..AT_ONCE).map(|_| {
                let call = Call::pick(&self.random, &self.sessions, &self.tokens);
                call.make(self.instance.clone())
            });
            let mut answers = join_all(calls.collect::<Vec<_>>()).await;
            let succeeded = answers
                .iter()
                .filter(|it| !matches!(it, Answer::Refused(_)));
            self.successes += succeeded.count() as u64;
            let of_guard = self.guard.finish_calls().await;
            guard_calls += of_guard.len();
            match self.world {
                World::SessionSync => assert!(of_guard.iter().all(is_refused_as_reentrant)),
                _ => answers.extend(of_guard),
            }
            if answers.iter().any(|it| matches!(it, Answer::ClockAccepted)) {
                self.guard.ignore_earlier_times();
            }
            let mut repeated = self.check_events().await;
            if !self.hostility.entropy {
                repeated.clear();
            }
            for id in &repeated {
                self.ended.remove(id);
            }
            for answer in answers {
                self.check(answer, batch, &repeated);
            }
            self.accepted.clear();
            self.guard.forget_validations();
            self.check_ended(batch).await;
            if self.random.once_in(4) {
                let seconds = self.random.below(60);
                self.clock.advance(Duration::from_secs(seconds as u64));
            }
        }
        println!(
            "the guard made {guard_calls} calls, {} calls succeeded",
            self.successes
        );
        assert_eq!(guard_calls > 0, self.hostility.guard);
        assert!(
            self.successes > calls / 20,
            "{} of {calls} succeeded",
            self.successes
        );
    }

    /// Lets the ports behave, and ends all sessions. Nothing may be left.
    pub async fn end_everything(self) {
        self.behave();
        let instance = &self.instance;
        let latest = self.clock.now_millis() + (LIFETIME + TOLERANCE) * 1_000;
        for token in &self.tokens {
            if let Ok(session) = instance.validate(&**token).await {
                assert!(session.expires_at <= latest, "R6: {}", session.expires_at);
            }
        }
        let stats = self.end_sessions(instance).await;
        assert_eq!(stats.tracked_agents, 0);
        assert_eq!(stats.state_bytes, self.empty_bytes);
        self.check_serves(instance).await;
    }

    /// Lets the ports behave, and restores the records in another instance.
    pub async fn restore_elsewhere(self) {
        self.behave();
        let mut since = 0;
        let next = start(&self.options, &self.config).await;
        let mut restored = 0;
        loop {
            let page = self.instance.changes(since, EVENTS).await.unwrap();
            since = page.next;
            restored += page.changes.len();
            next.restore(page.changes).await.unwrap();
            if !page.more {
                break;
            }
        }
        assert!(restored > self.ended.len() / 10, "{restored} records");
        for id in self.ended.keys() {
            assert!(next.get(&**id).await.is_err(), "R12: {id} is live again");
        }
        for token in self.granted.keys() {
            if let Ok(session) = next.validate(&**token).await {
                let id = session.id;
                assert!(!self.ended.contains_key(&id), "R12: {id} is used");
                let is_its = self.guard.has_issued(token, &id);
                assert!(is_its, "R9: the token was not issued for {id}");
            }
        }
        self.end_sessions(&next).await;
        self.check_serves(&next).await;
    }

    fn behave(&self) {
        self.guard.behave();
        self.clock.behave();
        self.entropy.behave();
    }

    /// Ends all sessions of an instance whose ports behave. No token is accepted then.
    async fn end_sessions(&self, instance: &AnySessions) -> Statistics {
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
        for token in self.granted.keys() {
            assert!(instance.validate(&**token).await.is_err(), "{token}");
        }
        stats
    }

    /// Checks that an instance whose ports behave creates a session.
    async fn check_serves(&self, instance: &AnySessions) {
        if instance.stats().await.unwrap().clock_behind {
            instance.accept_clock().await.unwrap();
        }
        let grant = instance.create(request(0, "reader")).await.unwrap();
        instance.validate(&*grant.token).await.unwrap();
    }

    /// Checks what a call of a batch has returned. `repeated` has the ids of new sessions that the
    /// random source may have repeated: they can have ended before or after their creation.
    fn check(&mut self, answer: Answer, batch: u64, repeated: &HashSet<String>) {
        let ended_before = |id| self.ended.get(id).is_some_and(|ended| *ended < batch);
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
            Answer::Used(token, session) => self.check_used(&token, &session.id, batch),
            Answer::Validated(results) => {
                for (token, result) in results {
                    if let Ok(session) = result {
                        self.check_used(&token, &session.id, batch);
                    }
                }
            }
            Answer::Ended(id) if repeated.contains(&id) => {}
            Answer::Ended(id) => drop(self.ended.insert(id, batch)),
            Answer::ClockAccepted | Answer::Other | Answer::Refused(CallError::Session(_)) => {}
            Answer::Refused(CallError::Host(error)) => {
                // A function of the guard runs too long, in the world `session-sync`.
                assert!(matches!(error, HostError::Busy { .. }), "R3: {error}");
            }
        }
    }

    /// Checks a session that a token was accepted for. A token is valid before its grant is
    /// answered, so it may be one that the guard has issued only.
    ///
    /// The guard must have validated the token in the same batch of calls, once for each time that
    /// it was accepted: the instance caches no validation.
    fn check_used(&mut self, token: &str, id: &str, batch: u64) {
        let has_ended = self.ended.get(id).is_some_and(|ended| *ended < batch);
        assert!(!has_ended, "R12: {id} was used after its end");
        let is_its = self.guard.has_issued(token, id);
        assert!(is_its, "R9: the token was not issued for {id}");
        let validated = self.guard.count_validations(token, id);
        let accepted = self.accepted.entry((token.into(), id.into())).or_default();
        *accepted += 1;
        assert!(
            *accepted <= validated,
            "R9: the token of {id} was accepted {accepted} times, and validated {validated} times"
        );
    }

    /// Checks that no live session was created again, and that no session changed after its end.
    /// Returns the sessions that were created.
    async fn check_events(&mut self) -> HashSet<String> {
        let mut created = HashSet::new();
        loop {
            let page = self.instance.poll_events(self.since, EVENTS).await.unwrap();
            assert_eq!(page.missed, 0);
            self.since = page.next;
            let is_last = page.events.is_empty();
            for event in page.events {
                let id = event.session_id;
                match event.kind {
                    EventKind::Created => {
                        let is_new = self.live.insert(id.clone());
                        assert!(is_new, "R16: a live session was created again");
                        created.insert(id);
                    }
                    EventKind::Ended(_) => assert!(self.live.remove(&id), "R17: {id}"),
                    _ => assert!(self.live.contains(&id), "R12: {id} has ended"),
                }
            }
            if is_last {
                return created;
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

/// Starts an instance with this configuration.
async fn start(options: &InstanceOptions, config: &Config) -> AnySessions {
    let instance = AnySessions::start(options.clone()).await.unwrap();
    instance.configure(config.clone()).await.unwrap();
    instance
}

fn is_refused_as_reentrant(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Refused(CallError::Host(HostError::Reentrant))
    )
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
