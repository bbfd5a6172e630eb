//! Holds all records of a journal against the keys of the configuration, and reseals those that are
//! under a previous key.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::time::sleep;

use super::key_report::KeyState;
use super::pool::Pool;
use crate::error::DurableError;
use crate::journal::{JournalError, TenantId};
use crate::keyring::Keyring;

/// How many `meta` records are asked for at a time: each is a round trip.
const METAS_AT_A_TIME: usize = 16;
/// How many tenants have a line in the log for each kind of trouble.
const LOGGED: usize = 20;
/// How often the progress is reported while records are resealed.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// After how long the same report is repeated.
const REPEATED_AFTER: Duration = Duration::from_mins(1);
/// How many ticks there are between two rounds at most.
const MAX_PAUSE: u32 = 60;

/// Checks all, reseals what is under a previous key, and tries again what could not be done, for as
/// long as the pool is there and is not shut down.
pub(super) async fn run(pool: Weak<Pool>, keyring: Keyring) {
    let Some((keys, tick)) = pool
        .upgrade()
        .map(|pool| (Arc::clone(&pool.keys), pool.options.tick))
    else {
        return;
    };
    let mut check = KeyCheck {
        pool,
        keys,
        keyring,
        metas: None,
        scans: VecDeque::new(),
        failed: Vec::new(),
        missing_logged: HashSet::new(),
        held_logged: HashSet::new(),
        damaged_logged: 0,
        told: None,
        problem: None,
    };
    let mut pause = 1;
    loop {
        match check.round().await {
            Err(Ended) => return,
            Ok(Progress::Some) => pause = 1,
            Ok(Progress::None) => pause = (pause * 2).min(MAX_PAUSE),
            Ok(Progress::Done) => {
                pause = 1;
                check.keys.wake.notified().await;
            }
        }
        sleep(tick.saturating_mul(pause)).await;
    }
}

struct KeyCheck {
    pool: Weak<Pool>,
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
    told: Option<(Instant, String)>,
    /// What failed last in this round.
    problem: Option<String>,
}

/// The pool was dropped or is shut down.
struct Ended;

/// What a round came to.
enum Progress {
    /// Nothing is left to be done.
    Done,
    /// Less is left than before.
    Some,
    None,
}

/// Why a round ends before its time.
enum Stop {
    Ended,
    /// The journal cannot be reached.
    Unavailable(JournalError),
}

impl From<Ended> for Stop {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl KeyCheck {
    /// Tries all that is still to be done, once.
    async fn round(&mut self) -> Result<Progress, Ended> {
        let before = self.left();
        match self.work().await {
            Ok(()) => {}
            Err(Stop::Ended) => return Err(Ended),
            Err(Stop::Unavailable(error)) => self.problem = Some(error.to_string()),
        }
        self.scans.extend(self.failed.drain(..));
        let problem = self.problem.take();
        let done = problem.is_none() && self.left() == Some(0);
        self.keys.lock().end_round(problem);
        self.tell();
        Ok(match (before, self.left()) {
            _ if done => Progress::Done,
            (Some(before), Some(left)) if left >= before => Progress::None,
            (None, None) => Progress::None,
            _ => Progress::Some,
        })
    }

    /// How many tenants have something left to be done. None: they are not listed yet.
    fn left(&self) -> Option<usize> {
        let metas = self.metas.as_ref()?.len();
        Some(metas + self.scans.len() + self.keys.lock().outstanding().len())
    }

    async fn work(&mut self) -> Result<(), Stop> {
        self.look_at_metas().await?;
        self.keys.lock().meta_checked();
        self.scan_all().await?;
        if self.failed.is_empty() {
            self.keys.lock().set_complete();
        }
        let outstanding = self.keys.lock().outstanding();
        if !outstanding.is_empty() {
            self.tell();
        }
        for id in outstanding {
            self.settle(id).await?;
            if self
                .told
                .as_ref()
                .is_some_and(|(at, _)| at.elapsed() >= TOLD_EVERY)
            {
                self.tell();
            }
        }
        Ok(())
    }

