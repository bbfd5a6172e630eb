//! The package for Node.js.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::checkout::Checkout;
use crate::error::{Context, PackageError, Result};
use crate::notices;
use crate::program::run;

/// The folder of the package, and what its build copies from the root.
const FOLDER: &str = "host-tests/hosts/node";
const PATHS: [&str; 2] = [FOLDER, "LICENSE"];

/// The package, and what the bill of materials needs.
pub struct NodePackage {
    /// The name of the file.
    pub file: String,
    /// The file that npm installs.
    pub bytes: Vec<u8>,
    /// The names of the packages whose code it contains.
    pub bundled: Vec<String>,
    /// The text of `package-lock.json`.
    pub lock: String,
}

/// Builds the package from a copy of its sources in a folder, with this component and the licences
/// of the crates in it.
///
/// # Errors
/// [`PackageError`].
pub fn build(
    checkout: &Checkout,
    component: &Path,
    notices: &str,
    work: &Path,
) -> Result<NodePackage> {
    checkout.copy(&PATHS, work)?;
    let folder = work.join(FOLDER);
    let npm = |arguments: &[&str]| run(Command::new("npm").current_dir(&folder).args(arguments));
    npm(&["ci", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    run(Command::new("node")
        .current_dir(&folder)
        .arg("build.mjs")
        .arg(component))?;
    let inside = folder.join("dist").join(notices::FILE);
    fs::write(&inside, notices).map_err(PackageError::file(&inside))?;
    // It prints the name of the file last.
    let printed = npm(&["pack", "--loglevel=error"])?;
    let file = printed.lines().last().unwrap_or_default().trim().to_owned();
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(PackageError::file(&path))
    };
    let text = |name: &str| String::from_utf8(read(name)?).about(name);
    let bundled = serde_json::from_slice(&read("build/bundled.json")?);
    Ok(NodePackage {
        bytes: read(&file)?,
        file,
        bundled: bundled.about("build/bundled.json")?,
        lock: text("package-lock.json")?,
    })
}
