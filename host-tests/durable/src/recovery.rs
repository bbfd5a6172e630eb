//! The beginning of a term: taking the tenant over, starting an instance and restoring its
//! sessions.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use clawdb_session_host::{CallError, InstanceOptions, RefusedRecord, SessionError};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::active_instance::Phase;
use crate::callback;
use crate::check;
use crate::error::DurableError;
use crate::instance::Instance;
use crate::journal::{Journal, JournalError, TenantId, Writer};
use crate::keyring::Keyring;
use crate::metrics::Counters;
use crate::options::{DurableOptions, RestoreProgress};
use crate::reason::Reason;
use crate::term::{LeasedWriter, Term};

/// Why a term was not begun.
pub(super) enum NotBegun<C> {
    /// A step failed.
    Failed(DurableError),
    /// The host is closed; `C` is the request to close it.
    Closed(C),
}

/// The options, the journal and the tenant of a host.
pub(crate) struct Recovery {
    pub options: DurableOptions,
    pub journal: Arc<dyn Journal>,
    pub tenant: TenantId,
}

impl Recovery {
    /// Starts an instance and configures it.
    pub(super) async fn start_instance(
        &self,
        instances: &InstanceOptions,
    ) -> Result<Instance, DurableError> {
        let mut config = self.options.config.clone();
        config.workspace_id = Some(self.tenant.to_string());
        let instance = Instance::start(instances).await?;
        let configured = instance.sessions.configure(config).await;
        configured.map_err(|error| check::config_error(&self.options.config, error))?;
        Ok(instance)
    }

    /// Takes the tenant over and returns a term with an instance that has all records of the
    /// journal.
    ///
    /// # Errors
    /// [`NotBegun::Closed`] if `closing` ends before that. After an error the tenant is given back,
    /// unless the take-over itself was interrupted: then its lease expires.
    pub(super) async fn begin_term<C>(
        &self,
        instances: &InstanceOptions,
        phase: &watch::Sender<Phase>,
        counters: &Arc<Counters>,
        closing: impl Future<Output = C>,
    ) -> Result<Term, NotBegun<C>> {
        let mut closing = pin!(closing);
        let writer = unless_closed(self.take_over(phase), &mut closing).await?;
        self.report("has taken the tenant over and restores its sessions");
        let begun = Instant::now();
        let mut writer = LeasedWriter::new(writer);
        let restored = unless_closed(self.restore(instances, &mut writer), &mut closing).await;
        let (instance, since) = match restored {
            Ok(restored) => restored,
            Err(error) => {
                writer.release().await;
                return Err(error);
            }
        };
        let mut term = Term::new(instance, writer, since, Arc::clone(counters));
        // Records of an older format, or under a previous key, are changes after the restore.
        if let Err(error) = unless_closed(term.flush(), &mut closing).await {
            let end = match &error {
                NotBegun::Failed(error) => error.clone(),
                NotBegun::Closed(_) => DurableError::closed(),
            };
            term.end(end).release().await;
            return Err(error);
        }
        counters.record_recovery(begun.elapsed());
        Ok(term)
    }

    /// Takes the tenant over. If another host has the tenant, calls are refused and the log says so
    /// until the take-over ends. If the journal is slow, calls wait.
    async fn take_over(
        &self,
        phase: &watch::Sender<Phase>,
    ) -> Result<Box<dyn Writer>, DurableError> {
        let mut taking = pin!(self.journal.take_over(self.tenant));
        let writer = tokio::select! {
            biased;
            taken = &mut taking => taken?,
            () = self.held_by_another_host() => {
                let reason = "this host waits until its lease expires";
                phase.send_replace(Phase::Refusing(DurableError::NotOwner(reason.into())));
                self.report("waits until another host's lease expires");
                taking.await?
            }
        };
        phase.send_replace(Phase::Recovering("the sessions are being restored".into()));
        Ok(writer)
    }

    /// Waits until the journal says, at the end of a tick, that the tenant is held. This host does
    /// not hold it.
    async fn held_by_another_host(&self) {
        loop {
            sleep(self.options.tick).await;
            if let Ok(true) = self.journal.is_held(self.tenant).await {
                return;
            }
        }
    }

    /// Returns an instance with all records of the writer, and the highest sequence number among
    /// the records. The instance's newest change can have a higher number, because a restore
    /// changes records.
    async fn restore(
        &self,
        instances: &InstanceOptions,
        writer: &mut LeasedWriter,
    ) -> Result<(Instance, u64), DurableError> {
        let instance = self.start_instance(instances).await?;
        let total = writer.len();
        let (mut restored, mut newest) = (0, 0);
        let mut page = writer.read().await?;
        while !page.is_empty() {
            restored += u64::try_from(page.len()).unwrap_or(u64::MAX);
            let sequences = page.iter().map(|change| change.sequence);
            newest = sequences.fold(newest, u64::max);
            let (taken, next) = tokio::join!(instance.sessions.restore(page), writer.read());
            if let Err(error) = taken {
                return Err(self.restore_error(error).await);
            }
            page = next?;
            self.progress(restored, total.max(restored));
        }
        Ok((instance, newest))
    }

    /// Returns the error for records that the component refuses: a missing state key, or damage.
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
            let tenant = self.tenant;
            callback::call(|| {
                progress(RestoreProgress {
                    tenant,
                    restored,
                    total,
                });
            });
        }
    }

    /// Passes a line for the log to the `report` callback.
    pub(super) fn report(&self, text: &str) {
        if let Some(report) = &self.options.report {
            callback::call(|| report(self.tenant, text));
        }
    }
}

/// Runs a step of the beginning of a term, until `closing` ends.
async fn unless_closed<T, C>(
    step: impl Future<Output = Result<T, DurableError>>,
    closing: &mut (impl Future<Output = C> + Unpin),
) -> Result<T, NotBegun<C>> {
    tokio::select! {
        biased;
        done = step => done.map_err(NotBegun::Failed),
        closed = closing => Err(NotBegun::Closed(closed)),
    }
}

/// Returns the error for a refused record, if no state key is missing.
fn refusal_error(error: CallError) -> DurableError {
    match error {
        CallError::Session(SessionError::RefusedRecord(RefusedRecord { key, reason })) => {
            let reason = format!("the component refuses a record: {key}: {reason}");
            DurableError::Journal(JournalError::Damaged(reason.into()))
        }
        CallError::Session(error) => {
            let text = format!("the component refuses the records: {error}");
            let reason = Reason::in_place_of(text, error);
            DurableError::Journal(JournalError::Misconfigured(reason))
        }
        CallError::Host(error) => error.into(),
    }
}
