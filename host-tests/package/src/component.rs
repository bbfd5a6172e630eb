//! The components with their revision.

use clawdb_session_component::{COMPONENT, COMPOSED, JWT_GUARD, SYNC_COMPONENT};
use wasm_metadata::{AddMetadata, AddMetadataField, Revision};

use crate::error::{Context, Result};

/// A component of a release.
pub struct Component {
    /// Its name, which its metadata has too.
    pub name: &'static str,
    /// What it is, for the table of files.
    pub purpose: &'static str,
    /// The package of cargo that it is built from. The others are composed of components.
    pub package: Option<&'static str>,
    /// The names of the components inside.
    pub parts: &'static [&'static str],
    /// The component without a revision.
    pub bytes: &'static [u8],
}

/// The component that the packages for Node.js and Python have.
pub const SYNC: &str = "clawdb-session-sync";

/// The components of a release. The first one is [`SYNC`].
pub const COMPONENTS: [Component; 4] = [
    Component {
        name: SYNC,
        purpose: "the component of the world `session-sync`, for guards that answer at once \
                  (WASI 0.2)",
        package: Some("clawdb-session-sync"),
        parts: &[],
        bytes: SYNC_COMPONENT,
    },
    Component {
        name: "clawdb-session",
        purpose: "the component of the world `session`, for guards that wait (WASI 0.3)",
        package: Some("clawdb-session-async"),
        parts: &[],
        bytes: COMPONENT,
    },
    Component {
        name: "clawdb-session-composed",
        purpose: "`clawdb-session-sync` with `clawdb-jwt-guard` inside; it imports no guard",
        package: None,
        parts: &["clawdb-jwt-guard", SYNC],
        bytes: COMPOSED,
    },
    Component {
        name: "clawdb-jwt-guard",
        purpose: "a guard of `clawdb-session-sync` that issues JSON Web Tokens, as a component",
        package: Some("clawdb-session-jwt-guard"),
        parts: &[],
        bytes: JWT_GUARD,
    },
];

/// Returns a component with a revision in its metadata.
///
/// # Errors
/// [`PackageError::Invalid`](crate::error::PackageError::Invalid).
pub fn with_revision(name: &str, bytes: &[u8], revision: &str) -> Result<Vec<u8>> {
    let mut metadata = AddMetadata::default();
    metadata.revision = AddMetadataField::Set(Revision::new(revision.to_owned()));
    let added = metadata.to_wasm(bytes);
    added.about(format!("the metadata of {name}"))
}

#[cfg(test)]
mod tests {
    use wasm_metadata::Payload;

    use super::*;

    #[test]
    fn the_build_names_each_component_and_adds_no_revision() {
        for component in &COMPONENTS {
            let payload = Payload::from_binary(component.bytes).unwrap();
            let metadata = payload.metadata();
            assert_eq!(metadata.name.as_deref(), Some(component.name));
            let version = metadata.version.as_ref().unwrap().to_string();
            assert_eq!(version, env!("CARGO_PKG_VERSION"));
            let licences = metadata.licenses.as_ref().unwrap().to_string();
            assert_eq!(licences, env!("CARGO_PKG_LICENSE"));
            let source = metadata.source.as_ref().unwrap().to_string();
            assert_eq!(source, env!("CARGO_PKG_REPOSITORY"));
            assert!(metadata.description.is_some());
            assert!(metadata.revision.is_none());
        }
    }

    #[test]
    fn the_revision_is_added_and_all_else_stays() {
        let bytes = with_revision("guard", JWT_GUARD, "abc").unwrap();
        // The identifier and the size of the section, the size of its name, and the two texts.
        let section = [&[0, 12, 8][..], b"revision", b"abc"].concat();
        assert_eq!(bytes, [JWT_GUARD, &section].concat());
    }
}
