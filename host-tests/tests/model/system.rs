//! The component under test, with calls and answers in the model's types.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use async_trait::async_trait;
use clawdb_session_host::{
    AnyEngine, AnySessions, CallError, Change, Claims, Clock, Config, CreateRequest, Event,
    EventKind, Grant, Guard, GuardError, GuardResult, Instant, IssueRequest, IssuedToken, Overflow,
    Page, Revocation, RevokeFilter, Session, Statistics, Subscription, Validated, World,
};
use clawdb_session_testkit::{CONTROLLED_START, ManualClock, controlled_instances};
use futures::poll;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::model::{
    Answers, Asked, Call, CallResult, Check, Confirm, Filter, Issue, Limits, Many, ModelEvent,
    Number, SessionSpec, TokenNumber, View, denied, unavailable,
};

/// A call that the guard has been asked about, with questions that the model has not answered yet.
pub enum Running {
    /// The call waits for the guard.
    Waits(Ongoing),
    /// The guard answered at once, and the call has ended.
    Ended(Box<Outcome>),
}

/// A call in flight.
type Ongoing = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// An answer in the component's types.
pub enum Outcome {
    Session(Result<Session, CallError>),
    Many(Result<Vec<Validated>, CallError>),
    Grant(Result<Grant, CallError>),
    Nothing(Result<(), CallError>),
    Count(Result<u32, CallError>),
    Revocation(Result<Revocation, CallError>),
    Flush(u32, u32),
    Sessions(Result<Vec<Session>, CallError>),
}

pub struct System {
    pub host: AnySessions,
    /// The world of the instance.
    pub world: World,
    pub guard: Arc<ScriptedGuard>,
    clock: Arc<ManualClock>,
    numbers: HashMap<String, Number>,
    since: u64,
    /// The current run of events; 0 before the first one.
    run: u64,
    /// All runs so far.
    runs: HashSet<u64>,
    /// Whether the current run was closed and no event has occurred since.
    run_is_closed: bool,
    subscription: Subscription,
    config: Config,
    /// Each record that was read, in the order of reading.
    records: Vec<Change>,
    /// The sequence number of the last record that was read.
    pub read_to: u64,
}

impl System {
    pub async fn start(world: World, limits: &Limits) -> Self {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = Arc::new(ScriptedGuard::new(clock.clone()));
        let host = start_instance(world, &guard, &clock).await;
        let seconds = |millis: u64| Some(millis / 1_000);
        let count = |count: usize| Some(u32::try_from(count).unwrap());
        let config = Config {
            default_ttl: seconds(limits.default_ttl),
            max_lifetime: seconds(limits.max_lifetime),
            max_sessions: count(limits.max_sessions),
            max_sessions_per_agent: count(limits.max_per_agent),
            agent_overflow: limits.evict.then_some(Overflow::EvictOldest),
            max_sessions_per_root: count(limits.max_per_root),
            max_depth: count(limits.max_depth),
            rotation_grace: seconds(limits.grace),
            idle_timeout: limits.idle.and_then(seconds),
            guard_recheck_interval: limits.recheck_interval.and_then(seconds),
            clock_tolerance: seconds(limits.tolerance),
            ..Config::with_state_key([5; 32])
        };
        host.configure(config.clone()).await.unwrap();
        let subscription = host.subscribe(0).await.unwrap();
        Self {
            host,
            world,
            guard,
            clock,
            numbers: HashMap::new(),
            since: 0,
            run: 0,
            runs: HashSet::new(),
            run_is_closed: false,
            subscription,
            config,
            records: Vec::new(),
            read_to: 0,
        }
    }

    /// Reads the records that have changed, and stores them.
    pub async fn keep_records(&mut self) {
        let changes = changes_since(&self.host, self.read_to).await;
        let last = changes.last().map(|change| change.sequence);
        self.read_to = last.unwrap_or(self.read_to);
        self.records.extend(changes);
    }

    /// Returns the revocations in the records that have not changed after `stored`: the handles in
    /// each record. All records must have been read.
    pub fn revocations_recorded(&self, stored: u64) -> Vec<Vec<TokenNumber>> {
        let read = self.records.iter().map(|it| (&it.key, it));
        let mut newest: BTreeMap<&String, &Change> = read.collect();
        newest.retain(|_, record| record.sequence <= stored);
        let records = newest.into_values().map(|record| {
            let record: Value = serde_json::from_str(&record.value).unwrap();
            let sessions = ["session", "ended"].map(|kind| record[kind]["owed"].as_array());
            let revocations = sessions.into_iter().flatten().flatten();
            let revocations = revocations.chain([&record["revocation"]]);
            let handles = revocations.filter_map(|it| it["handle"].as_str());
            handles.map(handle_number).collect()
        });
        records.collect()
    }

