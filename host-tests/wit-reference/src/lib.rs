//! Renders the WIT of both worlds as Markdown for reading (`wit/reference`).

use std::collections::BTreeSet;
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

/// Adds the package in a folder of WIT files, with those in its folder `deps`, and returns it. How
/// the second world is derived is not in its documentation.
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

/// Returns the generator's Markdown with three corrections:
///
/// - The names of interfaces in the list of contents are links.
/// - Blank lines replace the `<p>` tags, because Markdown is not read inside a paragraph that
///   begins with a tag.
/// - Each anchor is at one place only ([`with_own_anchor`]).
fn correct(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut anchors = BTreeSet::new();
    for line in markdown.lines() {
        let line = with_own_anchor(line, &mut anchors);
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

/// Returns a line with an anchor that no line before it has. The world's anchor gets a prefix,
/// because a type can have the same name. An alias of a type loses its anchor: the type is defined
/// before it, and links lead there.
fn with_own_anchor(line: &str, anchors: &mut BTreeSet<String>) -> String {
    let Some((before, rest)) = line.split_once("<a id=\"") else {
        return line.into();
    };
    let Some((id, after)) = rest.split_once("\"></a>") else {
        return line.into();
    };
    let prefix = if before == "# " { "world_" } else { "" };
    let id = format!("{prefix}{id}");
    if anchors.contains(&id) {
        return format!("{before}{after}");
    }
    let line = format!("{before}<a id=\"{id}\"></a>{after}");
    anchors.insert(id);
    line
}

#[cfg(test)]
mod tests {
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
            let (links, items) = (parts(&markdown, "](#", ')'), anchors(&markdown));
            let links = BTreeSet::from_iter(links);
            assert!(links.len() > 30, "{world}: {} links", links.len());
            for link in links {
                let places = items.iter().filter(|item| **item == link).count();
                assert_eq!(places, 1, "{world}: {link}");
            }
        }
    }

    #[test]
    fn a_link_to_a_type_with_the_name_of_the_world_leads_to_the_type() {
        for Reference { world, markdown } in render(&wit()).unwrap() {
            let record = "#### <a id=\"session\"></a>`record session`";
            assert!(markdown.contains(record), "{world}");
            let anchor = format!("# <a id=\"world_{}\"></a>World", world.replace('-', "_"));
            assert!(markdown.contains(&anchor), "{world}");
        }
    }

    #[test]
    fn no_two_items_of_a_reference_have_the_same_anchor() {
        for Reference { world, markdown } in render(&wit()).unwrap() {
            let items = anchors(&markdown);
            let different: BTreeSet<_> = items.iter().collect();
            assert_eq!(different.len(), items.len(), "{world}");
        }
    }

    /// Returns the anchors of a reference, in their order.
    fn anchors(markdown: &str) -> Vec<&str> {
        parts(markdown, "<a id=\"", '"')
    }

    /// Returns the texts that stand between `before` and `after`.
    fn parts<'a>(markdown: &'a str, before: &str, after: char) -> Vec<&'a str> {
        let parts = markdown.split(before).skip(1);
        parts
            .filter_map(|it| Some(it.split_once(after)?.0))
            .collect()
    }

    #[test]
    fn a_reference_has_no_marker_and_no_remark_about_its_derivation() {
        for Reference { world, markdown } in render(&wit()).unwrap() {
            assert!(markdown.contains("revoke-all-for-agent"), "{world}");
            for marker in ["[session]", "[session-sync]", "[end]", "Derived from"] {
                assert!(!markdown.contains(marker), "{world}: {marker}");
            }
        }
    }
}
