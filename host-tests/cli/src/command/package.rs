//! The command `package`: runs the package `clawdb-session-package` of the checkout, so that this
//! program contains neither its dependencies nor the composed component.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// A file that every checkout has.
const MANIFEST: &str = "host-tests/package/Cargo.toml";

/// Packages the checkout that the current folder is in.
pub fn run(arguments: &[OsString]) -> Result<(), Box<dyn Error>> {
    let folder = env::current_dir()?;
    let checkout = folder.ancestors().find(|it| it.join(MANIFEST).is_file());
    let checkout = checkout.ok_or_else(|| no_checkout(&folder))?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "run",
        "--locked",
        "--quiet",
        "--package",
        "clawdb-session-package",
    ]);
    cargo
        .arg("--manifest-path")
        .arg(checkout.join("Cargo.toml"));
    let status = cargo.arg("--").args(arguments).status();
    let status = status.map_err(|error| format!("cannot run cargo: {error}"))?;
    (status.success().then_some(())).ok_or_else(|| "the command `package` failed".into())
}

fn no_checkout(folder: &Path) -> String {
    format!(
        "{} is in no checkout of clawdb-session, whose sources `package` builds",
        folder.display()
    )
}
