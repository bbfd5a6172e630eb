//! The options of a durable host.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{Config, InstanceOptions};

use crate::journal::TenantId;
use crate::key_report::KeyReport;

/// Receives the progress of a restore.
pub type ProgressCallback = Arc<dyn Fn(RestoreProgress) + Send + Sync>;
/// Receives a line for each change in the state of a tenant's host.
pub type LogCallback = Arc<dyn Fn(TenantId, &str) + Send + Sync>;
/// Receives the progress of the check of the state keys.
pub type KeyProgressCallback = Arc<dyn Fn(&KeyReport) + Send + Sync>;

/// The options of a durable host.
///
/// ```
/// use std::time::Duration;
///
/// use clawdb_session_durable::DurableOptions;
/// use clawdb_session_host::{Config, InstanceOptions};
///
/// fn options(instances: InstanceOptions, state_key: [u8; 32]) -> DurableOptions {
///     DurableOptions {
///         patience: Duration::from_secs(5),
///         drain: Duration::from_secs(4),
///         ..DurableOptions::new(instances, Config::with_state_key(state_key))
///     }
/// }
/// ```
///
/// # Rotation of the state key
///
/// 1. If several hosts share a journal, add the new key to the `previous-state-keys` of each of
///    them. They read each other's records.
/// 2. Start each host with the new key as `state-key` and the old one in `previous-state-keys`. A
///    [`DurableHost`](crate::DurableHost) seals all records of its tenant with the new key before
///    it serves. [`Tenants`](crate::Tenants) does so for every tenant of the journal, in the
///    background.
/// 3. Remove the old key when [`Tenants::keys`](crate::Tenants::keys) reports that it can be
///    dropped.
#[derive(Clone)]
pub struct DurableOptions {
    /// The compiled component of a world, and the options of each instance.
    pub instances: InstanceOptions,
    /// The configuration of each instance. It needs a `state-key`. The host sets `workspace-id` to
    /// that of the tenant.
    pub config: Config,
    /// Receives the progress of a restore, after each page.
    pub progress: Option<ProgressCallback>,
    /// Receives a line for a log when the host restores, waits for a lease, stops serving or is
    /// upgraded.
    pub report: Option<LogCallback>,
    /// Receives the progress of the check of the state keys by [`Tenants`](crate::Tenants): when
    /// all records have been checked, every 10 s while records are resealed, and when a round ends.
    /// It is called only if there are previous keys, or a record or a check has a problem. The same
    /// report is repeated after a minute at the earliest.
    pub key_progress: Option<KeyProgressCallback>,
    /// The longest time that a call waits for an instance. 10 s by default; not zero.
    pub patience: Duration,
    /// The longest time that an upgrade or a shutdown waits for calls in flight. 8 s by default.
    /// Keep it above the guard's deadline, so that these calls can end, and below `patience`: new
    /// calls wait during an upgrade, even if it fails.
    pub drain: Duration,
    /// The interval in which changes that no call waits for are appended and failed appends are
    /// retried. 1 s by default; not zero.
    pub tick: Duration,
    /// Whether [`DurableHost::start`](crate::DurableHost::start) returns at once, and the host
    /// serves as soon as no other host has the tenant. If not, the start waits until the host
    /// serves. `false` by default.
    pub standby: bool,
}

impl DurableOptions {
    /// Returns the default options with this component, these instance options and this
    /// configuration, which needs a `state-key`.
    #[must_use]
    pub const fn new(instances: InstanceOptions, config: Config) -> Self {
        Self {
            instances,
            config,
            progress: None,
            report: None,
            key_progress: None,
            patience: Duration::from_secs(10),
            drain: Duration::from_secs(8),
            tick: Duration::from_secs(1),
            standby: false,
        }
    }
}

/// The progress of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreProgress {
    /// The tenant whose sessions are restored.
    pub tenant: TenantId,
    /// The number of records that the instance has taken.
    pub restored: u64,
    /// The number of records to restore. It can be a little too high.
    pub total: u64,
}
