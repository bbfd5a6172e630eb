//! The folder that is written: as a whole, or not at all.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{PackageError, Result};
use crate::sums;

/// A file of a release.
#[derive(Debug)]
pub struct Artefact {
    /// Its name.
    pub name: String,
    /// What it is, in a few words.
    pub purpose: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

impl Artefact {
    /// Returns a file.
    pub fn new(name: &str, purpose: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            purpose: purpose.into(),
            bytes: bytes.into(),
        }
    }
}

/// The folder that a release is written to.
pub struct Output {
    folder: PathBuf,
    parent: PathBuf,
}

impl Output {
    /// Checks that a folder does not exist, or is empty or the result of an earlier run.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn new(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder).map_err(PackageError::file(folder))?;
        let parent = folder.parent().unwrap_or(&folder).to_path_buf();
        let reason = match foreign(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => other.map_err(PackageError::file(&folder))?,
        };
        match reason {
            Some(reason) => Err(PackageError::Foreign { folder, reason }),
            None => Ok(Self { folder, parent }),
        }
    }

    /// Writes files into a new folder beside the folder, and renames it. An earlier result is
    /// replaced.
    ///
    /// # Errors
    /// [`PackageError::File`].
    pub fn write(&self, files: &[Artefact]) -> Result {
        fs::create_dir_all(&self.parent).map_err(PackageError::file(&self.parent))?;
        let temporary = tempfile::Builder::new()
            .prefix(".package-")
            .tempdir_in(&self.parent);
        let temporary = temporary.map_err(PackageError::file(&self.parent))?;
        let [new, old] = ["new", "old"].map(|it| temporary.path().join(it));
        fs::create_dir(&new).map_err(PackageError::file(&new))?;
        for file in files {
            let path = new.join(&file.name);
            fs::write(&path, &file.bytes).map_err(PackageError::file(&path))?;
            let mode = Permissions::from_mode(0o644);
            fs::set_permissions(&path, mode).map_err(PackageError::file(&path))?;
        }
        if self.folder.exists() {
            fs::rename(&self.folder, &old).map_err(PackageError::file(&self.folder))?;
        }
        fs::rename(&new, &self.folder).map_err(|error| {
            // Nothing more can be done if the earlier result cannot be renamed back.
            fs::rename(&old, &self.folder).ok();
            PackageError::file(&self.folder)(error)
        })
    }
}

/// Returns what a folder has that an earlier run has not written, if anything. The files of an
/// earlier run are those that its checksums list.
fn foreign(folder: &Path) -> io::Result<Option<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_file() {
            return Ok(Some(format!("{name} is no file")));
        }
        names.push(name);
    }
    if names.is_empty() {
        return Ok(None);
    }
    let Ok(sums) = fs::read_to_string(folder.join(sums::FILE)) else {
        return Ok(Some(format!("it has no {}", sums::FILE)));
    };
    let listed = sums::names(&sums);
    let is_bom = |name: &&str| name.starts_with("clawdb-session-") && name.ends_with(".cdx.json");
    if !listed.iter().any(is_bom) {
        return Ok(Some("it has no bill of materials of clawdb-session".into()));
    }
    let other = names
        .iter()
        .find(|it| *it != sums::FILE && !listed.contains(&it.as_str()));
    Ok(other.map(|name| format!("{} does not list {name}", sums::FILE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a release of two files and their checksums.
    fn release(text: &str) -> [Artefact; 3] {
        let bom = Artefact::new("clawdb-session-1.cdx.json", "", text);
        let other = Artefact::new("a", "", text);
        let files = [&bom, &other].map(|it| (it.name.as_str(), &it.bytes[..]));
        let sums = Artefact::new(sums::FILE, "", sums::text(files));
        [bom, other, sums]
    }

    fn entries(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_later_result_replaces_an_earlier_one_and_nothing_else_is_left() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("dist");
        for text in ["one", "two"] {
            Output::new(&folder).unwrap().write(&release(text)).unwrap();
            assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), text);
            assert_eq!(entries(parent.path()), ["dist"]);
        }
        assert_eq!(
            entries(&folder),
            ["SHA256SUMS", "a", "clawdb-session-1.cdx.json"]
        );
    }

    #[test]
    fn a_folder_with_other_files_is_refused_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("dist");
        Output::new(&folder)
            .unwrap()
            .write(&release("one"))
            .unwrap();
        fs::write(folder.join("mine"), "").unwrap();
        let refused = Output::new(&folder).map(|_| ()).unwrap_err().to_string();
        assert!(
            refused.ends_with("SHA256SUMS does not list mine"),
            "{refused}"
        );
        fs::remove_file(folder.join("mine")).unwrap();
        fs::create_dir(folder.join("mine")).unwrap();
        let refused = Output::new(&folder).map(|_| ()).unwrap_err().to_string();
        assert!(refused.ends_with("mine is no file"), "{refused}");
    }

    #[test]
    fn checksums_of_another_project_do_not_make_a_folder_replaceable() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "").unwrap();
        let refused = Output::new(folder.path())
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(refused.ends_with("it has no SHA256SUMS"), "{refused}");
        let sums = sums::text([("mine", &b""[..])]);
        fs::write(folder.path().join(sums::FILE), sums).unwrap();
        let refused = Output::new(folder.path())
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(refused.contains("no bill of materials"), "{refused}");
    }

    #[test]
    fn an_empty_folder_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        Output::new(folder.path())
            .unwrap()
            .write(&release("one"))
            .unwrap();
        assert_eq!(entries(folder.path()).len(), 3);
    }
}
