//! What befalls a file of the embedded journal between two runs: it is damaged, cut off, foreign, of a
//! newer format, or its making was not finished. Either all that was acknowledged is there, or the
//! journal says what is wrong and leaves the file as it was found.

use std::fs;
use std::path::Path;

use ::redb::{Database, DatabaseError, TableDefinition};
use clawdb_session_durable::{Journal, JournalError};
use clawdb_session_host::Change;
use clawdb_session_journal_redb::RedbJournal;

use crate::redb::{Folder, open, try_open};
use crate::suite::{record, take_over, tenant};

/// A file as a process leaves it that is killed.
async fn killed(folder: &Folder) -> (Vec<u8>, Vec<Change>) {
    let journal = open(&folder.file()).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    let mut changes = vec![record("meta", 1)];
    changes.extend((2..=300).map(|n| record(&format!("session/{n:036}"), n)));
    // In several transactions, so that there are older ones to fall back to.
    for part in changes.chunks(40) {
        writer.append(part, 0).await.unwrap();
    }
    changes.sort_by(|one, other| one.key.cmp(&other.key));
    (fs::read(folder.file()).unwrap(), changes)
}

/// A file that was closed in the end.
async fn closed(folder: &Folder) -> (Vec<u8>, Vec<Change>) {
    let (_, changes) = killed(folder).await;
    // It opens when the first one has been closed, and the second one when the first check has.
    drop(open(&folder.file()).await);
    drop(open(&folder.file()).await);
    (fs::read(folder.file()).unwrap(), changes)
}

/// All records of a file, or what is wrong with it.
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

/// What is found in copies that were damaged.
#[derive(Default)]
struct Findings {
    tried: usize,
    damaged: usize,
}

impl Findings {
    /// Opens a file with these bytes: all is there, or it says that it is damaged and stays as it is.
    async fn look(&mut self, folder: &Folder, what: &str, bytes: &[u8], expected: &[Change]) {
        // A file of its own: the one before may not have been closed yet.
        let copy = folder.0.path().join(format!("copy-{}", self.tried));
        self.tried += 1;
        fs::write(&copy, bytes).unwrap();
        match records_of(&copy).await {
            Ok(records) => assert!(
                records == expected,
                "{what}: {} of {} records, and not a word",
                records.len(),
                expected.len()
            ),
            Err(JournalError::Damaged(reason)) => {
                assert!(reason.contains("copy-"), "{reason}");
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

/// The first bytes of a file. redb writes a wrong value among them as it should be, before it finds
/// what else is wrong.
const HEADER: usize = 320;
/// Where they say which transaction is the newer one, of a file that was not closed: the one bit that
/// nothing guards.
const NEWER: (usize, u8) = (9, 1);

async fn all_or_damaged(folder: &Folder, sound: &[u8], expected: &[Change]) {
    let mut findings = Findings::default();
    let mut damage = Vec::new();
    for at in 0..HEADER {
        damage.push((at, [1, 4, 0x5a][at % 3]));
    }
    for at in (HEADER..sound.len()).step_by(sound.len() / 200) {
        damage.push((at, 0x5a));
    }
    for (at, mask) in damage {
        if (at, mask) != NEWER {
            let mut bytes = sound.to_vec();
            bytes[at] ^= mask;
            let what = format!("byte {at} ^ {mask:#x}");
            findings.look(folder, &what, &bytes, expected).await;
        }
    }
    for at in (0..sound.len()).step_by(sound.len() / 40) {
        let what = format!("cut at {at}");
        findings.look(folder, &what, &sound[..at], expected).await;
        let mut bytes = sound.to_vec();
        bytes[at..].fill(0);
        let what = format!("zeros from {at}");
        findings.look(folder, &what, &bytes, expected).await;
    }
    let Findings { tried, damaged } = findings;
    assert!(damaged > 150, "only {damaged} of {tried} were noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_file_that_was_damaged_or_cut_off_loses_nothing_unsaid() {
    let folder = Folder::new().await;
    let (sound, expected) = closed(&folder).await;
    all_or_damaged(&folder, &sound, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_s_file_that_was_damaged_or_cut_off_loses_nothing_unsaid() {
    let folder = Folder::new().await;
    let (sound, expected) = killed(&folder).await;
    all_or_damaged(&folder, &sound, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_journal_is_refused_and_left_as_it_is() {
    let folder = Folder::new().await;
    for content in [&b""[..], b"x", b"not a journal\n", &[0; 8_192]] {
        fs::write(folder.file(), content).unwrap();
        let error = RedbJournal::open(folder.file()).await.err().unwrap();
        assert!(matches!(error, JournalError::Damaged(_)), "{error}");
        assert_eq!(fs::read(folder.file()).unwrap(), content);
    }
}

#[tokio::test]
async fn a_path_where_no_journal_can_be_is_refused_by_its_reason() {
    let folder = Folder::new().await;
    let path = folder.0.path();
    fs::create_dir(path.join("directory")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    for (name, reason) in [
        ("directory", "is a directory"),
        ("no-such-directory/file", "there is no directory"),
        ("no-such-directory/", "there is no directory"),
        ("no-such-directory/.", "there is no directory"),
        ("file/journal", "is not a directory"),
        ("/dev/null", "is not a regular file"),
    ] {
        let factory = path.join(name);
        let checked = RedbJournal::check(&factory).unwrap_err();
        assert!(
            matches!(checked, JournalError::Misconfigured(_)),
            "{checked}"
        );
        let said = checked.to_string();
        assert!(said.contains(reason) && said.contains(name), "{said}");
        assert_eq!(RedbJournal::open(&factory).await.err(), Some(checked));
    }
    assert_eq!(RedbJournal::check(folder.file()), Ok(()));
    assert!(!folder.file().exists(), "to check makes nothing");
    drop(open(&folder.file()).await);
    assert_eq!(RedbJournal::check(folder.file()), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_a_newer_format_or_another_kind_is_refused_by_name() {
    const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
    for (format, said) in [(Some(2), "format is 2"), (None, "about")] {
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
        assert!(error.to_string().contains(said), "{error}");
        assert!(matches!(error, JournalError::Damaged(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_making_was_cut_off_is_made_again() {
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
