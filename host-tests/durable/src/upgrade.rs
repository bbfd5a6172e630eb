//! The copy of the state from one instance to another, while the first one serves.

use std::sync::Arc;

use clawdb_session_host::CallError;

use crate::active_instance::ActiveInstance;
use crate::error::DurableError;
use crate::instance::{Instance, PAGE};
use crate::reason::Reason;

/// A handover of the state from the instance that serves to its successor.
pub(super) struct Handover {
    from: Arc<ActiveInstance>,
    to: Instance,
    /// The successor has all changes up to this sequence number.
    cursor: u64,
}

impl Handover {
    /// Begins a handover. `to` is configured and has not been used otherwise.
    pub fn new(from: Arc<ActiveInstance>, to: Instance) -> Self {
        Self {
            from,
            to,
            cursor: 0,
        }
    }

    pub fn source(&self) -> &Arc<ActiveInstance> {
        &self.from
    }

    /// Copies changes until the successor has all of this moment.
    pub async fn catch_up(&mut self) -> Result<(), DurableError> {
        let (from, to) = (&self.from.instance.sessions, &self.to.sessions);
        loop {
            let page = from.changes(self.cursor, PAGE).await?;
            if !page.changes.is_empty() {
                to.restore(page.changes).await.map_err(refused)?;
            }
            self.cursor = page.next;
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Copies the last changes and returns the successor. It continues the run of events, so no
    /// call may be in flight.
    pub async fn finish(&mut self) -> Result<Instance, DurableError> {
        self.catch_up().await?;
        self.from.instance.sessions.close_event_run().await?;
        self.catch_up().await?;
        Ok(self.to.clone())
    }
}

/// Returns the error for records that the successor does not take.
fn refused(error: CallError) -> DurableError {
    let text = match &error {
        CallError::Session(error) => {
            format!("the new instance refuses the old instance's state: {error}")
        }
        CallError::Host(error) => format!("the new instance failed: {error}"),
    };
    DurableError::Upgrade(Reason::in_place_of(text, error))
}
