//! The packages that the wheel requires.

use super::cyclonedx::Item;
use crate::error::{Context, Result};

/// The licences of packages, which their requirements do not state. `run-tests` compares them with
/// those of the installed packages.
const LICENCES: [(&str, &str); 1] = [("wasmtime", "Apache-2.0 WITH LLVM-exception")];

/// Returns the items of the requirements of a wheel, which have exact versions.
///
/// # Errors
/// [`PackageError::Invalid`](crate::error::PackageError::Invalid).
pub fn required<'a>(requirements: impl IntoIterator<Item = &'a str>) -> Result<Vec<Item>> {
    let item = |requirement: &str| {
        let what = format!("the requirement {requirement}");
        let (name, version) = requirement
            .split_once("==")
            .ok_or("it has no exact version")
            .about(&what)?;
        let licence = LICENCES.iter().find(|it| it.0 == name);
        let licence = licence.ok_or("its licence is not known").about(&what)?;
        let item = Item::with_purl(format!("pkg:pypi/{name}@{version}"), name, version);
        item.with_licence(licence.1)
    };
    requirements.into_iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_has_an_exact_version_and_a_known_licence() {
        let items = required(["wasmtime==50.0.1"]).unwrap();
        assert_eq!(items[0].bom_ref, "pkg:pypi/wasmtime@50.0.1");
        for requirement in ["wasmtime>=50", "unknown==1"] {
            assert!(required([requirement]).is_err(), "{requirement}");
        }
    }
}
