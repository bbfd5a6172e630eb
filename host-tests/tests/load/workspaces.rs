//! Many workspaces on one host, of which few are loaded at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clawdb_session_durable::{
    DurableError, DurableHost, DurableOptions, Journal, MemoryJournal, TenantId, TenantLimits,
    Tenants,
};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{AnyEngine, Config, Grant, Page, SessionError, World};
use clawdb_session_journal_redb::RedbJournal;
use clawdb_session_testkit::{
    CONTROLLED_START, ManualClock, controlled_instances, number_in_environment,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::callers::timed;
use crate::{LONGEST, WORLDS, agent, process, request};

/// The agent of all sessions. It has sessions in each workspace.
const AGENT: u64 = 7;
/// The number of callers. Each has its own share of the workspaces.
const CALLERS: usize = 64;
/// How many sessions each workspace has. Another one is created and revoked.
const SESSIONS: usize = 3;
/// How often each workspace is visited.
const PASSES: usize = 3;

/// The memory that the other tests of this process can take meanwhile. If unloaded workspaces kept
/// their instances, each would take about 200 KiB.
const OTHER_TESTS: u64 = 64 << 20;

/// Returns the number of workspaces. The default is that of the short version.
fn workspaces(default: usize) -> usize {
    number_in_environment("SESSION_LOAD_WORKSPACES").unwrap_or(default)
}

/// Returns how many workspaces may be loaded at a time. These are so few that each workspace is
/// unloaded between two passes.
fn max_loaded(workspaces: usize) -> usize {
    (workspaces / 4).min(TenantLimits::default().max_loaded)
}

/// What a workspace must contain.
struct Workspace {
    number: usize,
    live: Vec<Grant>,
    /// Tokens of sessions that were revoked or whose token was replaced.
    refused: Vec<String>,
}

/// The host, and what its callers have seen.
struct Load {
    tenants: Tenants,
    most_loaded: AtomicUsize,
}

/// A caller with its share of the workspaces.
struct Caller {
    workspaces: Vec<Workspace>,
    longest: Duration,
}

fn tenant(number: usize) -> TenantId {
    TenantId::new(Uuid::from_u128(number as u128 + 1))
}

/// Returns the options of the hosts, with a guard that remembers nothing of live tokens.
fn options(world: World) -> DurableOptions {
    let clock = Arc::new(ManualClock::new(CONTROLLED_START));
    let guard = JwtGuard::new(&[7; 32]).expect("the key is long enough");
    let guard = Arc::new(guard.with_clock(clock.clone()));
    let engine = AnyEngine::new(world).unwrap();
    let instances = controlled_instances(engine, guard, clock);
    DurableOptions::new(instances, Config::with_state_key([1; 32]))
}

impl Load {
    /// Makes a call, and repeats it while it is answered with `Retry`: for example, all loaded
    /// workspaces are busy.
    async fn call<T, F>(
        &self,
        longest: &mut Duration,
        call: impl Fn() -> F,
    ) -> Result<T, DurableError>
    where
        F: Future<Output = Result<T, DurableError>>,
    {
        loop {
            let answer = timed(longest, call()).await;
            let loaded = self.tenants.loaded();
            self.most_loaded.fetch_max(loaded, Ordering::Relaxed);
            match answer {
                Err(DurableError::Retry(_)) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    }

    /// Returns a handle, whose calls load the workspace if necessary.
    async fn host(&self, workspace: &Workspace, longest: &mut Duration) -> DurableHost {
        let tenant = tenant(workspace.number);
        let host = self.call(longest, || self.tenants.tenant(tenant)).await;
        host.unwrap()
    }

    /// Creates the sessions of a workspace, and another one that is revoked.
    async fn fill(&self, workspace: &mut Workspace, longest: &mut Duration) {
        let host = self.host(workspace, longest).await;
        for _ in 0..=SESSIONS {
            let grant = self
                .call(longest, || host.create(request(AGENT)))
                .await
                .unwrap();
            workspace.live.push(grant);
        }
        let ended = workspace.live.remove(0);
        self.call(longest, || host.revoke(&*ended.session.id))
            .await
            .unwrap();
        workspace.refused.push(ended.token.to_string());
    }

    /// Checks that a workspace has exactly its sessions, and gives one of them a new token.
    async fn visit(&self, workspace: &mut Workspace, neighbour: &str, longest: &mut Duration) {
        let host = self.host(workspace, longest).await;
        for grant in &workspace.live {
            let token = &*grant.token;
            let session = self.call(longest, || host.validate(token)).await.unwrap();
            assert_eq!(session.id, grant.session.id);
            assert_eq!(session.workspace_id, tenant(workspace.number).to_string());
        }
        let refused = workspace.refused.iter().map(String::as_str);
        for token in refused.chain([neighbour]) {
            let answer = self.call(longest, || host.validate(token)).await;
            let invalid = DurableError::Session(SessionError::InvalidToken);
            assert_eq!(answer, Err(invalid), "in workspace {}", workspace.number);
        }
        self.check_sessions(workspace, &host, longest).await;
        let before = workspace.live[0].token.to_string();
        workspace.live[0] = self
            .call(longest, || host.refresh(&*workspace.live[0].session.id))
            .await
            .unwrap();
        workspace.refused.truncate(1);
        workspace.refused.push(before);
    }

    async fn check_sessions(
        &self,
        workspace: &Workspace,
        host: &DurableHost,
        longest: &mut Duration,
    ) {
        let agent = agent(AGENT);
        let page = self
            .call(longest, || host.list_for_agent(&*agent, Page::default()))
            .await
            .unwrap();
        let listed: HashSet<_> = page.sessions.iter().map(|it| &it.id).collect();
        let expected: HashSet<_> = workspace.live.iter().map(|it| &it.session.id).collect();
        assert_eq!(listed, expected, "in workspace {}", workspace.number);
        let count = self.call(longest, || host.active_count()).await.unwrap();
        assert_eq!(
            count as usize, SESSIONS,
            "in workspace {}",
            workspace.number
        );
    }
}

/// Lets all callers visit their workspaces, and returns them.
async fn pass(load: &Arc<Load>, callers: Vec<Caller>, number: usize) -> Vec<Caller> {
    let mut running = JoinSet::new();
    for mut caller in callers {
        let load = Arc::clone(load);
        running.spawn(async move {
            let mut neighbour = "x.y.z".to_owned();
            for workspace in &mut caller.workspaces {
                if number == 0 {
                    load.fill(workspace, &mut caller.longest).await;
                } else {
                    load.visit(workspace, &neighbour, &mut caller.longest).await;
                    neighbour = workspace.live[0].token.to_string();
                }
            }
            caller
        });
    }
    running.join_all().await
}

/// Visits all workspaces of a journal in passes, and checks them anew on a second host.
async fn check(world: World, name: &str, journal: Arc<dyn Journal>, workspaces: usize) {
    let max_loaded = max_loaded(workspaces);
    let limits = TenantLimits {
        max_loaded,
        ..TenantLimits::default()
    };
    let tenants = || Tenants::new(options(world), Arc::clone(&journal), limits).unwrap();
    let load = Arc::new(Load {
        tenants: tenants(),
        most_loaded: AtomicUsize::default(),
    });
    let mut callers: Vec<_> = (0..CALLERS)
        .map(|first| Caller {
            workspaces: (first..workspaces)
                .step_by(CALLERS)
                .map(|number| Workspace {
                    number,
                    live: Vec::new(),
                    refused: Vec::new(),
                })
                .collect(),
            longest: Duration::ZERO,
        })
        .collect();
    let mut resident = Vec::new();
    for number in 0..PASSES {
        let started = Instant::now();
        callers = pass(&load, callers, number).await;
        let memory = process::memory();
        resident.push(memory.now);
        println!(
            "{world:?}, {name}: pass {number} of {workspaces} workspaces in {:.1} s, \
             resident {} MiB, peak {} MiB",
            started.elapsed().as_secs_f64(),
            memory.now >> 20,
            memory.peak >> 20,
        );
    }
    let longest = callers
        .iter()
        .map(|it| it.longest)
        .max()
        .unwrap_or_default();
    let most_loaded = load.most_loaded.load(Ordering::Relaxed);
    println!("the longest call took {longest:?}, {most_loaded} were loaded at most");
    assert!(longest < LONGEST, "{longest:?}");
    assert_eq!(most_loaded, max_loaded);
    let (first, last) = (resident[0], resident[PASSES - 1]);
    assert!(last <= first + first / 4 + OTHER_TESTS, "{resident:?}");

    load.tenants.shutdown().await;
    let load = Arc::new(Load {
        tenants: tenants(),
        most_loaded: AtomicUsize::default(),
    });
    let all = load.tenants.all().await.unwrap();
    assert_eq!(all.len(), workspaces);
    pass(&load, callers, PASSES).await;
    load.tenants.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_workspaces_than_may_be_loaded_keep_their_sessions_in_memory() {
    for world in WORLDS {
        let journal = Arc::new(MemoryJournal::default());
        check(world, "memory", journal, workspaces(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_workspaces_than_may_be_loaded_keep_their_sessions_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for world in WORLDS {
        let file = folder.path().join(format!("{world}.redb"));
        let journal = Arc::new(RedbJournal::open(file).await.unwrap());
        check(world, "redb", journal, workspaces(100)).await;
    }
}
