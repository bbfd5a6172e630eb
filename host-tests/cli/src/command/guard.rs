//! The embedded guard of a command, as its arguments and the environment say.

use std::error::Error;

use clap::Args;
use clawdb_session_guard_jwt::JwtGuard;

use super::secrets::{self, GuardKeys};

/// `--full-claims`.
#[derive(Args, Clone, Copy)]
pub struct GuardArgs {
    /// Puts role, scopes, task and workspace into each token too
    ///
    /// For services that read a token without asking. A session whose token would be longer than
    /// 8,192 bytes is refused then.
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
