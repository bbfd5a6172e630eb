//! Checks the files of a release. `run-tests` sets the folder and the revision:
//! `DIST` and `REVISION`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

use clawdb_session_component::{COMPONENT, COMPOSED, JWT_GUARD, SYNC_COMPONENT};
use serde_json::Value;
use wasm_metadata::{Metadata, Payload};
use wit_component::DecodedWasm;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Reads a file of the release.
fn read(name: &str) -> Vec<u8> {
    let folder = env::var_os("DIST").expect("DIST is the folder of a release");
    let file = PathBuf::from(folder).join(name);
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Checks the metadata that each WebAssembly file has.
fn check(metadata: &Metadata, name: &str) {
    let text = |it: Option<String>| it.unwrap_or_else(|| panic!("{name} lacks metadata"));
    assert_eq!(metadata.name.as_deref(), Some(name));
    let revision = text(metadata.revision.as_ref().map(ToString::to_string));
    assert_eq!(
        revision,
        env::var("REVISION").expect("REVISION is the commit")
    );
    assert_eq!(
        text(metadata.version.as_ref().map(ToString::to_string)),
        VERSION
    );
    let licences = text(metadata.licenses.as_ref().map(ToString::to_string));
    assert_eq!(licences, env!("CARGO_PKG_LICENSE"));
    let source = text(metadata.source.as_ref().map(ToString::to_string));
    assert_eq!(source, env!("CARGO_PKG_REPOSITORY"));
    assert!(!text(metadata.description.as_ref().map(ToString::to_string)).is_empty());
}

/// Returns the names of the imports and of the exports of a component.
fn interfaces(component: &[u8]) -> [BTreeSet<String>; 2] {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component).unwrap() else {
        panic!("it is a WIT package");
    };
    let world = &resolve.worlds[world];
    [&world.imports, &world.exports].map(|items| {
        let names = items.keys().map(|key| resolve.name_world_key(key));
        names.collect()
    })
}

#[test]
#[ignore = "`run-tests` runs it on the folder in DIST"]
fn each_component_has_the_revision_and_the_imports_and_exports_of_the_build() {
    for (name, built) in [
        ("clawdb-session", COMPONENT),
        ("clawdb-session-sync", SYNC_COMPONENT),
        ("clawdb-session-composed", COMPOSED),
        ("clawdb-jwt-guard", JWT_GUARD),
    ] {
        let component = read(&format!("{name}-{VERSION}.wasm"));
        check(Payload::from_binary(&component).unwrap().metadata(), name);
        let [imports, exports] = interfaces(&component);
        assert!(!imports.is_empty() && !exports.is_empty(), "{name}");
        assert_eq!([imports, exports], interfaces(built), "{name}");
    }
}

#[test]
#[ignore = "`run-tests` runs it on the folder in DIST"]
fn each_wit_package_has_the_revision_and_decodes_to_its_package() {
    for name in ["clawdb-session", "clawdb-session-sync", "clawdb-jwt-guard"] {
        let file = read(&format!("{name}-{VERSION}.wit.wasm"));
        check(Payload::from_binary(&file).unwrap().metadata(), name);
        let DecodedWasm::WitPackage(resolve, id) = wit_component::decode(&file).unwrap() else {
            panic!("{name} is a component");
        };
        let package = resolve.packages[id].name.to_string();
        assert_eq!(package.replacen(':', "-", 1), format!("{name}@{VERSION}"));
    }
}

#[test]
#[ignore = "`run-tests` runs it on the folder in DIST"]
fn the_bill_names_the_revision_and_the_hashes_in_the_checksums() {
    let bill = read(&format!("clawdb-session-{VERSION}.cdx.json"));
    let bill: Value = serde_json::from_slice(&bill).unwrap();
    let release = &bill["metadata"]["component"];
    assert_eq!(
        release["properties"][0]["value"],
        env::var("REVISION").unwrap()
    );
    let sums = String::from_utf8(read("SHA256SUMS")).unwrap();
    let mut files = 0;
    for item in bill["components"].as_array().unwrap() {
        if let Some(file) = item["properties"][0]["value"].as_str() {
            let hash = item["hashes"][0]["content"].as_str().unwrap();
            assert!(sums.contains(&format!("{hash}  {file}\n")), "{file}");
            files += 1;
        }
    }
    assert_eq!(files, 6);
}
