//! The transactions of the file.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clawdb_session_durable::{JournalError, Lease, Reason, TenantId};
use clawdb_session_host::Change;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table};
use uuid::Uuid;

use crate::opening::{OpenDatabase, catch_panics, open, open_existing};
use crate::operation::{Cursor, FencingToken, Operation, Response};
use crate::tables::{DUE, OWNERS, RECORDS};

/// The stored `forget-at` of a record that has none.
const NEVER: u64 = u64::MAX;
/// The maximum number of expired records that one append removes, so that no append takes long.
const MAX_REMOVED: usize = 64;
/// The maximum number of records of a page.
const PAGE_ROWS: usize = 1_000;
/// The number of bytes of values after which a page takes no further record.
const PAGE_BYTES: usize = 1 << 20;
/// The maximum number of tenants of a page.
const PAGE_TENANTS: usize = 10_000;

/// The outcome of one operation of a transaction that did not fail as a whole.
type Outcome = Result<Response, JournalError>;

/// The file. It is reopened after it has failed.
pub(super) struct JournalFile {
    path: PathBuf,
    open_database: Box<OpenDatabase>,
    database: Option<Database>,
    leases: Leases,
}

/// The newest lease of each tenant, and the fencing token of its take-over.
type Leases = HashMap<TenantId, (FencingToken, Lease)>;

impl JournalFile {
    pub fn open(path: PathBuf, open_database: Box<OpenDatabase>) -> Result<Self, JournalError> {
        let database = catch_panics(&path, || open(&path, &open_database))?;
        Ok(Self {
            path,
            open_database,
            database: Some(database),
            leases: Leases::new(),
        })
    }

    /// Does the operations in one transaction and returns their outcomes, and whether a transaction
    /// was committed. An operation that is refused does not affect the others. If the transaction
    /// fails, all operations fail. A read that fails after it affects no change, but later reads.
    pub fn execute(&mut self, operations: &[&Operation]) -> (Vec<Outcome>, bool) {
        match self.try_execute(operations) {
            Ok(done) => done,
            Err(error) => (
                operations.iter().map(|_| Err(error.clone())).collect(),
                false,
            ),
        }
    }

    fn try_execute(
        &mut self,
        operations: &[&Operation],
    ) -> Result<(Vec<Outcome>, bool), JournalError> {
        if self.database.is_none() {
            self.reopen()?;
        }
        self.execute_open(operations).inspect_err(|_| {
            // The file is reopened at once, because another process can open it while it is closed.
            let _ = self.reopen();
        })
    }

    /// Reopens the file, because after an I/O error redb refuses all operations on an open file. If
    /// that fails, all leases end: another process may have the file. Otherwise, the leases of the
    /// tenants end that another process has taken over while the file was closed.
    fn reopen(&mut self) -> Result<(), JournalError> {
        let broken = self.database.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        self.leases.retain(|_, (_, lease)| lease.is_valid());
        let reopened = catch_panics(&self.path, || {
            let opened = open_existing(&self.path, &self.open_database)?;
            if let Ok(database) = &opened {
                end_lost_leases(database, &self.leases)?;
            }
            Ok(opened)
        });
        match reopened {
            Ok(database) => {
                self.database = Some(database);
                Ok(())
            }
            Err(error) => {
                self.leases.drain().for_each(|(_, (_, lease))| lease.end());
                Err(error)
            }
        }
    }

    fn execute_open(
        &mut self,
        operations: &[&Operation],
    ) -> Result<(Vec<Outcome>, bool), JournalError> {
        let Some(database) = &self.database else {
            let reason = format!("{} is closed", self.path.display());
            return Err(JournalError::Unavailable(reason.into()));
        };
        let writes = operations.iter().any(|operation| {
            matches!(operation, Operation::TakeOver(_) | Operation::Append { .. })
        });
        let mut outcomes = if writes {
            catch_panics(&self.path, || Ok(Ok(write(database, operations)?)))?
        } else {
            operations.iter().map(|_| Ok(Response::Done)).collect()
        };
        // Reads and leases come after the commit, so that they depend only on what is on the disk.
        let mut read_failed = false;
        for (operation, outcome) in operations.iter().zip(&mut outcomes) {
            let answer = match operation {
                Operation::Read(tenant, cursor) => {
                    catch_panics(&self.path, || read(database, *tenant, cursor))
                }
                Operation::Exists(tenant) => catch_panics(&self.path, || exists(database, *tenant)),
                Operation::Tenants(after) => catch_panics(&self.path, || tenants(database, *after)),
                Operation::Record(tenant, key) => {
                    catch_panics(&self.path, || record(database, *tenant, key))
                }
                Operation::TakeOver(tenant) => {
                    if let Ok(Response::TakenOver(fencing_token, lease, _)) = outcome {
                        let taken_over = (*fencing_token, lease.clone());
                        if let Some((_, before)) = self.leases.insert(*tenant, taken_over) {
                            before.end();
                        }
                    }
                    continue;
                }
                Operation::Append { .. } => continue,
            };
            read_failed |= answer.is_err();
            *outcome = answer;
        }
        if read_failed {
            // The changes are durable, whether or not the file can be reopened.
            let _ = self.reopen();
        }
        Ok((outcomes, writes))
    }
}

