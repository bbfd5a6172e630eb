//! Derives the WIT package `clawdb:session-sync` (`wit/sync`) from `clawdb:session` (`wit`).
//!
//! - `async func` becomes `func`.
//! - The package, the world and WASI's packages get the names and versions of the second world.
//! - Lines between `//[session]` and `//[end]` are left out. They are about calls that overlap, or
//!   about streams.
//! - The rest of a line after `//[session-sync] ` is kept as a line of its own.
//!
//! Everything else stays as it is, comments included.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How the first line of each derived file begins.
const DERIVED_FROM: &str = "// Derived from wit/";

/// Names of the first world, and those of the second one. Each is replaced where a line has exactly
/// this text, without its indentation.
const LINES: [(&str, &str); 4] = [
    (
        "package clawdb:session@0.1.0;",
        "package clawdb:session-sync@0.1.0;",
    ),
    ("world session {", "world session-sync {"),
    (
        "import wasi:clocks/system-clock@0.3.0;",
        "import wasi:clocks/wall-clock@0.2.0;",
    ),
    (
        "import wasi:random/random@0.3.0;",
        "import wasi:random/random@0.2.0;",
    ),
];

/// Why nothing was derived.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// A marker is at a place where it has no meaning.
    #[error("{file}:{line}: `{marker}` has no counterpart")]
    Marker {
        /// The file in `wit`.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The marker.
        marker: &'static str,
    },
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Returns the text of a file of either world as it is published: without the markers, the lines of
/// the other world, and the line about the derivation. WIT tools take every comment before an item
/// for its documentation.
#[must_use]
pub fn without_markers(text: &str) -> String {
    let is_marker = |line: &str| line.trim_start().starts_with("//[");
    let lines = text.lines();
    let kept = lines.filter(|line| !is_marker(line) && !line.starts_with(DERIVED_FROM));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// Returns the derived text of a file.
///
/// # Errors
/// [`DeriveError::Marker`].
pub fn derive(file: &str, text: &str) -> Result<String, DeriveError> {
    let mut derived = format!("{DERIVED_FROM}{file} by host-tests/wit-sync. Do not edit.\n\n");
    // The line of the `//[session]` that is open.
    let mut opened = None;
    let marker_error = |line, marker| DeriveError::Marker {
        file: file.into(),
        line,
        marker,
    };
    for (line, number) in text.lines().zip(1..) {
        let content = line.trim_start();
        let indent = &line[..line.len() - content.len()];
        match content {
            "//[session]" if opened.is_some() => return Err(marker_error(number, "//[session]")),
            "//[session]" => opened = Some(number),
            "//[end]" if opened.take().is_none() => return Err(marker_error(number, "//[end]")),
            "//[end]" => {}
            _ if opened.is_some() => {}
            _ => {
                let content = content.strip_prefix("//[session-sync] ").unwrap_or(content);
                let replaced = LINES.iter().find(|(from, _)| *from == content);
                let content = replaced.map_or(content, |(_, to)| to);
                derived.push_str(indent);
                derived.push_str(&content.replace(": async func(", ": func("));
                derived.push('\n');
            }
        }
    }
    match opened {
        Some(line) => Err(marker_error(line, "//[session]")),
        None => Ok(derived),
    }
}

/// Returns the files of `wit/sync` with their texts, in the order of their names. `wit` is the
/// folder of the first world.
///
/// # Errors
/// [`DeriveError`].
pub fn derive_folder(wit: &Path) -> Result<Vec<(PathBuf, String)>, DeriveError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        |source| DeriveError::File { path, source }
    };
    let mut derived = Vec::new();
    for entry in fs::read_dir(wit).map_err(failed(wit))? {
        let path = entry.map_err(failed(wit))?.path();
        if path.extension().is_none_or(|extension| extension != "wit") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        let name = path.file_name().unwrap_or_default();
        let text = derive(&name.to_string_lossy(), &text)?;
        derived.push((wit.join("sync").join(name), text));
    }
    derived.sort();
    Ok(derived)
}

/// Writes the files of `wit/sync`.
///
/// # Errors
/// [`DeriveError`].
pub fn write(wit: &Path) -> Result<(), DeriveError> {
    for (path, text) in derive_folder(wit)? {
        fs::write(&path, text).map_err(|source| DeriveError::File { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_lose_async_and_other_text_stays() {
        let text = "interface a {\n  /// Says `async func`.\n  f: async func() -> u32;\n}\n";
        let derived = derive("a.wit", text).unwrap();
        let expected = "interface a {\n  /// Says `async func`.\n  f: func() -> u32;\n}\n";
        assert!(derived.ends_with(expected), "{derived}");
        assert!(
            derived.starts_with("// Derived from wit/a.wit by"),
            "{derived}"
        );
    }

    #[test]
    fn lines_of_the_first_world_are_left_out_and_lines_of_the_second_one_appear() {
        let text =
            "  //[session]\n  /// Calls overlap.\n  //[end]\n  //[session-sync] /// One call.\n";
        assert!(
            derive("a.wit", text)
                .unwrap()
                .ends_with("\n\n  /// One call.\n")
        );
    }

    #[test]
    fn the_first_world_keeps_its_own_lines_without_the_markers() {
        let text =
            "  //[session]\n  /// Calls overlap.\n  //[end]\n  //[session-sync] /// One call.\n";
        assert_eq!(without_markers(text), "  /// Calls overlap.\n");
    }

    #[test]
    fn the_second_world_is_published_without_the_line_about_its_derivation() {
        let derived = derive("a.wit", "/// Documentation.\n").unwrap();
        assert_eq!(without_markers(&derived), "\n/// Documentation.\n");
    }

    #[test]
    fn a_marker_without_its_counterpart_is_refused_with_its_place() {
        for (text, line) in [
            ("//[session]\n", 1),
            ("a\n//[end]\n", 2),
            ("//[session]\n//[session]\n//[end]\n", 2),
        ] {
            let error = derive("a.wit", text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("a.wit:{line}: ")), "{error}");
        }
    }
}
