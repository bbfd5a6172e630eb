//! From nothing to an instance that serves: take over, start, restore.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use clawdb_session_host::{CallError, RefusedRecord, SessionEngine, SessionError};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::active_instance::Phase;
use crate::check;
use crate::error::DurableError;
use crate::instance::Instance;
use crate::journal::{Journal, JournalError, TenantId, Writer};
use crate::keyring::Keyring;
use crate::metrics::Counters;
use crate::options::{DurableOptions, RestoreProgress};
use crate::reason::Reason;
use crate::term::{LeasedWriter, Term};

/// Whose sessions, where they are kept, and how an instance for them is made.
pub(crate) struct Recovery {
    pub options: DurableOptions,
    pub journal: Arc<dyn Journal>,
    pub tenant: TenantId,
}

impl Recovery {
    /// An instance that is configured, and has done nothing else.
    pub(super) async fn start_instance(
        &self,
        engine: &SessionEngine,
    ) -> Result<Instance, DurableError> {
        let mut config = self.options.config.clone();
        config.workspace_id = Some(self.tenant.to_string());
        let instance = Instance::start(engine, &self.options.host).await?;
        let configured = instance.host.configure(config).await;
        configured.map_err(|error| match error {
            CallError::Session(error) => check::config_error(&self.options.config, error),
            CallError::Host(error) => error.into(),
        })?;
        Ok(instance)
    }

    /// Becomes the tenant's owner, with an instance that knows all that is in the journal.
    pub(super) async fn begin_term(
        &self,
        engine: &SessionEngine,
        phase: &watch::Sender<Phase>,
        counters: &Arc<Counters>,
    ) -> Result<Term, DurableError> {
        let writer = self.take_over(phase).await?;
        self.report("has the tenant, and restores its sessions");
        let begun = Instant::now();
        let mut writer = LeasedWriter::new(writer);
        let restored = self.restore(engine, &mut writer).await;
        let (instance, since) = match restored {
            Ok(restored) => restored,
            Err(error) => {
                writer.release().await;
                return Err(error);
            }
        };
        let mut term = Term::new(instance, writer, since, Arc::clone(counters));
        // What was restored of an older format, or under a previous key, has changed by that.
        if let Err(error) = term.flush().await {
            term.end(error.clone()).release().await;
            return Err(error);
        }
        counters.record_recovery(begun.elapsed());
        Ok(term)
    }

    /// Takes the tenant over, and tells when that takes so long that another host must have it.
    async fn take_over(
        &self,
        phase: &watch::Sender<Phase>,
    ) -> Result<Box<dyn Writer>, DurableError> {
        let mut taking = pin!(self.journal.take_over(self.tenant));
        let soon = timeout(self.options.tick, &mut taking).await;
        let taken = if let Ok(taken) = soon {
            taken
        } else {
            let reason = "this one waits for its lease to run out";
            phase.send_replace(Phase::Refusing(DurableError::NotOwner(reason.into())));
            self.report("waits for another host's lease to run out");
            taking.await
        };
        let writer = taken?;
        phase.send_replace(Phase::Recovering("the sessions are being restored".into()));
        Ok(writer)
    }

    /// An instance with all the records that the writer gives, and the highest sequence among them.
    ///
    /// Not the instance's newest change: that can be later than the newest record.
    async fn restore(
        &self,
        engine: &SessionEngine,
        writer: &mut LeasedWriter,
    ) -> Result<(Instance, u64), DurableError> {
        let instance = self.start_instance(engine).await?;
        let total = writer.len();
        let (mut restored, mut newest) = (0, 0);
        let mut page = writer.read().await?;
        while !page.is_empty() {
            restored += u64::try_from(page.len()).unwrap_or(u64::MAX);
            let sequences = page.iter().map(|change| change.sequence);
            newest = sequences.fold(newest, u64::max);
            let (taken, next) = tokio::join!(instance.host.restore(page), writer.read());
            if let Err(error) = taken {
                return Err(self.restore_error(error).await);
            }
            page = next?;
            self.progress(restored, total.max(restored));
        }
        Ok((instance, newest))
    }

    /// What it means that the component does not take a record of the journal: a key that is missing,
    /// or damage.
    async fn restore_error(&self, error: CallError) -> DurableError {
        if let CallError::Session(SessionError::RefusedRecord(_)) = error
            && let Some(keyring) = Keyring::of(&self.options.config)
        {
            match keyring.scan(&*self.journal, self.tenant).await {
                Ok(count) => {
                    if let Some(missing) = count.missing(self.tenant) {
                        return DurableError::StateKeyMissing(missing);
                    }
                }
                Err(error) => return error.into(),
            }
        }
        refusal_error(error)
    }

    fn progress(&self, restored: u64, total: u64) {
        if let Some(progress) = &self.options.progress {
            progress(RestoreProgress {
                tenant: self.tenant,
                restored,
                total,
            });
        }
    }

    /// Tells whoever runs the host what it does.
    pub(super) fn report(&self, text: &str) {
        if let Some(report) = &self.options.report {
            report(self.tenant, text);
        }
    }
}

/// What it means that the component does not take a record that a key opens.
fn refusal_error(error: CallError) -> DurableError {
    match error {
        CallError::Session(SessionError::RefusedRecord(RefusedRecord { key, reason })) => {
            let reason = format!("the component refuses a record: {key}: {reason}");
            DurableError::Journal(JournalError::Damaged(reason.into()))
        }
        CallError::Session(error) => {
            let text = format!("the component does not take what is in it: {error}");
            let reason = Reason::in_place_of(text, error);
            DurableError::Journal(JournalError::Misconfigured(reason))
        }
        CallError::Host(error) => error.into(),
    }
}
