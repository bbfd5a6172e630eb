//! The check of the records of a journal against the keys of the configuration. It reseals records
//! that are under a previous key.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use clawdb_session_host::full_text;
use futures::future::join_all;
use tokio::time::sleep;

use super::host_cache::HostCache;
use crate::callback;
use crate::error::DurableError;
use crate::journal::{JournalError, TenantId};
use crate::key_report::KeyState;
use crate::keyring::Keyring;

/// The number of `meta` records that are read at a time. Each read can be a round trip.
const META_CONCURRENCY: usize = 16;
/// The maximum number of tenants with a line in the log, for each kind of problem.
const MAX_LOGGED: usize = 20;
/// The interval of progress reports while records are resealed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// The time after which an unchanged report is repeated.
const REPEAT_INTERVAL: Duration = Duration::from_mins(1);
/// The maximum number of ticks between two rounds.
const MAX_PAUSE_TICKS: u32 = 60;

/// Runs rounds until the cache is dropped or shut down. When all is done, it waits until a load
/// finds records that no key opens.
pub(super) async fn run(cache: Weak<HostCache>, keyring: Keyring) {
    let Some((keys, tick)) = cache
        .upgrade()
        .map(|cache| (Arc::clone(&cache.keys), cache.options.tick))
    else {
        return;
    };
    let mut check = KeyCheck {
        cache,
        keys,
        keyring,
        metas: None,
        scans: VecDeque::new(),
        failed: Vec::new(),
        missing_logged: HashSet::new(),
        held_logged: HashSet::new(),
        damaged_logged: 0,
        last_report: None,
        problem: None,
    };
    let mut pause = 1;
    loop {
        match check.round().await {
            Err(CacheClosed) => return,
            Ok(RoundOutcome::Progress) => pause = 1,
            Ok(RoundOutcome::NoProgress) => pause = (pause * 2).min(MAX_PAUSE_TICKS),
            Ok(RoundOutcome::Done) => {
                pause = 1;
                check.keys.wake.notified().await;
                if check.cache().is_err() {
                    return;
                }
            }
        }
        sleep(tick.saturating_mul(pause)).await;
    }
}

/// The state of the check.
struct KeyCheck {
    cache: Weak<HostCache>,
    keys: Arc<KeyState>,
    keyring: Keyring,
    /// The tenants whose `meta` record is not checked yet; `None` before the tenants are listed.
    metas: Option<VecDeque<TenantId>>,
    /// The tenants whose records are not checked yet.
    scans: VecDeque<TenantId>,
    /// The tenants whose scan failed in this round.
    failed: Vec<TenantId>,
    /// The tenants that the log has named because a key is missing.
    missing_logged: HashSet<TenantId>,
    /// The tenants that the log has named because another host has them.
    held_logged: HashSet<TenantId>,
    /// The number of lines in the log about damaged records.
    damaged_logged: usize,
    /// The time and the text of the last report.
    last_report: Option<(Instant, String)>,
    /// The last failure in this round.
    problem: Option<String>,
}

/// The cache was dropped or is shut down.
struct CacheClosed;

/// The result of a round.
enum RoundOutcome {
    /// All tenants are checked and resealed.
    Done,
    /// Fewer tenants are left than before the round.
    Progress,
    /// As many tenants are left as before the round.
    NoProgress,
}

/// The reason why a round ends early.
enum RoundError {
    Closed,
    /// The journal cannot be reached.
    Unavailable(JournalError),
}

impl From<CacheClosed> for RoundError {
    fn from(_: CacheClosed) -> Self {
        Self::Closed
    }
}

impl KeyCheck {
    /// Tries each step that is left, once.
    async fn round(&mut self) -> Result<RoundOutcome, CacheClosed> {
        let before = self.remaining();
        match self.run_steps().await {
            Ok(()) => {}
            Err(RoundError::Closed) => return Err(CacheClosed),
            Err(RoundError::Unavailable(error)) => self.problem = Some(full_text(&error)),
        }
        self.scans.extend(self.failed.drain(..));
        let problem = self.problem.take();
        let done = problem.is_none() && self.remaining() == Some(0);
        self.keys.lock().end_round(problem);
        self.report_progress();
        Ok(match (before, self.remaining()) {
            _ if done => RoundOutcome::Done,
            (Some(before), Some(left)) if left >= before => RoundOutcome::NoProgress,
            (None, None) => RoundOutcome::NoProgress,
            _ => RoundOutcome::Progress,
        })
    }

    /// Returns the number of steps that are left, or `None` if the tenants are not listed yet.
    fn remaining(&self) -> Option<usize> {
        let metas = self.metas.as_ref()?.len();
        Some(metas + self.scans.len() + self.keys.lock().outstanding().len())
    }

