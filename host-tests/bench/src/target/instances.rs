//! What is measured of many: creates that are under way at a time, and instances in one process.

use std::time::{Duration, Instant};

use clawdb_session_bench_protocol::harness::median;
use clawdb_session_bench_protocol::memory;
use clawdb_session_bench_protocol::target::{Contestant, Failure, Figure, Granted, Timed};
use clawdb_session_bench_protocol::workload::{self, Request};
use clawdb_session_host::{Allocation, COMPONENT, HostOptions, Instance, SessionEngine};
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use super::component::{instance, request};
use super::guard::YesGuard;

/// How long the guard takes for creates that are under way at a time.
const DELAY: Duration = Duration::from_millis(10);

/// How often an instance is started from the compiled component.
const STARTS: usize = 21;

/// What is measured has instances of its own.
pub struct Crowd {
    runtime: Runtime,
    /// What an instance took, the last time that there were many.
    memory: Option<f64>,
}

impl Crowd {
    /// Nothing at first.
    pub fn start() -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(Failure::broken)?;
        Ok(Self {
            runtime,
            memory: None,
        })
    }

    fn in_flight(&self, creates: u32) -> Result<f64, Failure> {
        let engine = SessionEngine::new().map_err(Failure::broken)?;
        self.runtime.block_on(async {
            let mut at_once = instance(&engine, YesGuard::default()).await?;
            let one_by_one = create(&mut at_once, creates, 1).await?;
            let mut late = instance(&engine, YesGuard::after(DELAY)).await?;
            let side_by_side = create(&mut late, creates, creates).await?;
            let beyond = side_by_side.saturating_sub(DELAY);
            Ok(beyond.as_secs_f64() / one_by_one.as_secs_f64())
        })
    }

    fn start_time(&self) -> Result<f64, Failure> {
        let engine = SessionEngine::new().map_err(Failure::broken)?;
        let precompiled = engine.precompiled().map_err(Failure::broken)?;
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let options = HostOptions::new(YesGuard::default());
            let begun = Instant::now();
            // SAFETY: this process has just compiled it.
            #[expect(unsafe_code, reason = "what starts fast is not compiled again")]
            let engine =
                unsafe { SessionEngine::from_precompiled(&precompiled, Allocation::OnDemand) };
            let engine = engine.map_err(Failure::broken)?;
            let started = Instance::start(&engine, options);
            let instance = self.runtime.block_on(started).map_err(Failure::broken)?;
            times.push(begun.elapsed().as_secs_f64());
            drop(instance);
        }
        median(times).ok_or_else(|| Failure::broken("it was not started"))
    }

    fn instances(&mut self, count: u32) -> Result<f64, Failure> {
        let pool = Allocation::Pool { instances: count };
        let engine = SessionEngine::with_allocation(COMPONENT, pool).map_err(Failure::broken)?;
        let options = HostOptions::new(YesGuard::default());
        self.runtime.block_on(async {
            let mut instances: Vec<Instance> =
                Vec::with_capacity(usize::try_from(count).unwrap_or(0));
            let before = memory::this_process();
            let begun = Instant::now();
            for _ in 0..count {
                let instance = Instance::start(&engine, options.clone()).await;
                instances.push(instance.map_err(Failure::broken)?);
            }
            let took = begun.elapsed();
            // One that was never called has hardly anything yet.
            for instance in &mut instances {
                let called = instance.run(async |accessor, exports| {
                    let sessions = exports.clawdb_session_sessions();
                    sessions.call_active_count(accessor).await
                });
                called.await.map_err(Failure::broken)?;
            }
            let after = memory::this_process();
            #[expect(clippy::cast_precision_loss, reason = "a measurement")]
            let grown = before
                .zip(after)
                .map(|(before, after)| after.saturating_sub(before) as f64);
            self.memory = grown.map(|grown| grown / f64::from(count));
            drop(instances);
            Ok(took.as_secs_f64() / f64::from(count))
        })
    }
}

/// The time of creates, so many of them under way at a time.
async fn create(instance: &mut Instance, count: u32, at_once: u32) -> Result<Duration, Failure> {
    let requests: Vec<_> = (0..count)
        .map(|number| request(workload::request(number)))
        .collect();
    let at_once = usize::try_from(at_once).unwrap_or(usize::MAX);
    let created = instance.run(async |accessor, exports| {
        let sessions = exports.clawdb_session_sessions();
        let begun = Instant::now();
        for requests in requests.chunks(at_once) {
            let creates = requests
                .iter()
                .map(|request| sessions.call_create(accessor, request.clone()));
            for grant in try_join_all(creates).await? {
                if let Err(error) = grant {
                    return Ok(Err(Failure::Broken(format!("{error:?}"))));
                }
            }
        }
        Ok(Ok(begun.elapsed()))
    });
    created.await.map_err(Failure::broken)?
}

impl Contestant for Crowd {
    fn create(&mut self, _requests: Vec<Request>) -> Timed<Vec<Granted>> {
        Ok(None)
    }

    fn validate(&mut self, _tokens: Vec<String>) -> Timed<()> {
        Ok(None)
    }

    fn figure(&mut self, figure: Figure) -> Result<Option<f64>, Failure> {
        match figure {
            Figure::InFlight { creates } => self.in_flight(creates).map(Some),
            Figure::InstanceTime { instances } => self.instances(instances).map(Some),
            Figure::InstanceMemory { .. } => Ok(self.memory),
            Figure::Start => self.start_time().map(Some),
            _ => Ok(None),
        }
    }
}
