//! The sessions of each role: what a kill switch by role is for (R31).

use crate::collections::list::List;
use crate::domain::session::Role;
use crate::store::session_index::{Members, SessionIndex};

/// The roles.
pub type Roles = SessionIndex<Role, List>;

impl Members for List {
    fn is_empty(&self) -> bool {
        self.first().is_none()
    }
}
