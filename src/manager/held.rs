//! What an operation holds in the store while it waits for the guard, given back however the wait
//! ends: by an answer, or by the call being cancelled.

use std::cell::RefCell;
use std::rc::Rc;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::groups::Era;
use crate::id::{AgentId, SessionId};
use crate::session::Attributes;
use crate::session::RevokeFilter;
use crate::store::{Cleared, Store};
use crate::ticket::{Expected, Reservation};

/// A place for a session that is to be.
pub(super) struct Place<'a> {
    store: &'a RefCell<Store>,
    pub(super) reservation: Reservation,
}

impl<'a> Place<'a> {
    /// See [`Store::reserve`].
    pub(super) fn reserve(
        store: &'a RefCell<Store>,
        id: SessionId,
        agent_id: AgentId,
        attributes: &Rc<Attributes>,
        parent: Option<Expected>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut open = store.borrow_mut();
        let reservation = open.reserve(id, agent_id, attributes, parent, now)?;
        drop(open);
        Ok(Self { store, reservation })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.store.borrow_mut().release(&self.reservation);
    }
}

/// Room for the revocation that a renewal leaves behind.
pub(super) struct Room<'a> {
    store: &'a RefCell<Store>,
}

impl<'a> Room<'a> {
    /// See [`Store::set_aside`].
    pub(super) fn set_aside(store: &'a RefCell<Store>, now: Timestamp) -> Result<Self, Error> {
        store.borrow_mut().set_aside(now)?;
        Ok(Self { store })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.store.borrow_mut().give_back();
    }
}

/// A kill switch whose sessions are being cleared away. If its call is cancelled, the rest is cleared
/// away at once.
pub(super) struct Clearing<'a> {
    store: &'a RefCell<Store>,
    era: Era,
    now: Timestamp,
}

impl<'a> Clearing<'a> {
    /// See [`Store::cut_off`].
    pub(super) fn begin(store: &'a RefCell<Store>, filter: RevokeFilter, now: Timestamp) -> Self {
        let era = store.borrow_mut().cut_off(filter, now);
        Self { store, era, now }
    }

    /// See [`Store::clear_away`].
    pub(super) fn go_on(&mut self, now: Timestamp) -> Option<Cleared> {
        self.now = now;
        self.store.borrow_mut().clear_away(self.era, now)
    }
}

impl Drop for Clearing<'_> {
    fn drop(&mut self) {
        let mut store = self.store.borrow_mut();
        while store.is_clearing(self.era) {
            store.clear_away(self.era, self.now);
        }
    }
}

/// A renewal that has taken effect and has still to answer.
pub(super) struct Answer<'a> {
    store: &'a RefCell<Store>,
    renewed: Expected,
}

impl<'a> Answer<'a> {
    /// See [`Store::end_answer`].
    pub(super) fn owed(store: &'a RefCell<Store>, renewed: Expected) -> Self {
        Self { store, renewed }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.store.borrow_mut().end_answer(self.renewed);
    }
}

/// Word of how a session ends.
pub(super) struct Watch<'a> {
    store: &'a RefCell<Store>,
    expected: Expected,
}

impl<'a> Watch<'a> {
    /// See [`Store::watch`].
    pub(super) fn new(store: &'a RefCell<Store>, expected: Expected) -> Self {
        store.borrow_mut().watch(expected);
        Self { store, expected }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.store.borrow_mut().unwatch(self.expected);
    }
}