    /// Closes the run of events.
    pub async fn close_event_run(&mut self) {
        self.host.close_event_run().await.unwrap();
        self.expect_run(self.stats().await.event_run);
        self.run_is_closed = self.run != 0;
    }

    /// Checks that this is the current run. If there was none, it becomes the current run.
    fn expect_run(&mut self, run: u64) {
        if self.run == 0 {
            self.begin_run(run);
        }
        assert_eq!(run, self.run);
    }

    /// Checks that this run is new, and makes it the current run.
    fn begin_run(&mut self, run: u64) {
        assert!(
            run == 0 || self.runs.insert(run),
            "the run has been used before"
        );
        self.run = run;
        self.run_is_closed = false;
    }

    /// Restores another instance, in this world, from the records of this one. Returns its time,
    /// which the records have, or `None` if there are no records.
    pub async fn restart(&mut self, world: World, order: u64) -> Option<u64> {
        self.keep_records().await;
        let mut current = changes_since(&self.host, 0).await;
        // For each key, the record that was read last during the run must be current.
        for change in &mut current {
            let read = self.records.iter().rfind(|read| read.key == change.key);
            let read = read.expect("the record was read during the run");
            assert_eq!(read.sequence, change.sequence);
            // The last uses of a session need not be recorded, so it could be idle by the record
            // that was read.
            if self.config.idle_timeout.is_none() {
                change.clone_from(read);
            }
        }
        let mut records = current.clone();
        // By an older record, a session that was used since could be idle.
        if self.config.idle_timeout.is_none() {
            let is_current = |old: &Change| current.iter().any(|it| it.key == old.key);
            let former = self.records.iter().rev().filter(|old| is_current(old));
            let former = former.take(usize::try_from(order % 200).unwrap());
            records.extend(former.cloned());
        }
        let mut random = order;
        for at in (1..records.len()).rev() {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let other = (random >> 33) % (at as u64 + 1);
            records.swap(at, usize::try_from(other).unwrap());
        }
        self.host = start_instance(world, &self.guard, &self.clock).await;
        self.world = world;
        self.host.configure(self.config.clone()).await.unwrap();
        for part in records.chunks(7) {
            self.host.restore(part.to_vec()).await.unwrap();
        }
        let stats = self.stats().await;
        if self.run_is_closed {
            assert_eq!((stats.event_run, stats.last_event), (self.run, self.since));
            self.run_is_closed = false;
        } else {
            assert!(stats.last_event >= self.since);
            self.begin_run(stats.event_run);
        }
        self.since = stats.last_event;
        self.subscription = self.host.subscribe(self.since).await.unwrap();
        self.records = current;
        (!self.records.is_empty()).then_some(stats.now)
    }

    pub fn now(&self) -> u64 {
        self.clock.now_millis()
    }

    pub fn set_clock(&self, millis: u64) {
        self.clock.set(Instant {
            seconds: i64::try_from(millis / 1_000).unwrap(),
            nanoseconds: u32::try_from(millis % 1_000).unwrap() * 1_000_000,
        });
    }

    /// Begins a call, and runs it until it answers or waits for the guard. In the world
    /// `session-sync`, the guard gives these answers at once.
    pub async fn begin(&self, call: &Call, answers: Answers) -> Result<Outcome, Running> {
        let call = self.run(call.clone());
        let running = if self.world == World::SessionSync {
            self.guard.answer_at_once(Some(answers));
            Running::Ended(Box::new(call.await))
        } else {
            self.guard.answer_at_once(None);
            Running::Waits(call)
        };
        self.advance(running).await
    }

