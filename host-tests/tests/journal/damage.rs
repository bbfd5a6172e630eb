//! The embedded journal opens a file that is damaged, truncated, not a journal, of a newer format,
//! or not completely created. Either it has all acknowledged records, or it reports the error and
//! does not change the file.

use std::fs;
use std::path::Path;

use ::redb::{Database, DatabaseError, TableDefinition};
use clawdb_session_durable::{Journal, JournalError};
use clawdb_session_host::Change;
use clawdb_session_journal_redb::RedbJournal;

use crate::redb::{Folder, open, try_open};
use crate::suite::{record, take_over, tenant};

/// Returns the bytes and the records of a file whose process was killed.
async fn killed(folder: &Folder) -> (Vec<u8>, Vec<Change>) {
    let journal = open(&folder.file()).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    let mut changes = vec![record("meta", 1)];
    changes.extend((2..=300).map(|n| record(&format!("session/{n:036}"), n)));
    // Several transactions make older versions to which redb could fall back.
    for part in changes.chunks(40) {
        writer.append(part, 0).await.unwrap();
    }
    changes.sort_by(|one, other| one.key.cmp(&other.key));
    (fs::read(folder.file()).unwrap(), changes)
}

/// Returns the bytes and the records of a file that was closed.
async fn closed(folder: &Folder) -> (Vec<u8>, Vec<Change>) {
    let (_, changes) = killed(folder).await;
    // Each `open` waits until the journal before it has closed the file.
    drop(open(&folder.file()).await);
    drop(open(&folder.file()).await);
    (fs::read(folder.file()).unwrap(), changes)
}

/// Reads all records of a file.
async fn records_of(file: &Path) -> Result<Vec<Change>, JournalError> {
    let journal = try_open(file).await?;
    let mut writer = journal.take_over(tenant(1)).await?;
    let mut records = Vec::new();
    loop {
        match writer.read().await? {
            page if page.is_empty() => return Ok(records),
            page => records.extend(page),
        }
    }
}

/// The numbers of damaged copies that were opened, and of those that were reported as damaged.
#[derive(Default)]
struct Findings {
    tried: usize,
    damaged: usize,
}

