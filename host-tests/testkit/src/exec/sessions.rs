//! The host that a conversation calls.

use clawdb_session_durable::DurableHost;
use clawdb_session_host::SessionHost;

/// Whom the conversation is with.
#[derive(Clone)]
pub(super) enum Sessions {
    /// An instance: what it knows ends with it.
    Instance(SessionHost),
    /// A host that answers when what has changed is durable.
    Durable(DurableHost),
}