    /// Runs a call until it answers or waits for the guard. If the call has ended, continues with
    /// its next question to the guard.
    pub async fn advance(&self, running: Running) -> Result<Outcome, Running> {
        let mut call = match running {
            Running::Waits(call) => call,
            Running::Ended(outcome) if self.guard.next_answered() => {
                return Err(Running::Ended(outcome));
            }
            Running::Ended(outcome) => return Ok(*outcome),
        };
        let waiting = self.guard.waiting();
        for _ in 0..1_000 {
            if let Poll::Ready(outcome) = poll!(&mut call) {
                return Ok(outcome);
            }
            if self.guard.waiting() > waiting {
                return Err(Running::Waits(call));
            }
            self.host.wait_until_idle().await.unwrap();
        }
        panic!("the call neither answered nor waited for the guard");
    }

    fn run(&self, call: Call) -> Ongoing {
        let host = self.host.clone();
        let id = |number: Number| {
            let known = self.numbers.iter().find(|(_, known)| **known == number);
            known.map_or_else(|| uuid::Uuid::nil().to_string(), |(id, _)| id.clone())
        };
        let text = |token: Option<TokenNumber>| token.map_or("unknown".into(), token_text);
        match call {
            Call::Create(spec, None) if spec.is_legacy() => Box::pin(async move {
                let (agent, role) = (agent_id(spec.agent), role_name(spec.role));
                let scopes = spec.scopes.iter().map(ToString::to_string).collect();
                Outcome::Grant(host.create_session(agent, role, scopes, None).await)
            }),
            Call::Create(spec, None) => {
                Box::pin(async move { Outcome::Grant(host.create(request(&spec)).await) })
            }
            Call::Create(spec, Some(parent)) => {
                let parent = id(parent);
                Box::pin(async move { Outcome::Grant(host.delegate(parent, request(&spec)).await) })
            }
            Call::Use(token, scope) => {
                let token = text(token);
                Box::pin(async move {
                    Outcome::Session(match scope {
                        Some(scope) => host.authorize(token, scope).await,
                        None => host.validate(token).await,
                    })
                })
            }
            Call::UseMany(tokens) => {
                let tokens = tokens.into_iter().map(text).collect();
                Box::pin(async move { Outcome::Many(host.validate_many(tokens).await) })
            }
            Call::Rotate(token) => {
                let token = text(token);
                Box::pin(async move { Outcome::Grant(host.rotate(token).await) })
            }
            Call::Refresh(number) => {
                let id = id(number);
                Box::pin(async move { Outcome::Grant(host.refresh(id).await) })
            }
            Call::Touch(number) => {
                let id = id(number);
                Box::pin(async move { Outcome::Nothing(host.touch(id).await) })
            }
            Call::Get(number) => {
                let id = id(number);
                Box::pin(async move {
                    Outcome::Session(if number % 2 == 0 {
                        host.get(id).await
                    } else {
                        host.get_session(id).await
                    })
                })
            }
            Call::Revoke(number) => {
                let id = id(number);
                Box::pin(async move { Outcome::Revocation(host.revoke(id).await) })
            }
            Call::LogOut(token) => {
                let token = text(token);
                Box::pin(async move { Outcome::Revocation(host.revoke_by_token(token).await) })
            }
            Call::Invalidate(number) => {
                let id = id(number);
                Box::pin(async move { Outcome::Nothing(host.invalidate(id).await) })
            }
            Call::RevokeAll(Filter::Agent(agent)) => {
                Box::pin(
                    async move { Outcome::Count(host.revoke_all_for_agent(agent_id(agent)).await) },
                )
            }
            Call::RevokeAll(filter) => {
                let filter = match filter {
                    Filter::Role(role) => RevokeFilter::Role(role_name(role)),
                    Filter::Root(number) => RevokeFilter::Root(id(number)),
                    _ => RevokeFilter::Everything,
                };
                Box::pin(async move { Outcome::Count(host.revoke_all(filter).await) })
            }
            Call::Flush => Box::pin(async move {
                let report = host.flush_guard_revocations().await.unwrap();
                Outcome::Flush(report.settled, report.pending)
            }),
            Call::FlushStored { stored, .. } => Box::pin(async move {
                let stored = stored.unwrap_or(u64::MAX);
                let report = host.flush_stored_revocations(stored).await.unwrap();
                Outcome::Flush(report.settled, report.pending)
            }),
            Call::AcceptClock => Box::pin(async move { Outcome::Count(host.accept_clock().await) }),
            Call::List(agent) => {
                Box::pin(async move { Outcome::Sessions(list(&host, agent_id(agent)).await) })
            }
            Call::Prune(limit) => Box::pin(async move {
                Outcome::Count(
                    host.prune_expired(Some(limit))
                        .await
                        .map_err(CallError::from),
                )
            }),
        }
    }