impl Findings {
    /// Opens a file with these bytes, and checks that it has all records, or is reported as damaged
    /// and not changed.
    async fn check(&mut self, folder: &Folder, what: &str, bytes: &[u8], expected: &[Change]) {
        // Each copy has another name, because the one before may not be closed yet.
        let copy = folder.0.path().join(format!("copy-{}", self.tried));
        self.tried += 1;
        fs::write(&copy, bytes).unwrap();
        match records_of(&copy).await {
            Ok(records) => assert!(
                records == expected,
                "{what}: {} of {} records, and no error",
                records.len(),
                expected.len()
            ),
            Err(JournalError::Damaged(reason)) => {
                assert!(reason.as_str().contains("copy-"), "{reason}");
                let left = fs::read(&copy).unwrap();
                let header = bytes.len().min(HEADER);
                let untouched = left.len() == bytes.len() && left[header..] == bytes[header..];
                assert!(untouched, "{what}: the file was changed");
                self.damaged += 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
        let _ = fs::remove_file(copy);
    }
}

/// The number of bytes of the file's header. redb corrects wrong values in it before it finds other
/// damage.
const HEADER: usize = 320;
/// The byte and the bit of the header that select the newer transaction of a file that was not
/// closed. No checksum covers this bit.
const NEWER_TRANSACTION: (usize, u8) = (9, 1);

async fn all_or_damaged(folder: &Folder, intact: &[u8], expected: &[Change]) {
    let mut findings = Findings::default();
    let mut damage = Vec::new();
    for at in 0..HEADER {
        damage.push((at, [1, 4, 0x5a][at % 3]));
    }
    for at in (HEADER..intact.len()).step_by(intact.len() / 200) {
        damage.push((at, 0x5a));
    }
    for (at, mask) in damage {
        if (at, mask) != NEWER_TRANSACTION {
            let mut bytes = intact.to_vec();
            bytes[at] ^= mask;
            let what = format!("byte {at} ^ {mask:#x}");
            findings.check(folder, &what, &bytes, expected).await;
        }
    }
    for at in (0..intact.len()).step_by(intact.len() / 40) {
        let what = format!("cut at {at}");
        findings.check(folder, &what, &intact[..at], expected).await;
        let mut bytes = intact.to_vec();
        bytes[at..].fill(0);
        let what = format!("zeros from {at}");
        findings.check(folder, &what, &bytes, expected).await;
    }
    let Findings { tried, damaged } = findings;
    assert!(
        damaged > 150,
        "only {damaged} of {tried} copies were reported as damaged"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_file_that_was_damaged_or_truncated_has_all_records_or_is_reported() {
    let folder = Folder::new().await;
    let (intact, expected) = closed(&folder).await;
    all_or_damaged(&folder, &intact, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_of_a_killed_process_that_was_damaged_has_all_records_or_is_reported() {
    let folder = Folder::new().await;
    let (intact, expected) = killed(&folder).await;
    all_or_damaged(&folder, &intact, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_a_journal_is_refused_and_not_changed() {
    let folder = Folder::new().await;
    for content in [&b""[..], b"x", b"not a journal\n", &[0; 8_192]] {
        fs::write(folder.file(), content).unwrap();
        let error = RedbJournal::open(folder.file()).await.err().unwrap();
        assert!(matches!(error, JournalError::Damaged(_)), "{error}");
        assert_eq!(RedbJournal::check(folder.file()), Err(error));
        assert_eq!(fs::read(folder.file()).unwrap(), content);
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_a_journal_is_refused_with_the_reason() {
    let folder = Folder::new().await;
    let root = folder.0.path();
    fs::create_dir(root.join("directory")).unwrap();
    fs::write(root.join("file"), "").unwrap();
    for (name, reason) in [
        ("directory", "is a directory"),
        ("no-such-directory/file", "there is no directory"),
        ("no-such-directory/", "there is no directory"),
        ("no-such-directory/.", "there is no directory"),
        ("file/journal", "is not a directory"),
        ("file/no-such-directory/journal", "there is no directory"),
        ("/dev/null", "is not a regular file"),
    ] {
        let path = root.join(name);
        let checked = RedbJournal::check(&path).unwrap_err();
        assert!(
            matches!(checked, JournalError::Misconfigured(_)),
            "{checked}"
        );
        let message = checked.to_string();
        assert!(
            message.contains(reason) && message.contains(name),
            "{message}"
        );
        assert_eq!(RedbJournal::open(&path).await.err(), Some(checked));
    }
    assert_eq!(RedbJournal::check(folder.file()), Ok(()));
    assert!(!folder.file().exists(), "the check creates no file");
    drop(open(&folder.file()).await);
    assert_eq!(RedbJournal::check(folder.file()), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_a_newer_format_or_of_another_kind_is_refused_with_the_reason() {
    const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
    for (format, message) in [(Some(2), "format is 2"), (None, "about")] {
        let folder = Folder::new().await;
        drop(open(&folder.file()).await);
        drop(open(&folder.file()).await);
        let database = loop {
            match Database::open(folder.file()) {
                Err(DatabaseError::DatabaseAlreadyOpen) => tokio::task::yield_now().await,
                database => break database.unwrap(),
            }
        };
        let transaction = database.begin_write().unwrap();
        match format {
            Some(format) => {
                let mut about = transaction.open_table(ABOUT).unwrap();
                about.insert("format", format).unwrap();
            }
            None => assert!(transaction.delete_table(ABOUT).unwrap()),
        }
        transaction.commit().unwrap();
        drop(database);
        let error = RedbJournal::open(folder.file()).await.err().unwrap();
        assert!(error.to_string().contains(message), "{error}");
        assert!(matches!(error, JournalError::Damaged(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_creation_was_interrupted_is_created_again() {
    let folder = Folder::new().await;
    let unfinished = folder.0.path().join("sessions.journal.new");
    for content in [&b""[..], b"redb", &[7; 4_096]] {
        fs::write(&unfinished, content).unwrap();
        let opened = try_open(&folder.file()).await;
        let journal = opened.unwrap_or_else(|error| panic!("{} bytes: {error}", content.len()));
        assert!(!unfinished.exists());
        drop(take_over(&journal, tenant(1)).await);
        drop(journal);
        drop(open(&folder.file()).await);
        fs::remove_file(folder.file()).unwrap();
    }
}
