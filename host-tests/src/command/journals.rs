//! Where the command line keeps sessions.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clawdb_session_host::journal::Journal;
use clawdb_session_host::journal::memory::MemoryJournal;
use clawdb_session_host::journal::redb::RedbJournal;
use clawdb_session_host::jwt::JwtGuard;

use super::secrets::{StateKeys, lasting_guard};

/// Where sessions are kept
#[derive(Args)]
pub struct JournalArgs {
    /// Keeps the sessions in this file, which is made where there is none
    #[arg(long, value_name = "FILE", conflicts_with = "nats")]
    journal: Option<PathBuf>,
    /// Keeps the sessions on NATS, which several machines can share
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

/// A journal, and what sessions that outlive the process need besides.
pub struct Opened {
    pub journal: Arc<dyn Journal>,
    pub guard: JwtGuard,
    pub keys: StateKeys,
}

/// Opens what was asked for; without anything a journal in memory.
pub async fn open_journal(args: &JournalArgs) -> Result<Opened, Box<dyn Error>> {
    if let Some(url) = &args.nats {
        return Err(format!("{url}: this build has no journal on NATS").into());
    }
    if let Some(file) = &args.journal {
        let guard = lasting_guard(Some(file))?;
        let keys = StateKeys::find(Some(file))?;
        let journal = RedbJournal::open(file).await;
        let journal = journal.map_err(|error| format!("{}: {error}", file.display()))?;
        return Ok(Opened {
            journal: Arc::new(journal),
            guard,
            keys,
        });
    }
    eprintln!(
        "the sessions are kept in memory and end with the process; --journal FILE keeps them"
    );
    let mut current = vec![0; 32];
    getrandom::fill(&mut current)?;
    Ok(Opened {
        journal: Arc::new(MemoryJournal::default()),
        guard: JwtGuard::from_environment()?,
        keys: StateKeys {
            current,
            previous: Vec::new(),
        },
    })
}