    /// Converts an answer into the model's type. A new session gets its number here.
    pub fn answer(&mut self, outcome: Outcome) -> CallResult {
        let answer = match outcome {
            Outcome::Session(session) => session.map(|it| CallResult::Session(self.view(&it))),
            Outcome::Many(answers) => answers.map(|answers| {
                let views = answers.into_iter().map(|it| it.map(|it| self.view(&it)));
                CallResult::Many(views.collect())
            }),
            Outcome::Grant(grant) => grant.map(|grant| {
                self.number_session(&grant.session.id);
                CallResult::Grant(self.view(&grant.session), token_number(&grant.token))
            }),
            Outcome::Nothing(result) => result.map(|()| CallResult::Nothing),
            Outcome::Count(count) => count.map(CallResult::Count),
            Outcome::Revocation(revocation) => revocation.map(|revocation| {
                assert_eq!(revocation.guard_confirmed, revocation.guard_error.is_none());
                CallResult::Revocation {
                    number: self.number(&revocation.session_id),
                    error: revocation.guard_error,
                    descendants: revocation.descendants,
                }
            }),
            Outcome::Flush(settled, pending) => Ok(CallResult::Flush { settled, pending }),
            Outcome::Sessions(sessions) => sessions.map(|sessions| {
                let numbers = sessions.iter().map(|session| self.view(session).number);
                CallResult::Sessions(numbers.collect())
            }),
        };
        match answer {
            Ok(answer) => answer,
            Err(CallError::Session(error)) => CallResult::Error(error),
            Err(CallError::Host(error)) => panic!("{error}"),
        }
    }

    fn view(&self, session: &Session) -> View {
        View {
            number: self.number(&session.id),
            agent: session.agent_id.as_bytes().last().unwrap() - b'0',
            role: session.role.as_bytes().last().unwrap() - b'0',
            scopes: session.scopes.clone(),
            created_at: session.created_at,
            expires_at: session.expires_at,
            parent: session.parent.as_ref().map(|id| self.number(id)),
            root: self.number(&session.root),
            generation: session.generation,
            uses_left: session.uses_left,
        }
    }

    /// Gives a session its number, when its event or its grant is read first.
    fn number_session(&mut self, id: &str) {
        let next = self.numbers.len();
        self.numbers.entry(id.into()).or_insert(next);
    }

    fn number(&self, id: &str) -> Number {
        *self.numbers.get(id).expect("the session is known")
    }

    /// Reads the events since the last call. Checks that they are in sequence, have this time, and
    /// are the events that the subscription has received.
    pub async fn events(&mut self, time: u64) -> Vec<ModelEvent> {
        let page = self.host.poll_events(self.since, 1_000).await.unwrap();
        assert_eq!(page.missed, 0);
        self.host.wait_until_idle().await.unwrap();
        let pushed: Vec<Event> = std::iter::from_fn(|| self.subscription.try_next()).collect();
        assert_eq!(
            pushed, page.events,
            "the pushed events are the polled events"
        );
        let mut events = Vec::new();
        for event in page.events {
            self.since += 1;
            assert_eq!(event.sequence, self.since);
            if self.run_is_closed {
                self.begin_run(event.run);
            }
            self.expect_run(event.run);
            assert_eq!(event.time, time);
            if event.kind == EventKind::Created {
                self.number_session(&event.session_id);
            }
            events.push(ModelEvent {
                number: self.number(&event.session_id),
                agent: event.agent_id.as_bytes().last().unwrap() - b'0',
                parent: event.parent.map(|id| self.number(&id)),
                root: self.number(&event.root),
                generation: event.generation,
                kind: event.kind,
            });
        }
        events
    }

    pub async fn stats(&self) -> Statistics {
        self.host.stats().await.unwrap()
    }
}

/// Starts an instance without sessions.
async fn start_instance(
    world: World,
    guard: &Arc<ScriptedGuard>,
    clock: &Arc<ManualClock>,
) -> AnySessions {
    let engine = AnyEngine::new(world).unwrap();
    let options = controlled_instances(engine, guard.clone(), clock.clone());
    AnySessions::start(options).await.unwrap()
}

async fn changes_since(host: &AnySessions, mut since: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let page = host.changes(since, 50).await.unwrap();
        since = page.next;
        changes.extend(page.changes);
        if !page.more {
            return changes;
        }
    }
}

