//! Concurrent creates in one instance, many instances in one process, and the start of an instance.

use std::time::{Duration, Instant};

use clawdb_session_bench_protocol::memory;
use clawdb_session_bench_protocol::statistics::median;
use clawdb_session_bench_protocol::target::{
    CreatedSession, Metric, Target, TargetError, Timed, World,
};
use clawdb_session_bench_protocol::workload::{self, Request};
use clawdb_session_host::{
    Allocation, COMPONENT, HostOptions, Instance, LocalEngine, LocalInstance, LocalOptions,
    SYNC_COMPONENT, SessionEngine, SessionError,
};
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use super::calls::request;
use super::component::instance;
use super::failed;
use super::guard::{AllowAllGuard, DelayedGuard};

/// The delay of the guard during concurrent creates.
const GUARD_DELAY: Duration = Duration::from_millis(10);

/// The number of measured starts of an instance.
const STARTS: usize = 21;

/// A target that creates new instances for each metric and drops them afterwards.
pub struct InstancesTarget {
    runtime: Runtime,
    /// The memory of an instance, measured by the last [`Metric::InstantiationTime`].
    instance_memory: Option<f64>,
}

impl InstancesTarget {
    /// Returns a target without instances.
    pub fn start() -> Result<Self, TargetError> {
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(failed)?;
        Ok(Self {
            runtime,
            instance_memory: None,
        })
    }

    fn concurrent_creates(&self, creates: u32) -> Result<f64, TargetError> {
        let engine = SessionEngine::new().map_err(failed)?;
        self.runtime.block_on(async {
            let mut prompt = instance(&engine, AllowAllGuard::default()).await?;
            let one_by_one = create(&mut prompt, creates, 1).await?;
            let mut delayed = instance(&engine, DelayedGuard::new(GUARD_DELAY)).await?;
            let concurrent = create(&mut delayed, creates, creates).await?;
            let beyond_delay = concurrent.saturating_sub(GUARD_DELAY);
            Ok(beyond_delay.as_secs_f64() / one_by_one.as_secs_f64())
        })
    }

    /// Returns the median time of starts of an instance.
    fn start_time(&self, world: World) -> Result<f64, TargetError> {
        match world {
            World::Session => {
                let engine = SessionEngine::new().map_err(failed)?;
                median_time(|| self.start_instance(&engine))
            }
            World::SessionSync => {
                let engine = LocalEngine::new().map_err(failed)?;
                median_time(|| start_local_instance(&engine))
            }
        }
    }

    /// Returns the median time of starts of an instance whose compiled code is in a directory.
    fn cached_start_time(&self, world: World) -> Result<f64, TargetError> {
        let directory = tempfile::tempdir().map_err(failed)?;
        let directory = directory.path().join("code");
        let start = || match world {
            World::Session => {
                let engine = SessionEngine::with_code_cache(&directory).map_err(failed)?;
                self.start_instance(&engine).map(drop)
            }
            World::SessionSync => {
                let engine = LocalEngine::with_code_cache(&directory).map_err(failed)?;
                start_local_instance(&engine).map(drop)
            }
        };
        // This compiles the component and writes its code.
        start()?;
        median_time(start)
    }

    fn start_instance(&self, engine: &SessionEngine) -> Result<Instance, TargetError> {
        let options = HostOptions::new(AllowAllGuard::default());
        let started = Instance::start(engine, options);
        self.runtime.block_on(started).map_err(failed)
    }

    fn instantiation_time(&mut self, world: World, count: u32) -> Result<f64, TargetError> {
        let pool = Allocation::Pool { instances: count };
        match world {
            World::Session => {
                let engine = SessionEngine::with_allocation(COMPONENT, pool).map_err(failed)?;
                self.fill_pool(
                    count,
                    |target| target.start_instance(&engine),
                    |target, instance| {
                        let called = instance.run(async |accessor, exports| {
                            let sessions = exports.clawdb_session_sessions();
                            sessions.call_active_count(accessor).await
                        });
                        target.runtime.block_on(called).map_err(failed).map(drop)
                    },
                )
            }
            World::SessionSync => {
                let engine = LocalEngine::with_allocation(SYNC_COMPONENT, pool).map_err(failed)?;
                self.fill_pool(
                    count,
                    |_| start_local_instance(&engine),
                    |_, instance| instance.active_count().map_err(failed).map(drop),
                )
            }
        }
    }

    /// Starts this many instances and calls each. Returns the time of a start, and keeps the memory
    /// of an instance.
    fn fill_pool<I>(
        &mut self,
        count: u32,
        start: impl Fn(&Self) -> Result<I, TargetError>,
        call: impl Fn(&Self, &mut I) -> Result<(), TargetError>,
    ) -> Result<f64, TargetError> {
        let mut instances = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let before = memory::resident_bytes();
        let begun = Instant::now();
        for _ in 0..count {
            instances.push(start(self)?);
        }
        let took = begun.elapsed();
        // An instance allocates most of its memory at its first call.
        for instance in &mut instances {
            call(self, instance)?;
        }
        let after = memory::resident_bytes();
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        let growth = before
            .zip(after)
            .map(|(before, after)| after.saturating_sub(before) as f64);
        self.instance_memory = growth.map(|growth| growth / f64::from(count));
        Ok(took.as_secs_f64() / f64::from(count))
    }
}

fn start_local_instance(engine: &LocalEngine) -> Result<LocalInstance, TargetError> {
    let options = LocalOptions::new(AllowAllGuard::default());
    LocalInstance::start(engine, options).map_err(failed)
}

/// Returns the median time of a function that starts an instance, in seconds. The time does not
/// include dropping the result.
fn median_time<I>(start: impl Fn() -> Result<I, TargetError>) -> Result<f64, TargetError> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let instance = start()?;
        times.push(begun.elapsed().as_secs_f64());
        drop(instance);
    }
    median(times).ok_or_else(|| TargetError::failed("no instance was started"))
}

/// Returns the time of `count` creates, of which `concurrency` run at a time.
async fn create(
    instance: &mut Instance,
    count: u32,
    concurrency: u32,
) -> Result<Duration, TargetError> {
    let requests: Vec<_> = (0..count)
        .map(|number| request(workload::request(number)))
        .collect();
    let concurrency = usize::try_from(concurrency).unwrap_or(usize::MAX);
    let created = instance.run(async |accessor, exports| {
        let sessions = exports.clawdb_session_sessions();
        let begun = Instant::now();
        for requests in requests.chunks(concurrency) {
            let creates = requests
                .iter()
                .map(|request| sessions.call_create(accessor, request.clone()));
            for grant in try_join_all(creates).await? {
                if let Err(error) = grant {
                    return Ok(Err(TargetError::Failed(
                        SessionError::from(error).to_string(),
                    )));
                }
            }
        }
        Ok(Ok(begun.elapsed()))
    });
    created.await.map_err(failed)?
}

impl Target for InstancesTarget {
    fn create(&mut self, _requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        Ok(None)
    }

    fn validate(&mut self, _tokens: Vec<String>) -> Timed<()> {
        Ok(None)
    }

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        match metric {
            Metric::ConcurrentCreates { creates } => self.concurrent_creates(creates).map(Some),
            Metric::InstantiationTime { world, instances } => {
                self.instantiation_time(world, instances).map(Some)
            }
            Metric::InstanceMemory { .. } => Ok(self.instance_memory),
            Metric::StartTime { world } => self.start_time(world).map(Some),
            Metric::CachedStartTime { world } => self.cached_start_time(world).map(Some),
            _ => Ok(None),
        }
    }
}
