//! Why nothing is packaged.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Why nothing is packaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// Tracked files have changes that are not committed.
    #[error(
        "the checkout has uncommitted changes, so no commit describes the result: commit them, or \
         give --allow-dirty; changed: {files}"
    )]
    Dirty {
        /// Some of the files.
        files: String,
    },
    /// The sources are no git checkout.
    #[error("{folder} is no git checkout: give the commit of these sources with --revision HEX")]
    NoCheckout {
        /// The folder of the sources.
        folder: PathBuf,
    },
    /// A revision was given, but the checkout has one.
    #[error("--revision is for sources without git; this checkout is at commit {commit}")]
    RevisionOfCheckout {
        /// The commit of the checkout.
        commit: String,
    },
    /// The folder exists, and has other files.
    #[error("{folder} exists and is no folder that `package` has written: {reason}")]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        reason: String,
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
    /// A program cannot be started.
    #[error("cannot run `{command}`, which packaging needs")]
    Program {
        /// The program with its arguments.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed ({status}):\n{output}")]
    Failed {
        /// The program with its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A component or its WIT cannot be encoded, or a file has no valid contents.
    #[error("{what}")]
    Invalid {
        /// What is not valid.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The result of a step.
pub type Result<T = ()> = std::result::Result<T, PackageError>;

impl PackageError {
    /// Returns a function that makes the error of a file.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        |source| Self::File { path, source }
    }
}

/// Says what an error is about.
pub trait Context<T> {
    /// Makes the error [`PackageError::Invalid`].
    ///
    /// # Errors
    /// The one that it makes.
    fn about(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn about(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| PackageError::Invalid {
            what: what.into(),
            source: source.into(),
        })
    }
}
