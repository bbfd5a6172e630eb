//! The report on the keys that the records of a journal are sealed with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::error::DurableError;
use crate::journal::TenantId;
use crate::keyring::{MissingStateKey, SealCount};

/// The maximum number of workspaces that a list of the report names.
const MAX_NAMED: usize = 20;

/// A report on the keys that the records of a journal are sealed with.
///
/// `Display` writes it in one line, with what an operator has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Whether the `meta` record of each workspace was checked.
    pub meta_checked: bool,
    /// Whether all records of all workspaces were checked.
    pub complete: bool,
    /// The number of workspaces in the journal at the start.
    pub workspaces: u64,
    /// The number of records that were checked so far.
    pub records: u64,
    /// The number of checked records that are still under a previous key.
    pub previous_records: u64,
    /// The number of workspaces with such records.
    pub previous_workspaces: u64,
    /// The number of these workspaces that another host has. That host has to reseal them.
    pub held_workspaces: u64,
    /// The first 20 workspaces that another host has, ordered by id.
    pub held: Vec<TenantId>,
    /// The time for which all workspaces in `held_workspaces` were seen with another host: for each
    /// the time from the first observation to the last, and of these the shortest. Zero if there
    /// are none.
    pub held_for: Duration,
    /// The number of records that were resealed with the state key since the start.
    pub resealed_records: u64,
    /// The number of workspaces with records that no key opens. They refuse their calls.
    pub missing_workspaces: u64,
    /// The first 20 of these workspaces, ordered by id.
    pub missing: Vec<MissingStateKey>,
    /// The number of damaged records. No key opens them, and they are not resealed.
    pub damaged_records: u64,
    /// The number of workspaces with damaged records. They refuse their calls when they are loaded.
    pub damaged_workspaces: u64,
    /// The first 20 of these workspaces, ordered by id.
    pub damaged: Vec<TenantId>,
    /// The number of rounds that have ended. A round tries each step that is left, once.
    pub rounds: u64,
    /// The last failure of the last round. The step is retried.
    pub problem: Option<String>,
}

impl KeyReport {
    /// Returns whether every record was checked and is sealed with the state key, so that this host
    /// no longer needs the previous keys. Another host may still have one of them as its state key.
    #[must_use]
    pub const fn can_drop_previous_keys(&self) -> bool {
        self.complete
            && self.previous_records == 0
            && self.missing_workspaces == 0
            && self.damaged_workspaces == 0
    }

    /// Returns the ids of the workspaces in [`KeyReport::missing`] for a message, with the number
    /// of further ones.
    #[must_use]
    pub fn missing_ids(&self) -> String {
        listed(
            self.missing.iter().map(|it| it.tenant),
            self.missing_workspaces,
        )
    }
}

/// Returns ids for a message, with the number of those that are not listed.
fn listed(ids: impl ExactSizeIterator<Item = TenantId>, all: u64) -> String {
    let more = all.saturating_sub(u64::try_from(ids.len()).unwrap_or(u64::MAX));
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    let ids = ids.join(", ");
    match more {
        0 => ids,
        more => format!("{ids} and {more} more"),
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, workspaces) = (self.records, self.workspaces);
        if self.previous_records > 0 {
            write!(
                f,
                "{} records of {} workspaces are still sealed with a previous state key: keep that \
                 key",
                self.previous_records, self.previous_workspaces
            )?;
            if self.held_workspaces > 0 {
                let held = listed(self.held.iter().copied(), self.held_workspaces);
                write!(f, "; another host has {held}, which it has to reseal")?;
            }
        } else if self.can_drop_previous_keys() {
            write!(
                f,
                "all {records} records of {workspaces} workspaces are sealed with the state key: \
                 the previous keys may be dropped when every host of the journal has this state key"
            )?;
        } else {
            let so_far = if self.complete { "" } else { " so far" };
            write!(
                f,
                "{records} records of {workspaces} workspaces were checked{so_far}: keep all state \
                 keys"
            )?;
        }
        if self.missing_workspaces > 0 {
            write!(
                f,
                "; no state key that was given opens the records of {}: their calls are refused \
                 until the host is started with the key that they are sealed with",
                self.missing_ids()
            )?;
        }
        if self.damaged_workspaces > 0 {
            write!(
                f,
                "; {} records of {} are damaged, whatever the key: restore these workspaces from a \
                 backup of the journal",
                self.damaged_records,
                listed(self.damaged.iter().copied(), self.damaged_workspaces)
            )?;
        }
        if let Some(problem) = &self.problem {
            write!(f, "; this failed and is retried: {problem}")?;
        }
        Ok(())
    }
}

