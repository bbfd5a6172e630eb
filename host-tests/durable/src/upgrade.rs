//! Live upgrade: another instance is given all that the old one knows, while that goes on serving.

use std::sync::Arc;

use clawdb_session_host::CallError;

use crate::active_instance::ActiveInstance;
use crate::error::DurableError;
use crate::instance::{Instance, PAGE};
use crate::reason::Reason;

/// An instance that comes to know what another one does.
pub(super) struct Handover {
    from: Arc<ActiveInstance>,
    to: Instance,
    /// It has the changes up to this one.
    cursor: u64,
}

impl Handover {
    /// Into an instance that is configured and has done nothing else.
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

    /// Copies until there is no more for the moment.
    pub async fn catch_up(&mut self) -> Result<(), DurableError> {
        loop {
            let page = self.from.instance.host.changes(self.cursor, PAGE).await?;
            if !page.changes.is_empty() {
                self.to.host.restore(page.changes).await.map_err(|error| {
                    let text = match &error {
                        CallError::Session(error) => {
                            format!("the new instance does not take the old one's state: {error}")
                        }
                        CallError::Host(error) => format!("the new instance failed: {error}"),
                    };
                    DurableError::Upgrade(Reason::in_place_of(text, error))
                })?;
            }
            self.cursor = page.next;
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Copies the last part. No call may be under way: the new instance continues the run of events.
    pub async fn finish(&mut self) -> Result<Instance, DurableError> {
        self.catch_up().await?;
        self.from.instance.host.close_event_run().await?;
        self.catch_up().await?;
        Ok(self.to.clone())
    }
}
