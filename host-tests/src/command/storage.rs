//! Where a command keeps its sessions, as its arguments say.

use std::error::Error;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use clawdb_session_host::bindings::exports::clawdb::session::settings::Config;
use clawdb_session_host::durable::{DurableOptions, Progress};
use clawdb_session_host::engine::SessionEngine;
use clawdb_session_host::host::{HostOptions, default_config};
use clawdb_session_host::journal::Journal;
use clawdb_session_host::journal::nats::{NatsJournal, NatsOptions};
use clawdb_session_host::journal::redb::RedbJournal;
use indicatif::{ProgressBar, ProgressStyle};

use super::secrets::{StateKeys, lasting_guard};

/// `--journal` or `--nats`.
#[derive(Args)]
pub struct Storage {
    /// Keeps the sessions in this file, which is made where it is not there
    ///
    /// Its keys lie beside it, in FILE.state-key and FILE.guard-key, unless the environment has them:
    /// `CLAWDB_SESSION_STATE_KEY` (hexadecimal; `CLAWDB_SESSION_PREVIOUS_STATE_KEYS` for those before
    /// it, with commas) and `CLAW_GUARD_JWT_SECRET`.
    #[arg(long, value_name = "FILE", conflicts_with = "nats")]
    journal: Option<PathBuf>,
    /// Keeps the sessions on NATS `JetStream`, for this and other machines
    ///
    /// nats://HOST:PORT, several of a cluster with commas. One machine at a time has the sessions of a
    /// workspace; another one takes over when that is gone. All have the same keys in their
    /// environment: `CLAWDB_SESSION_STATE_KEY` and `CLAW_GUARD_JWT_SECRET`.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// How many servers keep each record
    #[arg(long, value_name = "N", requires = "nats", default_value_t = 3)]
    replicas: usize,
    /// Takes one server alone, which can lose what it acknowledged when its machine loses power
    #[arg(long, requires = "nats", conflicts_with = "replicas")]
    single: bool,
    /// For how many seconds a machine has the sessions after each renewal
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "nats",
        default_value_t = 10.0
    )]
    lease: f64,
}

/// Sessions that are kept: where, and what a host of them is given.
pub struct Kept {
    pub journal: Arc<dyn Journal>,
    pub options: DurableOptions,
}

impl Storage {
    /// Opens what the arguments name; none where they name nothing.
    pub async fn open(&self, engine: SessionEngine) -> Result<Option<Kept>, Box<dyn Error>> {
        if self.journal.is_none() && self.nats.is_none() {
            return Ok(None);
        }
        let keys = StateKeys::find(self.journal.as_deref())?;
        let guard = lasting_guard(self.journal.as_deref())?;
        let kept = self
            .open_journal(engine, HostOptions::new(guard), keys)
            .await?;
        Ok(Some(kept))
    }

    /// Opens what the arguments name, for a host with these options. A file is not made.
    pub async fn open_existing(
        &self,
        engine: SessionEngine,
        host: HostOptions,
    ) -> Result<Kept, Box<dyn Error>> {
        if let Some(file) = &self.journal
            && !file.try_exists()?
        {
            return Err(format!("{}: there is no such file", file.display()).into());
        }
        let keys = StateKeys::find(self.journal.as_deref())?;
        self.open_journal(engine, host, keys).await
    }

    async fn open_journal(
        &self,
        engine: SessionEngine,
        host: HostOptions,
        keys: StateKeys,
    ) -> Result<Kept, Box<dyn Error>> {
        let journal: Arc<dyn Journal> = match (&self.journal, &self.nats) {
            (Some(file), _) => Arc::new(RedbJournal::open(file).await?),
            (None, Some(url)) => Arc::new(self.connect(url).await?),
            (None, None) => return Err("--journal FILE or --nats URL is needed".into()),
        };
        let mut options = DurableOptions::new(engine, host, config(keys));
        options.progress = Some(progress_bar());
        options.report = Some(Arc::new(|tenant, text| {
            eprintln!("{tenant}: the host {text}");
        }));
        options.key_progress = Some(Arc::new(|keys| eprintln!("state keys: {keys}")));
        Ok(Kept { journal, options })
    }

    /// After how long nobody has the lease of a host that died.
    pub fn lease_of_the_dead(&self) -> Duration {
        // A contender waits for 5/4 of the lease, and looks five times in it.
        match self.nats {
            Some(_) => Duration::try_from_secs_f64(self.lease * 1.5).unwrap_or_default(),
            None => Duration::ZERO,
        }
    }

    async fn connect(&self, url: &str) -> Result<NatsJournal, Box<dyn Error>> {
        let mut options = NatsOptions::new(url);
        options.lease = Duration::try_from_secs_f64(self.lease)?;
        options.replicas = self.replicas;
        if self.single {
            options = options.single();
        }
        Ok(NatsJournal::connect(options).await?)
    }
}

/// The defaults, with these keys.
pub fn config(keys: StateKeys) -> Config {
    Config {
        state_key: Some(keys.current),
        previous_state_keys: keys.previous,
        ..default_config()
    }
}

/// Shows on a terminal how far a restore is.
pub fn progress_bar() -> Arc<dyn Fn(Progress) + Send + Sync> {
    if !std::io::stderr().is_terminal() {
        return Arc::new(|_| {});
    }
    let bar = Mutex::new(None::<ProgressBar>);
    Arc::new(move |progress| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("restoring {wide_bar} {pos}/{len} {per_sec}");
            let new = ProgressBar::new(progress.total);
            new.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        shown.set_length(progress.total);
        shown.set_position(progress.restored);
        if progress.restored >= progress.total {
            shown.finish_and_clear();
            *bar = None;
        }
    })
}
