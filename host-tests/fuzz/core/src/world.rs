//! A manager, its calls in flight, and the steps that a script can choose.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use clawdb_session::{
    AgentId, Attributes, Config, CreateRequest, Error, FlushReport, Grant, MaxUses, Metadata,
    Notice, Overflow, Revocation, RevokeFilter, Role, Scope, Scopes, Session, SessionId,
    SessionManager, Subscription, TaskType, Timestamp, Token,
};

use crate::model::Model;
use crate::ports::{Ports, Randomness, Verdict};
use crate::records::{Records, STATE_KEY};
use crate::script::Script;

/// The manager under test.
pub type Manager = SessionManager<Ports, Ports, Ports>;

const AGENTS: usize = 4;
const ROLES: [&str; 3] = ["reader", "worker", "admin"];
const SCOPES: [&str; 4] = ["*", "memory:*", "memory:read", "graph:write"];
/// With this many calls in flight, no other begins.
const MAX_CALLS: usize = 24;
/// More steps than this add nothing and make the fuzzer slow.
const MAX_STEPS: usize = 400;

/// A manager with its calls in flight.
pub struct World<'m> {
    manager: &'m Manager,
    ports: Ports,
    agents: Vec<AgentId>,
    calls: Vec<Running<'m>>,
    readers: Vec<Reader<'m>>,
    /// What was promised so far.
    pub model: Model,
    /// What a host has stored; `None` without a state key.
    pub records: Option<Records>,
    /// The latest time inside so far.
    latest: Timestamp,
    accepted_clock: bool,
    /// Whether the invariants hold: not if records were restored that no instance has written.
    pub is_consistent: bool,
}

/// What is left of a manager that has stopped.
pub struct Stopped {
    /// The sessions that were live.
    pub live: Vec<Session>,
    /// The time inside.
    pub now: Timestamp,
    latest: Timestamp,
    accepted_clock: bool,
    /// What was promised.
    pub model: Model,
    /// The records that the host has stored.
    pub records: Records,
}

type Reader<'m> = Subscription<'m, Ports, Ports, Ports>;

/// A call that waits.
struct Running<'m> {
    kind: Kind,
    call: Pin<Box<dyn Future<Output = Outcome<'m>> + 'm>>,
}

/// What is to be checked when a call returns or begins to wait.
enum Kind {
    Use(Vec<String>),
    /// A call that has ended these sessions when it first waits. It may return an error instead.
    End(Vec<SessionId>),
    /// A call that has ended these sessions when it first waits or returns.
    EndAll(Vec<SessionId>),
    /// A create or a delegation. It fails if a kill switch names its session meanwhile.
    Create {
        agent: AgentId,
        role: Role,
        parent: Option<SessionId>,
        is_revoked: bool,
    },
    AcceptClock,
    Other,
}

/// What a call returns.
enum Outcome<'m> {
    Use(Vec<Result<Session, Error>>),
    Grant(Result<Grant, Error>),
    Revocation(Result<Revocation, Error>),
    Flush(Result<FlushReport, Error>),
    Count(Result<usize, Error>),
    Reader(Result<Reader<'m>, Error>),
}

/// Returns a manager with this configuration.
pub fn start(config: &Config, ports: &Ports) -> Manager {
    let manager = SessionManager::new(ports.clone(), ports.clone(), ports.clone());
    manager.configure(config).unwrap();
    manager
}

/// Returns a configuration with small limits, so that a script reaches them. `is_keyed` is whether
/// the manager makes records.
pub fn config(script: &mut Script<'_>, is_keyed: bool) -> Config {
    let some = |script: &mut Script<'_>, max: u8| {
        let value = script.byte();
        (!value.is_multiple_of(4)).then_some(u64::from(value / 4 % max))
    };
    let count = |script: &mut Script<'_>, max| {
        let count = some(script, max)?;
        u32::try_from(count + 1).ok()
    };
    Config {
        max_lifetime: some(script, 60).map(|seconds| 60 + seconds),
        default_ttl: Some(30),
        max_sessions: count(script, 24),
        max_sessions_per_agent: count(script, 8),
        agent_overflow: script.flag().then_some(Overflow::EvictOldest),
        max_sessions_per_root: count(script, 6),
        max_depth: some(script, 17).and_then(|depth| u32::try_from(depth).ok()),
        rotation_grace: some(script, 20),
        idle_timeout: some(script, 20).map(|seconds| seconds + 1),
        guard_recheck_interval: some(script, 20).map(|seconds| seconds + 1),
        clock_tolerance: some(script, 60),
        event_capacity: Some([1, 8, 1_024, 1_024][script.below(4)]),
        max_state_bytes: script.flag().then_some(64 << 10),
        state_key: is_keyed.then(|| STATE_KEY.to_vec()),
        ..Config::default()
    }
}

