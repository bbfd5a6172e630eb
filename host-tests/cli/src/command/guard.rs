//! The embedded guard of a command, from its arguments and the environment.

use std::error::Error;

use clap::Args;
use clawdb_session_guard_jwt::JwtGuard;

use super::secrets::{self, GuardKeys};

/// The arguments about the guard: `--full-claims`.
#[derive(Args, Clone, Copy)]
pub struct GuardArgs {
    /// Adds role, scopes, task and workspace to each token
    ///
    /// This is for services that read a token without calling this service. A session whose token
    /// would have more than 8192 bytes is then refused.
    #[arg(long)]
    full_claims: bool,
}

impl GuardArgs {
    /// Returns a guard with the keys from the environment, or with a random key.
    pub fn guard(self) -> Result<JwtGuard, Box<dyn Error>> {
        Ok(self.with_claims(secrets::guard()?))
    }

    /// Returns a guard with these keys.
    pub fn guard_of(self, keys: &GuardKeys) -> Result<JwtGuard, Box<dyn Error>> {
        Ok(self.with_claims(keys.guard()?))
    }

    fn with_claims(self, guard: JwtGuard) -> JwtGuard {
        if self.full_claims {
            guard.with_full_claims()
        } else {
            guard
        }
    }
}
