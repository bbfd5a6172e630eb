//! The sessions of each role, for kill switches by role (R31).

use crate::collections::list::List;
use crate::domain::session::Role;
use crate::store::session_index::{SessionIndex, SessionSet};
use crate::store::slots::{RoleSlot, SessionSlot};

/// The roles.
pub type Roles = SessionIndex<RoleSlot, Role, List<SessionSlot>>;

impl SessionSet for List<SessionSlot> {
    fn is_empty(&self) -> bool {
        self.first().is_none()
    }
}
