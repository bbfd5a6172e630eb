//! The slot types of the store. They are declared in one file, so that files whose values refer to
//! each other need not import each other.

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
    /// The slot of a list of children that were restored before their parent.
    OrphansSlot
}
slot_type! {
    /// The slot of the outcome of an ended session.
    OutcomeSlot
}
