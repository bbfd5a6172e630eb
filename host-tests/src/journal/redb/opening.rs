//! Opening the file of the embedded journal, or making it, and what its errors mean.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, TableDefinition};

use super::file::{DUE, OWNERS, RECORDS};
use crate::journal::JournalError;

/// What the file is.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
/// The format of the file.
const FORMAT: u64 = 1;

/// Opens the file, or makes it. A file that is being made has another name until it is one, so that an
/// empty file is never taken for a journal without records.
pub(super) fn open(path: &Path) -> Result<Result<Database, JournalError>, redb::Error> {
    if path.try_exists()? {
        return open_existing(path);
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    // Nobody else's to read: there are handles in it that can revoke.
    let mut options = OpenOptions::new();
    options.create(true).read(true).write(true).truncate(false);
    let file = options.mode(0o600).open(&unfinished)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(redb::Error::DatabaseAlreadyOpen),
        Err(TryLockError::Error(error)) => return Err(error.into()),
        Ok(()) => {}
    }
    // Only who has the lock gives the file its name. So either it has it by now, and may be the one
    // that was locked here, or nobody gives it but this one.
    if path.try_exists()? {
        drop(file);
        return open_existing(path);
    }
    let database = make(file)?;
    fs::rename(&unfinished, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(Ok(database))
}

fn make(file: fs::File) -> Result<Database, redb::Error> {
    // Whoever began it before did not come to an end.
    file.set_len(0)?;
    let database = builder().create_with_backend(FileBackend::new(file)?)?;
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.open_table(ABOUT)?.insert("format", FORMAT)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(DUE)?;
    transaction.open_table(OWNERS)?;
    transaction.commit()?;
    Ok(database)
}

pub(super) fn open_existing(path: &Path) -> Result<Result<Database, JournalError>, redb::Error> {
    if fs::metadata(path)?.len() == 0 {
        return Ok(Err(damaged(path, "it is empty")));
    }
    let database = builder().open(path)?;
    let about = database.begin_read()?.open_table(ABOUT)?;
    let format = about.get("format")?.map(|format| format.value());
    if format == Some(FORMAT) {
        return Ok(Ok(database));
    }
    let format = format.unwrap_or_default();
    let reason = format!("its format is {format}, and {FORMAT} is the one that is known here");
    Ok(Err(damaged(path, &reason)))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_check_integrity_on_open(true);
    builder
}

/// What came of work on the file, whatever way it failed: redb panics where a file contradicts itself.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<Result<T, JournalError>, redb::Error>,
) -> Result<T, JournalError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(failed(path, &error)),
        Err(_) => Err(damaged(path, "it contradicts itself")),
    }
}

fn failed(path: &Path, error: &redb::Error) -> JournalError {
    let unreadable = [ErrorKind::InvalidData, ErrorKind::UnexpectedEof];
    match error {
        redb::Error::DatabaseAlreadyOpen => {
            JournalError::Fenced(format!("{} is open in another process", path.display()))
        }
        redb::Error::Io(error) if unreadable.contains(&error.kind()) => {
            damaged(path, &error.to_string())
        }
        redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
            JournalError::Unavailable(format!("{}: {error}", path.display()))
        }
        error => damaged(path, &error.to_string()),
    }
}

fn damaged(path: &Path, reason: &str) -> JournalError {
    JournalError::Damaged(format!("{}: {reason}", path.display()))
}
