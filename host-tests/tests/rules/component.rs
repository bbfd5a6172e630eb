//! The imports, exports and size of the component.

use clawdb_session_host::COMPONENT;
use clawdb_session_testkit::fixture::engine;

#[test]
fn the_component_imports_the_guard_the_clock_and_the_random_source_and_nothing_else() {
    assert_eq!(
        engine().imports(),
        [
            "clawdb:session/guard@0.1.0",
            "wasi:clocks/system-clock@0.3.0",
            "wasi:random/random@0.3.0"
        ]
    );
}

#[test]
fn the_component_exports_its_five_interfaces() {
    assert_eq!(
        engine().exports(),
        [
            "clawdb:session/sessions@0.1.0",
            "clawdb:session/legacy@0.1.0",
            "clawdb:session/events@0.1.0",
            "clawdb:session/persistence@0.1.0",
            "clawdb:session/settings@0.1.0",
        ]
    );
}

#[test]
fn the_component_is_smaller_than_292_kb() {
    assert!(COMPONENT.len() < 292_000, "{} bytes", COMPONENT.len());
}

#[test]
fn the_component_contains_no_path_of_the_machine_that_built_it() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut paths = vec![std::fs::canonicalize(root).unwrap()];
    paths.extend(std::env::var_os("CARGO_HOME").map(Into::into));
    paths.extend(std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".cargo")));
    for path in paths {
        let path = path.to_str().unwrap().as_bytes();
        let found = COMPONENT.windows(path.len()).any(|window| window == path);
        assert!(
            !found,
            "the component contains the path {}",
            String::from_utf8_lossy(path)
        );
    }
}
