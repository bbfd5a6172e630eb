//! The component behind the host's channel, with callers in many tasks.

use std::hint::black_box;
use std::time::{Duration, Instant};

use clawdb_session_bench_protocol::target::{
    Contestant, Failure, Figure, Granted, Operation, Timed,
};
use clawdb_session_bench_protocol::workload::{Request, keep_first};
use clawdb_session_host::{CallError, HostOptions, SessionEngine, SessionHost};
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use super::component::{config, request};
use super::guard::YesGuard;

/// A host and the runtime of its callers.
pub struct Channel {
    runtime: Runtime,
    host: SessionHost,
    tokens: Vec<String>,
}

impl Channel {
    /// A host without sessions, on as many threads as the machine has cores.
    pub fn start() -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread()
            .enable_time()
            .build()
            .map_err(Failure::broken)?;
        let host = runtime.block_on(async {
            let engine = SessionEngine::new().map_err(Failure::broken)?;
            let options = HostOptions::new(YesGuard::default());
            let host = SessionHost::start(&engine, options).await;
            let host = host.map_err(Failure::broken)?;
            host.configure(config()).await.map_err(Failure::broken)?;
            Ok::<_, Failure>(host)
        })?;
        Ok(Self {
            runtime,
            host,
            tokens: Vec::new(),
        })
    }

    /// How many calls a second so many callers get done that each wait for their own.
    fn rate<F>(
        &self,
        callers: u32,
        time: Duration,
        call: impl Fn(SessionHost, String) -> F + Clone + Send + 'static,
    ) -> Result<f64, Failure>
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
        for calls in done.map_err(Failure::broken)? {
            total += calls.map_err(Failure::broken)?;
        }
        Ok(f64::from(total) / begun.elapsed().as_secs_f64())
    }
}

impl Contestant for Channel {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<Granted>> {
        let begun = Instant::now();
        let mut granted = Vec::new();
        for wanted in requests {
            let grant = self.runtime.block_on(self.host.create(request(wanted)));
            let grant = grant.map_err(Failure::broken)?;
            let token = String::from(grant.token);
            let id = grant.session.id.parse().map_err(Failure::broken)?;
            granted.push(Granted { id, token });
        }
        let took = begun.elapsed();
        keep_first(&mut self.tokens, granted.iter().map(|it| it.token.clone()));
        Ok(Some((granted, took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        let begun = Instant::now();
        self.runtime.block_on(async {
            for token in tokens {
                let session =
                    self.host.validate(token).await.map_err(|error| {
                        Failure::refused(Operation::Validate)(error.to_string())
                    })?;
                black_box(session);
            }
            Ok::<_, Failure>(())
        })?;
        Ok(Some(((), begun.elapsed())))
    }

    fn figure(&mut self, figure: Figure) -> Result<Option<f64>, Failure> {
        match figure {
            Figure::ValidateRate {
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
            // The smallest call that there is.
            Figure::NothingRate {
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
