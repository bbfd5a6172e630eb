//! The journal of a command, from its arguments.

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
use clawdb_session_host::{AnyEngine, Config, InstanceOptions};
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_journal_redb::RedbJournal;
use indicatif::{ProgressBar, ProgressStyle};

use super::guard::GuardArgs;
use super::log::log;
use super::secrets::{GuardKeys, PREVIOUS_STATE_KEYS_VARIABLE, StateKeys};

/// The arguments that select a journal.
#[derive(Args)]
pub struct Storage {
    /// Keeps the sessions in this file, which is created if it is missing
    ///
    /// The keys are in files beside it or in environment variables; see `serve --help`.
    #[arg(long, value_name = "FILE", conflicts_with = "nats")]
    journal: Option<PathBuf>,
    /// Keeps the sessions on NATS `JetStream`, which several hosts can share
    ///
    /// The URL is nats://HOST:PORT. Separate the servers of a cluster by commas. All hosts need the
    /// same keys in their environment; see `serve --help`.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// The number of servers that store each record, 3 to 5
    #[arg(long, value_name = "N", requires = "nats", default_value = "3", value_parser = replicas)]
    replicas: usize,
    /// Allows a single server, which can lose acknowledged changes if its machine loses power
    #[arg(long, requires = "nats", conflicts_with = "replicas")]
    single: bool,
    /// The time in seconds for which a host owns sessions after each renewal, 0.1 to 3600
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "nats",
        default_value = "10",
        value_parser = lease
    )]
    lease: Duration,
}

/// An opened journal, and the options of the host that uses it.
pub struct OpenedStorage {
    pub journal: Arc<dyn Journal>,
    pub options: DurableOptions,
}

impl Storage {
    /// Opens the journal that the arguments name, and creates missing key files. Returns `None` if
    /// they name no journal.
    pub async fn open(
        &self,
        engine: AnyEngine,
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
        let instances = InstanceOptions::new(engine.clone(), guard.guard_of(&guard_keys)?);
        let options = DurableOptions::new(instances, config(&keys));
        check(&options, &keys.name).await?;
        // Files are created only after all settings are checked.
        keys.write_file()?;
        guard_keys.write_file()?;
        let instances = InstanceOptions::new(engine, guard.guard_of(&guard_keys)?);
        let options = DurableOptions::new(instances, config(&keys));
        Ok(Some(self.open_journal(options).await?))
    }

    /// Opens the journal that the arguments name, for a host with these options. Creates no file.
    pub async fn open_existing(
        &self,
        instances: InstanceOptions,
    ) -> Result<OpenedStorage, Box<dyn Error>> {
        if let Some(file) = &self.journal {
            if !file.try_exists()? {
                return Err(format!("--journal: {}: no such file", file.display()).into());
            }
            RedbJournal::check(file).map_err(journal_error)?;
        }
        let keys = StateKeys::find(self.journal.as_deref())?;
        let options = DurableOptions::new(instances, config(&keys));
        check(&options, &keys.name).await?;
        self.open_journal(options).await
    }

    async fn open_journal(
        &self,
        mut options: DurableOptions,
    ) -> Result<OpenedStorage, Box<dyn Error>> {
        let journal: Arc<dyn Journal> = match (&self.journal, &self.nats) {
            (Some(file), _) => Arc::new(RedbJournal::open(file).await.map_err(journal_error)?),
            (None, Some(url)) => {
                let journal = self.connect(url).await;
                let argument = "--nats";
                Arc::new(journal.map_err(|error| OpenError { argument, error })?)
            }
            (None, None) => return Err("--journal FILE or --nats URL is required".into()),
        };
        options.progress = Some(progress_bar());
        options.report = Some(Arc::new(|tenant, text| {
            log(format_args!("{tenant}: the host {text}"));
        }));
        options.key_progress = Some(Arc::new(|keys| log(format_args!("state keys: {keys}"))));
        Ok(OpenedStorage { journal, options })
    }

    /// Returns the time after which the lease of a host that crashed has ended.
    pub fn crashed_host_lease(&self) -> Duration {
        // A host takes over after 5/4 of the lease, and checks five times per lease.
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

/// The error of a journal that could not be opened, with the argument that names it.
#[derive(Debug)]
pub struct OpenError {
    argument: &'static str,
    /// The journal's error.
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

/// Lets the component check the settings, before anything is opened. `state_key` is the variable or
/// the file of the state key.
///
/// # Errors
/// The error names a setting by its variable or file.
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
        .ok_or("must be from 3 to 5; use --single for one server")
}

fn lease(text: &str) -> Result<Duration, String> {
    seconds(text, 0.1..=3_600.0)
}

/// Parses a number of seconds within these bounds.
pub fn seconds(text: &str, bounds: RangeInclusive<f64>) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|number| bounds.contains(number));
    let (min, max) = bounds.clone().into_inner();
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("must be a number of seconds from {min} to {max}"))
}

/// Returns the default configuration with these keys.
pub fn config(keys: &StateKeys) -> Config {
    Config {
        previous_state_keys: keys.previous.clone(),
        ..Config::with_state_key(keys.current.clone())
    }
}

/// Returns a callback that shows the progress of a restore, if standard error is a terminal.
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
