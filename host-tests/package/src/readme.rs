//! The README of the folder.

use crate::output::Artefact;

const TEMPLATE: &str = include_str!("readme.md");

/// Returns the text of the README for files, of which it lists all.
pub fn text(files: &[Artefact], revision: &str, npm: &str, wheel: &str) -> String {
    let rows: Vec<_> = files
        .iter()
        .map(|it| format!("| `{}` | {} |", it.name, it.purpose))
        .collect();
    let values = [
        ("{version}", env!("CARGO_PKG_VERSION")),
        ("{repository}", env!("CARGO_PKG_REPOSITORY")),
        ("{licence}", env!("CARGO_PKG_LICENSE")),
        ("{revision}", revision),
        ("{npm}", npm),
        ("{wheel}", wheel),
        ("{files}", &rows.join("\n")),
    ];
    values
        .iter()
        .fold(TEMPLATE.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_listed_and_no_placeholder_is_left() {
        let file = |name: &str| Artefact::new(name, &format!("the purpose of {name}"), "");
        let text = text(&[file("a"), file("b")], "abc", "x.tgz", "x.whl");
        assert!(text.contains("| `a` | the purpose of a |\n| `b` | the purpose of b |\n"));
        for part in [
            "commit\n`abc`",
            "npm install ./x.tgz",
            "pip install ./x.whl",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains(['{', '}']), "{text}");
    }
}
