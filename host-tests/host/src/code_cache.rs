//! Compiled code in a directory.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

/// The file for the compiled code of a component.
pub(crate) struct CodeCache {
    directory: PathBuf,
    file: PathBuf,
}

impl CodeCache {
    /// Opens the directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// An [`io::Error`] if the directory cannot be created, or another user can write to it.
    pub fn open(directory: &Path, engine: &Engine, component: &[u8]) -> io::Result<Self> {
        create_private(directory)?;
        let mut hasher = DefaultHasher::new();
        component.hash(&mut hasher);
        // Code that wasmtime compiled in another version or configuration has another name.
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let name = format!("clawdb-session-{:016x}.cwasm", hasher.finish());
        Ok(Self {
            directory: directory.to_owned(),
            file: directory.join(name),
        })
    }

    /// Returns the component, if its code is in the directory and this engine can use it.
    pub fn load(&self, engine: &Engine) -> Option<Component> {
        // SAFETY: only this user can write to the directory, and files with this name were written
        // by `store`, which replaces them as a whole.
        unsafe { Component::deserialize_file(engine, &self.file) }.ok()
    }

    /// Writes the code to the directory. Another process that reads at the same time finds the
    /// whole code or none.
    ///
    /// # Errors
    /// The [`io::Error`] of writing.
    pub fn store(&self, code: &[u8]) -> io::Result<()> {
        // Processes in containers can have the same id, so the name is random.
        let name = getrandom::u64().map_err(io::Error::other)?;
        let temporary = self.directory.join(format!(".{name:016x}.tmp"));
        let written = File::create_new(&temporary).and_then(|mut file| {
            file.write_all(code)?;
            // Otherwise the file could be incomplete after a power failure.
            file.sync_all()
        });
        let stored = written.and_then(|()| fs::rename(&temporary, &self.file));
        if stored.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        stored
    }
}

/// Creates a directory to which only this user can write, or checks that the existing one is such.
#[cfg(unix)]
fn create_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let found = fs::metadata(directory)?;
    // A file in `/proc/self` belongs to the user of this process. On other systems than Linux the
    // owner is not checked.
    let owner = fs::metadata("/proc/self").map_or(found.uid(), |process| process.uid());
    if found.mode() & 0o022 != 0 || found.uid() != owner {
        let reason = "another user can write to the directory of the code cache";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(())
}

/// Creates a directory. Its parent decides who can write to it.
#[cfg(not(unix))]
fn create_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}
