//! `wit/RULES.md` lists each rule once, with the items of the WIT that state it and the tests that
//! check it, and code cites no other rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The number of rules.
const COUNT: u32 = 35;

/// A rule in `wit/RULES.md`.
#[derive(Default)]
struct Rule {
    text: String,
    items: Vec<String>,
    tests: Vec<String>,
    vectors: Vec<String>,
}

fn root() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = folders.find(|folder| folder.join("wit/RULES.md").is_file());
    root.expect("no folder above this package has wit/RULES.md")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files below a folder of the repository that have this extension, except in `target`.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns a path relative to the root of the repository.
fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Returns the number of one or two digits that a text begins with, and the rest of the text.
fn leading_number(text: &str) -> Option<(u32, &str)> {
    let digits = text.len()
        - text
            .trim_start_matches(|it: char| it.is_ascii_digit())
            .len();
    let (number, rest) = text.split_at(digits);
    let number = number.parse().ok().filter(|_| digits <= 2)?;
    Some((number, rest))
}

/// Returns the rules that a text cites, such as `R12`.
fn cited(text: &str) -> BTreeSet<u32> {
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    let citation = |(at, _)| {
        let (before, from) = text.split_at(at);
        let (number, after) = leading_number(&from[1..])?;
        (!before.ends_with(is_word) && !after.starts_with(is_word)).then_some(number)
    };
    text.match_indices('R').filter_map(citation).collect()
}

/// Returns the rules with which the names of a file's tests begin, such as `r12_`.
fn tested(text: &str) -> BTreeSet<u32> {
    let names = text.split("fn r").skip(1);
    let numbers = names.filter_map(|name| {
        let (number, rest) = leading_number(name)?;
        rest.starts_with('_').then_some(number)
    });
    numbers.collect()
}

/// Reads the rules from `wit/RULES.md`, in their order.
fn rules() -> Vec<(u32, Rule)> {
    let page = read(&root().join("wit/RULES.md"));
    let sections = page.split("\n### R").skip(1);
    let rules = sections.map(|section| {
        let (number, rest) = leading_number(section).expect("a rule's heading has no number");
        // A heading of level 2 begins the next group of rules.
        let rest = rest.split("\n## ").next().unwrap();
        let (text, lists) = rest.split_once("\n- ").expect("a rule has no lists");
        let mut rule = Rule {
            text: text.trim().into(),
            ..Rule::default()
        };
        for list in lists.split("\n- ") {
            let (name, entries) = list.split_once(':').expect("a list has no name");
            let entries = entries.split(',').map(|it| it.trim().trim_matches('`'));
            let entries = entries.filter(|it| !it.is_empty()).map(str::to_owned);
            match name {
                "WIT" => rule.items.extend(entries),
                "Tests" => rule.tests.extend(entries),
                "Vectors" => rule.vectors.extend(entries),
                other => panic!("R{number} has a list `{other}`"),
            }
        }
        (number, rule)
    });
    rules.collect()
}

/// Returns the items of the WIT, such as `sessions.create-request.role`, each with the rules that
/// its documentation cites.
fn items() -> BTreeMap<String, BTreeSet<u32>> {
    let mut items = BTreeMap::new();
    for path in files("wit", "wit") {
        // `wit/sync` is derived from these files.
        if ["wit/deps", "wit/sync"]
            .iter()
            .any(|it| path.starts_with(root().join(it)))
        {
            continue;
        }
        let mut outer: Vec<String> = Vec::new();
        let mut documentation = String::new();
        for line in read(&path).lines().map(str::trim) {
            // Marks a text that is in one of the worlds only.
            if line.starts_with("//[") {
                continue;
            }
            if let Some(text) = line.strip_prefix("///") {
                documentation.push_str(text);
                documentation.push('\n');
                continue;
            }
            let mut words = line.split(|it: char| !it.is_alphanumeric() && it != '-');
            let name = match words.next().unwrap_or_default() {
                "interface" | "world" | "record" | "variant" | "enum" | "type" => words.next(),
                "" | "package" | "use" | "import" | "export" => None,
                name => Some(name),
            };
            if let Some(name) = name {
                let mut item = outer.clone();
                item.push(name.into());
                items.insert(item.join("."), cited(&documentation));
                if line.ends_with('{') {
                    outer = item;
                }
            } else if line.starts_with('}') {
                outer.pop();
            }
            if !line.starts_with('@') {
                documentation.clear();
            }
        }
    }
    items
}

/// Returns the path of the vector with this number.
fn vector(number: &str) -> Option<PathBuf> {
    let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
    let mut vectors = files("host-tests/vectors", "jsonl").into_iter();
    vectors.find(|path| name(path).is_some_and(|it| it.starts_with(&format!("{number}-"))))
}

/// Returns the rules that the first line of a vector lists.
fn checked_by_vector(path: &Path) -> BTreeSet<u32> {
    cited(read(path).lines().next().unwrap_or_default())
}

/// Fails with all errors if there are any.
fn assert_no_errors(errors: &[String]) {
    assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
}

#[test]
fn each_rule_is_listed_once_and_in_order_and_has_a_text() {
    let rules = rules();
    let numbers: Vec<u32> = rules.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=COUNT).collect::<Vec<_>>());
    for (number, rule) in rules {
        assert!(
            rule.text.ends_with('.'),
            "the text of R{number} does not end with a full stop"
        );
    }
}

