//! The sources: their revision, its date, and copies of their files.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, PackageError, Result};
use crate::program::run;

/// The number of changed files that an error names.
const NAMED_FILES: usize = 5;

/// The sources of a package.
#[derive(Debug)]
pub struct Checkout {
    /// The folder with the workspace.
    pub root: PathBuf,
    /// The full hash of the commit. It ends in `-dirty` if tracked files have changes.
    pub revision: String,
    /// The time of the commit in seconds since 1970, if the sources are a git checkout.
    pub date: Option<i64>,
}

impl Checkout {
    /// Opens the sources in a folder. `revision` is that of sources without git.
    ///
    /// # Errors
    /// [`PackageError`], if there is no revision that describes the sources.
    pub fn open(root: &Path, revision: Option<String>, allow_dirty: bool) -> Result<Self> {
        let root = root.canonicalize().map_err(PackageError::file(root))?;
        // Sources without git can lie in the checkout of another project.
        if !root.join(".git").exists() {
            let folder = root.clone();
            let revision = revision.ok_or(PackageError::NoCheckout { folder })?;
            let date = None;
            return Ok(Self {
                root,
                revision,
                date,
            });
        }
        let commit = run(git(&root).args(["rev-parse", "HEAD"]))?.trim().into();
        if revision.is_some() {
            return Err(PackageError::RevisionOfCheckout { commit });
        }
        let date = run(git(&root).args(["show", "--no-patch", "--format=%ct", "HEAD"]))?;
        let date = date.trim().parse();
        let date = Some(date.about("the time of the commit")?);
        let changed = run(git(&root).args(["diff", "--name-only", "HEAD"]))?;
        let revision = match changed.lines().take(NAMED_FILES).collect::<Vec<_>>() {
            files if files.is_empty() => commit,
            _ if allow_dirty => format!("{commit}-dirty"),
            files => {
                let files = files.join(", ");
                return Err(PackageError::Dirty { files });
            }
        };
        Ok(Self {
            root,
            revision,
            date,
        })
    }

    /// Copies the tracked files below these paths to another folder, with the same relative paths.
    /// Of sources without git, it copies the files that `.gitignore` does not name.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn copy(&self, paths: &[&str], to: &Path) -> Result {
        let listed = if self.date.is_some() {
            run(git(&self.root).args(["ls-files", "-z", "--"]).args(paths))?
        } else {
            // An empty repository beside the copy: all files are untracked.
            let repository = to.join(".no-files");
            run(Command::new("git")
                .args(["init", "--quiet", "--bare"])
                .arg(&repository))?;
            let mut git = git(&self.root);
            git.arg("--git-dir")
                .arg(&repository)
                .arg("--work-tree")
                .arg(&self.root);
            git.args(["ls-files", "--others", "--exclude-standard", "-z", "--"]);
            run(git.args(paths))?
        };
        for file in listed.split_terminator('\0') {
            let file = Path::new(OsStr::from_bytes(file.as_bytes()));
            copy_file(&self.root.join(file), &to.join(file))?;
        }
        Ok(())
    }
}

/// Copies a file with the permissions of git: it is executable or not.
fn copy_file(from: &Path, to: &Path) -> Result {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(PackageError::file(folder))?;
    }
    fs::copy(from, to).map_err(PackageError::file(from))?;
    let metadata = fs::metadata(from).map_err(PackageError::file(from))?;
    let is_executable = metadata.permissions().mode() & 0o100 != 0;
    let mode = if is_executable { 0o755 } else { 0o644 };
    fs::set_permissions(to, Permissions::from_mode(mode)).map_err(PackageError::file(to))
}

/// Returns a command of git for a folder. Variables that name another repository do not count.
fn git(root: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(root);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        git.env_remove(variable);
    }
    git
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const REVISION: &str = "0123456789012345678901234567890123456789";

    /// Returns a folder with a file that is ignored, and one that is not.
    fn sources() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [(".gitignore", "built\n"), ("a/kept", "1"), ("a/built", "2")] {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    }

    /// Returns a checkout with one commit, and one file that is not tracked.
    fn checkout() -> TempDir {
        let folder = sources();
        let name = ["-c", "user.name=a", "-c", "user.email=a@b"];
        run(git(folder.path()).args(["init", "--quiet"])).unwrap();
        run(git(folder.path()).args(["add", "."])).unwrap();
        run(git(folder.path())
            .args(name)
            .args(["commit", "--quiet", "-m", "a"]))
        .unwrap();
        fs::write(folder.path().join("a/new"), "3").unwrap();
        folder
    }

    /// Returns the files that are copied from the folder `a`.
    fn copied(checkout: &Checkout) -> Vec<String> {
        let to = tempfile::tempdir().unwrap();
        checkout.copy(&["a"], to.path()).unwrap();
        let entries = fs::read_dir(to.path().join("a")).unwrap();
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_clean_checkout_has_its_commit_and_only_its_tracked_files_are_copied() {
        let folder = checkout();
        let opened = Checkout::open(folder.path(), None, false).unwrap();
        assert_eq!(opened.revision.len(), 40);
        assert!(opened.date.is_some());
        assert_eq!(copied(&opened), ["kept"]);
    }

    #[test]
    fn a_changed_file_is_refused_by_name_unless_that_is_allowed() {
        let folder = checkout();
        fs::write(folder.path().join("a/kept"), "4").unwrap();
        let refused = Checkout::open(folder.path(), None, false).unwrap_err();
        assert!(matches!(&refused, PackageError::Dirty { files } if files == "a/kept"));
        let opened = Checkout::open(folder.path(), None, true).unwrap();
        assert!(opened.revision.ends_with("-dirty"), "{}", opened.revision);
    }

    #[test]
    fn a_file_that_is_added_but_not_committed_is_refused() {
        let folder = checkout();
        run(git(folder.path()).args(["add", "a/new"])).unwrap();
        let refused = Checkout::open(folder.path(), None, false).unwrap_err();
        assert!(matches!(&refused, PackageError::Dirty { files } if files == "a/new"));
    }

    #[test]
    fn a_checkout_takes_no_other_revision() {
        let folder = checkout();
        let refused = Checkout::open(folder.path(), Some(REVISION.into()), false).unwrap_err();
        assert!(matches!(refused, PackageError::RevisionOfCheckout { .. }));
    }

    #[test]
    fn sources_without_git_need_a_revision_and_their_ignored_files_are_not_copied() {
        let folder = sources();
        let refused = Checkout::open(folder.path(), None, false).unwrap_err();
        assert!(matches!(refused, PackageError::NoCheckout { .. }));
        let opened = Checkout::open(folder.path(), Some(REVISION.into()), false).unwrap();
        assert_eq!((opened.revision.as_str(), opened.date), (REVISION, None));
        assert_eq!(copied(&opened), ["kept"]);
    }
}
