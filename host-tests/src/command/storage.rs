//! Where a command keeps its sessions, as its arguments say.

use std::error::Error;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use clawdb_session_host::bindings::exports::clawdb::session::settings::Config;
use clawdb_session_host::durable::{DurableOptions, Progress};
use clawdb_session_host::engine::SessionEngine;
use clawdb_session_host::host::HostOptions;
use clawdb_session_host::journal::Journal;
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
    /// Keeps the sessions on NATS JetStream, for this and other machines
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

/// Sessions that are kept: where, and what a host of them is given.
pub struct Kept {
    pub journal: Arc<dyn Journal>,
    pub options: DurableOptions,
}

impl Storage {
    /// Opens what the arguments name; none where they name nothing.
    pub async fn open(&self, engine: SessionEngine) -> Result<Option<Kept>, Box<dyn Error>> {
        let Some(file) = &self.journal else {
            return Ok(None);
        };
        let keys = StateKeys::find(Some(file))?;
        let guard = lasting_guard(Some(file))?;
        let journal = RedbJournal::open(file).await?;
        let mut options = DurableOptions::new(engine, HostOptions::new(guard), config(keys));
        options.progress = Some(progress_bar());
        Ok(Some(Kept {
            journal: Arc::new(journal),
            options,
        }))
    }
}

/// The defaults, with these keys.
pub fn config(keys: StateKeys) -> Config {
    Config {
        workspace_id: None,
        default_ttl: None,
        max_lifetime: None,
        max_sessions: None,
        max_sessions_per_agent: None,
        agent_overflow: None,
        max_sessions_per_root: None,
        max_depth: None,
        rotation_grace: None,
        idle_timeout: None,
        event_capacity: None,
        max_state_bytes: None,
        state_key: Some(keys.current),
        previous_state_keys: keys.previous,
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
