//! Opening or creating the file, and the meaning of its errors.

use std::error::Error;
use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clawdb_session_durable::{JournalError, Reason};
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableDefinition};

use crate::tables::{DUE, OWNERS, RECORDS};

/// The format of the file, under the key `format`.
const METADATA: TableDefinition<&str, u64> = TableDefinition::new("about");
/// The first bytes of every redb file.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// The format that this version reads and writes.
const FORMAT: u64 = 1;

/// Opens a database in a file, or creates it if the file is empty.
pub(super) type OpenDatabase = dyn Fn(fs::File) -> Result<Database, redb::Error> + Send;

/// Opens the file, or creates it. A new file has another name until it is complete, so that an
/// empty file is never treated as a journal without records.
pub(super) fn open(
    path: &Path,
    open_database: &OpenDatabase,
) -> Result<Result<Database, JournalError>, redb::Error> {
    if let Err(error) = check(path) {
        return Ok(Err(error));
    }
    if path.try_exists()? {
        sync_entry(path)?;
        return open_existing(path, open_database);
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    // Only the owner may read it: the records contain handles that can revoke tokens.
    let mut options = OpenOptions::new();
    options.create(true).read(true).write(true).truncate(false);
    let file = options.mode(0o600).open(&unfinished)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(redb::Error::DatabaseAlreadyOpen),
        Err(TryLockError::Error(error)) => return Err(error.into()),
        Ok(()) => {}
    }
    // A file is renamed only under this lock. So either another process has renamed it by now, or
    // only this one can.
    if path.try_exists()? {
        drop(file);
        sync_entry(path)?;
        return open_existing(path, open_database);
    }
    // No file gets its name in a folder that cannot be synced: a later `open` would accept it.
    sync_folder(path)?;
    let database = create(file, open_database)?;
    fs::rename(&unfinished, path)?;
    sync_folder(path)?;
    Ok(Ok(database))
}

/// Waits until the entry of an existing file is durable: the process that has created it may have
/// ended before that. Does nothing if this process must not read the folder, or if the file system
/// does not sync folders.
fn sync_entry(path: &Path) -> io::Result<()> {
    use ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match sync_folder(path) {
        Err(error) if [PermissionDenied, InvalidInput, Unsupported].contains(&error.kind()) => {
            Ok(())
        }
        synced => synced,
    }
}

/// Waits until the entry of the file in its folder is durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(folder_of(path))?.sync_all()
}

/// Checks that a path is the file of a journal or can become one, without opening the journal.
pub(super) fn check(path: &Path) -> Result<(), JournalError> {
    let wrong = |text: String| Err(JournalError::Misconfigured(text.into()));
    let name = path.display();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return wrong(format!("{name} is a directory, and a journal is a file"));
        }
        Ok(metadata) if !metadata.is_file() => {
            return wrong(format!("{name} is not a regular file"));
        }
        Ok(_) => return check_magic(path),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
        Err(error) => return Err(unavailable(path, error)),
    }
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
        return wrong(format!(
            "there is no directory {name}, and a journal is a file"
        ));
    }
    let folder = folder_of(path);
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => wrong(format!(
            "{name} cannot be created: {} is not a directory",
            folder.display()
        )),
        Err(_) => wrong(format!(
            "{name} cannot be created: there is no directory {}",
            folder.display()
        )),
    }
}

