//! The host that the operations of a conversation call.

use clawdb_session_durable::DurableHost;
use clawdb_session_host::AnySessions;

/// A host of either kind.
#[derive(Clone)]
pub(super) enum Sessions {
    /// A host whose sessions are lost when the instance ends.
    Instance(AnySessions),
    /// A host that answers when all changes are durable.
    Durable(DurableHost),
}
