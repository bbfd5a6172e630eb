//! What is known of the keys that the records of a journal are sealed with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::error::DurableError;
use crate::journal::TenantId;
use crate::keyring::{MissingStateKey, SealCount};

/// How many workspaces are named at most.
const MAX_NAMED: usize = 20;

/// What is known of the keys that the records of a journal are sealed with.
///
/// `Display` says it in a line, with what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Whether the `meta` record of each workspace was looked at.
    pub meta_checked: bool,
    /// Whether all records of all workspaces were looked at.
    pub complete: bool,
    /// How many workspaces the journal had at the start.
    pub workspaces: u64,
    /// How many records were looked at so far.
    pub records: u64,
    /// How many records are still under a previous key, as far as is known.
    pub previous_records: u64,
    /// How many workspaces these are of.
    pub previous_workspaces: u64,
    /// How many of these workspaces another host has. That host has to reseal them.
    pub held_workspaces: u64,
    /// The first 20 of these, by their ids.
    pub held: Vec<TenantId>,
    /// The time from when each of these was first found to be another host's to when it last was;
    /// the shortest of them. Zero where there are none.
    pub held_for: Duration,
    /// How many records were resealed since the start, and are under the state key now.
    pub resealed_records: u64,
    /// How many workspaces have records that no key opens. They refuse their calls.
    pub missing_workspaces: u64,
    /// The first 20 of these, by their ids.
    pub missing: Vec<MissingStateKey>,
    /// How many records are damaged: no key opens them, and they are not resealed.
    pub damaged_records: u64,
    /// How many workspaces these are of. They refuse their calls when they are loaded.
    pub damaged_workspaces: u64,
    /// The first 20 of these, by their ids.
    pub damaged: Vec<TenantId>,
    /// How many rounds have ended. A round tries once all that is left to do.
    pub rounds: u64,
    /// What failed in the last round. It is tried again.
    pub problem: Option<String>,
}

impl KeyReport {
    /// Whether every record was looked at and is sealed with the state key: the previous keys are not
    /// needed any more. It says nothing of a host that still has one of them as its state key.
    #[must_use]
    pub const fn can_drop_previous_keys(&self) -> bool {
        self.complete
            && self.previous_records == 0
            && self.missing_workspaces == 0
            && self.damaged_workspaces == 0
    }

    /// The ids of the workspaces in [`KeyReport::missing`], for a message; it says where there are more.
    #[must_use]
    pub fn missing_ids(&self) -> String {
        listed(
            self.missing.iter().map(|it| it.tenant),
            self.missing_workspaces,
        )
    }
}

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
                "{} records of {} workspaces are still sealed with a previous state key: keep that key",
                self.previous_records, self.previous_workspaces
            )?;
            if self.held_workspaces > 0 {
                let held = listed(self.held.iter().copied(), self.held_workspaces);
                write!(f, "; another host has {held}, which it has to reseal")?;
            }
        } else if self.can_drop_previous_keys() {
            write!(
                f,
                "all {records} records of {workspaces} workspaces are sealed with the state key: the \
                 previous keys may be dropped when every host of the journal has this state key"
            )?;
        } else {
            let so_far = if self.complete { "" } else { " so far" };
            write!(
                f,
                "{records} records of {workspaces} workspaces were checked{so_far}: keep all state keys"
            )?;
        }
        if self.missing_workspaces > 0 {
            write!(
                f,
                "; no state key that was given opens the records of {}: their calls are refused until \
                 the host is started with the key that they are sealed with",
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
            write!(f, "; this failed and is tried again: {problem}")?;
        }
        Ok(())
    }
}

/// The state behind the reports, shared by the check and by those who load tenants.
#[derive(Default)]
pub(super) struct KeyState {
    findings: Mutex<Findings>,
    /// Whether the `meta` record of each tenant was looked at.
    meta_checked: watch::Sender<bool>,
    /// There may be something to do for the check.
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
    /// Another host has the tenant.
    held: Option<HeldElsewhere>,
}