#[test]
fn each_rule_has_tests_that_exist_and_name_it() {
    let mut errors = Vec::new();
    for (number, rule) in rules() {
        if rule.tests.is_empty() {
            errors.push(format!("R{number} lists no test file"));
        }
        for test in &rule.tests {
            let path = root().join(test);
            if !path.is_file() {
                errors.push(format!("R{number} lists {test}, which does not exist"));
                continue;
            }
            let text = read(&path);
            if !tested(&text).contains(&number) && !cited(&text).contains(&number) {
                errors.push(format!("R{number} lists {test}, which does not name it"));
            }
        }
        for vector_number in &rule.vectors {
            let checked = vector(vector_number).map(|path| checked_by_vector(&path));
            if checked.is_none_or(|rules| !rules.contains(&number)) {
                errors.push(format!(
                    "R{number} lists vector {vector_number}, which does not check it"
                ));
            }
        }
    }
    assert_no_errors(&errors);
}

#[test]
fn each_test_file_and_vector_is_listed_with_the_rules_that_it_checks() {
    let rules: BTreeMap<u32, Rule> = rules().into_iter().collect();
    let mut errors = Vec::new();
    let mut tests = 0;
    for path in files("host-tests/tests", "rs") {
        let file = from_root(&path);
        for number in tested(&read(&path)) {
            tests += 1;
            if !rules
                .get(&number)
                .is_some_and(|it| it.tests.contains(&file))
            {
                errors.push(format!("R{number} does not list {file}, which tests it"));
            }
        }
    }
    for path in files("host-tests/vectors", "jsonl") {
        let file = from_root(&path);
        let name = path.file_name().unwrap().to_str().unwrap();
        let vector = name.split('-').next().unwrap().to_owned();
        for number in checked_by_vector(&path) {
            tests += 1;
            if !rules
                .get(&number)
                .is_some_and(|it| it.vectors.contains(&vector))
            {
                errors.push(format!("R{number} does not list {file}, which checks it"));
            }
        }
    }
    assert!(tests > 100, "only {tests} tests and vectors were found");
    assert_no_errors(&errors);
}

#[test]
fn each_rule_lists_the_items_of_the_wit_that_state_it() {
    let items = items();
    assert!(items.len() > 150, "only {} items were found", items.len());
    let mut errors = Vec::new();
    for (number, rule) in rules() {
        if rule.items.is_empty() {
            errors.push(format!("R{number} lists no item of the WIT"));
        }
        for item in &rule.items {
            match items.get(item) {
                None => errors.push(format!("R{number} lists `{item}`, which is not in wit/")),
                Some(cited) if !cited.contains(&number) => {
                    errors.push(format!("R{number} lists `{item}`, which does not cite it"));
                }
                Some(_) => {}
            }
        }
        for (item, cited) in &items {
            if cited.contains(&number) && !rule.items.contains(item) {
                errors.push(format!("R{number} does not list `{item}`, which cites it"));
            }
        }
    }
    assert_no_errors(&errors);
}

#[test]
fn the_guide_names_only_items_of_the_wit() {
    let items = items();
    let guide = read(&root().join("wit/GUIDE.md"));
    let mut errors = Vec::new();
    let mut named = 0;
    // Every second part is code between backticks.
    for code in guide.split('`').skip(1).step_by(2) {
        if let Some((interface, item)) = code.split_once('.')
            && items.contains_key(interface)
            && item != "wit"
        {
            named += 1;
            if !items.contains_key(code) {
                errors.push(format!("wit/GUIDE.md names `{code}`, which is not in wit/"));
            }
        }
    }
    assert!(named > 20, "only {named} names were found");
    assert_no_errors(&errors);
}

#[test]
fn the_security_case_names_tests_that_exist_and_have_the_rules_number() {
    let mut tests = BTreeSet::new();
    let sources = ["host-tests", "src"].map(|folder| files(folder, "rs"));
    for path in sources.into_iter().flatten() {
        let text = read(&path);
        // The first part is before the first attribute.
        for attribute in ["#[test]", "#[tokio::test"] {
            for after in text.split(attribute).skip(1) {
                let name = after
                    .split_once("fn ")
                    .and_then(|(_, it)| it.split_once('('));
                tests.extend(name.map(|(name, _)| name.to_owned()));
            }
        }
    }
    let mut errors = Vec::new();
    let mut named = 0;
    let case = read(&root().join("SECURITY.md"));
    for row in case.lines().filter(|it| it.starts_with('|')) {
        let rules = cited(row);
        // Every second part is code between backticks.
        let code = row.split('`').skip(1).step_by(2);
        for name in code.filter(|it| it.contains('_')) {
            named += 1;
            if !tests.contains(name) {
                errors.push(format!("SECURITY.md: there is no test `{name}`"));
            }
            let number = name.strip_prefix('r').and_then(leading_number);
            if let Some((number, _)) = number
                && !rules.contains(&number)
            {
                errors.push(format!("SECURITY.md: R{number} is not beside `{name}`"));
            }
        }
    }
    assert!(named > 25, "only {named} tests were found");
    assert_no_errors(&errors);
}

#[test]
fn each_rule_that_code_cites_is_listed() {
    let rules: BTreeSet<u32> = rules().into_iter().map(|(number, _)| number).collect();
    let mut errors = Vec::new();
    let mut named = BTreeSet::new();
    for (folder, extension) in [
        ("src", "rs"),
        ("wit", "wit"),
        ("host-tests", "rs"),
        ("host-tests/vectors", "jsonl"),
    ] {
        for path in files(folder, extension) {
            let text = read(&path);
            for number in cited(&text).union(&tested(&text)) {
                named.insert(*number);
                if !rules.contains(number) {
                    let file = from_root(&path);
                    errors.push(format!("R{number} is not listed, and {file} names it"));
                }
            }
        }
    }
    assert!(named.len() > 30, "only the rules {named:?} are cited");
    assert_no_errors(&errors);
}
