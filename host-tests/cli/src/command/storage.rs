//! Where a command keeps its sessions, as its arguments say.

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use clawdb_session_durable::{
    DurableError, DurableOptions, Journal, JournalError, ProgressCallback,
};
use clawdb_session_host::{Config, HostOptions, SessionEngine};
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_journal_redb::RedbJournal;
use indicatif::{ProgressBar, ProgressStyle};

use super::guard::GuardArgs;
use super::secrets::{GuardKeys, PREVIOUS_STATE_KEYS_VARIABLE, StateKeys};

/// `--journal` or `--nats`.
#[derive(Args)]
pub struct Storage {
    /// Keeps the sessions in this file, which is made where it is not there
    ///
    /// Its keys lie beside it, in FILE.state-key and FILE.guard-key, unless the environment has
    /// them: `CLAWDB_SESSION_STATE_KEY` (hexadecimal; `CLAWDB_SESSION_PREVIOUS_STATE_KEYS` for
    /// those before it, with commas) and `CLAW_GUARD_JWT_SECRET`. Tokens of earlier keys of the
    /// guard are accepted too: those in FILE.previous-guard-keys (hexadecimal) and in
    /// `CLAW_GUARD_PREVIOUS_JWT_SECRETS`, one on each line, at most 8.
    #[arg(long, value_name = "FILE", conflicts_with = "nats")]
    journal: Option<PathBuf>,
    /// Keeps the sessions on NATS `JetStream`, for this and other machines
    ///
    /// nats://HOST:PORT, several of a cluster with commas. One machine at a time has the sessions
    /// of a workspace; another one takes over when that is gone. All have the same keys in their
    /// environment: `CLAWDB_SESSION_STATE_KEY` and `CLAW_GUARD_JWT_SECRET`, and those before the
    /// latter in `CLAW_GUARD_PREVIOUS_JWT_SECRETS`, one on each line.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// How many servers keep each record, 3 to 5
    #[arg(long, value_name = "N", requires = "nats", default_value = "3", value_parser = replicas)]
    replicas: usize,
    /// Takes one server alone, which can lose what it acknowledged when its machine loses power
    #[arg(long, requires = "nats", conflicts_with = "replicas")]
    single: bool,
    /// For how many seconds a machine has the sessions after each renewal, 0.1 to 3600
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "nats",
        default_value = "10",
        value_parser = lease
    )]
    lease: Duration,
}

/// Sessions that are kept: where, and what a host of them is given.
pub struct OpenedStorage {
    pub journal: Arc<dyn Journal>,
    pub options: DurableOptions,
}

impl Storage {
    /// Opens what the arguments name; none where they name nothing.
    pub async fn open(
        &self,
        engine: SessionEngine,
        guard: GuardArgs,
    ) -> Result<Option<OpenedStorage>, Box<dyn Error>> {
        if self.journal.is_none() && self.nats.is_none() {
            return Ok(None);
        }
        let file = self.journal.as_deref();
        if let Some(file) = file {
            RedbJournal::check(file).map_err(journal_error)?;
        }
        let mut keys = StateKeys::find(file)?;
        let mut guard_keys = GuardKeys::find(file)?;
        let host = HostOptions::new(guard.guard_of(&guard_keys)?);
        check(&options(&engine, host, &keys), &keys.name).await?;
        // Nothing is made before all settings are found good.
        keys.write_file()?;
        guard_keys.write_file()?;
        let host = HostOptions::new(guard.guard_of(&guard_keys)?);
        Ok(Some(self.open_journal(engine, host, keys).await?))
    }

    /// Opens what the arguments name, for a host with these options. A file is not made.
    pub async fn open_existing(
        &self,
        engine: SessionEngine,
        host: HostOptions,
    ) -> Result<OpenedStorage, Box<dyn Error>> {
        if let Some(file) = &self.journal {
            if !file.try_exists()? {
                return Err(format!("--journal: {}: there is no such file", file.display()).into());
            }
            RedbJournal::check(file).map_err(journal_error)?;
        }
        let keys = StateKeys::find(self.journal.as_deref())?;
        check(&options(&engine, host.clone(), &keys), &keys.name).await?;
        self.open_journal(engine, host, keys).await
    }

