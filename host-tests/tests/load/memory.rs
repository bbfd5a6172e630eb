//! The linear memory of an instance whose sessions fill `max-state-bytes`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_host::{
    AnySessions, CallError, Config, CreateRequest, Limit, RevokeFilter, SessionError, World,
};
use clawdb_session_testkit::{ManualClock, Random, number_in_environment};
use tokio::task::JoinSet;

use crate::{WORLDS, agent, start};

/// The shortest role, in bytes. Each session has another one.
const MIN_ROLE: usize = 8;
/// The longest role, in bytes.
const MAX_ROLE: usize = 64;
/// The longest task type, in bytes.
const MAX_TASK_TYPE: usize = 128;
/// The largest metadata, in bytes.
const MAX_METADATA: usize = 16_384;
/// The most scopes of a session.
const MAX_SCOPES: usize = 128;
/// The longest scope, in bytes.
const MAX_SCOPE: usize = 256;

/// Returns `max-state-bytes`. The default is that of the short version.
fn max_state_bytes() -> u64 {
    number_in_environment("SESSION_LOAD_STATE_BYTES").unwrap_or(8 << 20)
}

/// The memory that does not grow with the state: what calls take while they run, and what memory
/// grows by at once.
const SLACK: u64 = 2 << 20;

/// Returns the most memory that an instance may take whose state is full, besides that of an empty
/// one (`max-state-bytes` in the WIT).
fn allowed(max_state_bytes: u64) -> u64 {
    max_state_bytes / 4 * 7 + SLACK
}

/// The sessions that fill the state first, and which of them stay: every second one, for example.
/// Then the largest sessions have to use the memory between them.
const GAPS: [(Sizes, usize); 7] = [
    (Sizes::Smallest, 2),
    (Sizes::Smallest, 3),
    (Sizes::Smallest, 10),
    (Sizes::Smallest, 5),
    (Sizes::Smallest, 50),
    (Sizes::Mixed, 2),
    (Sizes::Mixed, 5),
];

/// The sizes of sessions.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    /// All texts are as long as possible.
    Largest,
    /// All texts are as short as possible.
    Smallest,
    /// Each text has a random length. Short ones are as frequent as long ones.
    Mixed,
}

/// Returns a text of this length that begins with the number.
fn text(number: u64, length: usize) -> String {
    format!("{number:<length$}").replace(' ', "x")
}

/// Returns metadata of this length.
fn metadata(length: usize) -> String {
    format!("\"{}\"", "m".repeat(length - 2))
}

/// An instance whose state is filled and emptied.
struct Load {
    world: World,
    instance: AnySessions,
    clock: Arc<ManualClock>,
    max_state_bytes: u64,
    /// The memory of the empty instance.
    empty: u64,
    /// The number of the last record that was read, or `None` for an instance without records.
    last_read: Option<u64>,
    random: Random,
    /// How many sessions were created.
    created: u64,
}

impl Load {
    async fn new(world: World, max_state_bytes: u64, has_records: bool) -> Self {
        let config = Config {
            max_state_bytes: Some(max_state_bytes),
            max_sessions: Some(10_000_000),
            state_key: has_records.then(|| vec![1; 32]),
            ..Config::default()
        };
        let (instance, clock) = start(world, config).await;
        Self {
            world,
            empty: instance.memory() as u64,
            instance,
            clock,
            max_state_bytes,
            last_read: has_records.then_some(0),
            random: Random::new(max_state_bytes),
            created: 0,
        }
    }

    /// Returns a length from 1 to this one.
    fn length(&self, longest: usize) -> usize {
        let bound = longest >> self.random.below(longest.ilog2() as usize + 1);
        1 + self.random.below(bound)
    }

    /// Returns a request. Each has another agent and another role.
    fn request(&self, sizes: Sizes) -> CreateRequest {
        let request = |role| CreateRequest::new(agent(self.created), text(self.created, role));
        let scopes = |count: usize, length: &dyn Fn() -> usize| -> Vec<String> {
            (0..count as u64).map(|it| text(it, length())).collect()
        };
        match sizes {
            Sizes::Largest => request(MAX_ROLE)
                .with_scopes(scopes(MAX_SCOPES, &|| MAX_SCOPE))
                .with_task_type("t".repeat(MAX_TASK_TYPE))
                .with_metadata(metadata(MAX_METADATA)),
            Sizes::Smallest => request(MIN_ROLE),
            Sizes::Mixed => request(MIN_ROLE + self.random.below(MAX_ROLE - MIN_ROLE))
                .with_scopes(scopes(self.length(MAX_SCOPES), &|| self.length(MAX_SCOPE)))
                .with_task_type("t".repeat(self.length(MAX_TASK_TYPE)))
                .with_metadata(metadata(1 + self.length(MAX_METADATA - 1))),
        }
    }

