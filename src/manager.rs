//! The operations: in which order each one checks, asks the guard and commits.
//!
//! An operation runs without interruption from one wait to the next. Before a wait it leaves the
//! store in a state that other calls can use. After a wait it does not rely on what it read before
//! it: the store compares and changes in one step. No borrow of the store is held across a wait.
//!
//! A call can also be cancelled while it waits: its future is dropped. A cancelled create releases
//! its reservation, and revocations that are not confirmed stay pending. No call yields except to
//! wait: a runtime can delay a call that yields until no other is ready.

mod authenticate;
mod batch;
mod clock;
mod create;
mod guard_revocations;
mod in_flight;
mod issued;
mod persist;
mod query;
mod renew;
mod revoke;
mod subscription;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

pub use query::Statistics;
pub use revoke::FlushReport;
use subscription::Readers;
pub use subscription::{Notice, Subscription};

use crate::collections::table::Seed;
use crate::domain::config::{Config, Limits};
use crate::domain::error::Error;
use crate::domain::event::Run;
use crate::domain::state_key::SALT_BYTES;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::FingerprintKey;
use crate::ports::clock::{Clock, MonotonicClock};
use crate::ports::entropy::{Entropy, random};
use crate::ports::guard::Guard;
use crate::store::Store;

/// The maximum number of sessions that one call checks for the idle timeout (R20).
const MAX_SCANNED: u32 = 10_000;
/// The maximum number of rows of a page (R2).
const MAX_ROWS: u32 = 1_000;

/// The session manager, generic over its three ports.
#[derive(Debug)]
pub struct SessionManager<G, C, E> {
    guard: G,
    clock: MonotonicClock<C>,
    entropy: E,
    store: RefCell<Store>,
    /// The key of the fingerprints; empty until the first session is requested or the key is
    /// restored.
    key: OnceCell<Rc<FingerprintKey>>,
    /// Whether the tables have their seed and the events have their run.
    seeded: Cell<bool>,
    configured: Cell<bool>,
    /// Whether an operation on sessions has begun. After it, nothing can be restored.
    started: Cell<bool>,
    /// Whether the guard was unavailable for all tokens in the last batch of a flush.
    flush_failed: Cell<bool>,
    readers: Readers,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Returns a manager without sessions, with the default limits.
    pub fn new(guard: G, clock: C, entropy: E) -> Self {
        Self {
            guard,
            clock: MonotonicClock::new(clock),
            entropy,
            store: RefCell::new(Store::new(Limits::default())),
            key: OnceCell::new(),
            seeded: Cell::new(false),
            configured: Cell::new(false),
            started: Cell::new(false),
            flush_failed: Cell::new(false),
            readers: Readers::default(),
        }
    }

    /// Sets the limits. It succeeds once, and only before the first session.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a field outside its range (nothing is set),
    /// [`Error::AlreadyConfigured`] if the limits were set before, there has been a session, or a
    /// create is in flight.
    pub fn configure(&self, config: &Config) -> Result<(), Error> {
        let limits = Limits::new(config)?;
        if self.configured.get() {
            return Err(Error::AlreadyConfigured);
        }
        self.store.borrow_mut().configure(limits)?;
        self.configured.set(true);
        Ok(())
    }

    /// Checks the invariants of the state: all indexes agree with the sessions, all counts are
    /// exact, and nothing is kept that is not needed. `calls_in_flight` is whether a call waits.
    ///
    /// # Errors
    /// The text of the first violation.
    #[cfg(any(test, feature = "checks"))]
    pub fn check_invariants(&self, calls_in_flight: bool) -> Result<(), String> {
        let store = self.store.borrow();
        store.check_invariants(calls_in_flight)?;
        if self.started.get() {
            store.check_restore_ended()?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn end_outcomes(&self) -> usize {
        self.store.borrow().end_outcomes()
    }

    /// Begins an operation on sessions and returns the time inside. After it, nothing can be
    /// restored.
    fn begin_operation(&self) -> Timestamp {
        if !self.started.replace(true) {
            self.store.borrow_mut().end_restoring();
        }
        self.clock.now()
    }

    /// Returns the fingerprint key. The first call draws it at random, with the seed of the tables
    /// and the run of the events. So an instance starts without calling its host.
    fn fingerprint_key(&self) -> Result<&FingerprintKey, Error> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        self.seed()?;
        let key = FingerprintKey::from_secret(random(&self.entropy)?);
        let key = Rc::new(key.ok_or(Error::EntropyUnavailable)?);
        let salt: [u8; SALT_BYTES] = random(&self.entropy)?;
        let mut store = self.store.borrow_mut();
        store.set_fingerprint_key(Rc::clone(&key), salt);
        Ok(self.key.get_or_init(|| key))
    }

    /// Seeds the tables and begins the run of the events, unless that was done. Both must happen
    /// before the first entry.
    fn seed(&self) -> Result<(), Error> {
        if !self.seeded.get() {
            let seed = Seed::from_random(random(&self.entropy)?);
            let run = Run::from_random(random(&self.entropy)?);
            let mut store = self.store.borrow_mut();
            store.seed(&seed);
            store.events_mut().begin_run(run);
            self.seeded.set(true);
        }
        Ok(())
    }
}
