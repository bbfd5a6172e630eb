//! The embedded journal: the suite, and what a file can suffer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clawdb_session_host::bindings::exports::clawdb::session::persistence::Change;
use clawdb_session_host::journal::redb::RedbJournal;
use clawdb_session_host::journal::{Journal, JournalError};
use futures::future::join_all;

use crate::suite::{Place, every_journal, read, record, take_over, tenant};

struct Folder(tempfile::TempDir);

impl Folder {
    #[expect(clippy::unused_async, reason = "as the suite wants it")]
    async fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("sessions.journal")
    }
}

impl Place for Folder {
    async fn open(&self) -> Box<dyn Journal> {
        Box::new(open(&self.file()).await)
    }
}

every_journal! { Folder::new() }

/// Opens the file as soon as who had it before has let go of it.
async fn open(file: &Path) -> RedbJournal {
    try_open(file).await.expect("the journal opens")
}

async fn try_open(file: &Path) -> Result<RedbJournal, JournalError> {
    let begun = Instant::now();
    loop {
        match RedbJournal::open(file).await {
            Err(JournalError::Fenced(_)) if begun.elapsed() < Duration::from_secs(10) => {
                tokio::task::yield_now().await;
            }
            opened => return opened,
        }
    }
}

/// A journal with so many records, closed.
async fn filled(file: &Path, records: u64) -> Vec<Change> {
    let journal = open(file).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    let mut changes = vec![record("meta", 1)];
    changes.extend((2..=records).map(|n| record(&format!("session/{n:036}"), n)));
    writer.append(&changes, 0).await.unwrap();
    drop((writer, journal));
    drop(open(file).await);
    changes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_come_together_share_a_commit() {
    let folder = Folder::new().await;
    let journal = open(&folder.file()).await;
    let writers = (0..64).map(|number| take_over(&journal, tenant(number)));
    let mut writers = join_all(writers).await;
    let before = journal.commits();
    for sequence in 1..=4 {
        let changes = [record("meta", sequence)];
        let appends = writers.iter_mut().map(|writer| writer.append(&changes, 0));
        assert!(join_all(appends).await.iter().all(Result::is_ok));
    }
    let commits = journal.commits() - before;
    assert!(
        (4..64).contains(&commits),
        "256 appends took {commits} commits"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_the_others_of_its_group_alone() {
    let folder = Folder::new().await;
    let journal = open(&folder.file()).await;
    let mut old = take_over(&journal, tenant(1)).await;
    let mut new = take_over(&journal, tenant(1)).await;
    let mut others = join_all((2..10).map(|number| take_over(&journal, tenant(number)))).await;
    let changes = [record("meta", 1)];
    let appends = others.iter_mut().map(|writer| writer.append(&changes, 0));
    let (refused, kept, all) = tokio::join!(
        old.append(&changes, 0),
        new.append(&changes, 0),
        join_all(appends)
    );
    assert!(matches!(refused, Err(JournalError::Fenced(_))));
    assert!(kept.is_ok() && all.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_one_has_open_is_refused_by_name() {
    let folder = Folder::new().await;
    let journal = open(&folder.file()).await;
    let error = RedbJournal::open(folder.file()).await.err().unwrap();
    let named = error.to_string().contains("sessions.journal");
    assert!(named && matches!(error, JournalError::Fenced(_)), "{error}");
    drop(journal);
    open(&folder.file()).await;
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
    let nowhere = folder.0.path().join("no-such-folder/file");
    let error = RedbJournal::open(nowhere).await.err().unwrap();
    assert!(matches!(error, JournalError::Unavailable(_)), "{error}");
}

/// Opens a file that was damaged: either it says so, or all records are there.
async fn all_or_damaged(file: &Path, expected: &[Change], what: &str) -> bool {
    let journal = match try_open(file).await {
        Ok(journal) => journal,
        Err(JournalError::Damaged(_)) => return false,
        Err(error) => panic!("{what}: {error}"),
    };
    match journal.take_over(tenant(1)).await {
        Ok(mut writer) => {
            let mut records = Vec::new();
            loop {
                match writer.read().await {
                    Ok(page) if page.is_empty() => break,
                    Ok(page) => records.extend(page),
                    Err(JournalError::Damaged(_)) => return false,
                    Err(error) => panic!("{what}: {error}"),
                }
            }
            assert_eq!(records.len(), expected.len(), "{what}");
            assert!(records == expected, "{what}: other records");
            true
        }
        Err(JournalError::Damaged(_)) => false,
        Err(error) => panic!("{what}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_damaged_or_cut_off_says_so_and_loses_nothing_unsaid() {
    let folder = Folder::new().await;
    let mut expected = filled(&folder.file(), 300).await;
    expected.sort_by(|one, other| one.key.cmp(&other.key));
    let sound = fs::read(folder.file()).unwrap();
    let copy = folder.0.path().join("copy");
    let (mut damaged, mut tried) = (0, 0);
    let step = sound.len() / 150;
    for at in (0..sound.len()).step_by(step) {
        let mut bytes = sound.clone();
        let hit = bytes.len().min(at + 16);
        bytes[at..hit].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&copy, &bytes).unwrap();
        let whole = all_or_damaged(&copy, &expected, &format!("bytes at {at}")).await;
        damaged += usize::from(!whole);
        tried += 1;
    }
    for len in (0..sound.len()).step_by(sound.len() / 40) {
        fs::write(&copy, &sound[..len]).unwrap();
        let whole = all_or_damaged(&copy, &expected, &format!("cut at {len}")).await;
        damaged += usize::from(!whole);
        tried += 1;
    }
    assert!(damaged > 20, "only {damaged} of {tried} were noticed");
}

/// A small disk of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]);
        let mounted = mount
            .arg(folder.path())
            .status()
            .expect("there is a mount command");
        assert!(
            mounted.success(),
            "this test mounts a small disk, which only root may"
        );
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_loses_nothing_and_takes_nothing_by_halves() {
    let disk = SmallDisk::mount();
    let file = disk.0.path().join("sessions.journal");
    let ballast = disk.0.path().join("ballast");
    let journal = open(&file).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    let page = |n: u64| -> Vec<Change> {
        let of_page = |at: u64| Change {
            value: "x".repeat(4_000),
            ..record(&format!("session/{n:018}{at:018}"), n * 10 + at)
        };
        (0..10).map(of_page).collect()
    };
    writer.append(&page(0), 0).await.unwrap();
    let mut acknowledged = page(0);
    fs::write(&ballast, vec![0; 3 << 20]).unwrap_err();
    let (mut refused, mut n) = (0, 1);
    while refused < 3 {
        match writer.append(&page(n), 0).await {
            Ok(()) => acknowledged.extend(page(n)),
            Err(JournalError::Unavailable(reason)) => {
                assert!(reason.contains("sessions.journal"), "{reason}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        n += 1;
        assert!(n < 1_000, "the disk is never full");
    }
    // There is room again, and the same writer goes on.
    fs::remove_file(&ballast).unwrap();
    writer.append(&page(n), 0).await.unwrap();
    acknowledged.extend(page(n));
    drop((writer, journal));
    let journal = open(&file).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    acknowledged.sort_by(|one, other| one.key.cmp(&other.key));
    assert!(
        read(&mut *writer).await == acknowledged,
        "all that was acknowledged, and nothing else"
    );
    drop((writer, journal));
    drop(open(&file).await);
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