fn agent(number: usize) -> AgentId {
    let id = format!("0a9e0000-0000-4000-8000-{number:012x}");
    AgentId::parse("agent", &id).unwrap()
}

fn role(script: &mut Script<'_>) -> Role {
    let role = script.pick(&ROLES).unwrap();
    Role::parse(role.into()).unwrap()
}

fn request(script: &mut Script<'_>) -> CreateRequest {
    let scopes = SCOPES[script.below(SCOPES.len())..].iter();
    let scopes: Vec<String> = scopes.map(ToString::to_string).collect();
    let kind = script.byte();
    CreateRequest {
        agent_id: agent(script.below(AGENTS)),
        attributes: Attributes {
            role: role(script),
            scopes: Scopes::parse(&scopes).unwrap(),
            task_type: (kind % 4 == 1).then(|| TaskType::parse("search".into()).unwrap()),
            metadata: match kind % 8 {
                2 => Metadata::parse(format!("\"{}\"", "m".repeat(9_000))).unwrap(),
                3 => Metadata::parse("{\"a\":[1,{\"\\u00e4\":\"\\\\\"}]}".into()).unwrap(),
                _ => Metadata::default(),
            },
        },
        max_uses: match kind / 8 % 8 {
            uses @ 1..=3 => Some(MaxUses::new(uses.into()).unwrap()),
            _ => None,
        },
        expires_in: (kind >= 64).then(|| u64::from(kind) - 63),
    }
}

/// Returns the sessions that an agent has, read in pages of this size.
fn live_of(manager: &Manager, agent_id: AgentId, limit: u32) -> Vec<Session> {
    let mut sessions = Vec::new();
    let mut cursor = None;
    loop {
        let page = manager
            .list_for_agent(agent_id, cursor, Some(limit))
            .unwrap();
        assert!(page.sessions.len() <= limit as usize);
        sessions.extend(page.sessions);
        cursor = page.next;
        if cursor.is_none() {
            return sessions;
        }
    }
}

/// Returns all live sessions of these agents.
pub fn live(manager: &Manager, agents: &[AgentId], limit: u32) -> Vec<Session> {
    let agents = agents.iter();
    agents
        .flat_map(|agent| live_of(manager, *agent, limit))
        .collect()
}

/// Returns the agents that scripts name.
pub fn agents() -> Vec<AgentId> {
    (0..AGENTS).map(agent).collect()
}