async fn list(host: &AnySessions, agent: String) -> Result<Vec<Session>, CallError> {
    let (mut sessions, mut cursor) = (Vec::new(), None);
    loop {
        let page = Page {
            cursor,
            limit: Some(2),
        };
        let page = host.list_for_agent(agent.clone(), page).await?;
        sessions.extend(page.sessions);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(sessions);
        }
    }
}

fn handle_number(handle: &str) -> TokenNumber {
    handle.strip_prefix("handle-").unwrap().parse().unwrap()
}

fn agent_id(agent: u8) -> String {
    format!("0a9e0000-0000-4000-8000-00000000000{agent}")
}

fn role_name(role: u8) -> String {
    format!("role-{role}")
}

fn request(spec: &SessionSpec) -> CreateRequest {
    CreateRequest {
        agent_id: agent_id(spec.agent),
        role: role_name(spec.role),
        scopes: spec.scopes.iter().map(ToString::to_string).collect(),
        task_type: None,
        expires_in: spec.lifetime.map(|millis| millis / 1_000),
        metadata: None,
        max_uses: spec.uses,
    }
}

fn token_text(token: TokenNumber) -> String {
    format!("token-{token}")
}

fn token_number(token: &str) -> TokenNumber {
    token.strip_prefix("token-").unwrap().parse().unwrap()
}

/// A guard with numbered tokens. The test decides when it answers, and how. If it answers at once,
/// the test compares its questions afterwards.
pub struct ScriptedGuard {
    clock: Arc<ManualClock>,
    script: Mutex<Script>,
}

struct Script {
    /// The calls that wait, in the order in which they began, with their questions.
    waiting: Vec<(Asked, Wait)>,
    answers: Answers,
    /// The answers to the questions of this call, if calls do not wait.
    at_once: Option<Answers>,
    /// The questions that were answered at once, with the answers, in the order of the questions.
    answered: VecDeque<(Asked, Answers)>,
    /// Whether tokens can be revoked. If not, the guard is unavailable for revocations.
    revokes: bool,
    tokens: Vec<Issued>,
}

enum Wait {
    /// The call waits for an answer.
    Held(oneshot::Sender<()>),
    /// The call has had this answer. The model waits for it.
    Answered(Answers),
}

struct Issued {
    handle: String,
    expires_at: u64,
    revoked: bool,
}

impl ScriptedGuard {
    fn new(clock: Arc<ManualClock>) -> Self {
        Self {
            clock,
            script: Mutex::new(Script {
                waiting: Vec::new(),
                answers: Answers::RIGHT,
                at_once: None,
                answered: VecDeque::new(),
                revokes: true,
                tokens: Vec::new(),
            }),
        }
    }

    /// Returns the number of calls that wait.
    pub fn waiting(&self) -> usize {
        self.script().waiting.len()
    }

    /// Returns the question of the call that waits at this position.
    pub fn asked(&self, position: usize) -> Asked {
        self.script().waiting[position].0.clone()
    }

    /// Sets whether the guard revokes tokens.
    pub fn set_revokes(&self, revokes: bool) {
        self.script().revokes = revokes;
    }

    /// Returns the answers to this question, if these are to be given.
    pub fn answers_to(&self, asked: &Asked, answers: Answers) -> Answers {
        self.script().answers_to(asked, answers)
    }

    /// Answers the call that waits at this position. If it has been answered, checks that these are
    /// the answers.
    pub fn release(&self, position: usize, answers: Answers) {
        let mut script = self.script();
        match script.waiting.remove(position).1 {
            Wait::Held(waker) => {
                script.answers = answers;
                waker.send(()).expect("the call waits");
            }
            Wait::Answered(given) => assert_eq!(
                given, answers,
                "the guard gave other answers than the model's (right)"
            ),
        }
    }

    /// Sets the answers to the questions of the next call. With `None`, calls wait.
    fn answer_at_once(&self, answers: Option<Answers>) {
        self.script().at_once = answers;
    }

    /// Lets the next question that was answered at once wait for the model. Returns whether there
    /// was one.
    fn next_answered(&self) -> bool {
        let mut script = self.script();
        let next = script.answered.pop_front();
        let next = next.map(|(asked, given)| (asked, Wait::Answered(given)));
        let was_asked = next.is_some();
        script.waiting.extend(next);
        was_asked
    }

