//! Core dumps of a command that holds keys and tokens.

use std::error::Error;

use nix::sys::resource::{Resource, setrlimit};

/// Makes the system write no core dump of this process. On Linux, other processes of the same user
/// then cannot read its memory or its environment either.
pub fn refuse() -> Result<(), Box<dyn Error>> {
    let refused = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // A program that receives core dumps (`core_pattern`) ignores the limit, but not this.
    #[cfg(target_os = "linux")]
    let refused = refused.and_then(|()| nix::sys::prctl::set_dumpable(false));
    refused.map_err(|error| format!("core dumps cannot be turned off: {error}").into())
}