    /// The first record of each tenant that tells of its key.
    async fn look_at_metas(&mut self) -> Result<(), Stop> {
        if self.metas.is_none() {
            let tenants = self.pool()?.journal.tenants().await;
            let tenants = tenants.map_err(Stop::Unavailable)?;
            self.keys.lock().set_workspaces(tenants.len());
            self.scans = tenants.clone().into();
            self.metas = Some(tenants.into());
        }
        while let Some(metas) = &self.metas
            && !metas.is_empty()
        {
            let some: Vec<_> = metas.iter().take(METAS_AT_A_TIME).copied().collect();
            let pool = self.pool()?;
            let looking = some
                .iter()
                .map(|id| self.keyring.look(&*pool.journal, *id, "meta"));
            let looks = join_all(looking).await;
            for (id, look) in some.into_iter().zip(looks) {
                // One that fails for another reason is scanned all the same, which tells of it.
                match look {
                    Err(error @ JournalError::Unavailable(_)) => {
                        return Err(Stop::Unavailable(error));
                    }
                    Err(_) => {}
                    Ok(found) => self.keys.lock().note(id, &found),
                }
                self.log_missing(&pool, id);
                if let Some(metas) = &mut self.metas {
                    metas.pop_front();
                }
            }
        }
        Ok(())
    }

    async fn scan_all(&mut self) -> Result<(), Stop> {
        while let Some(id) = self.scans.front().copied() {
            let pool = self.pool()?;
            match self.keyring.scan(&*pool.journal, id).await {
                Ok(found) => {
                    {
                        let mut keys = self.keys.lock();
                        keys.note(id, &found);
                        keys.note_records(found.records);
                    }
                    if let Some(first) = &found.first_damaged {
                        self.log_damaged(&pool, id, first);
                    }
                }
                Err(error @ JournalError::Unavailable(_)) => return Err(Stop::Unavailable(error)),
                Err(error) => {
                    self.failed.push(id);
                    self.problem = Some(format!("workspace {id}: {error}"));
                }
            }
            self.scans.pop_front();
            self.log_missing(&pool, id);
        }
        Ok(())
    }

    /// Reseals a tenant's records, unless a key is missing for one of them.
    async fn settle(&mut self, id: TenantId) -> Result<(), Stop> {
        let pool = self.pool()?;
        let missing = self.keys.lock().missing_of(id);
        if let Some(missing) = missing {
            // Only another host can have changed that.
            let look = self.keyring.look(&*pool.journal, id, &missing.first);
            let look = look.await;
            if look.is_ok_and(|found| found.unknown > 0) {
                return Ok(());
            }
            self.scan_again(&pool, id).await?;
        }
        let damaged = self.keys.lock().damaged_of(id);
        if let Some(first) = damaged {
            // The same here.
            let look = self.keyring.look(&*pool.journal, id, &first).await;
            if look.is_ok_and(|found| found.damaged > 0) {
                return Ok(());
            }
            self.scan_again(&pool, id).await?;
        }
        let (is_refused, previous) = {
            let keys = self.keys.lock();
            let is_refused = keys.missing_of(id).is_some() || keys.damaged_of(id).is_some();
            (is_refused, keys.previous_of(id))
        };
        if is_refused || previous == 0 {
            return Ok(());
        }
        match pool.is_held_elsewhere(id).await {
            Ok(true) => return self.held(&pool, id).await,
            Err(error @ JournalError::Unavailable(_)) => return Err(Stop::Unavailable(error)),
            // The load of the tenant reports what is wrong.
            Ok(false) | Err(_) => {}
        }
        self.keys.lock().set_resealing(Some(id));
        let resealed = self.reseal(&pool, id).await;
        self.keys.lock().set_resealing(None);
        match resealed {
            Ok(()) => {
                self.scan_again(&pool, id).await?;
                let mut keys = self.keys.lock();
                keys.note_free(id);
                let left = keys.previous_of(id);
                keys.note_resealed(previous.saturating_sub(left));
            }
            Err(_) if pool.is_closed() => return Err(Stop::Ended),
            Err(DurableError::NotOwner(_)) => self.held(&pool, id).await?,
            Err(DurableError::StateKeyMissing(missing)) => {
                self.keys.lock().note_missing(missing);
                self.log_missing(&pool, id);
            }
            Err(error) => {
                self.keys.lock().note_free(id);
                self.problem = Some(format!("workspace {id}: {error}"));
            }
        }
        Ok(())
    }

