//! Holds all records of a journal against the keys of the configuration, and reseals those that are
//! under a previous key.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use clawdb_session_host::full_text;
use futures::future::join_all;
use tokio::time::sleep;

use super::host_cache::HostCache;
use crate::error::DurableError;
use crate::journal::{JournalError, TenantId};
use crate::key_report::KeyState;
use crate::keyring::Keyring;

/// How many `meta` records are asked for at a time: each is a round trip.
const META_CONCURRENCY: usize = 16;
/// How many tenants have a line in the log for each kind of trouble.
const MAX_LOGGED: usize = 20;
/// How often the progress is reported while records are resealed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// After how long the same report is repeated.
const REPEAT_INTERVAL: Duration = Duration::from_mins(1);
/// How many ticks there are between two rounds at most.
const MAX_PAUSE_TICKS: u32 = 60;

/// Checks all, reseals what is under a previous key, and tries again what could not be done, for as
/// long as the cache is there and is not shut down.
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
            }
        }
        sleep(tick.saturating_mul(pause)).await;
    }
}

struct KeyCheck {
    cache: Weak<HostCache>,
    keys: Arc<KeyState>,
    keyring: Keyring,
    /// Tenants whose `meta` record has still to be looked at. None: they are not listed yet.
    metas: Option<VecDeque<TenantId>>,
    /// Tenants whose records have still to be looked at.
    scans: VecDeque<TenantId>,
    /// Those of which that failed in this round.
    failed: Vec<TenantId>,
    /// Those that the log names because a key is missing, and because another host has them.
    missing_logged: HashSet<TenantId>,
    held_logged: HashSet<TenantId>,
    /// How many lines there were of damaged records.
    damaged_logged: usize,
    /// What was told last, and when.
    last_report: Option<(Instant, String)>,
    /// What failed last in this round.
    problem: Option<String>,
}

/// The cache was dropped or is shut down.
struct CacheClosed;

/// What a round came to.
enum RoundOutcome {
    /// Nothing is left to be done.
    Done,
    /// Less is left than before.
    Progress,
    NoProgress,
}

/// Why a round ends before its time.
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
    /// Tries all that is still to be done, once.
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

    /// How many tenants have something left to be done. None: they are not listed yet.
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

    /// The first record of each tenant that tells of its key.
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
            let some: Vec<_> = metas.iter().take(META_CONCURRENCY).copied().collect();
            let cache = self.cache()?;
            let looking = some
                .iter()
                .map(|id| self.keyring.check_record(&*cache.journal, *id, "meta"));
            let looks = join_all(looking).await;
            for (id, look) in some.into_iter().zip(looks) {
                // One that fails for another reason is scanned all the same, which tells of it.
                match look {
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

    /// Reseals a tenant's records, unless a key is missing for one of them.
    async fn reseal_if_needed(&mut self, id: TenantId) -> Result<(), RoundError> {
        let cache = self.cache()?;
        let missing = self.keys.lock().missing_of(id);
        if let Some(missing) = missing {
            // Only another host can have changed that.
            let look = self
                .keyring
                .check_record(&*cache.journal, id, &missing.first);
            let look = look.await;
            if look.is_ok_and(|found| found.unknown > 0) {
                return Ok(());
            }
            self.scan_again(&cache, id).await?;
        }
        let damaged = self.keys.lock().damaged_of(id);
        if let Some(first) = damaged {
            // The same here.
            let look = self.keyring.check_record(&*cache.journal, id, &first).await;
            if look.is_ok_and(|found| found.damaged > 0) {
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
            // The load of the tenant reports what is wrong.
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

    /// Another host has the tenant, and has to reseal its records.
    async fn note_held_elsewhere(
        &mut self,
        cache: &HostCache,
        id: TenantId,
    ) -> Result<(), RoundError> {
        // It may have done so already.
        self.scan_again(cache, id).await?;
        self.keys.lock().note_held(id);
        self.log_held(cache, id);
        Ok(())
    }

    /// The same of [`HostCache::reseal`], with a report now and then.
    async fn reseal(&mut self, cache: &HostCache, id: TenantId) -> Result<(), DurableError> {
        let mut resealing = pin!(cache.reseal(id));
        loop {
            tokio::select! {
                resealed = &mut resealing => return resealed,
                () = sleep(PROGRESS_INTERVAL) => self.report_progress(),
            }
        }
    }

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

    /// Keeps what failed last in this round.
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

    /// Tells how far it is, unless there is no rotation and nothing is wrong, or the same was told
    /// just now.
    fn report_progress(&mut self) {
        let Some(cache) = self.cache.upgrade() else {
            return;
        };
        let report = cache.keys();
        let rotates = !cache.options.config.previous_state_keys.is_empty();
        let is_well = report.missing_workspaces == 0
            && report.damaged_workspaces == 0
            && report.problem.is_none();
        let Some(callback) = cache.options.key_progress.as_ref() else {
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
        callback(&report);
        self.last_report = Some((Instant::now(), text));
    }

    /// Says in the log that the tenant refuses its calls, if it does.
    fn log_missing(&mut self, cache: &HostCache, id: TenantId) {
        let missing = self.keys.lock().missing_of(id);
        if let Some(missing) = missing
            && self.missing_logged.len() < MAX_LOGGED
            && self.missing_logged.insert(id)
        {
            cache.report(id, &format!("refuses all calls: {missing}"));
        }
    }

    /// Says in the log that a record of the tenant is damaged.
    fn log_damaged(&mut self, cache: &HostCache, id: TenantId, first: &str) {
        if self.damaged_logged < MAX_LOGGED {
            self.damaged_logged += 1;
            let text = format!(
                "refuses all calls when it is loaded: the record {first} is damaged, whatever the key"
            );
            cache.report(id, &text);
        }
    }

    /// Says in the log that another host has the tenant, if records of it are under a previous key.
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