/// Ends the lease of each tenant whose newest take-over is another one.
fn end_lost_leases(database: &Database, leases: &Leases) -> Result<(), redb::Error> {
    let owners = database.begin_read()?.open_table(OWNERS)?;
    for (tenant, (fencing_token, lease)) in leases {
        let owner = owners.get(prefix(*tenant).as_slice())?;
        if owner.is_none_or(|owner| owner.value().0 != *fencing_token) {
            lease.end();
        }
    }
    Ok(())
}

/// Does the take-overs and appends among the operations in one transaction.
fn write(database: &Database, operations: &[&Operation]) -> Result<Vec<Outcome>, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // The second sync confirms the first one. Without it, redb treats damage to the last
    // transaction as an interrupted write and returns to the transaction before it.
    transaction.set_two_phase_commit(true);
    let mut outcomes = Vec::with_capacity(operations.len());
    {
        let mut tables = Tables {
            records: transaction.open_table(RECORDS)?,
            due: transaction.open_table(DUE)?,
            owners: transaction.open_table(OWNERS)?,
        };
        for operation in operations {
            outcomes.push(match operation {
                Operation::TakeOver(tenant) => Ok(tables.take_over(*tenant)?),
                Operation::Append {
                    tenant,
                    fencing_token,
                    changes,
                    now,
                } => tables.append(*tenant, *fencing_token, changes, *now)?,
                Operation::Read(..)
                | Operation::Exists(_)
                | Operation::Tenants(_)
                | Operation::Record(..) => Ok(Response::Done),
            });
        }
    }
    transaction.commit()?;
    Ok(outcomes)
}

struct Tables<'a> {
    records: Table<'a, &'static [u8], (u64, u64, &'static [u8])>,
    due: Table<'a, &'static [u8], ()>,
    owners: Table<'a, &'static [u8], (u64, u64)>,
}

impl Tables<'_> {
    /// Returns the newest fencing token of a tenant and the number of its records.
    fn owner(&self, tenant: TenantId) -> Result<(FencingToken, u64), redb::Error> {
        let owner = self.owners.get(prefix(tenant).as_slice())?;
        Ok(owner.map_or((0, 0), |owner| owner.value()))
    }

    fn take_over(&mut self, tenant: TenantId) -> Result<Response, redb::Error> {
        let (fencing_token, len) = self.owner(tenant)?;
        let fencing_token = fencing_token.saturating_add(1);
        self.owners
            .insert(prefix(tenant).as_slice(), (fencing_token, len))?;
        Ok(Response::TakenOver(fencing_token, Lease::unlimited(), len))
    }

    fn append(
        &mut self,
        tenant: TenantId,
        fencing_token: FencingToken,
        changes: &[Change],
        now: u64,
    ) -> Result<Outcome, redb::Error> {
        let (owner, mut len) = self.owner(tenant)?;
        if owner != fencing_token {
            let reason = "another writer of this file has taken it over";
            return Ok(Err(JournalError::Fenced(reason.into())));
        }
        for change in changes {
            let key = change.key.as_bytes();
            let is_new = !self.remove(tenant, key)?;
            len = len.saturating_add(is_new.into());
            let forget_at = change.forget_at.unwrap_or(NEVER);
            let record = (change.sequence, forget_at, change.value.as_bytes());
            self.records.insert(join(tenant, key).as_slice(), record)?;
            if forget_at != NEVER {
                let due = due_key(tenant, forget_at, key);
                self.due.insert(due.as_slice(), ())?;
            }
        }
        for key in self.expired_keys(tenant, now)? {
            let was_there = self.remove(tenant, &key)?;
            len = len.saturating_sub(was_there.into());
        }
        self.owners
            .insert(prefix(tenant).as_slice(), (fencing_token, len))?;
        Ok(Ok(Response::Done))
    }

    /// Removes a record. Returns whether it existed.
    fn remove(&mut self, tenant: TenantId, key: &[u8]) -> Result<bool, redb::Error> {
        let removed = self.records.remove(join(tenant, key).as_slice())?;
        let Some(forget_at) = removed.map(|record| record.value().1) else {
            return Ok(false);
        };
        if forget_at != NEVER {
            let due = due_key(tenant, forget_at, key);
            self.due.remove(due.as_slice())?;
        }
        Ok(true)
    }

    /// Returns the keys of records whose `forget-at` is at or before `now`, at most 64.
    fn expired_keys(&self, tenant: TenantId, now: u64) -> Result<Vec<Vec<u8>>, redb::Error> {
        let from = due_key(tenant, 0, &[]);
        let to = due_key(tenant, now.saturating_add(1), &[]);
        let due = self.due.range(from.as_slice()..to.as_slice())?;
        let keys = due.take(MAX_REMOVED).map(|entry| {
            let (key, _) = entry?;
            Ok(key.value().get(from.len()..).unwrap_or_default().to_vec())
        });
        keys.collect()
    }
}

