//! The component in a `SessionHost`, which many tasks call concurrently.

use std::hint::black_box;
use std::time::{Duration, Instant};

use clawdb_session_bench_protocol::target::{
    CreatedSession, Metric, Operation, Target, TargetError, Timed,
};
use clawdb_session_bench_protocol::workload::{Request, keep_first};
use clawdb_session_host::{CallError, HostOptions, SessionEngine, SessionHost};
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use super::calls::{config, request};
use super::failed;
use super::guard::AllowAllGuard;

/// A `SessionHost` and the runtime of its callers.
pub struct SessionHostTarget {
    runtime: Runtime,
    host: SessionHost,
    tokens: Vec<String>,
}

impl SessionHostTarget {
    /// Starts a host without sessions, on as many threads as the machine has cores.
    pub fn start() -> Result<Self, TargetError> {
        let runtime = Builder::new_multi_thread()
            .enable_time()
            .build()
            .map_err(failed)?;
        let host = runtime.block_on(async {
            let engine = SessionEngine::new().map_err(failed)?;
            let options = HostOptions::new(AllowAllGuard::default());
            let host = SessionHost::start(&engine, options).await;
            let host = host.map_err(failed)?;
            host.configure(config()).await.map_err(failed)?;
            Ok::<_, TargetError>(host)
        })?;
        Ok(Self {
            runtime,
            host,
            tokens: Vec::new(),
        })
    }

    /// Returns the number of calls per second that this many callers make. Each caller makes one
    /// call after the other.
    fn rate<F>(
        &self,
        callers: u32,
        time: Duration,
        call: impl Fn(SessionHost, String) -> F + Clone + Send + 'static,
    ) -> Result<f64, TargetError>
    where
        F: Future<Output = Result<(), CallError>> + Send,
    {
        let begun = Instant::now();
        let calling = (0..callers).map(|_| {
            let (host, tokens, call) = (self.host.clone(), self.tokens.clone(), call.clone());
            self.runtime.spawn(async move {
                let mut calls = 0_u32;
                for token in tokens.iter().cycle() {
                    if begun.elapsed() >= time {
                        break;
                    }
                    call(host.clone(), token.clone()).await?;
                    calls += 1;
                }
                Ok::<_, CallError>(calls)
            })
        });
        let calling: Vec<_> = calling.collect();
        let done = self.runtime.block_on(try_join_all(calling));
        let mut total = 0;
        for calls in done.map_err(failed)? {
            total += calls.map_err(failed)?;
        }
        Ok(f64::from(total) / begun.elapsed().as_secs_f64())
    }
}

impl Target for SessionHostTarget {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        let begun = Instant::now();
        let mut created = Vec::new();
        for wanted in requests {
            let grant = self.runtime.block_on(self.host.create(request(wanted)));
            let grant = grant.map_err(failed)?;
            let token = String::from(grant.token);
            let id = grant.session.id.parse().map_err(failed)?;
            created.push(CreatedSession { id, token });
        }
        let took = begun.elapsed();
        keep_first(
            &mut self.tokens,
            created
                .iter()
                .map(|session: &CreatedSession| session.token.clone()),
        );
        Ok(Some((created, took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        let begun = Instant::now();
        self.runtime.block_on(async {
            for token in tokens {
                let session = self.host.validate(token).await.map_err(|error| {
                    TargetError::refused(Operation::Validate)(error.to_string())
                })?;
                black_box(session);
            }
            Ok::<_, TargetError>(())
        })?;
        Ok(Some(((), begun.elapsed())))
    }

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        match metric {
            Metric::ValidateRate {
                callers,
                milliseconds,
            } => {
                let time = Duration::from_millis(milliseconds.into());
                let rate = self.rate(callers, time, |host, token| async move {
                    black_box(host.validate(token).await?);
                    Ok(())
                })?;
                Ok(Some(rate))
            }
            // The call of a `SessionHost` that does the least.
            Metric::NoOpRate {
                callers,
                milliseconds,
            } => {
                let time = Duration::from_millis(milliseconds.into());
                let rate = self.rate(callers, time, |host, _| async move {
                    black_box(host.active_count().await?);
                    Ok(())
                })?;
                Ok(Some(rate))
            }
            _ => Ok(None),
        }
    }
}
