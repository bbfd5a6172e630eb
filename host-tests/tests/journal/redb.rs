//! The embedded journal: the suite, group commit, and one process at a time.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use clawdb_session_durable::{DurableError, Journal, JournalError};
use clawdb_session_host::full_text;
use clawdb_session_journal_redb::RedbJournal;
use clawdb_session_testkit::fixture::chain_texts;
use futures::future::join_all;

use crate::suite::{JournalFactory, every_journal, record, stored_records, take_over, tenant};

pub struct Folder(pub tempfile::TempDir);

impl Folder {
    #[expect(clippy::unused_async, reason = "the suite awaits it")]
    pub async fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn file(&self) -> PathBuf {
        self.0.path().join("sessions.journal")
    }
}

impl JournalFactory for Folder {
    async fn open(&self) -> Box<dyn Journal> {
        Box::new(open(&self.file()).await)
    }
}

every_journal! { Folder::new() }

/// Opens the file, once the process or journal before has closed it.
pub async fn open(file: &Path) -> RedbJournal {
    try_open(file).await.expect("the journal opens")
}

pub async fn try_open(file: &Path) -> Result<RedbJournal, JournalError> {
    once_closed(|| RedbJournal::open(file)).await
}

/// Opens a file once the process or journal before has closed it.
pub async fn once_closed<F>(open: impl Fn() -> F) -> Result<RedbJournal, JournalError>
where
    F: Future<Output = Result<RedbJournal, JournalError>>,
{
    let begun = Instant::now();
    loop {
        match open().await {
            Err(JournalError::Fenced(_)) if begun.elapsed() < Duration::from_secs(10) => {
                tokio::task::yield_now().await;
            }
            opened => return opened,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_share_a_commit() {
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
async fn a_refused_append_does_not_affect_the_others_of_its_group() {
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
async fn a_file_that_another_journal_has_open_is_refused_with_its_name() {
    let folder = Folder::new().await;
    let journal = open(&folder.file()).await;
    let error = RedbJournal::open(folder.file()).await.err().unwrap();
    let named = error.to_string().contains("sessions.journal");
    assert!(named && matches!(error, JournalError::Fenced(_)), "{error}");
    drop(journal);
    open(&folder.file()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_of_redb_is_the_source_of_the_journal_s_and_of_the_durable_host_s() {
    let folder = Folder::new().await;
    drop(open(&folder.file()).await);
    drop(open(&folder.file()).await);
    let bytes = fs::read(folder.file()).unwrap();
    let copy = folder.0.path().join("copy");
    fs::write(&copy, &bytes[..bytes.len() / 2]).unwrap();
    let error = RedbJournal::open(&copy).await.err().unwrap();
    assert!(matches!(error, JournalError::Damaged(_)), "{error}");
    assert!(error.source().unwrap().is::<redb::Error>());
    let texts = chain_texts(&error);
    let error = DurableError::from(error);
    assert!(error.source().unwrap().is::<redb::Error>());
    assert_eq!(chain_texts(&error), texts);
    assert_eq!(full_text(&error), texts.join(": "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_of_the_system_is_the_source_of_a_retry() {
    let folder = Folder::new().await;
    let too_long = folder.0.path().join("x".repeat(1_000));
    let error = RedbJournal::check(too_long).unwrap_err();
    assert!(matches!(error, JournalError::Unavailable(_)), "{error}");
    let retry = DurableError::from(error.clone());
    assert!(retry.source().unwrap().is::<io::Error>());
    let texts = chain_texts(&retry);
    assert_eq!(texts[0], format!("not available now: {error}"));
    assert_eq!(texts.len(), 2);
    let DurableError::Retry(reason) = retry else {
        panic!("{retry}");
    };
    let cause = reason.cause().unwrap().downcast_ref::<JournalError>();
    assert_eq!(cause, Some(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_of_several_concurrent_take_overs_can_append() {
    let folder = Folder::new().await;
    let journal = open(&folder.file()).await;
    // `suite::take_over` cannot be used, because it needs a valid lease.
    let taken = join_all((0..16).map(|_| journal.take_over(tenant(1)))).await;
    let mut writers: Vec<_> = taken.into_iter().map(Result::unwrap).collect();
    let held = writers.iter().filter(|writer| writer.lease().is_valid());
    assert_eq!(held.count(), 1);
    let changes = [record("meta", 1)];
    let mut appended = 0;
    for writer in &mut writers {
        let held = writer.lease().is_valid();
        let kept = writer.append(&changes, 0).await.is_ok();
        assert_eq!(held, kept);
        appended += usize::from(kept);
    }
    assert_eq!(appended, 1);
    drop((writers, journal));
    assert_eq!(stored_records(&folder, tenant(1)).await, changes);
}