/// The state that the reports are made from. The check and the loads of tenants share it.
#[derive(Default)]
pub(super) struct KeyState {
    findings: Mutex<Findings>,
    /// Whether the `meta` record of each tenant was checked.
    meta_checked: watch::Sender<bool>,
    /// Wakes the check after its last round.
    pub wake: Notify,
    /// Whether any tenant has records that no key opens.
    any_missing: AtomicBool,
}

/// [`KeyState`] with its lock held.
pub(super) struct LockedKeyState<'a> {
    findings: MutexGuard<'a, Findings>,
    state: &'a KeyState,
}

#[derive(Default)]
struct Findings {
    complete: bool,
    workspaces: u64,
    records: u64,
    previous: BTreeMap<TenantId, PreviousKeyRecords>,
    missing: BTreeMap<TenantId, MissingStateKey>,
    damaged: BTreeMap<TenantId, DamagedRecords>,
    resealing: Option<TenantId>,
    resealed: u64,
    rounds: u64,
    problem: Option<String>,
}

/// Records of a tenant under a previous key.
#[derive(Clone, Copy)]
struct PreviousKeyRecords {
    records: u64,
    /// When another host was seen to have the tenant; `None` if none has it.
    held: Option<HeldElsewhere>,
}

/// The times at which another host was first and last seen to have a tenant.
#[derive(Clone, Copy)]
struct HeldElsewhere {
    first: Instant,
    last: Instant,
}

/// Damaged records of a tenant.
struct DamagedRecords {
    records: u64,
    /// The key of the first damaged record.
    first: String,
}

impl KeyState {
    pub fn lock(&self) -> LockedKeyState<'_> {
        LockedKeyState {
            findings: self.findings.lock().unwrap_or_else(PoisonError::into_inner),
            state: self,
        }
    }

    /// Waits until the `meta` record of each tenant was checked.
    pub async fn checked(&self) {
        let mut checked = self.meta_checked.subscribe();
        // This cannot fail, because `self` has the sender.
        let _ = checked.wait_for(|checked| *checked).await;
    }

    /// Records what a call on a tenant shows: a missing key, or that a missing key is there now.
    pub fn note_admission(&self, id: TenantId, error: Option<&DurableError>) {
        match error {
            Some(DurableError::StateKeyMissing(missing)) => {
                self.lock().note_missing(missing.clone());
                self.wake.notify_one();
            }
            None if self.any_missing.load(Ordering::Relaxed) => self.lock().note_opened(id),
            _ => {}
        }
    }
}

