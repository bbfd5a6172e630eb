//! Renders the WIT of both worlds as Markdown for reading (`wit/reference`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clawdb_session_wit_sync::without_markers;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{PackageId, Resolve, SourceMap, UnresolvedPackageGroup};

/// The worlds, and the folder of each in `wit`.
const WORLDS: [(&str, &str); 2] = [("session", ""), ("session-sync", "sync")];

/// The command that makes the references of the repository.
const COMMAND: &str = "cargo run -p clawdb-session-wit-reference --example render";

/// A world, for reading.
#[derive(Debug)]
pub struct Reference {
    /// The name of the world.
    pub world: &'static str,
    /// The reference as Markdown.
    pub markdown: String,
}

impl Reference {
    /// Returns the name of the file with the Markdown.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.md", self.world)
    }
}

/// Returns the references of both worlds, made from the WIT files in the folder `wit`.
///
/// # Errors
/// An error if a file cannot be read, or is not valid WIT.
pub fn render(wit: &Path) -> Result<Vec<Reference>> {
    let mut references = Vec::new();
    for (world, folder) in WORLDS {
        let markdown = render_world(&wit.join(folder), world)?;
        references.push(Reference { world, markdown });
    }
    Ok(references)
}

/// Writes the references into a folder.
///
/// # Errors
/// An error if the WIT cannot be rendered, or a file cannot be written.
pub fn write(wit: &Path, folder: &Path) -> Result<()> {
    for reference in render(wit)? {
        let path = folder.join(reference.file_name());
        fs::write(&path, reference.markdown).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn render_world(folder: &Path, world: &str) -> Result<String> {
    let mut resolve = Resolve::default();
    let package = push(&mut resolve, folder)?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    let mut generator = wit_bindgen_markdown::Opts::default().build();
    generator.generate(&mut resolve, world, &mut files)?;
    let markdown = files
        .iter()
        .find(|(name, _)| Path::new(name).extension() == Some("md".as_ref()));
    let (_, markdown) = markdown.context("the generator wrote no Markdown")?;
    let markdown = correct(std::str::from_utf8(markdown)?);
    Ok(format!(
        "<!-- Made from the WIT by `{COMMAND}`. Do not edit. -->\n\n{markdown}"
    ))
}

/// Adds the package in a folder of WIT files, with those in its folder `deps`, and returns it. The
/// markers from which the second world is derived are not in its documentation.
///
/// # Errors
/// An error if a file cannot be read, or is not valid WIT.
pub fn push(resolve: &mut Resolve, folder: &Path) -> Result<PackageId> {
    let mut sources = SourceMap::default();
    for path in entries(folder)? {
        if path.extension().is_some_and(|it| it == "wit") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            sources.push(&path, without_markers(&text));
        }
    }
    let package = sources.parse().map_err(|(sources, error)| {
        let place = error.render(&sources);
        anyhow::Error::from(error).context(place)
    })?;
    let mut dependencies = Vec::new();
    let deps = folder.join("deps");
    let deps = if deps.is_dir() {
        entries(&deps)?
    } else {
        Vec::new()
    };
    for path in deps {
        if path.is_dir() {
            dependencies.push(UnresolvedPackageGroup::parse_dir(&path)?);
        }
    }
    Ok(resolve.push_groups(package, dependencies)?)
}

/// Returns what is in a folder, in the order of the names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|it| Ok(it?.path())).collect()
    };
    let mut paths = read().with_context(|| folder.display().to_string())?;
    paths.sort();
    Ok(paths)
}

/// Returns the generator's Markdown with two corrections: the names of interfaces in the list of
/// contents are links, and blank lines replace the `<p>` tags, because Markdown is not read inside
/// a paragraph that begins with a tag.
fn correct(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    for line in markdown.lines() {
        let content = line.trim_start();
        let indent = &line[..line.len() - content.len()];
        let interface = content.strip_prefix("- interface `");
        if let Some(content) = content.strip_prefix("<p>") {
            text.extend(["\n", indent, content]);
        } else if let Some(name) = interface.and_then(|rest| rest.strip_suffix('`')) {
            let anchor = name.replace(|it: char| !it.is_ascii_alphanumeric(), "_");
            text.extend([indent, "- [`", name, "`](#", &anchor, ")"]);
        } else {
            text.push_str(line.trim_end());
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn wit() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
    }

    #[test]
    fn the_references_in_the_repository_are_made_from_the_wit() {
        for reference in render(&wit()).unwrap() {
            let path = wit().join("reference").join(reference.file_name());
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                reference.markdown,
                "{} is not up to date: run `{COMMAND}`",
                path.display()
            );
        }
    }

    #[test]
    fn every_link_within_a_reference_leads_to_an_item() {
        for Reference { world, markdown } in render(&wit()).unwrap() {
            let parts = |before: &str, after: char| -> BTreeSet<String> {
                let parts = markdown.split(before).skip(1);
                parts
                    .filter_map(|it| Some(it.split_once(after)?.0.to_owned()))
                    .collect()
            };
            let (links, items) = (parts("](#", ')'), parts("<a id=\"", '"'));
            assert!(links.len() > 30, "{world}: {} links", links.len());
            assert_eq!(links.difference(&items).next(), None, "{world}");
        }
    }

    #[test]
    fn a_reference_has_no_marker() {
        for Reference { world, markdown } in render(&wit()).unwrap() {
            assert!(markdown.contains("revoke-all-for-agent"), "{world}");
            for marker in ["[session]", "[session-sync]", "[end]"] {
                assert!(!markdown.contains(marker), "{world}: {marker}");
            }
        }
    }
}
