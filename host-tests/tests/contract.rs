//! The WIT is documented, each rule has a test, and the README matches the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}

/// Returns the project's own WIT files. Folders with the name `deps` hold other projects' files.
fn wit_files() -> Vec<PathBuf> {
    let mut found = files(&root().join("wit"), "wit");
    found.extend(files(
        &root().join("host-tests/hosts/composed/guard/wit"),
        "wit",
    ));
    found.retain(|path| path.components().all(|part| part.as_os_str() != "deps"));
    found
}

/// Returns `Some(true)` if a line of WIT begins an item, which needs `@since` and documentation,
/// `Some(false)` if it is a field or a case, which needs documentation, and `None` otherwise.
fn begins_item(line: &str) -> Option<bool> {
    let item = [
        "interface ",
        "world ",
        "record ",
        "variant ",
        "enum ",
        "type ",
    ];
    let other = ["use ", "import ", "export ", "package ", "}", "//", "@"];
    if line.is_empty() || other.iter().any(|start| line.starts_with(start)) {
        None
    } else {
        Some(item.iter().any(|start| line.starts_with(start)) || line.contains("func("))
    }
}

#[test]
fn every_item_of_the_wit_has_documentation_and_since() {
    let mut items = 0;
    for path in wit_files() {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut in_signature = false;
        for (number, line) in lines.iter().enumerate() {
            // A long signature continues to its semicolon.
            if in_signature {
                in_signature = !line.ends_with(';');
                continue;
            }
            in_signature = line.contains("func(") && !line.ends_with(';');
            let Some(is_item) = begins_item(line) else {
                continue;
            };
            let place = format!("{}:{}: {line}", path.display(), number + 1);
            let is_marker = |line: &&&str| line.starts_with("//[");
            let mut before = lines[..number].iter().rev().filter(|it| !is_marker(it));
            let mut above = before.next();
            if is_item {
                items += 1;
                assert!(
                    above.is_some_and(|line| line.starts_with("@since(version = ")),
                    "{place} has no @since"
                );
                above = before.next();
            }
            assert!(
                above.is_some_and(|line| line.starts_with("///")),
                "{place} has no documentation"
            );
        }
    }
    assert!(items > 40, "only {items} items were found");
}

#[test]
fn the_wit_is_within_80_columns() {
    for path in wit_files() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            assert!(
                line.chars().count() <= 80 || line.contains("//[session-sync] "),
                "{}:{} is wider than 80 columns",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn the_wit_of_session_sync_is_derived_from_that_of_session() {
    let derived = clawdb_session_wit_sync::derive_folder(&root().join("wit")).unwrap();
    for (path, text) in &derived {
        let committed = fs::read_to_string(path).unwrap();
        assert!(
            committed == *text,
            "{} is out of date: run `cargo run -p clawdb-session-wit-sync --example derive`",
            path.display()
        );
    }
    let mut committed = wit_files();
    committed.retain(|path| path.starts_with(root().join("wit/sync")));
    assert_eq!(committed.len(), derived.len(), "{committed:?}");
}

#[test]
fn each_imported_wasi_package_is_complete_and_of_the_imported_version() {
    let world = fs::read_to_string(root().join("wit/world.wit")).unwrap();
    for (name, imported, interfaces) in [
        (
            "clocks",
            "system-clock",
            &["monotonic-clock", "system-clock", "timezone", "types"][..],
        ),
        (
            "random",
            "random",
            &["insecure", "insecure-seed", "random"][..],
        ),
    ] {
        let package = format!("wasi:{name}@0.3.0");
        let import = format!("import wasi:{name}/{imported}@0.3.0;");
        assert!(world.contains(&import), "the world has no `{import}`");
        let mut found = BTreeSet::new();
        for path in files(&root().join("wit/deps").join(name), "wit") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with(&format!("package {package};\n")),
                "{} is not of {package}",
                path.display()
            );
            found.extend(text.lines().filter_map(|line| {
                let interface = line.strip_prefix("interface ")?;
                interface.strip_suffix(" {").map(str::to_owned)
            }));
        }
        assert_eq!(found, interfaces.iter().map(|&it| it.to_owned()).collect());
    }
}

#[test]
fn each_of_the_35_rules_has_a_test_that_names_it_and_calls_the_component() {
    let mut named = BTreeSet::new();
    for path in files(&root().join("host-tests/tests/rules"), "rs") {
        let text = fs::read_to_string(path).unwrap();
        // A test ends where the next one begins.
        for test in text.split("#[tokio::test]\n").skip(1) {
            let name = test
                .strip_prefix("async fn r")
                .and_then(|rest| rest.split('_').next());
            let rule = name.and_then(|number| number.parse::<u32>().ok());
            named.extend(rule.filter(|_| test.contains("Fixture::")));
        }
    }
    assert_eq!(named, (1..=35).collect());
}

#[test]
fn the_host_in_the_readme_is_the_example_and_has_at_most_40_lines() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example =
        fs::read_to_string(root().join("host-tests/guard-jwt/examples/embed.rs")).unwrap();
    assert!(
        readme.contains(&format!("```rust\n{example}```\n")),
        "the README does not contain examples/embed.rs"
    );
    assert!(
        example.lines().count() <= 40,
        "{} lines",
        example.lines().count()
    );
}

#[test]
fn the_guide_names_every_operation_that_the_component_exports() {
    let guide = fs::read_to_string(root().join("wit/GUIDE.md")).unwrap();
    let mut operations = 0;
    for interface in ["sessions", "legacy", "events", "persistence", "settings"] {
        let wit = fs::read_to_string(root().join(format!("wit/{interface}.wit"))).unwrap();
        for line in wit.lines().filter(|line| line.contains("func(")) {
            let name = line.trim().split(':').next().unwrap();
            assert!(
                guide.contains(&format!("| `{name}` |")),
                "{interface}.{name} is not in wit/GUIDE.md"
            );
            operations += 1;
        }
    }
    assert_eq!(operations, 29);
}
