//! The operations: what is checked, asked and done, in which order.
//!
//! Each operation runs to its first wait in one go, and from there to the next. Before a wait it
//! leaves the store in a state that any other call may find; after it, it trusts nothing that it
//! learnt before, but has the store check and change in one step. No borrow of the store lives
//! across a wait.
//!
//! A call may also be cancelled while it waits (its future is dropped). Then a create that has made
//! nothing releases its reservation, a kill switch ends at once what it has not ended yet, and
//! revocations that were not confirmed stay pending.

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
mod waiting;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

pub use query::Statistics;
pub use revoke::FlushReport;
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

/// How many sessions one call checks at most that may have been idle for too long (R20).
const MAX_SCANNED: u32 = 10_000;
/// How many rows a page has at most (R2).
const MAX_ROWS: u32 = 1_000;

/// The session manager over its three ports.
#[derive(Debug)]
pub struct SessionManager<G, C, E> {
    guard: G,
    clock: MonotonicClock<C>,
    entropy: E,
    store: RefCell<Store>,
    /// Drawn when the first session is asked for.
    key: OnceCell<Rc<FingerprintKey>>,
    /// Whether the tables have their seed, and the events their run.
    seeded: Cell<bool>,
    configured: Cell<bool>,
    /// Whether there was an operation on sessions: nothing can be restored after it.
    started: Cell<bool>,
    /// The guard was unavailable for all of the last batch of a flush.
    flush_failed: Cell<bool>,
    /// How many readers subscribe to the events.
    readers: Cell<usize>,
    /// How many times the readers were checked for being alive.
    liveness_checks: Cell<u64>,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// A manager without sessions, with the default limits.
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
            readers: Cell::new(0),
            liveness_checks: Cell::new(0),
        }
    }

    /// Sets the limits, once, before there has been a session or one is being made.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::AlreadyConfigured`].
    pub fn configure(&self, config: &Config) -> Result<(), Error> {
        let limits = Limits::new(config)?;
        if self.configured.get() {
            return Err(Error::AlreadyConfigured);
        }
        self.store.borrow_mut().configure(limits)?;
        self.configured.set(true);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn end_outcomes(&self) -> usize {
        self.store.borrow().end_outcomes()
    }

    /// Begins an operation on sessions and returns the time. Nothing can be restored after it.
    fn begin_operation(&self) -> Timestamp {
        if !self.started.replace(true) {
            self.store.borrow_mut().end_restoring();
        }
        self.clock.now()
    }

    /// Returns the fingerprint key. It, the seed of the tables and the run of the events are drawn
    /// when the first session is asked for: an instance starts without asking its host for
    /// anything.
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

    /// Seeds the tables and begins the run of the events, unless that was done: both come before
    /// the first entry.
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