/// When a tenant was first and last found to be another host's.
#[derive(Clone, Copy)]
struct HeldElsewhere {
    first: Instant,
    last: Instant,
}

/// Damaged records of a tenant.
struct DamagedRecords {
    records: u64,
    /// The key of the first of them.
    first: String,
}

impl KeyState {
    pub fn lock(&self) -> LockedKeyState<'_> {
        LockedKeyState {
            findings: self.findings.lock().unwrap_or_else(PoisonError::into_inner),
            state: self,
        }
    }

    /// Waits until the `meta` record of each tenant was looked at.
    pub async fn checked(&self) {
        let mut checked = self.meta_checked.subscribe();
        // The sender is here.
        let _ = checked.wait_for(|checked| *checked).await;
    }

    /// What the load of a tenant tells of its keys.
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
    /// The `meta` record of each tenant was looked at.
    pub fn meta_checked(&mut self) {
        self.state.meta_checked.send_replace(true);
    }

    pub fn set_workspaces(&mut self, count: usize) {
        self.findings.workspaces = u64::try_from(count).unwrap_or(u64::MAX);
    }

    pub fn set_complete(&mut self) {
        self.findings.complete = true;
    }

    /// Ends a round.
    pub fn end_round(&mut self, problem: Option<String>) {
        self.findings.rounds = self.findings.rounds.saturating_add(1);
        self.findings.problem = problem;
    }

    /// What was found in a tenant's records counts from here on.
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

    /// Adds to the number of the records that were looked at.
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

    /// Another host has the tenant.
    pub fn note_held(&mut self, id: TenantId) {
        if let Some(previous) = self.findings.previous.get_mut(&id) {
            let now = Instant::now();
            let first = previous.held.map_or(now, |held| held.first);
            previous.held = Some(HeldElsewhere { first, last: now });
        }
    }

    /// No other host has the tenant.
    pub fn note_free(&mut self, id: TenantId) {
        if let Some(previous) = self.findings.previous.get_mut(&id) {
            previous.held = None;
        }
    }

    /// The tenant is being resealed, or none is any more.
    pub fn set_resealing(&mut self, id: Option<TenantId>) {
        self.findings.resealing = id;
    }

    pub fn resealing(&self) -> Option<TenantId> {
        self.findings.resealing
    }

    pub fn note_resealed(&mut self, records: u64) {
        self.findings.resealed = self.findings.resealed.saturating_add(records);
    }

    /// Those with records under a previous key, with records that no key opens, and with damaged
    /// ones.
    pub fn outstanding(&self) -> BTreeSet<TenantId> {
        let findings = &self.findings;
        let previous = findings.previous.keys();
        let refused = findings.missing.keys().chain(findings.damaged.keys());
        previous.chain(refused).copied().collect()
    }

    /// What is known of the tenant's records that no key opens.
    pub fn missing_of(&self, id: TenantId) -> Option<MissingStateKey> {
        self.findings.missing.get(&id).cloned()
    }

    /// The key of the tenant's first record that is damaged.
    pub fn damaged_of(&self, id: TenantId) -> Option<String> {
        self.findings.damaged.get(&id).map(|it| it.first.clone())
    }

    /// How many records of the tenant are under a previous key.
    pub fn previous_of(&self, id: TenantId) -> u64 {
        self.findings.previous.get(&id).map_or(0, |it| it.records)
    }

    /// Returns the report. `resealed_of_current` is how many records of the tenant that is being
    /// resealed are done.
    pub fn report(&self, resealed_of_current: u64) -> KeyReport {
        let findings = &self.findings;
        let current = findings.resealing.map_or(0, |id| self.previous_of(id));
        let ahead = resealed_of_current.min(current.saturating_sub(1));
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
            previous_records: previous.saturating_sub(ahead),
            previous_workspaces: count(findings.previous.len()),
            held_workspaces: count(held.clone().count()),
            held: held.take(MAX_NAMED).map(|(id, _)| id).collect(),
            held_for: held_for.min().unwrap_or_default(),
            resealed_records: findings.resealed.saturating_add(ahead),
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