/// Checks that a file can be read and written and begins as a redb file.
fn check_magic(path: &Path) -> Result<(), JournalError> {
    let mut beginning = Vec::new();
    let file = OpenOptions::new().read(true).write(true).open(path);
    let read = file.and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut beginning));
    read.map_err(|error| unavailable(path, error))?;
    if beginning.is_empty() {
        return Err(damaged(path, "it is empty"));
    }
    if beginning != MAGIC {
        return Err(damaged(path, "it does not begin as a journal does"));
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn create(file: fs::File, open_database: &OpenDatabase) -> Result<Database, redb::Error> {
    // An earlier attempt to create the file may have been interrupted.
    file.set_len(0)?;
    let database = open_database(file)?;
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.open_table(METADATA)?.insert("format", FORMAT)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(DUE)?;
    transaction.open_table(OWNERS)?;
    transaction.commit()?;
    Ok(database)
}

pub(super) fn open_existing(
    path: &Path,
    open_database: &OpenDatabase,
) -> Result<Result<Database, JournalError>, redb::Error> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Err(damaged(path, "it is empty")));
    }
    let database = open_database(file)?;
    let metadata = database.begin_read()?.open_table(METADATA)?;
    let format = metadata.get("format")?.map(|format| format.value());
    if format == Some(FORMAT) {
        return Ok(Ok(database));
    }
    let format = format.unwrap_or_default();
    let reason = format!("its format is {format}, but this version reads only format {FORMAT}");
    Ok(Err(damaged(path, &reason)))
}

/// Returns a function that opens databases through the backends that `wrap` makes.
pub(super) fn open_through<B: StorageBackend>(
    wrap: impl Fn(FileBackend) -> B + Send + 'static,
) -> Box<OpenDatabase> {
    Box::new(move |file| {
        let backend = wrap(FileBackend::new(file)?);
        let mut builder = Builder::new();
        builder.set_check_integrity_on_open(true);
        Ok(builder.create_with_backend(backend)?)
    })
}

/// Runs an operation on the file and converts its failure into an error. redb panics if a file is
/// inconsistent, so a panic becomes [`JournalError::Damaged`].
pub(super) fn catch_panics<T>(
    path: &Path,
    operation: impl FnOnce() -> Result<Result<T, JournalError>, redb::Error>,
) -> Result<T, JournalError> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(journal_error(path, error)),
        Err(_) => Err(damaged(path, "its contents are inconsistent")),
    }
}

fn journal_error(path: &Path, error: redb::Error) -> JournalError {
    let unreadable = [ErrorKind::InvalidData, ErrorKind::UnexpectedEof];
    let name = path.display();
    match &error {
        redb::Error::DatabaseAlreadyOpen => {
            let text = format!("{name} is open in another process");
            JournalError::Fenced(Reason::in_place_of(text, error))
        }
        redb::Error::TableDoesNotExist(table) => {
            let text = format!("{name} has no table {table}");
            JournalError::Damaged(Reason::in_place_of(text, error))
        }
        redb::Error::Io(io) if !unreadable.contains(&io.kind()) => unavailable(path, error),
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => unavailable(path, error),
        _ => {
            let text = format!("{name} cannot be read as a journal");
            JournalError::Damaged(Reason::with_source(text, error))
        }
    }
}

fn unavailable(path: &Path, error: impl Error + Send + Sync + 'static) -> JournalError {
    let text = format!("{} cannot be read or written", path.display());
    JournalError::Unavailable(Reason::with_source(text, error))
}

fn damaged(path: &Path, reason: &str) -> JournalError {
    JournalError::Damaged(format!("{}: {reason}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_redb_become_errors_of_the_journal() {
        let error = |error| journal_error(Path::new("journal"), error);
        let io = |kind: ErrorKind| redb::Error::Io(kind.into());
        for unavailable in [
            io(ErrorKind::StorageFull),
            redb::Error::PreviousIo,
            redb::Error::DatabaseClosed,
        ] {
            let error = error(unavailable);
            assert!(matches!(error, JournalError::Unavailable(_)), "{error}");
        }
        for damaged in [
            io(ErrorKind::UnexpectedEof),
            redb::Error::Corrupted("a page".into()),
            redb::Error::TableDoesNotExist("records".into()),
        ] {
            let error = error(damaged);
            assert!(matches!(error, JournalError::Damaged(_)), "{error}");
        }
        let error = error(redb::Error::DatabaseAlreadyOpen);
        assert!(matches!(error, JournalError::Fenced(_)), "{error}");
    }
}
