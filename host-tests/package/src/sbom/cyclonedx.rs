//! The members of `CycloneDX` 1.6 that the bill has (<https://cyclonedx.org/docs/1.6/json>).

use serde::Serialize;
use wasm_metadata::Licenses;

use crate::error::{Context, Result};

/// The bill.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    #[serde(rename = "$schema")]
    schema: &'static str,
    #[serde(rename = "bomFormat")]
    format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<Item>,
    dependencies: Vec<Dependency>,
}

impl Bom {
    /// Returns a bill.
    pub fn new(metadata: Metadata, components: Vec<Item>, dependencies: Vec<Dependency>) -> Self {
        Self {
            schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
            format: "CycloneDX",
            spec_version: "1.6",
            version: 1,
            metadata,
            components,
            dependencies,
        }
    }
}

/// What the bill is about.
#[derive(Debug, Serialize)]
pub struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    pub tools: Tools,
    pub component: Item,
}

/// The programs that made the bill.
#[derive(Debug, Serialize)]
pub struct Tools {
    components: Vec<Item>,
}

impl Tools {
    /// Returns this program.
    pub fn this_program() -> Self {
        let [name, version] = [env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")];
        let item = Item {
            kind: "application",
            ..Item::new(format!("tool:{name}@{version}"), name, version)
        };
        Self {
            components: vec![item],
        }
    }
}

/// A piece of software.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    pub bom_ref: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<Reference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

impl Item {
    /// Returns a library.
    pub fn new(bom_ref: String, name: &str, version: &str) -> Self {
        Self {
            kind: "library",
            bom_ref,
            name: name.into(),
            version: version.into(),
            ..Self::default()
        }
    }

    /// Returns a library of a registry, with its package URL.
    pub fn with_purl(purl: String, name: &str, version: &str) -> Self {
        Self {
            purl: Some(purl.clone()),
            ..Self::new(purl, name, version)
        }
    }

    /// Sets the description.
    pub fn with_description(mut self, text: &str) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Adds a property of this project.
    pub fn with_property(mut self, name: &str, value: &str) -> Self {
        let (name, value) = (format!("clawdb:session:{name}"), value.into());
        self.properties.push(Property { name, value });
        self
    }

    /// Adds a hash in hexadecimal.
    pub fn with_hash(mut self, alg: &'static str, content: String) -> Self {
        self.hashes.push(Hash { alg, content });
        self
    }

    /// Adds a licence.
    ///
    /// # Errors
    /// [`PackageError::Invalid`](crate::error::PackageError::Invalid), if the text is no expression
    /// of SPDX.
    pub fn with_licence(mut self, expression: &str) -> Result<Self> {
        // Older packages separate alternatives by slashes.
        let expression = expression.replace('/', " OR ");
        let what = || {
            format!(
                "the licence of {} {}: {expression:?}",
                self.name, self.version
            )
        };
        Licenses::new(&expression).about(what())?;
        self.licenses.push(Licence { expression });
        Ok(self)
    }

    /// Adds the address of the sources.
    pub fn with_source(mut self, url: &str) -> Self {
        let (kind, url) = ("vcs", url.into());
        self.external_references.push(Reference { kind, url });
        self
    }
}

/// A hash of a file.
#[derive(Clone, Debug, Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

/// A licence as an expression of SPDX.
#[derive(Clone, Debug, Serialize)]
struct Licence {
    expression: String,
}

/// An address.
#[derive(Clone, Debug, Serialize)]
struct Reference {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
}

/// What `CycloneDX` has no member for.
#[derive(Clone, Debug, Serialize)]
struct Property {
    name: String,
    value: String,
}

/// What an item consists of or needs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    #[serde(rename = "ref")]
    item: String,
    depends_on: Vec<String>,
}

impl Dependency {
    /// Returns the dependencies of an item, sorted.
    pub fn new(item: String, mut depends_on: Vec<String>) -> Self {
        depends_on.sort();
        depends_on.dedup();
        Self { item, depends_on }
    }
}
