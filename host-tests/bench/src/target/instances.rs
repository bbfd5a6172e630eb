//! Concurrent creates in one instance, many instances in one process, and the start of an instance.

use std::time::{Duration, Instant};

use clawdb_session_bench_protocol::memory;
use clawdb_session_bench_protocol::statistics::median;
use clawdb_session_bench_protocol::target::{CreatedSession, Metric, Target, TargetError, Timed};
use clawdb_session_bench_protocol::workload::{self, Request};
use clawdb_session_host::{
    Allocation, COMPONENT, HostOptions, Instance, SessionEngine, SessionError,
};
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use super::component::{instance, request};
use super::failed;
use super::guard::AllowAllGuard;

/// The delay of the guard during concurrent creates.
const GUARD_DELAY: Duration = Duration::from_millis(10);

/// The number of measured starts from the compiled component.
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
            let mut delayed = instance(&engine, AllowAllGuard::with_delay(GUARD_DELAY)).await?;
            let concurrent = create(&mut delayed, creates, creates).await?;
            let beyond_delay = concurrent.saturating_sub(GUARD_DELAY);
            Ok(beyond_delay.as_secs_f64() / one_by_one.as_secs_f64())
        })
    }

    fn start_time(&self) -> Result<f64, TargetError> {
        let engine = SessionEngine::new().map_err(failed)?;
        let precompiled = engine.precompiled().map_err(failed)?;
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let options = HostOptions::new(AllowAllGuard::default());
            let begun = Instant::now();
            // SAFETY: This process compiled it.
            #[expect(unsafe_code, reason = "the time does not include the compilation")]
            let engine =
                unsafe { SessionEngine::from_precompiled(&precompiled, Allocation::OnDemand) };
            let engine = engine.map_err(failed)?;
            let started = Instance::start(&engine, options);
            let instance = self.runtime.block_on(started).map_err(failed)?;
            times.push(begun.elapsed().as_secs_f64());
            drop(instance);
        }
        median(times).ok_or_else(|| TargetError::failed("no instance was started"))
    }

    fn instantiation_time(&mut self, count: u32) -> Result<f64, TargetError> {
        let pool = Allocation::Pool { instances: count };
        let engine = SessionEngine::with_allocation(COMPONENT, pool).map_err(failed)?;
        let options = HostOptions::new(AllowAllGuard::default());
        self.runtime.block_on(async {
            let mut instances: Vec<Instance> =
                Vec::with_capacity(usize::try_from(count).unwrap_or(0));
            let before = memory::resident_bytes();
            let begun = Instant::now();
            for _ in 0..count {
                let instance = Instance::start(&engine, options.clone()).await;
                instances.push(instance.map_err(failed)?);
            }
            let took = begun.elapsed();
            // An instance allocates most of its memory at its first call.
            for instance in &mut instances {
                let called = instance.run(async |accessor, exports| {
                    let sessions = exports.clawdb_session_sessions();
                    sessions.call_active_count(accessor).await
                });
                called.await.map_err(failed)?;
            }
            let after = memory::resident_bytes();
            #[expect(clippy::cast_precision_loss, reason = "a measurement")]
            let growth = before
                .zip(after)
                .map(|(before, after)| after.saturating_sub(before) as f64);
            self.instance_memory = growth.map(|growth| growth / f64::from(count));
            drop(instances);
            Ok(took.as_secs_f64() / f64::from(count))
        })
    }
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
            Metric::InstantiationTime { instances } => self.instantiation_time(instances).map(Some),
            Metric::InstanceMemory { .. } => Ok(self.instance_memory),
            Metric::StartTime => self.start_time().map(Some),
            _ => Ok(None),
        }
    }
}
