//! The sessions of each role: what a kill switch by role is for (R31).

use crate::groups::{Groups, Members};
use crate::list::List;
use crate::session::Role;

/// The roles.
pub type Roles = Groups<Role, List>;

impl Members for List {
    fn is_empty(&self) -> bool {
        self.first().is_none()
    }
}
