//! All files of a release.

use std::fs;
use std::time::{Duration, Instant};

use crate::checkout::Checkout;
use crate::component::{COMPONENTS, Component, with_revision};
use crate::error::{PackageError, Result};
use crate::output::Artefact;
use crate::sbom::{self, Delivered, Materials};
use crate::wit::{self, WitPackage};
use crate::{node, notices, python, readme, sums};

/// The version of all that is released.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The name of the packages for Node.js and Python.
const PACKAGE: &str = "clawdb-session";

/// Builds all files. `report` gets what was built, and how long it took.
///
/// # Errors
/// [`PackageError`].
pub fn build(checkout: &Checkout, report: impl Fn(&str, Duration)) -> Result<Vec<Artefact>> {
    let work = tempfile::Builder::new()
        .prefix("clawdb-session-package-")
        .tempdir();
    let work = work.map_err(PackageError::file(&std::env::temp_dir()))?;
    let started = Instant::now();
    let components = components(checkout)?;
    let wit = wit_packages(checkout)?;
    report("components and WIT", started.elapsed());

    let started = Instant::now();
    let sync = &components[0].bytes;
    let component = work.path().join("session-sync.wasm");
    fs::write(&component, sync).map_err(PackageError::file(&component))?;
    let crates = sbom::compiled_crates(&checkout.root)?;
    let notices = notices::text(&checkout.root, &crates)?;
    let node = node::build(checkout, &component, &notices, &work.path().join("node"))?;
    let npm = Artefact::new(&node.file, "the package for Node.js", node.bytes);
    report("npm package", started.elapsed());

    let started = Instant::now();
    let python = python::build(checkout, sync, &notices, &work.path().join("python"))?;
    let wheel = Artefact::new(&python.file, "the package for Python", python.bytes);
    report("wheel", started.elapsed());

    let purpose = "the licences of the crates in the components";
    let notices = Artefact::new(notices::FILE, purpose, notices);
    let names = COMPONENTS.iter().map(|it| it.name);
    let bill = sbom::bill(Materials {
        revision: &checkout.revision,
        date: checkout.date,
        crates,
        components: names
            .zip(&components)
            .map(|(name, file)| Delivered { name, file })
            .collect(),
        npm: Delivered {
            name: PACKAGE,
            file: &npm,
        },
        npm_bundled: sbom::bundled(&node.bundled, &node.lock)?,
        wheel: Delivered {
            name: PACKAGE,
            file: &wheel,
        },
        wheel_requires: sbom::required(python.requirements.iter().map(String::as_str))?,
    })?;
    let bill_name = format!("clawdb-session-{VERSION}.cdx.json");
    let bill = Artefact::new(
        &bill_name,
        "the software bill of materials (CycloneDX 1.6)",
        bill,
    );
    let path = checkout.root.join("LICENSE");
    let licence = fs::read(&path).map_err(PackageError::file(&path))?;
    let licence = Artefact::new("LICENSE", "the licence", licence);

    let last = [npm, wheel, bill, licence, notices];
    let mut files: Vec<_> = components.into_iter().chain(wit).chain(last).collect();
    let readme = readme::text(&files, &checkout.revision, &node.file, &python.file);
    files.push(Artefact::new("README.md", "what each file is", readme));
    let sums = sums::text(files.iter().map(|it| (it.name.as_str(), &it.bytes[..])));
    files.push(Artefact::new(
        sums::FILE,
        "the checksums of the other files",
        sums,
    ));
    Ok(files)
}

/// Returns the components with the revision, in the order of [`COMPONENTS`].
fn components(checkout: &Checkout) -> Result<Vec<Artefact>> {
    let file = |it: &Component| {
        let bytes = with_revision(it.name, it.bytes, &checkout.revision)?;
        let name = format!("{}-{VERSION}.wasm", it.name);
        Ok(Artefact::new(&name, it.purpose, bytes))
    };
    COMPONENTS.iter().map(file).collect()
}

fn wit_packages(checkout: &Checkout) -> Result<Vec<Artefact>> {
    let file = |it: &WitPackage| {
        let bytes = wit::encode(it, &checkout.root, &checkout.revision)?;
        let name = format!("{}-{VERSION}.wit.wasm", it.name);
        Ok(Artefact::new(&name, it.purpose, bytes))
    };
    wit::PACKAGES.iter().map(file).collect()
}
