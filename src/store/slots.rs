//! The types of the store's slots. They are declared together so that files whose values refer to
//! each other do not import each other.

use crate::collections::slot::slot_type;

slot_type! {
    /// The slot of a session.
    SessionSlot
}
slot_type! {
    /// The slot of an agent.
    AgentSlot
}
slot_type! {
    /// The slot of a role.
    RoleSlot
}
slot_type! {
    /// The slot of a pending revocation.
    PendingSlot
}
slot_type! {
    /// The slot of the children of one parent that were restored before it.
    OrphansSlot
}
slot_type! {
    /// The slot of how a session ended.
    OutcomeSlot
}
