//! The WIT packages, encoded as WebAssembly.

use std::error::Error;
use std::path::Path;

use wasm_metadata::{AddMetadata, AddMetadataField, Description, Licenses, Source, Version};
use wit_component::{DecodedWasm, OutputToString, WitPrinter};
use wit_parser::{PackageId, Resolve};

use crate::component::with_revision;
use crate::error::{Context, Result};

/// A WIT package of a release.
pub struct WitPackage {
    /// The name of its file, without the version.
    pub name: &'static str,
    /// What it is, for the table of files and its metadata.
    pub purpose: &'static str,
    /// The folders: those of packages that it uses, and its own.
    folders: &'static [&'static str],
}

/// The WIT packages of a release.
pub const PACKAGES: [WitPackage; 3] = [
    WitPackage {
        name: "clawdb-session",
        purpose: "the WIT package `clawdb:session`",
        folders: &["wit"],
    },
    WitPackage {
        name: "clawdb-session-sync",
        purpose: "the WIT package `clawdb:session-sync`",
        folders: &["wit/sync"],
    },
    WitPackage {
        name: "clawdb-jwt-guard",
        purpose: "the WIT package `clawdb:jwt-guard`",
        folders: &["wit/sync", "host-tests/hosts/composed/guard/wit"],
    },
];

/// Returns a WIT package in its binary form, with metadata. Decoded, it has the same text.
///
/// # Errors
/// [`PackageError::Invalid`](crate::error::PackageError::Invalid).
pub fn encode(package: &WitPackage, root: &Path, revision: &str) -> Result<Vec<u8>> {
    let what = package.purpose;
    let (resolve, id) = resolve(package, root)?;
    let bytes = wit_component::encode(&resolve, id).about(what)?;
    let text = print(&resolve, id).about(what)?;
    let decoded = match wit_component::decode(&bytes).about(what)? {
        DecodedWasm::WitPackage(resolve, id) => print(&resolve, id).about(what)?,
        DecodedWasm::Component(..) => String::new(),
    };
    if text != decoded {
        return Err("its binary form decodes to another text").about(what);
    }
    let mut metadata = AddMetadata::default();
    metadata.name = AddMetadataField::Set(package.name.into());
    metadata.description = AddMetadataField::Set(Description::new(package.purpose));
    let licences = Licenses::new(env!("CARGO_PKG_LICENSE")).about(what)?;
    metadata.licenses = AddMetadataField::Set(licences);
    let source = Source::new(env!("CARGO_PKG_REPOSITORY")).about(what)?;
    metadata.source = AddMetadataField::Set(source);
    metadata.version = AddMetadataField::Set(Version::new(env!("CARGO_PKG_VERSION")));
    let bytes = metadata.to_wasm(&bytes).about(what)?;
    with_revision(package.purpose, &bytes, revision)
}

/// Reads a package and those that it uses.
fn resolve(package: &WitPackage, root: &Path) -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve::default();
    let mut id = None;
    for folder in package.folders {
        let read = clawdb_session_wit_reference::push(&mut resolve, &root.join(folder));
        id = Some(read.about(*folder)?);
    }
    let id = id.ok_or("no folder").about(package.purpose)?;
    Ok((resolve, id))
}

/// Returns the text of a package.
fn print(
    resolve: &Resolve,
    id: PackageId,
) -> std::result::Result<String, Box<dyn Error + Send + Sync>> {
    let mut printer = WitPrinter::new(OutputToString::default());
    printer.print(resolve, id, &[])?;
    Ok(printer.output.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_has_the_name_and_version_of_its_file_and_keeps_its_documentation() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for package in &PACKAGES {
            let bytes = encode(package, &root, "abc").unwrap();
            let DecodedWasm::WitPackage(resolve, id) = wit_component::decode(&bytes).unwrap()
            else {
                panic!("{} is a component", package.name);
            };
            let name = resolve.packages[id].name.to_string();
            let version = env!("CARGO_PKG_VERSION");
            assert_eq!(
                name.replace(':', "-"),
                format!("{}@{version}", package.name)
            );
            let text = print(&resolve, id).unwrap();
            assert!(text.contains("  /// "));
            // How the second world is derived is no documentation.
            for remark in ["[session", "Derived from"] {
                assert!(!text.contains(remark), "{remark}: {text}");
            }
        }
    }
}