    async fn open_journal(
        &self,
        engine: SessionEngine,
        host: HostOptions,
        keys: StateKeys,
    ) -> Result<OpenedStorage, Box<dyn Error>> {
        let journal: Arc<dyn Journal> = match (&self.journal, &self.nats) {
            (Some(file), _) => Arc::new(RedbJournal::open(file).await.map_err(journal_error)?),
            (None, Some(url)) => {
                let journal = self.connect(url).await;
                let argument = "--nats";
                Arc::new(journal.map_err(|error| OpenError { argument, error })?)
            }
            (None, None) => return Err("--journal FILE or --nats URL is needed".into()),
        };
        let mut options = options(&engine, host, &keys);
        options.progress = Some(progress_bar());
        options.report = Some(Arc::new(|tenant, text| {
            eprintln!("{tenant}: the host {text}");
        }));
        options.key_progress = Some(Arc::new(|keys| eprintln!("state keys: {keys}")));
        Ok(OpenedStorage { journal, options })
    }

    /// After how long nobody has the lease of a host that died.
    pub fn crashed_host_lease(&self) -> Duration {
        // A contender waits for 5/4 of the lease, and looks five times in it.
        match self.nats {
            Some(_) => self.lease.mul_f64(1.5),
            None => Duration::ZERO,
        }
    }

    async fn connect(&self, url: &str) -> Result<NatsJournal, JournalError> {
        let mut options = NatsOptions::new(url);
        options.lease = self.lease;
        options.replicas = self.replicas;
        if self.single {
            options = options.single();
        }
        NatsJournal::connect(options).await
    }
}

fn options(engine: &SessionEngine, host: HostOptions, keys: &StateKeys) -> DurableOptions {
    DurableOptions::new(engine.clone(), host, config(keys))
}

/// The journal that an argument names was not opened.
#[derive(Debug)]
pub struct OpenError {
    argument: &'static str,
    /// Why.
    pub error: JournalError,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.argument, self.error)
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

fn journal_error(error: JournalError) -> OpenError {
    let argument = "--journal";
    OpenError { argument, error }
}

/// Lets the component check the settings, before anything is opened. The error names a setting as
/// its user gave it; `state_key` names the source of the state key.
pub async fn check(options: &DurableOptions, state_key: &str) -> Result<(), Box<dyn Error>> {
    match options.check().await {
        Err(DurableError::Settings(invalid)) => Err(match invalid.name.as_str() {
            "state-key" => invalid.named(state_key),
            "previous-state-keys" => invalid.named(PREVIOUS_STATE_KEYS_VARIABLE),
            _ => invalid,
        }
        .into()),
        checked => Ok(checked?),
    }
}

fn replicas(text: &str) -> Result<usize, &'static str> {
    let number = text.parse().ok();
    number
        .filter(|number| (3..=5).contains(number))
        .ok_or("must be from 3 to 5; --single takes one server alone")
}

fn lease(text: &str) -> Result<Duration, String> {
    seconds(text, 0.1..=3_600.0)
}

/// A number of seconds within these bounds.
pub fn seconds(text: &str, bounds: RangeInclusive<f64>) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|number| bounds.contains(number));
    let (min, max) = bounds.clone().into_inner();
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("must be a number of seconds from {min} to {max}"))
}

/// The defaults, with these keys.
pub fn config(keys: &StateKeys) -> Config {
    Config {
        previous_state_keys: keys.previous.clone(),
        ..Config::with_state_key(keys.current.clone())
    }
}

/// Shows on a terminal how far a restore is.
pub fn progress_bar() -> ProgressCallback {
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
