//! The embedded journal when a read or a sync of its file fails.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use ::redb::backends::FileBackend;
use ::redb::{BackendError, Database, DatabaseError, StorageBackend, TableDefinition};
use clawdb_session_durable::{Journal, JournalError};
use clawdb_session_journal_redb::RedbJournal;
use futures::poll;
use tokio::runtime::Handle;

use crate::redb::{Folder, once_closed, open};
use crate::suite::{record, take_over, tenant};

/// What the next sync of a file does. The test sets it.
#[derive(Debug)]
struct NextSync {
    fails: AtomicBool,
    /// Whether the sync waits for the test twice: when it begins, and before it ends.
    waits: AtomicBool,
    barrier: Barrier,
}

impl NextSync {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            fails: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            barrier: Barrier::new(2),
        })
    }
}

/// A file whose next sync can wait or fail.
#[derive(Debug)]
struct Disturbed {
    file: FileBackend,
    next_sync: Arc<NextSync>,
}

impl StorageBackend for Disturbed {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if self.next_sync.waits.swap(false, Ordering::SeqCst) {
            self.next_sync.barrier.wait();
            self.next_sync.barrier.wait();
        }
        if self.next_sync.fails.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("the disk does not answer"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// Opens the database of a file without the journal, once the journal before has closed it.
fn database(file: &Path) -> Database {
    loop {
        match Database::open(file) {
            Err(DatabaseError::DatabaseAlreadyOpen) => thread::yield_now(),
            database => return database.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_does_not_affect_the_append_of_its_transaction() {
    const RECORDS: TableDefinition<&[u8], (u64, u64, &[u8])> = TableDefinition::new("records");
    let folder = Folder::new().await;
    drop(open(&folder.file()).await);
    {
        // The record of tenant 2 is not UTF-8.
        let database = database(&folder.file());
        let transaction = database.begin_write().unwrap();
        let key = [&tenant(2).workspace().as_bytes()[..], b"meta"].concat();
        let damaged = (1_u64, u64::MAX, &b"\xff"[..]);
        let mut records = transaction.open_table(RECORDS).unwrap();
        records.insert(key.as_slice(), damaged).unwrap();
        drop(records);
        transaction.commit().unwrap();
    }
    let next_sync = NextSync::new();
    let opened = Arc::new(AtomicUsize::new(0));
    let wrap = {
        let (next_sync, opened) = (Arc::clone(&next_sync), Arc::clone(&opened));
        move |file| {
            opened.fetch_add(1, Ordering::SeqCst);
            Disturbed {
                file,
                next_sync: Arc::clone(&next_sync),
            }
        }
    };
    let journal = once_closed(|| RedbJournal::open_through(folder.file(), wrap.clone())).await;
    let journal = journal.unwrap();
    let mut first = take_over(&journal, tenant(1)).await;
    let mut other = take_over(&journal, tenant(3)).await;
    let changes = [record("meta", 1)];
    let opened_before = opened.load(Ordering::SeqCst);

    // The append and the read wait during a sync, so the next transaction is for both of them.
    next_sync.waits.store(true, Ordering::SeqCst);
    let (before, appended, read) = {
        let mut before = pin!(other.append(&changes, 0));
        assert!(poll!(&mut before).is_pending());
        next_sync.barrier.wait();
        let mut append = pin!(first.append(&changes, 0));
        let mut read = pin!(journal.record(tenant(2), "meta"));
        assert!(poll!(&mut append).is_pending());
        assert!(poll!(&mut read).is_pending());
        next_sync.barrier.wait();
        tokio::join!(before, append, read)
    };
    assert_eq!(before, Ok(()));
    assert!(matches!(read, Err(JournalError::Damaged(_))), "{read:?}");
    assert_eq!(appended, Ok(()));
    // After a failed read, redb could refuse all later operations.
    assert_eq!(opened.load(Ordering::SeqCst), opened_before + 1);

    assert!(first.lease().is_valid() && other.lease().is_valid());
    first.append(&[record("meta", 2)], 0).await.unwrap();
    let stored = journal.record(tenant(1), "meta").await.unwrap();
    assert_eq!(stored, Some(record("meta", 2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_tenant_that_was_taken_over_while_the_file_was_closed_ends() {
    let folder = Folder::new().await;
    let file = folder.file();
    let next_sync = NextSync::new();
    let opened = Arc::new(AtomicUsize::new(0));
    let wrap = {
        let (file, runtime) = (file.clone(), Handle::current());
        let (next_sync, opened) = (Arc::clone(&next_sync), Arc::clone(&opened));
        move |backend| {
            // The journal has closed the file, and has not locked it again.
            if opened.fetch_add(1, Ordering::SeqCst) == 1 {
                runtime.block_on(async {
                    let meanwhile = open(&file).await;
                    let mut writer = take_over(&meanwhile, tenant(1)).await;
                    writer.append(&[record("meta", 2)], 0).await.unwrap();
                });
                drop(database(&file));
            }
            Disturbed {
                file: backend,
                next_sync: Arc::clone(&next_sync),
            }
        }
    };
    let journal = RedbJournal::open_through(&file, wrap).await.unwrap();
    let mut writer = take_over(&journal, tenant(1)).await;
    let mut other = take_over(&journal, tenant(2)).await;

    next_sync.fails.store(true, Ordering::SeqCst);
    let failed = other.append(&[record("meta", 1)], 0).await;
    assert!(
        matches!(failed, Err(JournalError::Unavailable(_))),
        "{failed:?}"
    );
    assert_eq!(opened.load(Ordering::SeqCst), 2);
    assert!(!writer.lease().is_valid());
    assert!(matches!(writer.renew().await, Err(JournalError::Fenced(_))));
    let stored = journal.record(tenant(1), "meta").await.unwrap();
    assert_eq!(stored, Some(record("meta", 2)));

    // Nobody has taken the other tenant over.
    assert!(other.lease().is_valid());
    other.append(&[record("meta", 1)], 0).await.unwrap();
}
