//! The licences of the crates that are compiled into the components.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::{Context, PackageError, Result};
use crate::program::run;
use crate::sbom::{Crates, TARGET};

/// The name of the file.
pub const FILE: &str = "THIRD-PARTY-LICENSES";

/// The licence of this project. `LICENSE` has its text.
const OURS: &str = env!("CARGO_PKG_LICENSE");

/// What the file begins with.
const INTRODUCTION: &str = "\
The components contain the crates below, and the standard library of Rust. Those of the first list
and the standard library are used under Apache-2.0, one of the licences that they offer; LICENSE has
its text. The licences of the others follow the list.
";

/// What `cargo metadata` prints.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

impl Package {
    /// Returns whether the crate can be used under the licence of this project.
    fn offers_our_licence(&self) -> bool {
        let licence = self.license.as_deref().unwrap_or_default();
        let alternatives = licence.replace('/', " OR ");
        // With both operators, an alternative can be part of a requirement.
        !licence.contains(" AND ") && alternatives.split(" OR ").any(|it| it == OURS)
    }

    /// Returns the texts of the licence in the folder of the crate.
    fn texts(&self) -> Result<Vec<String>> {
        let folder = self.manifest_path.parent().unwrap_or(Path::new("/"));
        let file = PackageError::file;
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(file(folder))? {
            let path = entry.map_err(file(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.to_uppercase();
            if ["LICENSE", "LICENCE", "UNLICENSE", "COPYING", "NOTICE"]
                .iter()
                .any(|it| name.starts_with(it))
            {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            let what = format!("the licence of {} {}", self.name, self.version);
            return Err("the crate has no file with it").about(what);
        }
        let read = |path: &PathBuf| fs::read_to_string(path).map_err(file(path));
        paths.iter().map(read).collect()
    }
}

/// Returns the text of the file: all crates with their licences, and the texts of the licences that
/// `LICENSE` does not contain.
///
/// # Errors
/// [`PackageError`].
pub fn text(root: &Path, crates: &Crates) -> Result<String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        TARGET,
    ]);
    let metadata: Metadata = serde_json::from_str(&run(&mut cargo)?).about("`cargo metadata`")?;
    let mut packages: Vec<_> = metadata
        .packages
        .into_iter()
        .filter(|it| crates.contains_published(&it.name, &it.version))
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    let (ours, others): (Vec<_>, Vec<_>) = packages.iter().partition(|it| it.offers_our_licence());
    let mut text = String::from(INTRODUCTION);
    for packages in [&ours, &others] {
        text.push('\n');
        for Package {
            name,
            version,
            license,
            ..
        } in packages
        {
            let licence = license.as_deref().unwrap_or("no expression");
            writeln!(text, "- {name} {version}: {licence}").about(FILE)?;
        }
    }
    for package in others {
        for licence in package.texts()? {
            write!(text, "\n== {}\n\n{}\n", package.name, licence.trim()).about(FILE)?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::compiled_crates;

    #[test]
    fn each_crate_is_listed_and_a_licence_other_than_ours_has_its_text() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = text(&root, &compiled_crates(&root).unwrap()).unwrap();
        for name in [
            "chrono",
            "hmac",
            "memchr",
            "sha2",
            "slab",
            "uuid",
            "wit-bindgen",
        ] {
            assert!(text.contains(&format!("\n- {name} ")), "{name}: {text}");
        }
        assert!(!text.contains("clawdb"), "{text}");
        assert!(text.contains("\n== slab\n\nCopyright (c) "), "{text}");
        assert!(!text.contains("\n== uuid\n"), "{text}");
    }

    #[test]
    fn a_crate_can_be_used_under_our_licence_if_it_is_an_alternative() {
        let package = |licence: &str| Package {
            name: "a".into(),
            version: "1.0.0".into(),
            license: Some(licence.into()),
            manifest_path: PathBuf::new(),
        };
        for licence in ["Apache-2.0", "MIT OR Apache-2.0", "MIT/Apache-2.0"] {
            assert!(package(licence).offers_our_licence(), "{licence}");
        }
        for licence in [
            "MIT",
            "MIT AND Apache-2.0",
            "MIT AND (Zlib OR Apache-2.0 OR ISC)",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(!package(licence).offers_our_licence(), "{licence}");
        }
    }
}
