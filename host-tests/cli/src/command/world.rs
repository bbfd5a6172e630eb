//! The world of the component that a command uses, from its arguments.

use std::path::PathBuf;

use clap::Args;
use clawdb_session_host::{AnyEngine, StartError, World};

/// The arguments about the component: `--world` and `--code-cache`.
#[derive(Args)]
pub struct WorldArgs {
    /// The world of the component: session-sync or session
    ///
    /// In the world session-sync one call runs at a time, which takes less time: the guard of
    /// this program answers at once. In the world session, calls overlap while they wait for a
    /// guard.
    #[arg(long, value_name = "WORLD", default_value_t = World::SessionSync)]
    pub world: World,
    /// Keeps the compiled component in this directory, so that a later start takes less time
    ///
    /// The directory must belong to the user of this process, and no other user may write to it.
    #[arg(long, value_name = "DIR")]
    code_cache: Option<PathBuf>,
}

impl WorldArgs {
    /// Returns the compiled component.
    pub fn engine(&self) -> Result<AnyEngine, StartError> {
        match &self.code_cache {
            Some(directory) => AnyEngine::with_code_cache(self.world, directory),
            None => AnyEngine::new(self.world),
        }
    }
}