fn exists(database: &Database, tenant: TenantId) -> Result<Outcome, redb::Error> {
    let owners = database.begin_read()?.open_table(OWNERS)?;
    let owner = owners.get(prefix(tenant).as_slice())?;
    Ok(Ok(Response::Exists(owner.is_some())))
}

fn tenants(database: &Database, after: Option<TenantId>) -> Result<Outcome, redb::Error> {
    let owners = database.begin_read()?.open_table(OWNERS)?;
    // Each key has 16 bytes, so the key with one more byte is between it and the next one.
    let from = after.map_or_else(Vec::new, |after| join(after, &[0]));
    let mut tenants = Vec::new();
    for owner in owners.range(from.as_slice()..)?.take(PAGE_TENANTS) {
        let (key, _) = owner?;
        let Ok(workspace) = Uuid::from_slice(key.value()) else {
            let length = key.value().len();
            let reason = format!("the id of a tenant has {length} bytes, not 16");
            return Ok(Err(JournalError::Damaged(reason.into())));
        };
        tenants.push(TenantId::new(workspace));
    }
    Ok(Ok(Response::Tenants(tenants)))
}

fn record(database: &Database, tenant: TenantId, key: &str) -> Result<Outcome, redb::Error> {
    let records = database.begin_read()?.open_table(RECORDS)?;
    let found = records.get(join(tenant, key.as_bytes()).as_slice())?;
    let found = found.map(|record| change(key.as_bytes(), record.value()));
    Ok(found.transpose().map(Response::Record))
}

/// Converts a stored record into a change.
fn change(key: &[u8], record: (u64, u64, &[u8])) -> Result<Change, JournalError> {
    let (sequence, forget_at, value) = record;
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map(str::to_owned);
        text.map_err(|error| {
            JournalError::Damaged(Reason::with_source("a record is not UTF-8", error))
        })
    };
    Ok(Change {
        sequence,
        key: text(key)?,
        value: text(value)?,
        forget_at: (forget_at != NEVER).then_some(forget_at),
    })
}

/// Reads the page of a tenant's records after the cursor.
fn read(database: &Database, tenant: TenantId, cursor: &Cursor) -> Result<Outcome, redb::Error> {
    let records = database.begin_read()?.open_table(RECORDS)?;
    let prefix = prefix(tenant);
    let mut from = join(tenant, &cursor.0);
    if !cursor.0.is_empty() {
        // The key with a zero byte is after the key itself and before all keys that begin with it.
        from.push(0);
    }
    let (mut changes, mut bytes, mut next): (Vec<Change>, _, _) = (Vec::new(), 0_usize, None);
    for record in records.range(from.as_slice()..)? {
        let (key, record) = record?;
        let Some(key) = key.value().strip_prefix(&prefix) else {
            break;
        };
        if changes.len() >= PAGE_ROWS || bytes >= PAGE_BYTES {
            next = changes.last().map(|last| Cursor(last.key.clone().into()));
            break;
        }
        let change = match change(key, record.value()) {
            Ok(change) => change,
            Err(error) => return Ok(Err(error)),
        };
        bytes = bytes.saturating_add(change.value.len());
        changes.push(change);
    }
    Ok(Ok(Response::Page(changes, next)))
}

fn prefix(tenant: TenantId) -> [u8; 16] {
    tenant.workspace().into_bytes()
}

fn join(tenant: TenantId, key: &[u8]) -> Vec<u8> {
    [&prefix(tenant), key].concat()
}

fn due_key(tenant: TenantId, forget_at: u64, key: &[u8]) -> Vec<u8> {
    [&prefix(tenant)[..], &forget_at.to_be_bytes(), key].concat()
}
