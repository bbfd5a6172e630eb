//! Compiled code in a directory.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
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
        access::create_private(directory)?;
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
    #[expect(unsafe_code, reason = "machine code cannot be checked")]
    pub fn load(&self, engine: &Engine) -> Option<Component> {
        let mut file = File::open(&self.file).ok()?;
        let directory = fs::symlink_metadata(&self.directory).ok()?;
        if !access::is_private(&file.metadata().ok()?, &directory) {
            return None;
        }
        let mut code = Vec::new();
        file.read_to_end(&mut code).ok()?;
        // SAFETY: only this user can write to the directory and to the file, and `store` wrote the
        // file as a whole.
        unsafe { Component::deserialize(engine, &code) }.ok()
    }

    /// Writes the code to the directory. Another process that reads at the same time finds the
    /// whole code or none.
    ///
    /// # Errors
    /// The [`io::Error`] of writing.
    pub fn store(&self, code: &[u8]) -> io::Result<()> {
        let (temporary, mut file) = access::create_temporary(&self.directory)?;
        // Without the sync, the file could be incomplete after a power failure.
        let written = file.write_all(code).and_then(|()| file.sync_all());
        let stored = written.and_then(|()| fs::rename(&temporary, &self.file));
        if stored.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        stored
    }
}

/// Who can write to the directory and its files.
mod access {
    use std::fs::{self, File, Metadata, OpenOptions};
    use std::io;
    use std::path::{Path, PathBuf};

    /// Creates a directory to which only this user can write, or checks that the existing one is
    /// such a directory.
    pub fn create_private(directory: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        let found = fs::symlink_metadata(directory)?;
        if !found.is_dir() {
            return Err(refused(
                "the directory of the code cache is a symbolic link",
            ));
        }
        // A new file belongs to the user of this process.
        let (path, file) = create_temporary(directory)?;
        let created = file.metadata();
        let _ = fs::remove_file(path);
        if !has_same_owner(&found, &created?) || others_can_write(&found) {
            return Err(refused(
                "another user can write to the directory of the code cache",
            ));
        }
        Ok(())
    }

    /// Returns whether only the owner of the directory can write to a file.
    pub fn is_private(file: &Metadata, directory: &Metadata) -> bool {
        file.is_file() && has_same_owner(file, directory) && !others_can_write(file)
    }

    /// Creates a file that only this user can read and write. Processes in containers can have the
    /// same id, so its name is random.
    pub fn create_temporary(directory: &Path) -> io::Result<(PathBuf, File)> {
        let name = getrandom::u64().map_err(io::Error::other)?;
        let path = directory.join(format!(".{name:016x}.tmp"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok((path, file))
    }

    fn refused(reason: &str) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, reason)
    }

    #[cfg(unix)]
    fn has_same_owner(one: &Metadata, other: &Metadata) -> bool {
        use std::os::unix::fs::MetadataExt;
        one.uid() == other.uid()
    }

    #[cfg(unix)]
    fn others_can_write(found: &Metadata) -> bool {
        use std::os::unix::fs::MetadataExt;
        found.mode() & 0o022 != 0
    }

    /// The parent directory decides who can write.
    #[cfg(not(unix))]
    fn has_same_owner(_: &Metadata, _: &Metadata) -> bool {
        true
    }

    #[cfg(not(unix))]
    fn others_can_write(_: &Metadata) -> bool {
        false
    }
}