    /// Creates sessions until `max-state-bytes` is reached, and checks the memory. Returns the ids.
    async fn fill(&mut self, sizes: Sizes) -> Vec<String> {
        let started = Instant::now();
        let mut created = Vec::new();
        let refused = loop {
            match self.instance.create(self.request(sizes)).await {
                Ok(grant) => created.push(grant.session.id),
                Err(error) => break error,
            }
            self.created += 1;
            if created.len().is_multiple_of(1_000) {
                self.read_changes().await;
            }
        };
        let full = SessionError::LimitReached(Limit::MaxStateBytes);
        assert_eq!(refused, CallError::Session(full));
        self.read_changes().await;
        let stats = self.instance.stats().await.unwrap();
        let memory = self.instance.memory() as u64;
        #[expect(clippy::cast_precision_loss, reason = "the ratio is only shown")]
        let ratio = memory as f64 / self.max_state_bytes as f64;
        println!(
            "{}, {}, {sizes:?}: {} created, {} live, state of {} bytes, memory {memory}, \
             {ratio:.3} of max-state-bytes, in {:.1} s",
            self.world,
            self.last_read.map_or("no records", |_| "records"),
            created.len(),
            stats.live_sessions,
            stats.state_bytes,
            started.elapsed().as_secs_f64()
        );
        let allowed = allowed(self.max_state_bytes) + self.empty;
        assert!(memory <= allowed, "{memory} is more than {allowed}");
        created
    }

    /// Reads the records, as a durable host does.
    async fn read_changes(&mut self) {
        while let Some(since) = self.last_read {
            let page = self.instance.changes(since, 1_000).await.unwrap();
            self.last_read = Some(page.next);
            if !page.more {
                break;
            }
        }
    }

    /// Waits until the guard has confirmed all revocations.
    async fn flush(&self) {
        loop {
            let report = self.instance.flush_guard_revocations().await.unwrap();
            if report.pending == 0 {
                break;
            }
        }
    }

    /// Ends all of these sessions but every `step`th, so that the free memory is in pieces between
    /// those that are left.
    async fn end_between(&mut self, sessions: Vec<String>, step: usize) {
        for (at, id) in sessions.into_iter().enumerate() {
            if !at.is_multiple_of(step) {
                self.instance.revoke(id).await.unwrap();
            }
        }
        self.flush().await;
        self.read_changes().await;
    }

    /// Ends all sessions and drops their tombstones.
    async fn end_all(&mut self) {
        let everything = RevokeFilter::Everything;
        self.instance.revoke_all(everything).await.unwrap();
        while self.instance.prune_expired(None).await.unwrap() > 0 {
            self.flush().await;
        }
        self.flush().await;
        self.read_changes().await;
        self.clock.advance(Duration::from_hours(2));
        while self.instance.stats().await.unwrap().tombstones > 0 {
            self.instance.prune_expired(None).await.unwrap();
        }
        let stats = self.instance.stats().await.unwrap();
        assert_eq!((stats.live_sessions, stats.state_bytes), (0, 0));
    }
}

/// Fills and empties instances of both worlds at the same time.
async fn check(has_records: bool) {
    let mut running = JoinSet::new();
    for world in WORLDS {
        running.spawn(async move {
            let mut load = Load::new(world, max_state_bytes(), has_records).await;
            load.fill(Sizes::Largest).await;
            load.end_all().await;
            for (sizes, step) in GAPS {
                let created = load.fill(sizes).await;
                load.end_between(created, step).await;
                load.fill(Sizes::Largest).await;
                load.end_all().await;
            }
        });
    }
    running.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r03_full_state_of_sessions_of_any_sizes_takes_at_most_1_75_times_as_much_memory() {
    check(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r03_full_state_with_records_takes_at_most_1_75_times_as_much_memory() {
    check(true).await;
}