    /// Another host has the tenant, and has to reseal its records.
    async fn held(&mut self, pool: &Pool, id: TenantId) -> Result<(), Stop> {
        // It may have done so already.
        self.scan_again(pool, id).await?;
        self.keys.lock().note_held(id);
        self.log_held(pool, id);
        Ok(())
    }

    /// The same of [`Pool::reseal`], with word of it now and then.
    async fn reseal(&mut self, pool: &Pool, id: TenantId) -> Result<(), DurableError> {
        let mut resealing = pin!(pool.reseal(id));
        loop {
            tokio::select! {
                resealed = &mut resealing => return resealed,
                () = sleep(TOLD_EVERY) => self.tell(),
            }
        }
    }

    async fn scan_again(&mut self, pool: &Pool, id: TenantId) -> Result<(), Stop> {
        match self.keyring.scan(&*pool.journal, id).await {
            Ok(found) => self.keys.lock().note(id, &found),
            Err(error @ JournalError::Unavailable(_)) => return Err(Stop::Unavailable(error)),
            Err(error) => self.problem = Some(format!("workspace {id}: {error}")),
        }
        Ok(())
    }

    fn pool(&self) -> Result<Arc<Pool>, Ended> {
        let pool = self.pool.upgrade().ok_or(Ended)?;
        if pool.is_closed() {
            return Err(Ended);
        }
        Ok(pool)
    }

    /// Tells how far it is, unless there is no rotation and nothing is wrong, or the same was told
    /// just now.
    fn tell(&mut self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let report = pool.keys();
        let rotates = !pool.options.config.previous_state_keys.is_empty();
        let is_well = report.missing_workspaces == 0
            && report.damaged_workspaces == 0
            && report.problem.is_none();
        let Some(tell) = pool.options.key_progress.as_ref() else {
            return;
        };
        if !rotates && is_well {
            return;
        }
        let text = report.to_string();
        if let Some((at, told)) = &self.told
            && *told == text
            && at.elapsed() < REPEATED_AFTER
        {
            return;
        }
        tell(&report);
        self.told = Some((Instant::now(), text));
    }

    /// Says in the log that the tenant refuses its calls, if it does.
    fn log_missing(&mut self, pool: &Pool, id: TenantId) {
        let missing = self.keys.lock().missing_of(id);
        if let Some(missing) = missing
            && self.missing_logged.len() < LOGGED
            && self.missing_logged.insert(id)
        {
            pool.report(id, &format!("refuses all calls: {missing}"));
        }
    }

    /// Says in the log that a record of the tenant is damaged.
    fn log_damaged(&mut self, pool: &Pool, id: TenantId, first: &str) {
        if self.damaged_logged < LOGGED {
            self.damaged_logged += 1;
            let text = format!(
                "refuses all calls when it is loaded: the record {first} is damaged, whatever the key"
            );
            pool.report(id, &text);
        }
    }

    /// Says in the log that another host has the tenant, if records of it are under a previous key.
    fn log_held(&mut self, pool: &Pool, id: TenantId) {
        let previous = self.keys.lock().previous_of(id);
        if previous > 0 && self.held_logged.len() < LOGGED && self.held_logged.insert(id) {
            let text = format!(
                "has no lease: another host has the workspace and has to reseal {previous} records \
                 that are under a previous state key"
            );
            pool.report(id, &text);
        }
    }
}