impl LockedKeyState<'_> {
    /// Records that the `meta` record of each tenant was checked.
    pub fn meta_checked(&mut self) {
        self.state.meta_checked.send_replace(true);
    }

    pub fn set_workspaces(&mut self, count: usize) {
        self.findings.workspaces = u64::try_from(count).unwrap_or(u64::MAX);
    }

    pub fn set_complete(&mut self) {
        self.findings.complete = true;
    }

    /// Counts a round, with its last failure.
    pub fn end_round(&mut self, problem: Option<String>) {
        self.findings.rounds = self.findings.rounds.saturating_add(1);
        self.findings.problem = problem;
    }

    /// Replaces the findings about a tenant.
    pub fn note(&mut self, id: TenantId, found: &SealCount) {
        match found.previous {
            0 => {
                self.findings.previous.remove(&id);
            }
            records => {
                let held = self.findings.previous.get(&id).and_then(|it| it.held);
                let previous = PreviousKeyRecords { records, held };
                self.findings.previous.insert(id, previous);
            }
        }
        match &found.first_damaged {
            None => {
                self.findings.damaged.remove(&id);
            }
            Some(first) => {
                let damaged = DamagedRecords {
                    records: found.damaged,
                    first: first.clone(),
                };
                self.findings.damaged.insert(id, damaged);
            }
        }
        match found.missing(id) {
            Some(missing) => self.note_missing(missing),
            None => self.note_opened(id),
        }
    }

    /// Adds to the number of checked records.
    pub fn note_records(&mut self, count: u64) {
        self.findings.records = self.findings.records.saturating_add(count);
    }

    pub fn note_missing(&mut self, missing: MissingStateKey) {
        self.findings.missing.insert(missing.tenant, missing);
        self.state.any_missing.store(true, Ordering::Relaxed);
    }

    fn note_opened(&mut self, id: TenantId) {
        self.findings.missing.remove(&id);
        let any = !self.findings.missing.is_empty();
        self.state.any_missing.store(any, Ordering::Relaxed);
    }

    /// Records that another host has the tenant.
    pub fn note_held(&mut self, id: TenantId) {
        if let Some(previous) = self.findings.previous.get_mut(&id) {
            let now = Instant::now();
            let first = previous.held.map_or(now, |held| held.first);
            previous.held = Some(HeldElsewhere { first, last: now });
        }
    }

    /// Records that no other host has the tenant.
    pub fn note_free(&mut self, id: TenantId) {
        if let Some(previous) = self.findings.previous.get_mut(&id) {
            previous.held = None;
        }
    }

    /// Sets the tenant that is being resealed.
    pub fn set_resealing(&mut self, id: Option<TenantId>) {
        self.findings.resealing = id;
    }

    pub fn resealing(&self) -> Option<TenantId> {
        self.findings.resealing
    }

    pub fn note_resealed(&mut self, records: u64) {
        self.findings.resealed = self.findings.resealed.saturating_add(records);
    }

    /// Returns the tenants with records that are under a previous key, that no key opens, or that
    /// are damaged.
    pub fn outstanding(&self) -> BTreeSet<TenantId> {
        let findings = &self.findings;
        let previous = findings.previous.keys();
        let refused = findings.missing.keys().chain(findings.damaged.keys());
        previous.chain(refused).copied().collect()
    }

    /// Returns the findings about the tenant's records that no key opens, if there are any.
    pub fn missing_of(&self, id: TenantId) -> Option<MissingStateKey> {
        self.findings.missing.get(&id).cloned()
    }

    /// Returns the key of the tenant's first damaged record, if there is one.
    pub fn damaged_of(&self, id: TenantId) -> Option<String> {
        self.findings.damaged.get(&id).map(|it| it.first.clone())
    }

    /// Returns the number of the tenant's records under a previous key.
    pub fn previous_of(&self, id: TenantId) -> u64 {
        self.findings.previous.get(&id).map_or(0, |it| it.records)
    }

    /// Returns the report. `resealed_of_current` is the number of records that are done of the
    /// tenant that is being resealed.
    pub fn report(&self, resealed_of_current: u64) -> KeyReport {
        let findings = &self.findings;
        let current = findings.resealing.map_or(0, |id| self.previous_of(id));
        // One record counts as left until the tenant was scanned again.
        let resealed = resealed_of_current.min(current.saturating_sub(1));
        let previous = findings.previous.values().map(|it| it.records);
        let previous = previous.fold(0, u64::saturating_add);
        let held = findings.previous.iter();
        let held = held.filter_map(|(id, it)| Some((*id, it.held?)));
        let held_for = held.clone().map(|(_, it)| it.last.duration_since(it.first));
        let damaged = findings.damaged.values().map(|it| it.records);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        KeyReport {
            meta_checked: *self.state.meta_checked.borrow(),
            complete: findings.complete,
            workspaces: findings.workspaces,
            records: findings.records,
            previous_records: previous.saturating_sub(resealed),
            previous_workspaces: count(findings.previous.len()),
            held_workspaces: count(held.clone().count()),
            held: held.take(MAX_NAMED).map(|(id, _)| id).collect(),
            held_for: held_for.min().unwrap_or_default(),
            resealed_records: findings.resealed.saturating_add(resealed),
            missing_workspaces: count(findings.missing.len()),
            missing: findings.missing.values().take(MAX_NAMED).cloned().collect(),
            damaged_records: damaged.fold(0, u64::saturating_add),
            damaged_workspaces: count(findings.damaged.len()),
            damaged: findings.damaged.keys().take(MAX_NAMED).copied().collect(),
            rounds: findings.rounds,
            problem: findings.problem.clone(),
        }
    }
}