    /// Waits until the test releases the call, unless calls are answered at once.
    async fn wait(&self, asked: Asked) {
        let waits = {
            let mut script = self.script();
            if let Some(answers) = script.at_once {
                script.answers = script.answers_to(&asked, answers);
                let answered = (asked, script.answers);
                script.answered.push_back(answered);
                return;
            }
            let (waker, waits) = oneshot::channel();
            script.waiting.push((asked, Wait::Held(waker)));
            waits
        };
        waits.await.expect("the guard exists as long as the call");
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Script {
    fn answers_to(&self, asked: &Asked, answers: Answers) -> Answers {
        match asked {
            Asked::Revoke(_) if !self.revokes => Answers {
                confirm: Confirm::Unavailable,
                many: Many::Each,
                ..answers
            },
            _ => answers,
        }
    }

    fn claims(&self, number: TokenNumber, check: Check) -> Result<Claims, GuardError> {
        let issued = &self.tokens[number];
        match check {
            Check::Deny => return Err(denied()),
            Check::Unavailable => return Err(unavailable()),
            Check::Revoked => return Err(GuardError::Revoked),
            Check::WrongHandle | Check::Truth if issued.revoked => {
                return Err(GuardError::Revoked);
            }
            Check::WrongHandle | Check::Truth => {}
        }
        Ok(Claims {
            handle: match check {
                Check::WrongHandle => "another handle".into(),
                _ => issued.handle.clone(),
            },
            expires_at: issued.expires_at,
        })
    }

    fn revoke(&mut self, handle: &str, confirm: Confirm) -> Result<(), GuardError> {
        match confirm {
            Confirm::Done => {}
            Confirm::Revoked => return Err(GuardError::Revoked),
            Confirm::Expired => return Err(GuardError::Expired),
            Confirm::Deny => return Err(denied()),
            Confirm::Unavailable => return Err(unavailable()),
        }
        for token in &mut self.tokens {
            token.revoked |= token.handle == handle;
        }
        Ok(())
    }

    /// Returns the results for many items, without the last one if the answer is to be short.
    fn truncated_if_short<T>(&self, mut results: Vec<T>) -> Vec<T> {
        if self.answers.is_short() {
            results.pop();
        }
        results
    }
}

#[async_trait]
impl Guard for ScriptedGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.wait(Asked::Issue).await;
        let mut script = self.script();
        let number = script.tokens.len();
        let mut issued = IssuedToken {
            token: token_text(number),
            handle: format!("handle-{number}"),
            expires_at: request.expires_at,
        };
        match script.answers.issue {
            Issue::Deny => return Err(denied().into()),
            Issue::Unavailable => return Err(unavailable().into()),
            Issue::Grant(offset) => {
                issued.expires_at = issued.expires_at.saturating_add_signed(offset);
            }
            Issue::Expired => issued.expires_at = self.clock.now_millis(),
            Issue::SameHandle => issued.handle.clone_from(&script.tokens[number - 1].handle),
            Issue::SameToken => issued.token = token_text(number - 1),
        }
        script.tokens.push(Issued {
            handle: issued.handle.clone(),
            expires_at: issued.expires_at,
            revoked: false,
        });
        Ok(issued)
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        let number = token_number(&token);
        self.wait(Asked::Token(number)).await;
        let script = self.script();
        Ok(script.claims(number, script.answers.check)?)
    }

    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        let numbers: Vec<_> = tokens.iter().map(|token| token_number(token)).collect();
        self.wait(Asked::Tokens(numbers.clone())).await;
        let script = self.script();
        let answers = script.answers;
        let claims = numbers.into_iter().map(|number| {
            let check = answers.check_of(number);
            script.claims(number, check)
        });
        Ok(script.truncated_if_short(claims.collect()))
    }

    async fn revoke_token(&self, _: String) -> GuardResult<()> {
        panic!("the component revokes with `revoke_tokens` only")
    }

    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        let numbers = handles.iter().map(|handle| handle_number(handle));
        let numbers: Vec<TokenNumber> = numbers.collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        self.wait(Asked::Revoke(sorted)).await;
        let mut script = self.script();
        let answers = script.answers;
        let revoked = handles.iter().zip(numbers);
        let revoked =
            revoked.map(|(handle, number)| script.revoke(handle, answers.confirm_of(number)));
        let revoked = revoked.collect();
        Ok(script.truncated_if_short(revoked))
    }
}
