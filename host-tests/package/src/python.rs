//! The wheel for Python.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::checkout::Checkout;
use crate::error::{Context, PackageError, Result};
use crate::notices;
use crate::program::run;

/// The folder of the package, and what its build copies from the root.
const FOLDER: &str = "host-tests/hosts/python";
const PATHS: [&str; 2] = [FOLDER, "LICENSE"];
/// The packages that build the wheel, with their hashes.
const REQUIREMENTS: &str = "host-tests/package/python-build.txt";
/// The earliest time that a wheel can have: 1980-01-01.
const EARLIEST: i64 = 315_532_800;
/// Prints the requirements of a wheel.
const PRINT_REQUIREMENTS: &str = "\
import email, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    (name,) = (name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
    metadata = email.message_from_bytes(wheel.read(name))
print(*metadata.get_all('Requires-Dist', ()), sep='\\n')
";

/// The wheel.
pub struct Wheel {
    /// The name of the file.
    pub file: String,
    /// The file that pip installs.
    pub bytes: Vec<u8>,
    /// The packages that it requires.
    pub requirements: Vec<String>,
}

/// Builds the wheel from a copy of its sources in a folder, with this component and the licences of
/// the crates in it. `PYTHON` names another interpreter than `python3`.
///
/// # Errors
/// [`PackageError`].
pub fn build(checkout: &Checkout, component: &[u8], notices: &str, work: &Path) -> Result<Wheel> {
    checkout.copy(&PATHS, work)?;
    let folder = work.join(FOLDER);
    let inside = folder.join("src/clawdb_session");
    for (name, bytes) in [
        ("session-sync.wasm", component),
        (notices::FILE, notices.as_bytes()),
    ] {
        let path = inside.join(name);
        fs::write(&path, bytes).map_err(PackageError::file(&path))?;
    }

    let environment = work.join("venv");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    run(Command::new(python).args(["-m", "venv"]).arg(&environment))?;
    let python = environment.join("bin/python");
    let pip = |subcommand: &str| {
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--quiet",
            subcommand,
        ]);
        pip
    };
    let requirements = checkout.root.join(REQUIREMENTS);
    run(pip("install")
        .args(["--require-hashes", "--requirement"])
        .arg(requirements))?;
    let wheels = work.join("wheels");
    let mut build = pip("wheel");
    build.args([
        "--no-deps",
        "--no-build-isolation",
        "--check-build-dependencies",
    ]);
    build.arg("--wheel-dir").arg(&wheels).arg(&folder);
    let date = checkout.date.unwrap_or(EARLIEST).max(EARLIEST);
    run(build.env("SOURCE_DATE_EPOCH", date.to_string()))?;

    let mut entries = fs::read_dir(&wheels).map_err(PackageError::file(&wheels))?;
    let wheel = entries.next().ok_or("pip has written no wheel");
    let wheel = wheel.about("the wheel")?;
    let wheel = wheel.map_err(PackageError::file(&wheels))?;
    let requirements = run(Command::new(&python)
        .args(["-c", PRINT_REQUIREMENTS])
        .arg(wheel.path()))?;
    Ok(Wheel {
        file: wheel.file_name().to_string_lossy().into_owned(),
        bytes: fs::read(wheel.path()).map_err(PackageError::file(&wheel.path()))?,
        requirements: requirements.lines().map(str::to_owned).collect(),
    })
}
