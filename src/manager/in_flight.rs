//! RAII guards for what an operation reserves in the store while it waits for the guard. They
//! release it when the operation ends or is cancelled.

use std::cell::RefCell;
use std::rc::Rc;

use crate::domain::error::Error;
use crate::domain::id::{AgentId, SessionId};
use crate::domain::session::Attributes;
use crate::domain::timestamp::Timestamp;
use crate::store::Store;
use crate::store::plan::{Reservation, SessionVersion};

/// The reservation of a session that is being created.
pub(super) struct ReservationGuard<'a> {
    store: &'a RefCell<Store>,
    pub(super) reservation: Reservation,
}

impl<'a> ReservationGuard<'a> {
    /// Reserves a session; see [`Store::reserve`].
    pub(super) fn reserve(
        store: &'a RefCell<Store>,
        id: SessionId,
        agent_id: AgentId,
        attributes: &Rc<Attributes>,
        parent: Option<SessionVersion>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut open = store.borrow_mut();
        let reservation = open.reserve(id, agent_id, attributes, parent, now)?;
        drop(open);
        Ok(Self { store, reservation })
    }
}

impl Drop for ReservationGuard<'_> {
    fn drop(&mut self) {
        self.store.borrow_mut().release(&self.reservation);
    }
}

/// The bytes that are reserved for the revocation that a renewal adds.
pub(super) struct ByteReservation<'a> {
    store: &'a RefCell<Store>,
}

impl<'a> ByteReservation<'a> {
    /// Reserves the bytes; see [`Store::reserve_bytes`].
    pub(super) fn reserve_bytes(store: &'a RefCell<Store>, now: Timestamp) -> Result<Self, Error> {
        store.borrow_mut().reserve_bytes(now)?;
        Ok(Self { store })
    }
}

impl Drop for ByteReservation<'_> {
    fn drop(&mut self) {
        self.store.borrow_mut().release_bytes();
    }
}

/// A renewal that has taken effect and whose reply has not been returned yet.
pub(super) struct UnacknowledgedRenewal<'a> {
    store: &'a RefCell<Store>,
    renewed: SessionVersion,
}

impl<'a> UnacknowledgedRenewal<'a> {
    /// Returns the guard of a renewal that was committed. Dropping it calls [`Store::end_renewal`].
    pub(super) fn new(store: &'a RefCell<Store>, renewed: SessionVersion) -> Self {
        Self { store, renewed }
    }
}

impl Drop for UnacknowledgedRenewal<'_> {
    fn drop(&mut self) {
        self.store.borrow_mut().end_renewal(self.renewed);
    }
}

/// An operation in flight for a session. While it exists, the store keeps the reason if the session
/// ends.
pub(super) struct InFlight<'a> {
    store: &'a RefCell<Store>,
    expected: SessionVersion,
}

impl<'a> InFlight<'a> {
    /// Begins to watch the session; see [`Store::watch`].
    pub(super) fn new(store: &'a RefCell<Store>, expected: SessionVersion) -> Self {
        store.borrow_mut().watch(expected);
        Self { store, expected }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.store.borrow_mut().unwatch(self.expected);
    }
}