/// Returns the result of a call while the guard answers at once.
pub fn now<T>(call: impl Future<Output = T>) -> T {
    match poll(pin!(call)) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a call waits although the guard answers at once"),
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

impl<'m> World<'m> {
    /// Returns the world of a manager without sessions.
    pub fn new(manager: &'m Manager, ports: &Ports, is_keyed: bool) -> Self {
        Self {
            manager,
            ports: ports.clone(),
            agents: agents(),
            calls: Vec::new(),
            readers: Vec::new(),
            model: Model::default(),
            records: is_keyed.then(Records::default),
            latest: Timestamp::default(),
            accepted_clock: false,
            is_consistent: true,
        }
    }

    /// Returns the world of a manager into which records of these agents were restored. `before` is
    /// what is left of the manager that wrote them; `None` if they were changed.
    pub fn after_restore(
        manager: &'m Manager,
        ports: &Ports,
        agents: &[AgentId],
        before: Option<&Stopped>,
    ) -> Self {
        let mut world = World::new(manager, ports, true);
        world.agents = agents.to_vec();
        world.model = Model::after_restore(manager.stats().last_event);
        world.latest = before.map_or(Timestamp::MAX, |before| before.latest);
        world.accepted_clock = before.is_some_and(|before| before.accepted_clock);
        world
    }

    /// Stops without an end, as a host that fails: the calls in flight are lost. All records were
    /// read before.
    pub fn stop(mut self, script: &mut Script<'_>) -> Stopped {
        self.read_records(script);
        self.check(3);
        Stopped {
            live: self.live(),
            now: self.manager.stats().now,
            latest: self.latest,
            accepted_clock: self.accepted_clock,
            model: self.model,
            records: self.records.unwrap_or_default(),
        }
    }

    /// Does the steps that the script chooses, until it is at its end or chooses to stop.
    pub fn run(&mut self, script: &mut Script<'_>, can_stop: bool) {
        for _ in 0..MAX_STEPS {
            if script.is_at_end() {
                return;
            }
            let step = script.byte();
            if can_stop && step == u8::MAX {
                return;
            }
            self.step(step, script);
            self.check(script.below(4));
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let manager = self.manager;
        if self.calls.len() >= MAX_CALLS {
            return self.answer(script);
        }
        match step % 42 {
            0..=4 => self.create(script),
            5..=7 => self.use_token(script),
            8 => self.use_many(script),
            9..=11 => self.rotate(script),
            12..=14 => self.refresh(script),
            15 => self.touch_or_get(script),
            16..=17 => self.revoke(script),
            18 => self.log_out(script),
            19 => self.invalidate(script),
            20..=21 => self.revoke_all(script),
            22 => self.flush(script),
            23 => {
                let limit = script.flag().then(|| u32::from(script.byte()));
                manager.prune_expired(limit);
            }
            24 => self.accept_clock(),
            25..=26 => self.set_clock(script),
            27 => self.ports.set_randomness(match script.byte() {
                0..=199 => Randomness::Fresh,
                200..=229 => Randomness::Repeated,
                _ => Randomness::Fails,
            }),
            28..=29 => {
                let verdict = script.flag().then(|| Verdict(script.byte()));
                self.ports.answer_at_once(verdict);
            }
            30..=34 => self.answer(script),
            35 => self.drop_call(script),
            36 => self.subscribe(script),
            37 | 40..=41 => self.read_records(script),
            38 => self.close_run(),
            _ => self.poll_all(),
        }
    }

    /// Checks what must hold between any two steps.
    fn check(&mut self, limit: usize) {
        let stats = self.manager.stats();
        self.latest = self.latest.max(stats.now);
        if !self.is_consistent {
            return;
        }
        let limit = [1, 2, 7, 100][limit];
        let in_flight = !self.calls.is_empty();
        let invariants = self.manager.check_invariants(in_flight);
        assert_eq!(invariants, Ok(()), "{} calls in flight", self.calls.len());
        self.read_events();
        let live = live(self.manager, &self.agents, limit);
        let stats = self.manager.stats();
        self.model.check_live(&live, &stats);
        assert_eq!(self.manager.active_count(), live.len());
    }

    fn read_events(&mut self) {
        loop {
            let page = self.manager.poll_events(self.model.since(), 100).unwrap();
            self.model.add_events(&page);
            if page.events.is_empty() {
                return;
            }
        }
    }

    fn live(&self) -> Vec<Session> {
        live(self.manager, &self.agents, 100)
    }

    /// Begins a call.
    fn begin(&mut self, kind: Kind, call: impl Future<Output = Outcome<'m>> + 'm) {
        let call = Box::pin(call);
        let mut running = Running { kind, call };
        match poll(running.call.as_mut()) {
            Poll::Ready(outcome) => {
                self.read_events();
                let ended = match (&running.kind, &outcome) {
                    (Kind::EndAll(ids), _) => ids.clone(),
                    (_, Outcome::Revocation(Ok(revocation))) => vec![revocation.session_id],
                    _ => Vec::new(),
                };
                self.check_ended(&ended);
                self.finish(running.kind, outcome);
            }
            Poll::Pending => {
                self.read_events();
                // A call that ends sessions waits only after it has ended them.
                if let Kind::End(ids) | Kind::EndAll(ids) = &running.kind {
                    self.check_ended(ids);
                }
                self.calls.push(running);
            }
        }
    }

    fn check_ended(&self, ids: &[SessionId]) {
        for id in ids {
            self.model.check_ended(*id);
        }
    }

    /// Polls the calls that wait, oldest first.
    fn poll_all(&mut self) {
        for mut running in std::mem::take(&mut self.calls) {
            match poll(running.call.as_mut()) {
                Poll::Ready(outcome) => self.finish(running.kind, outcome),
                Poll::Pending => self.calls.push(running),
            }
        }
    }

    /// Checks what a call has returned.
    fn finish(&mut self, kind: Kind, outcome: Outcome<'m>) {
        self.read_events();
        match (kind, outcome) {
            (Kind::Use(tokens), Outcome::Use(results)) => {
                assert_eq!(results.len(), tokens.len());
                // After a last use the call waits for the guard to revoke the token. Other calls
                // can end the sessions of the other uses meanwhile.
                let is_last = |result: &Result<Session, _>| {
                    result
                        .as_ref()
                        .is_ok_and(|session| session.uses_left == Some(0))
                };
                let has_waited = results.iter().any(is_last);
                for (result, token) in results.iter().zip(&tokens) {
                    if let Ok(session) = result {
                        self.model.check_use(session, has_waited);
                        if !has_waited && !self.ports.is_repeated(token) {
                            self.model.check_token(session, token);
                        }
                    }
                }
            }
            (kind, Outcome::Grant(Ok(grant))) => {
                if let Kind::Create {
                    is_revoked, parent, ..
                } = kind
                {
                    assert!(
                        !is_revoked,
                        "a create in flight outlives a kill switch (R13, R31)"
                    );
                    assert_eq!(grant.session.parent, parent);
                }
                self.model.add_grant(&grant.session, grant.token.expose());
            }
            (Kind::AcceptClock, Outcome::Count(count)) => self.accepted_clock |= count.is_ok(),
            (_, Outcome::Flush(Ok(report))) => {
                let pending = self.manager.stats().pending_revocations;
                assert_eq!(report.pending, pending, "the count of pending revocations");
            }
            (_, Outcome::Reader(Ok(reader))) => self.readers.push(reader),
            _ => {}
        }
    }

    fn session_id(&self, script: &mut Script<'_>) -> SessionId {
        let unknown = SessionId::from_random([7; 16]);
        script.pick(&self.model.ids()).unwrap_or(unknown)
    }

    fn token(&self, script: &mut Script<'_>) -> Token {
        let token = script.pick(&self.ports.tokens()).unwrap_or_default();
        Token::parse(token).unwrap_or_else(|_| Token::parse("unknown".into()).unwrap())
    }

    fn create(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let request = request(script);
        let parent = match script.byte() % 4 {
            0..=1 => None,
            2 => Some(self.session_id(script)),
            // A child of the newest session, so that chains become long.
            _ => self.live().last().map(|session| session.id),
        };
        let kind = Kind::Create {
            agent: request.agent_id,
            role: request.attributes.role.clone(),
            parent,
            is_revoked: false,
        };
        self.begin(kind, async move {
            Outcome::Grant(match parent {
                None => manager.create(request).await,
                Some(parent) => manager.delegate(parent, request).await,
            })
        });
    }

    fn use_token(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let token = self.token(script);
        let scope = script.flag().then(|| script.pick(&SCOPES).unwrap());
        let kind = Kind::Use(vec![token.expose().into()]);
        self.begin(kind, async move {
            let result = match scope {
                None => manager.validate(token).await,
                Some(scope) => {
                    let scope = Scope::parse(scope.into()).unwrap();
                    manager.authorize(token, &scope).await
                }
            };
            Outcome::Use(vec![result])
        });
    }

    fn use_many(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let tokens: Vec<Token> = (0..script.below(6)).map(|_| self.token(script)).collect();
        let kind = Kind::Use(tokens.iter().map(|token| token.expose().into()).collect());
        self.begin(kind, async move {
            let tokens = tokens.into_iter().map(Ok).collect();
            Outcome::Use(manager.validate_many(tokens).await.unwrap())
        });
    }

    fn rotate(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let token = self.token(script);
        let call = async move { Outcome::Grant(manager.rotate(token).await) };
        self.begin(Kind::Other, call);
    }

    fn refresh(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let id = self.session_id(script);
        let call = async move { Outcome::Grant(manager.refresh(id).await) };
        self.begin(Kind::Other, call);
    }

    fn touch_or_get(&mut self, script: &mut Script<'_>) {
        let id = self.session_id(script);
        let is_ok = if script.flag() {
            self.manager.touch(id).is_ok()
        } else {
            self.manager.get(id).is_ok_and(|session| session.id == id)
        };
        assert!(
            !is_ok || !self.model.has_ended(id),
            "a session that has ended is live"
        );
    }

    fn revoke(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let id = self.session_id(script);
        let call = async move { Outcome::Revocation(manager.revoke(id).await) };
        self.begin(Kind::End(vec![id]), call);
    }

    fn log_out(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let token = self.token(script);
        let call = async move { Outcome::Revocation(manager.revoke_by_token(token).await) };
        self.begin(Kind::Other, call);
    }

    fn invalidate(&mut self, script: &mut Script<'_>) {
        let id = self.session_id(script);
        if self.manager.invalidate(id).is_ok() {
            self.read_events();
            self.model.check_ended(id);
        }
    }

    fn revoke_all(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let filter = match script.byte() % 4 {
            0 => RevokeFilter::Agent(agent(script.below(AGENTS))),
            1 => RevokeFilter::Role(role(script)),
            2 => RevokeFilter::Root(self.session_id(script)),
            _ => RevokeFilter::Everything,
        };
        let is_named = |session: &Session| match &filter {
            RevokeFilter::Everything => true,
            RevokeFilter::Agent(agent) => session.agent_id == *agent,
            RevokeFilter::Role(role) => session.attributes.role == *role,
            RevokeFilter::Root(id) => session.id == *id && session.parent.is_none(),
        };
        let named = self.live().into_iter().filter(is_named);
        let kind = Kind::EndAll(named.map(|session| session.id).collect());
        for running in &mut self.calls {
            if let Kind::Create {
                agent: of_agent,
                role: of_role,
                is_revoked,
                ..
            } = &mut running.kind
            {
                // A create that waits after its commit has a session already, which is in the list.
                *is_revoked |= match &filter {
                    RevokeFilter::Everything => true,
                    RevokeFilter::Agent(agent) => of_agent == agent,
                    RevokeFilter::Role(role) => of_role == role,
                    RevokeFilter::Root(_) => false,
                };
            }
        }
        self.begin(kind, async move {
            Outcome::Count(Ok(manager.revoke_all(filter).await))
        });
    }

    fn flush(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        let stored = script.flag().then(|| script.number());
        self.begin(Kind::Other, async move {
            Outcome::Flush(match stored {
                None => Ok(manager.flush_guard_revocations().await),
                Some(stored) => manager.flush_stored_revocations(stored).await,
            })
        });
    }

    fn accept_clock(&mut self) {
        let manager = self.manager;
        let call = async move { Outcome::Count(manager.accept_clock().await) };
        self.begin(Kind::AcceptClock, call);
    }

    fn set_clock(&mut self, script: &mut Script<'_>) {
        let reading = self.ports.clock();
        let later = |millis: u64| Some(reading.saturating_add(millis));
        let earlier = |millis: u64| Some(reading.saturating_sub(millis));
        let number = u64::from(script.byte());
        let reading = match script.byte() % 16 {
            0..=4 => later(number * 500),
            5..=6 => later(number),
            7 => later(number * 3_600_000),
            8 => later(number * 31_536_000_000),
            9 => earlier(number * 1_000),
            10 => earlier(number * 3_600_000),
            11 => earlier(number * 31_536_000_000),
            12 => None,
            13 => Some(script.number()),
            14 => Some(self.latest.as_millis()),
            _ => Some(Timestamp::MAX.as_millis() - number),
        };
        self.ports.set_clock(reading);
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        if let Some(question) = script.pick(&self.ports.questions()) {
            self.ports.answer(question, Verdict(script.byte()));
        }
        self.poll_all();
    }

    fn drop_call(&mut self, script: &mut Script<'_>) {
        if !self.calls.is_empty() {
            let index = script.below(self.calls.len());
            drop(self.calls.swap_remove(index));
        }
    }

    fn subscribe(&mut self, script: &mut Script<'_>) {
        let manager = self.manager;
        match script.byte() % 4 {
            0 => {
                for mut reader in std::mem::take(&mut self.readers) {
                    let notice = poll(pin!(reader.next()));
                    if let Poll::Ready(Notice::Events(page)) = notice {
                        assert!(!page.events.is_empty());
                    }
                    self.readers.push(reader);
                }
            }
            1 => drop(self.readers.pop()),
            _ => {
                let since = script.number();
                self.begin(Kind::Other, async move {
                    Outcome::Reader(manager.subscribe(since).await)
                });
            }
        }
    }

    fn read_records(&mut self, script: &mut Script<'_>) {
        let limit = 1 + u32::from(script.byte());
        match &mut self.records {
            Some(records) => records.read(self.manager, limit),
            None => assert_eq!(self.manager.changes(0, limit), Err(Error::NoStateKey)),
        }
    }

    fn close_run(&mut self) {
        self.read_events();
        if self.manager.close_event_run().is_ok() {
            self.model.close_run();
        }
    }

    /// Answers all calls that wait. Afterwards the guard answers every question with success, and
    /// no call is in flight.
    pub fn settle(&mut self) {
        self.ports.set_randomness(Randomness::Fresh);
        self.ports.answer_at_once(Some(Verdict(0)));
        // A call asks a bounded number of questions, one after the other.
        for _ in 0..100 {
            if self.calls.is_empty() {
                break;
            }
            for question in self.ports.questions() {
                self.ports.answer(question, Verdict(0));
            }
            self.poll_all();
        }
        assert_eq!(
            self.calls.len(),
            0,
            "a call does not return although the guard answers"
        );
        self.readers.clear();
        self.check(3);
    }

    /// Ends everything, and checks that nothing is left.
    pub fn end(mut self) {
        self.settle();
        let manager = self.manager;
        now(manager.revoke_all(RevokeFilter::Everything));
        self.check(3);
        assert_eq!(
            manager.active_count(),
            0,
            "a session outlives a kill switch (R31)"
        );
        for token in self.ports.tokens() {
            if let Ok(token) = Token::parse(token) {
                assert!(
                    now(manager.validate(token)).is_err(),
                    "a dead token is valid (R12)"
                );
            }
        }
        for _ in 0..100 {
            if now(manager.flush_guard_revocations()).pending == 0 {
                break;
            }
        }
        self.check(3);
        assert_eq!(
            manager.stats().pending_revocations,
            0,
            "a confirmed revocation is pending"
        );
        self.check_revoked();
        // Now nothing is needed any longer, because everything has expired.
        self.ports.set_clock(Some(u64::MAX));
        for _ in 0..100 {
            manager.prune_expired(None);
        }
        self.check(3);
        let stats = manager.stats();
        let left = (
            stats.live_sessions,
            stats.prunable_sessions,
            stats.tracked_agents,
        );
        assert_eq!(left, (0, 0, 0), "sessions and agents are left (R21)");
        assert_eq!(
            (stats.tombstones, stats.state_bytes),
            (0, 0),
            "bytes are left (R21)"
        );
        if self.records.is_some() {
            let page = manager.changes(0, 1_000).unwrap();
            let keys: Vec<&str> = page.changes.iter().map(|it| it.key.as_str()).collect();
            assert!(
                keys.is_empty() || keys == ["meta"],
                "records are left: {keys:?}"
            );
        }
    }

    /// Checks that the guard has revoked each token that it had issued and that has not expired
    /// (R11, R12).
    fn check_revoked(&self) {
        for issued in self.ports.issued() {
            let is_due = issued.is_usable && issued.expires_at > self.latest;
            let is_revoked =
                !is_due || self.accepted_clock || self.ports.is_revoked(&issued.handle);
            assert!(is_revoked, "a token was never revoked: {issued:?}");
        }
    }
}
