//! The crates that are compiled into the components.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use super::cyclonedx::Item;
use crate::component::COMPONENTS;
use crate::error::{Context, PackageError, Result};
use crate::program::run;

/// The target of the components.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// What the lines of `cargo tree` consist of after the depth: package, licence, repository.
const FORMAT: &str = "\t{p}\t{l}\t{r}";

/// The crates, and what each of them depends on.
#[derive(Debug, Default)]
pub struct Crates {
    items: BTreeMap<Id, Item>,
    dependencies: BTreeMap<Id, BTreeSet<Id>>,
    /// The reference of the standard library, on which all depend.
    std: String,
}

/// The name and version of a crate.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Id {
    name: String,
    version: String,
}

impl Crates {
    /// Returns the references of what a package of this workspace depends on.
    pub fn dependencies(&self, package: &str) -> Vec<String> {
        let dependencies = self
            .dependencies
            .iter()
            .filter(|(id, _)| id.name == package);
        let ids = dependencies.flat_map(|(_, dependencies)| dependencies);
        let references = ids
            .filter_map(|id| self.items.get(id))
            .map(|it| it.bom_ref.clone());
        references.chain([self.std.clone()]).collect()
    }

    /// Returns whether a crate from a registry is among them.
    pub fn contains_published(&self, name: &str, version: &str) -> bool {
        let (name, version) = (name.into(), version.into());
        let item = self.items.get(&Id { name, version });
        item.is_some_and(|it| it.bom_ref.starts_with("pkg:cargo/"))
    }

    /// Returns the crates with the references of what they depend on. The packages that the
    /// components are built from are left out.
    pub fn into_items(self) -> impl Iterator<Item = (Item, Vec<String>)> {
        let references: BTreeMap<_, _> = self
            .items
            .iter()
            .map(|(id, item)| (id.clone(), item.bom_ref.clone()))
            .collect();
        let mut dependencies = self.dependencies;
        self.items.into_iter().map(move |(id, item)| {
            let ids = dependencies.remove(&id).unwrap_or_default();
            let depends = ids.iter().filter_map(|id| references.get(id).cloned());
            (item, depends.collect())
        })
    }
}

/// Returns the crates that are compiled into the components, with the standard library. Procedural
/// macros and build scripts run on the machine that builds, so they are not among them.
///
/// `cargo tree` gives each crate the features of the build, as `cargo metadata` does not: there,
/// crates are listed that only other packages of the workspace enable.
///
/// # Errors
/// [`PackageError`].
pub fn compiled_crates(root: &Path) -> Result<Crates> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(root)
        .args(["tree", "--locked", "--target", TARGET]);
    cargo.args([
        "--edges",
        "normal,no-proc-macro",
        "--no-dedupe",
        "--prefix",
        "depth",
    ]);
    cargo.args(["--format", FORMAT]);
    for package in COMPONENTS.iter().filter_map(|it| it.package) {
        cargo.args(["--package", package]);
    }
    let tree = run(&mut cargo)?;
    let lock = root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(PackageError::file(&lock))?;
    let mut crates = parse(&tree, &checksums(&lock))?;
    let item = standard_library(&run(Command::new("rustc").current_dir(root).arg("-vV"))?)?;
    crates.std.clone_from(&item.bom_ref);
    let id = Id {
        name: "std".into(),
        version: String::new(),
    };
    crates.items.insert(id, item);
    Ok(crates)
}

/// Reads the output of `cargo tree`.
fn parse(tree: &str, checksums: &BTreeMap<Id, String>) -> Result<Crates> {
    let mut crates = Crates::default();
    // The crates from the root of the tree to the line.
    let mut path: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|it| !it.is_empty()) {
        let what = format!("`cargo tree` printed {line:?}");
        let fields: Vec<_> = line.split('\t').collect();
        let [depth, package, licence, repository] = fields[..] else {
            return Err("it has not four fields").about(what);
        };
        let depth: usize = depth.parse().about(&what)?;
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            return Err("it has no version").about(what);
        };
        let id = Id {
            name: name.into(),
            version: version.trim_start_matches('v').into(),
        };
        path.truncate(depth);
        if let Some(parent) = path.last() {
            crates
                .dependencies
                .entry(parent.clone())
                .or_default()
                .insert(id.clone());
            if !crates.items.contains_key(&id) {
                let item = item(&id, licence, repository, checksums.get(&id))?;
                crates.items.insert(id.clone(), item);
            }
        }
        path.push(id);
    }
    Ok(crates)
}

/// Returns the item of a crate. One without a checksum is part of this project.
fn item(id: &Id, licence: &str, repository: &str, checksum: Option<&String>) -> Result<Item> {
    let purl = format!("pkg:cargo/{}@{}", id.name, id.version);
    let mut item = match checksum {
        Some(checksum) => {
            Item::with_purl(purl, &id.name, &id.version).with_hash("SHA-256", checksum.clone())
        }
        None => Item::new(
            format!("crate:{}@{}", id.name, id.version),
            &id.name,
            &id.version,
        ),
    };
    if !repository.is_empty() {
        item = item.with_source(repository);
    }
    item.with_licence(licence)
}

