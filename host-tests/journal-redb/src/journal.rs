//! The journal, and the thread that owns its file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use async_trait::async_trait;
use clawdb_session_durable::{Journal, JournalError, Lease, Scan, TenantId, Writer};
use clawdb_session_host::Change;
use redb::StorageBackend;
use redb::backends::FileBackend;
use tokio::sync::oneshot;

use crate::file::JournalFile;
use crate::opening;
use crate::operation::{Cursor, FencingToken, Operation, Response};

/// The maximum number of requests that are done in one transaction, besides the first.
const MAX_GROUP: usize = 4_096;

/// A journal in a file. Clones share the file, which is closed when the last clone and the last
/// writer and scan are dropped. The [crate](crate) page has an example.
#[derive(Clone)]
pub struct RedbJournal {
    requests: mpsc::Sender<Request>,
    commits: Arc<AtomicU64>,
}

/// A request to the thread that owns the file.
struct Request {
    operation: Operation,
    reply: oneshot::Sender<Result<Response, JournalError>>,
}

impl RedbJournal {
    /// Opens the file, or creates it if it does not exist.
    ///
    /// A new file has the mode 0600. Opening an existing file checks all of its pages, so it takes
    /// time in proportion to its size.
    ///
    /// # Errors
    /// - [`JournalError::Fenced`] if the file is open already, in another process or this one.
    /// - [`JournalError::Damaged`] if the file is damaged, is no journal, or has an unknown format.
    /// - [`JournalError::Misconfigured`] if the path is not a regular file, or its directory does
    ///   not exist.
    /// - [`JournalError::Unavailable`] if the file cannot be read or written.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::open_through(path, std::convert::identity).await
    }

    /// Opens the file as [`open`](Self::open) does, and reads and writes it through the backend
    /// that `wrap` makes. A backend can record, encrypt or disturb what is written.
    ///
    /// `wrap` is called each time that the file is opened: also after it has failed. The backend
    /// must pass the locks on to the one that it gets.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn open_through<B: StorageBackend>(
        path: impl AsRef<Path>,
        wrap: impl Fn(FileBackend) -> B + Send + 'static,
    ) -> Result<Self, JournalError> {
        let path = path.as_ref().to_owned();
        let open_database = opening::open_through(wrap);
        let (requests, received) = mpsc::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let (opened, open) = oneshot::channel();
        let counter = Arc::clone(&commits);
        thread::spawn(move || match JournalFile::open(path, open_database) {
            Ok(file) => {
                let _ = opened.send(Ok(()));
                run_thread(file, &received, &counter);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        });
        open.await.unwrap_or_else(|_| Err(thread_ended()))?;
        Ok(Self { requests, commits })
    }

    /// Checks that a path is the file of a journal or can become one. It does not open the journal,
    /// and reads only the first bytes of the file. [`open`](Self::open) calls this.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), except for `Fenced`.
    pub fn check(path: impl AsRef<Path>) -> Result<(), JournalError> {
        opening::check(path.as_ref())
    }

    /// Returns the number of transactions that were committed since the file was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Sends an operation to the thread and waits for its response.
    async fn ask(&self, operation: Operation) -> Result<Response, JournalError> {
        let (reply, replied) = oneshot::channel();
        let _ = self.requests.send(Request { operation, reply });
        replied.await.unwrap_or_else(|_| Err(thread_ended()))
    }
}

/// Runs the thread that owns the file until the last handle of the journal is dropped.
fn run_thread(mut file: JournalFile, requests: &mpsc::Receiver<Request>, commits: &AtomicU64) {
    while let Ok(first) = requests.recv() {
        let more = requests.try_iter().take(MAX_GROUP);
        let group: Vec<Request> = std::iter::once(first).chain(more).collect();
        let operations: Vec<&Operation> = group.iter().map(|request| &request.operation).collect();
        let (outcomes, committed) = file.execute(&operations);
        commits.fetch_add(committed.into(), Ordering::Relaxed);
        for (request, outcome) in group.into_iter().zip(outcomes) {
            // This fails if the caller was cancelled. Its operation has been done.
            let _ = request.reply.send(outcome);
        }
    }
}

fn thread_ended() -> JournalError {
    JournalError::Unavailable("the thread that owns the journal's file has ended".into())
}

#[async_trait]
impl Journal for RedbJournal {
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        match self.ask(Operation::TakeOver(tenant)).await? {
            Response::TakenOver(fencing_token, lease, len) => Ok(Box::new(RedbWriter {
                journal: self.clone(),
                tenant,
                fencing_token,
                lease,
                len,
                records: RedbScan::new(self.clone(), tenant),
            })),
            _ => Err(thread_ended()),
        }
    }

    async fn exists(&self, tenant: TenantId) -> Result<bool, JournalError> {
        match self.ask(Operation::Exists(tenant)).await? {
            Response::Exists(exists) => Ok(exists),
            _ => Err(thread_ended()),
        }
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
        let mut tenants: Vec<TenantId> = Vec::new();
        loop {
            let after = tenants.last().copied();
            match self.ask(Operation::Tenants(after)).await? {
                Response::Tenants(page) if page.is_empty() => return Ok(tenants),
                Response::Tenants(page) => tenants.extend(page),
                _ => return Err(thread_ended()),
            }
        }
    }

    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError> {
        match self.ask(Operation::Record(tenant, key.to_owned())).await? {
            Response::Record(record) => Ok(record),
            _ => Err(thread_ended()),
        }
    }

    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError> {
        Ok(Box::new(RedbScan::new(self.clone(), tenant)))
    }
}

/// A scan of a tenant's records, a page at a time.
struct RedbScan {
    journal: RedbJournal,
    tenant: TenantId,
    /// The cursor of the next page; `None` after the last page.
    next: Option<Cursor>,
}

impl RedbScan {
    fn new(journal: RedbJournal, tenant: TenantId) -> Self {
        Self {
            journal,
            tenant,
            next: Some(Cursor::start()),
        }
    }
}

#[async_trait]
impl Scan for RedbScan {
    async fn next(&mut self) -> Result<Vec<Change>, JournalError> {
        let Some(next) = self.next.clone() else {
            return Ok(Vec::new());
        };
        match self.journal.ask(Operation::Read(self.tenant, next)).await? {
            Response::Page(changes, next) => {
                self.next = next;
                Ok(changes)
            }
            _ => Err(thread_ended()),
        }
    }
}

struct RedbWriter {
    journal: RedbJournal,
    tenant: TenantId,
    fencing_token: FencingToken,
    lease: Lease,
    len: u64,
    records: RedbScan,
}

#[async_trait]
impl Writer for RedbWriter {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read(&mut self) -> Result<Vec<Change>, JournalError> {
        self.records.next().await
    }

    async fn append(&mut self, changes: &[Change], now: u64) -> Result<(), JournalError> {
        let operation = Operation::Append {
            tenant: self.tenant,
            fencing_token: self.fencing_token,
            changes: changes.to_vec(),
            now,
        };
        let appended = self.journal.ask(operation).await;
        if let Err(JournalError::Fenced(_)) = &appended {
            self.lease.end();
        }
        appended.map(drop)
    }

    async fn renew(&mut self) -> Result<(), JournalError> {
        if self.lease.is_valid() {
            return Ok(());
        }
        let reason = "another writer has taken it over, or the file could not be reopened";
        Err(JournalError::Fenced(reason.into()))
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    async fn release(self: Box<Self>) -> Result<(), JournalError> {
        self.lease.end();
        Ok(())
    }
}