    async fn run_steps(&mut self) -> Result<(), RoundError> {
        self.check_metas().await?;
        self.keys.lock().meta_checked();
        self.scan_all().await?;
        if self.failed.is_empty() {
            self.keys.lock().set_complete();
        }
        let outstanding = self.keys.lock().outstanding();
        if !outstanding.is_empty() {
            self.report_progress();
        }
        for id in outstanding {
            self.reseal_if_needed(id).await?;
            if self
                .last_report
                .as_ref()
                .is_some_and(|(at, _)| at.elapsed() >= PROGRESS_INTERVAL)
            {
                self.report_progress();
            }
        }
        Ok(())
    }

    /// Checks the `meta` record of each tenant, which shows early whether its key is missing.
    async fn check_metas(&mut self) -> Result<(), RoundError> {
        if self.metas.is_none() {
            let tenants = self.cache()?.journal.tenants().await;
            let tenants = tenants.map_err(RoundError::Unavailable)?;
            self.keys.lock().set_workspaces(tenants.len());
            self.scans = tenants.clone().into();
            self.metas = Some(tenants.into());
        }
        while let Some(metas) = &self.metas
            && !metas.is_empty()
        {
            let batch: Vec<_> = metas.iter().take(META_CONCURRENCY).copied().collect();
            let cache = self.cache()?;
            let checks = batch
                .iter()
                .map(|id| self.keyring.check_record(&*cache.journal, *id, "meta"));
            let checks = join_all(checks).await;
            for (id, checked) in batch.into_iter().zip(checks) {
                // The scan of the tenant reports other errors.
                match checked {
                    Err(error @ JournalError::Unavailable(_)) => {
                        return Err(RoundError::Unavailable(error));
                    }
                    Err(_) => {}
                    Ok(found) => self.keys.lock().note(id, &found),
                }
                self.log_missing(&cache, id);
                if let Some(metas) = &mut self.metas {
                    metas.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Checks all records of the tenants that are not checked yet.
    async fn scan_all(&mut self) -> Result<(), RoundError> {
        while let Some(id) = self.scans.front().copied() {
            let cache = self.cache()?;
            match self.keyring.scan(&*cache.journal, id).await {
                Ok(found) => {
                    {
                        let mut keys = self.keys.lock();
                        keys.note(id, &found);
                        keys.note_records(found.records);
                    }
                    if let Some(first) = &found.first_damaged {
                        self.log_damaged(&cache, id, first);
                    }
                }
                Err(error @ JournalError::Unavailable(_)) => {
                    return Err(RoundError::Unavailable(error));
                }
                Err(error) => {
                    self.failed.push(id);
                    self.note_problem(id, &error);
                }
            }
            self.scans.pop_front();
            self.log_missing(&cache, id);
        }
        Ok(())
    }

    /// Reseals a tenant's records if some are under a previous key, and none is damaged or under a
    /// missing key.
    async fn reseal_if_needed(&mut self, id: TenantId) -> Result<(), RoundError> {
        let cache = self.cache()?;
        let missing = self.keys.lock().missing_of(id);
        if let Some(missing) = missing {
            // Another host can have replaced the record, so it is read again.
            let check = self
                .keyring
                .check_record(&*cache.journal, id, &missing.first);
            let checked = check.await;
            if checked.is_ok_and(|found| found.unknown > 0) {
                return Ok(());
            }
            self.scan_again(&cache, id).await?;
        }
        let damaged = self.keys.lock().damaged_of(id);
        if let Some(first) = damaged {
            let check = self.keyring.check_record(&*cache.journal, id, &first);
            let checked = check.await;
            if checked.is_ok_and(|found| found.damaged > 0) {
                return Ok(());
            }
            self.scan_again(&cache, id).await?;
        }
        let (is_refused, previous) = {
            let keys = self.keys.lock();
            let is_refused = keys.missing_of(id).is_some() || keys.damaged_of(id).is_some();
            (is_refused, keys.previous_of(id))
        };
        if is_refused || previous == 0 {
            return Ok(());
        }
        match cache.is_held_elsewhere(id).await {
            Ok(true) => return self.note_held_elsewhere(&cache, id).await,
            Err(error @ JournalError::Unavailable(_)) => {
                return Err(RoundError::Unavailable(error));
            }
            // If this fails for another reason, so does the load, which reports it.
            Ok(false) | Err(_) => {}
        }
        self.keys.lock().set_resealing(Some(id));
        let resealed = self.reseal(&cache, id).await;
        self.keys.lock().set_resealing(None);
        match resealed {
            Ok(()) => {
                self.scan_again(&cache, id).await?;
                let mut keys = self.keys.lock();
                keys.note_free(id);
                let left = keys.previous_of(id);
                keys.note_resealed(previous.saturating_sub(left));
            }
            Err(_) if cache.is_closed() => return Err(RoundError::Closed),
            Err(DurableError::NotOwner(_)) => self.note_held_elsewhere(&cache, id).await?,
            Err(DurableError::StateKeyMissing(missing)) => {
                self.keys.lock().note_missing(missing);
                self.log_missing(&cache, id);
            }
            Err(error) => {
                self.keys.lock().note_free(id);
                self.note_problem(id, &error);
            }
        }
        Ok(())
    }

    /// Records that another host has the tenant and has to reseal its records.
    async fn note_held_elsewhere(
        &mut self,
        cache: &HostCache,
        id: TenantId,
    ) -> Result<(), RoundError> {
        // That host may have resealed them already.
        self.scan_again(cache, id).await?;
        self.keys.lock().note_held(id);
        self.log_held(cache, id);
        Ok(())
    }

    /// Calls [`HostCache::reseal`] and reports the progress meanwhile.
    async fn reseal(&mut self, cache: &HostCache, id: TenantId) -> Result<(), DurableError> {
        let mut resealing = pin!(cache.reseal(id));
        loop {
            tokio::select! {
                resealed = &mut resealing => return resealed,
                () = sleep(PROGRESS_INTERVAL) => self.report_progress(),
            }
        }
    }

    /// Checks all records of a tenant again.
    async fn scan_again(&mut self, cache: &HostCache, id: TenantId) -> Result<(), RoundError> {
        match self.keyring.scan(&*cache.journal, id).await {
            Ok(found) => self.keys.lock().note(id, &found),
            Err(error @ JournalError::Unavailable(_)) => {
                return Err(RoundError::Unavailable(error));
            }
            Err(error) => self.note_problem(id, &error),
        }
        Ok(())
    }

    /// Records a failure as the last one of this round.
    fn note_problem(&mut self, id: TenantId, error: &(dyn Error + 'static)) {
        self.problem = Some(format!("workspace {id}: {}", full_text(error)));
    }

    fn cache(&self) -> Result<Arc<HostCache>, CacheClosed> {
        let cache = self.cache.upgrade().ok_or(CacheClosed)?;
        if cache.is_closed() {
            return Err(CacheClosed);
        }
        Ok(cache)
    }

    /// Passes the report to the callback. Does nothing if there are no previous keys and no
    /// problems, or if the same report was passed within the last minute.
    fn report_progress(&mut self) {
        let Some(cache) = self.cache.upgrade() else {
            return;
        };
        let report = cache.keys();
        let rotates = !cache.options.config.previous_state_keys.is_empty();
        let is_well = report.missing_workspaces == 0
            && report.damaged_workspaces == 0
            && report.problem.is_none();
        let Some(progress) = cache.options.key_progress.as_ref() else {
            return;
        };
        if !rotates && is_well {
            return;
        }
        let text = report.to_string();
        if let Some((at, last_report)) = &self.last_report
            && *last_report == text
            && at.elapsed() < REPEAT_INTERVAL
        {
            return;
        }
        callback::call(|| progress(&report));
        self.last_report = Some((Instant::now(), text));
    }

    /// Logs that the tenant refuses its calls, if a key is missing.
    fn log_missing(&mut self, cache: &HostCache, id: TenantId) {
        let missing = self.keys.lock().missing_of(id);
        if let Some(missing) = missing
            && self.missing_logged.len() < MAX_LOGGED
            && self.missing_logged.insert(id)
        {
            cache.report(id, &format!("refuses all calls: {missing}"));
        }
    }

    /// Logs that a record of the tenant is damaged.
    fn log_damaged(&mut self, cache: &HostCache, id: TenantId, first: &str) {
        if self.damaged_logged < MAX_LOGGED {
            self.damaged_logged += 1;
            let text = format!(
                "refuses all calls when it is loaded: the record {first} is damaged, whatever the \
                 key"
            );
            cache.report(id, &text);
        }
    }

    /// Logs that another host has the tenant, if records of it are under a previous key.
    fn log_held(&mut self, cache: &HostCache, id: TenantId) {
        let previous = self.keys.lock().previous_of(id);
        if previous > 0 && self.held_logged.len() < MAX_LOGGED && self.held_logged.insert(id) {
            let text = format!(
                "has no lease: another host has the workspace and has to reseal {previous} records \
                 that are under a previous state key"
            );
            cache.report(id, &text);
        }
    }
}