/// Returns the checksums in a `Cargo.lock`: the SHA-256 of each crate's archive.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let packages = lock.split("[[package]]").filter_map(|package| {
        let field = |name: &str| {
            let mut lines = package.lines();
            lines.find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(" = \"")?
                    .strip_suffix('"')
            })
        };
        let id = Id {
            name: field("name")?.into(),
            version: field("version")?.into(),
        };
        Some((id, field("checksum")?.into()))
    });
    packages.collect()
}

/// Returns the item of the standard library, from the output of `rustc -vV`.
fn standard_library(version: &str) -> Result<Item> {
    let mut lines = version.lines();
    let release = lines
        .find_map(|line| line.strip_prefix("release: "))
        .ok_or("it has no release");
    let release = release.about("the output of `rustc -vV`")?;
    let purl = format!("pkg:github/rust-lang/rust@{release}");
    Item::with_purl(purl, "std", release)
        .with_description("The standard library of Rust, with what it depends on")
        .with_source("https://github.com/rust-lang/rust")
        .with_licence("MIT OR Apache-2.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
        0\tours v0.1.0 (/work/ours)\tApache-2.0\t\n\
        1\ta v1.2.0\tMIT/Apache-2.0\thttps://a.example\n\
        2\tb v2.0.0\tMIT\t\n\
        1\tb v2.0.0\tMIT\t\n\
        \n\
        0\tother v0.1.0 (/work/other)\tApache-2.0\t\n\
        1\tlocal v0.1.0 (/work/local)\tApache-2.0\t\n\
        2\tb v2.0.0\tMIT\t\n";
    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.0\"\n\
        source = \"registry\"\nchecksum = \"aa\"\ndependencies = [\n \"b\",\n]\n\n\
        [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"bb\"\n\n\
        [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";

    #[test]
    fn the_tree_becomes_crates_with_their_dependencies_licences_and_checksums() {
        let mut crates = parse(TREE, &checksums(LOCK)).unwrap();
        crates.std = "std".into();
        assert_eq!(
            crates.dependencies("ours"),
            ["pkg:cargo/a@1.2.0", "pkg:cargo/b@2.0.0", "std"]
        );
        assert_eq!(crates.dependencies("other"), ["crate:local@0.1.0", "std"]);
        let items: Vec<_> = crates.into_items().collect();
        let json = serde_json::to_value(&items[0].0).unwrap();
        assert_eq!(json["purl"], "pkg:cargo/a@1.2.0");
        assert_eq!(json["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(json["hashes"][0]["content"], "aa");
        assert_eq!(json["externalReferences"][0]["url"], "https://a.example");
        let edges: Vec<_> = items
            .iter()
            .map(|it| (it.0.bom_ref.as_str(), &it.1[..]))
            .collect();
        assert_eq!(
            edges,
            [
                ("pkg:cargo/a@1.2.0", &["pkg:cargo/b@2.0.0".into()][..]),
                ("pkg:cargo/b@2.0.0", &[]),
                ("crate:local@0.1.0", &["pkg:cargo/b@2.0.0".into()]),
            ]
        );
    }

    #[test]
    fn a_crate_without_a_valid_licence_is_refused_by_name() {
        for licence in ["", "free"] {
            let tree = format!("0\tours v1.0.0\tMIT\t\n1\tb v2.0.0\t{licence}\t\n");
            let error = parse(&tree, &checksums(LOCK)).unwrap_err().to_string();
            assert_eq!(error, format!("the licence of b 2.0.0: {licence:?}"));
        }
    }

    #[test]
    fn the_standard_library_has_the_release_of_the_compiler() {
        let item = standard_library("rustc 1.95.0\nbinary: rustc\nrelease: 1.95.0\n").unwrap();
        assert_eq!(item.bom_ref, "pkg:github/rust-lang/rust@1.95.0");
        assert!(standard_library("rustc 1.95.0").is_err());
    }

    #[test]
    fn the_crates_of_the_components_have_checksums_and_no_macros() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let crates = compiled_crates(&root).unwrap();
        let direct = crates.dependencies("clawdb-session-sync");
        for name in ["chrono", "getrandom", "hmac", "sha2", "uuid", "wit-bindgen"] {
            let prefix = format!("pkg:cargo/{name}@");
            assert!(
                direct.iter().any(|it| it.starts_with(&prefix)),
                "{name}: {direct:?}"
            );
        }
        let guard = crates.dependencies("clawdb-session-jwt-guard");
        assert!(
            guard
                .iter()
                .any(|it| it.starts_with("crate:clawdb-session-guard-jwt-core@"))
        );
        for (item, _) in crates.into_items() {
            let is_macro = ["wit-bindgen-rust-macro", "serde_derive", "syn"];
            let json = serde_json::to_value(&item).unwrap();
            assert!(
                !is_macro.contains(&json["name"].as_str().unwrap()),
                "{json}"
            );
        }
    }
}
