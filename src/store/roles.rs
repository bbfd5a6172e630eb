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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures::{add, role};
    use crate::store::session_table::SessionTable;

    #[test]
    fn r21_a_role_is_dropped_with_its_last_session() {
        let mut sessions = SessionTable::default();
        assert!(SessionSet::is_empty(&List::default()));
        let slots = [1, 2].map(|number| add(&mut sessions, number, None, 60));
        for slot in slots {
            assert_eq!(sessions.first_of_role(&role()), Some(slot));
            sessions.remove(slot);
        }
        assert!(
            format!("{sessions:?}").contains("roles: SessionIndex { buckets: Slab { chunks: [[]]")
        );
    }
}
