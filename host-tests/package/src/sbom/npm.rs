//! The npm packages whose code is in the package for Node.js.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::cyclonedx::Item;
use crate::error::{Context, Result};

/// The members of a `package-lock.json` that are used.
#[derive(Deserialize)]
struct Lock {
    packages: BTreeMap<String, Package>,
}

#[derive(Deserialize)]
struct Package {
    version: Option<String>,
    integrity: Option<String>,
    license: Option<String>,
}

/// Returns the items of npm packages, from their names and the text of `package-lock.json`.
///
/// # Errors
/// [`PackageError::Invalid`](crate::error::PackageError::Invalid).
pub fn bundled(names: &[String], lock: &str) -> Result<Vec<Item>> {
    let mut lock: Lock = serde_json::from_str(lock).about("package-lock.json")?;
    let item = |name: &String| {
        let what = format!("package-lock.json: {name}");
        let package = lock.packages.remove(&format!("node_modules/{name}"));
        let package = package.ok_or("it is missing").about(&what)?;
        let version = package.version.ok_or("it has no version").about(&what)?;
        let licence = package.license.ok_or("it has no licence").about(&what)?;
        let integrity = package.integrity.unwrap_or_default();
        let hash = integrity.strip_prefix("sha512-").ok_or("it has no SHA-512");
        let hash = hash.about(&what)?;
        let hash = BASE64_STANDARD.decode(hash).about(&what)?;
        let purl = format!("pkg:npm/{}@{version}", name.replacen('@', "%40", 1));
        let item = Item::with_purl(purl, name, &version).with_hash("SHA-512", hex::encode(hash));
        // Some packages write parentheses around the expression.
        item.with_licence(licence.trim_matches(['(', ')']))
    };
    names.iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_the_version_licence_and_hash_of_the_lock_file() {
        let lock = r#"{"packages":{"":{"name":"x"},"node_modules/@a/b":{"version":"1.2.0",
            "integrity":"sha512-AP8=","license":"(MIT OR Apache-2.0)"}}}"#;
        let items = bundled(&["@a/b".into()], lock).unwrap();
        let json = serde_json::to_value(&items).unwrap();
        assert_eq!(json[0]["purl"], "pkg:npm/%40a/b@1.2.0");
        assert_eq!(json[0]["hashes"][0]["content"], "00ff");
        assert_eq!(json[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        let error = bundled(&["c".into()], lock).unwrap_err();
        assert_eq!(error.to_string(), "package-lock.json: c");
    }
}
