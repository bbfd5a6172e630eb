//! Writes the folder with everything that a release of clawdb:session consists of: the components,
//! their WIT, the packages for Node.js and Python, a bill of materials and checksums. The command
//! `package` of the command line runs it.

mod checkout;
mod component;
mod error;
mod node;
mod notices;
mod output;
mod program;
mod python;
mod readme;
mod release;
mod sbom;
mod sums;
mod wit;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use flate2::{Compression, write::GzEncoder};
use nix::sys::stat::{Mode, umask};

use checkout::Checkout;
use error::{PackageError, Result};
use output::{Artefact, Output};

/// The lengths of a commit's hash in hexadecimal.
const HASH_LENGTHS: [usize; 2] = [40, 64];

/// Writes the components, the packages for Node.js and Python, a bill of materials and checksums
///
/// Needs git, Node.js 20 or newer with npm, and Python 3.10 or newer with venv. PYTHON names
/// another interpreter than python3. The same commit gives the same files.
#[derive(Parser)]
#[command(name = "clawdb-session package")]
struct Arguments {
    /// The folder to write; an earlier result in it is replaced
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    /// Packages tracked files that have uncommitted changes; the revision then ends in `-dirty`
    #[arg(long)]
    allow_dirty: bool,
    /// The commit of sources that are no git checkout: 40 or 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = revision)]
    revision: Option<String>,
}

fn main() -> ExitCode {
    // The permissions of files in the packages do not depend on the caller's mask.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", full_text(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result {
    let output = Output::new(&arguments.out)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let checkout = Checkout::open(&root, arguments.revision, arguments.allow_dirty)?;
    let files = release::build(&checkout, |what, time| {
        eprintln!("{what}: {:.1} s", time.as_secs_f64());
    })?;
    output.write(&files)?;
    let table = table(&files).map_err(PackageError::file(&arguments.out))?;
    let shown = arguments.out.display();
    let text = format!(
        "{table}\nwritten to {shown}, from commit {}\n",
        checkout.revision
    );
    // The files are written, so a reader that has closed the output is no error.
    io::stdout().write_all(text.as_bytes()).ok();
    Ok(())
}

/// Returns the names and sizes of files, and the sizes after gzip of those that are not compressed.
fn table(files: &[Artefact]) -> io::Result<String> {
    let names = files.iter().map(|it| it.name.len());
    let width = names.max().unwrap_or_default();
    let row = |name: &str, size: &str, gzip: &str| format!("{name:width$} {size:>9} {gzip:>9}\n");
    let mut table = row("file", "bytes", "gzip");
    for file in files {
        let is_compressed = [".tgz", ".whl"].iter().any(|it| file.name.ends_with(it));
        let gzip = if is_compressed {
            "-".into()
        } else {
            gzipped(&file.bytes)?.to_string()
        };
        table.push_str(&row(&file.name, &file.bytes.len().to_string(), &gzip));
    }
    Ok(table)
}

/// Returns the number of bytes after gzip.
fn gzipped(bytes: &[u8]) -> io::Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

/// Parses the hash of a commit.
fn revision(text: &str) -> std::result::Result<String, String> {
    let is_hex = text
        .bytes()
        .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && HASH_LENGTHS.contains(&text.len()) {
        Ok(text.into())
    } else {
        Err("not 40 or 64 digits of lower-case hexadecimal".into())
    }
}

/// Returns the text of an error and of its sources.
fn full_text(error: &(dyn Error + 'static)) -> String {
    let texts = std::iter::successors(Some(error), |&it| it.source()).map(ToString::to_string);
    texts.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_whole_hash() {
        assert_eq!(revision(&"a0".repeat(20)), Ok("a0".repeat(20)));
        assert_eq!(revision(&"a0".repeat(32)), Ok("a0".repeat(32)));
        for text in ["", "abc", &"A0".repeat(20), &"g0".repeat(20)] {
            assert!(revision(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_table_has_the_sizes_of_all_files_and_gzips_what_is_not_compressed() {
        let files = [
            Artefact::new("a.wasm", "", [0; 1000]),
            Artefact::new("b.tgz", "", "ab"),
        ];
        let table = table(&files).unwrap();
        let rows: Vec<Vec<_>> = table
            .lines()
            .skip(1)
            .map(|it| it.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0][..2], ["a.wasm", "1000"]);
        assert!(rows[0][2].parse::<usize>().unwrap() < 100);
        assert_eq!(rows[1], ["b.tgz", "2", "-"]);
    }
}
