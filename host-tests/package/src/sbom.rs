//! The software bill of materials: what the components and the packages consist of.

mod crates;
mod cyclonedx;
mod npm;
mod wheel;

use std::collections::BTreeMap;

pub use crates::{Crates, TARGET, compiled_crates};
pub use npm::bundled;
pub use wheel::required;

use cyclonedx::{Bom, Dependency, Item, Metadata, Tools};

use crate::component::{COMPONENTS, SYNC};
use crate::error::{Context, Result};
use crate::output::Artefact;
use crate::sums::sha256;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file of the release that the bill describes.
#[derive(Clone, Copy)]
pub struct Delivered<'a> {
    /// The name of the component or package.
    pub name: &'a str,
    /// The file.
    pub file: &'a Artefact,
}

/// What the bill is made from.
pub struct Materials<'a> {
    /// The commit.
    pub revision: &'a str,
    /// The time of the commit in seconds since 1970.
    pub date: Option<i64>,
    /// The crates of the components.
    pub crates: Crates,
    /// The components, in the order of [`COMPONENTS`].
    pub components: Vec<Delivered<'a>>,
    /// The package for Node.js.
    pub npm: Delivered<'a>,
    /// The npm packages whose code is in it.
    pub npm_bundled: Vec<Item>,
    /// The wheel.
    pub wheel: Delivered<'a>,
    /// What the wheel requires.
    pub wheel_requires: Vec<Item>,
}

/// Items by their references, and the references of what each depends on.
#[derive(Default)]
struct Graph {
    items: BTreeMap<String, Item>,
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// Adds an item, and returns its reference.
    fn add(&mut self, item: Item, depends: Vec<String>) -> String {
        let reference = item.bom_ref.clone();
        self.edges.insert(reference.clone(), depends);
        self.items.insert(reference.clone(), item);
        reference
    }
}

/// Returns the bill as JSON of `CycloneDX`.
///
/// # Errors
/// [`PackageError::Invalid`](crate::error::PackageError::Invalid).
pub fn bill(materials: Materials) -> Result<String> {
    let mut graph = Graph::default();
    let mut delivered = Vec::new();
    let component = |name: &str| format!("component:{name}@{VERSION}");
    for (it, file) in COMPONENTS.iter().zip(materials.components) {
        let mut depends: Vec<_> = it.parts.iter().map(|it| component(it)).collect();
        if let Some(package) = it.package {
            depends.extend(materials.crates.dependencies(package));
        }
        let item = Item::new(component(it.name), it.name, VERSION);
        delivered.push(graph.add(ours(item, file)?, depends));
    }
    for (registry, file, parts) in [
        ("npm", materials.npm, materials.npm_bundled),
        ("pypi", materials.wheel, materials.wheel_requires),
    ] {
        let parts = parts.into_iter().map(|it| graph.add(it, Vec::new()));
        let depends = parts.chain([component(SYNC)]).collect();
        let purl = format!("pkg:{registry}/{}@{VERSION}", file.name);
        let item = Item::with_purl(purl, file.name, VERSION);
        delivered.push(graph.add(ours(item, file)?, depends));
    }
    for (item, depends) in materials.crates.into_items() {
        graph.add(item, depends);
    }

    let release = format!("release:clawdb-session@{VERSION}");
    graph.edges.insert(release.clone(), delivered);
    let release = Item::new(release, "clawdb-session", VERSION)
        .with_description("Session management for AI agents")
        .with_property("revision", materials.revision)
        .with_licence(env!("CARGO_PKG_LICENSE"))?
        .with_source(env!("CARGO_PKG_REPOSITORY"));
    let metadata = Metadata {
        timestamp: timestamp(materials.date)?,
        tools: Tools::this_program(),
        component: release,
    };
    let edges = graph.edges.into_iter();
    let edges = edges.map(|(item, depends)| Dependency::new(item, depends));
    let bom = Bom::new(
        metadata,
        graph.items.into_values().collect(),
        edges.collect(),
    );
    let text = serde_json::to_string_pretty(&bom);
    Ok(text.about("the bill of materials")? + "\n")
}

/// Completes the item of a file of the release.
fn ours(item: Item, delivered: Delivered) -> Result<Item> {
    item.with_description(&delivered.file.purpose)
        .with_property("file", &delivered.file.name)
        .with_hash("SHA-256", sha256(&delivered.file.bytes))
        .with_licence(env!("CARGO_PKG_LICENSE"))
}

/// Returns a time as RFC 3339 has it.
fn timestamp(date: Option<i64>) -> Result<Option<String>> {
    let Some(date) = date else { return Ok(None) };
    let time = chrono::DateTime::from_timestamp(date, 0).ok_or("it is out of range");
    let time = time.about("the time of the commit")?;
    Ok(Some(
        time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn materials(files: &[Artefact; 6]) -> Materials<'_> {
        let names = COMPONENTS.iter().map(|it| it.name);
        let components = names
            .zip(files)
            .map(|(name, file)| Delivered { name, file });
        let name = "clawdb-session";
        Materials {
            revision: "abc",
            date: Some(0),
            crates: Crates::default(),
            components: components.collect(),
            npm: Delivered {
                name,
                file: &files[4],
            },
            npm_bundled: vec![Item::with_purl("pkg:npm/a@1".into(), "a", "1")],
            wheel: Delivered {
                name,
                file: &files[5],
            },
            wheel_requires: vec![Item::with_purl("pkg:pypi/b@2".into(), "b", "2")],
        }
    }

    #[test]
    fn the_bill_lists_each_file_with_its_hash_and_what_it_depends_on() {
        let files = ["0", "1", "2", "3", "4", "5"].map(|it| Artefact::new(it, "", it));
        let text = bill(materials(&files)).unwrap();
        let bill: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(bill["metadata"]["timestamp"], "1970-01-01T00:00:00Z");
        let release = &bill["metadata"]["component"];
        assert_eq!(release["properties"][0]["value"], "abc");
        assert_eq!(bill.get("serialNumber"), None);
        let items = bill["components"].as_array().unwrap();
        for file in &files {
            let has_file = |it: &&Value| it["properties"][0]["value"] == file.name;
            let item = items.iter().find(has_file).unwrap();
            assert_eq!(item["hashes"][0]["content"], sha256(&file.bytes));
        }
        let depends = |item: &str| {
            let edges = bill["dependencies"].as_array().unwrap();
            edges.iter().find(|it| it["ref"] == item).unwrap()["dependsOn"].clone()
        };
        let component = |name: &str| format!("component:{name}@{VERSION}");
        let sync = component(SYNC);
        assert_eq!(
            depends(&component("clawdb-session-composed")),
            serde_json::json!([component("clawdb-jwt-guard"), sync])
        );
        let npm = format!("pkg:npm/clawdb-session@{VERSION}");
        assert_eq!(depends(&npm), serde_json::json!([sync, "pkg:npm/a@1"]));
        assert_eq!(
            depends(release["bom-ref"].as_str().unwrap())
                .as_array()
                .unwrap()
                .len(),
            6
        );
    }

    #[test]
    fn sources_without_a_time_have_a_bill_without_one() {
        let files = ["0", "1", "2", "3", "4", "5"].map(|it| Artefact::new(it, "", it));
        let materials = Materials {
            date: None,
            ..materials(&files)
        };
        assert!(!bill(materials).unwrap().contains("timestamp"));
    }
}
