//! The journal, and the thread that owns its file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use async_trait::async_trait;
use clawdb_session_durable::{Journal, JournalError, Lease, Scan, TenantId, Writer};
use clawdb_session_host::Change;
use tokio::sync::oneshot;

use crate::file::JournalFile;
use crate::opening;
use crate::operation::{Cursor, FencingToken, Operation, Response};

/// How many requests go into one transaction at most.
const MAX_GROUP: usize = 4_096;

/// A journal in a file. Clones are the same journal; the file is closed when the last one is gone, with
/// all writers.
#[derive(Clone)]
pub struct RedbJournal {
    requests: mpsc::Sender<Request>,
    commits: Arc<AtomicU64>,
}

/// Something for the thread that owns the file.
struct Request {
    operation: Operation,
    reply: oneshot::Sender<Result<Response, JournalError>>,
}

impl RedbJournal {
    /// Opens the file, or makes it where there is none.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] when another process has it open, [`JournalError::Damaged`] when it is
    /// no journal, of a newer kind or damaged, [`JournalError::Misconfigured`] when the path is a
    /// directory or its directory does not exist, [`JournalError::Unavailable`] when it cannot be read
    /// or written.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let path = path.as_ref().to_owned();
        let (requests, received) = mpsc::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let (opened, open) = oneshot::channel();
        let counter = Arc::clone(&commits);
        thread::spawn(move || match JournalFile::open(path) {
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

    /// Checks, without opening a journal, whether the path is one or can become one.
    /// [`open`](Self::open) calls this.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), but for `Fenced`.
    pub fn check(path: impl AsRef<Path>) -> Result<(), JournalError> {
        opening::check(path.as_ref())
    }

    /// How many transactions were committed since the file was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    async fn ask(&self, operation: Operation) -> Result<Response, JournalError> {
        let (reply, replied) = oneshot::channel();
        let _ = self.requests.send(Request { operation, reply });
        replied.await.unwrap_or_else(|_| Err(thread_ended()))
    }
}

/// The thread that owns the file.
fn run_thread(mut file: JournalFile, requests: &mpsc::Receiver<Request>, commits: &AtomicU64) {
    while let Ok(first) = requests.recv() {
        let more = requests.try_iter().take(MAX_GROUP);
        let group: Vec<Request> = std::iter::once(first).chain(more).collect();
        let operations: Vec<&Operation> = group.iter().map(|request| &request.operation).collect();
        let (outcomes, committed) = file.execute(&operations);
        commits.fetch_add(committed.into(), Ordering::Relaxed);
        for (request, outcome) in group.into_iter().zip(outcomes) {
            // Who does not wait any more finds it in the journal.
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

/// Reads a tenant's records, a page at a time.
struct RedbScan {
    journal: RedbJournal,
    tenant: TenantId,
    /// Where the next page begins. None after the last one.
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
        let reason = "another writer has taken it over, or the file was lost meanwhile";
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
