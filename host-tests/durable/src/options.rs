//! What a durable host is given.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{Config, HostOptions, SessionEngine};

use crate::journal::TenantId;
use crate::key_report::KeyReport;

/// Receives the progress of a restore.
pub type ProgressCallback = Arc<dyn Fn(RestoreProgress) + Send + Sync>;
/// Receives a line about each change of a tenant's host.
pub type LogCallback = Arc<dyn Fn(TenantId, &str) + Send + Sync>;
/// Receives the progress of the check of the state keys.
pub type KeyProgressCallback = Arc<dyn Fn(&KeyReport) + Send + Sync>;

/// What a durable host is given, and its bounds.
#[derive(Clone)]
pub struct DurableOptions {
    /// The component.
    pub engine: SessionEngine,
    /// What each instance is given.
    pub host: HostOptions,
    /// How each instance is configured. It needs a `state-key`; `workspace-id` is set to the tenant's.
    ///
    /// To rotate the key, start with the new one as `state-key` and the old one among
    /// `previous-state-keys`. A [`DurableHost`](crate::DurableHost) has all records of its tenant under the new key as soon
    /// as it serves. [`Tenants`](crate::Tenants) reseal every tenant of the journal in the
    /// background, and [tell](crate::Tenants::keys) when the old key may be dropped. Where
    /// several hosts share a journal, give each of them the new key among its `previous-state-keys`
    /// before the first one has it as its `state-key`: they read each other's records.
    pub config: Config,
    /// Receives the progress of a restore, after each page.
    pub progress: Option<ProgressCallback>,
    /// Receives a line for a log when the host restores, stops serving, waits or is upgraded.
    pub report: Option<LogCallback>,
    /// Receives the progress of the check of the state keys by [`Tenants`](crate::Tenants): when all
    /// `meta` records were read, when all records were, every 10 s while records are resealed, and
    /// when a round ends. Called only where there is a previous key, or something is wrong.
    pub key_progress: Option<KeyProgressCallback>,
    /// How long a call waits for an instance; 10 s by default, and not zero.
    pub patience: Duration,
    /// How long an upgrade and a shutdown wait for the calls that are under way; 8 s by default. Keep it
    /// above the guard's deadline, and below `patience`: calls wait as long for an upgrade that is given
    /// up.
    pub drain: Duration,
    /// How often changes that no call waits for are appended, and what failed is tried again; 1 s by
    /// default, and not zero.
    pub tick: Duration,
    /// Starts at once, and serves as soon as no other host has the tenant. Without it, the start waits
    /// until the host serves.
    pub standby: bool,
}

impl DurableOptions {
    /// The defaults with these. The configuration needs a `state-key`.
    #[must_use]
    pub const fn new(engine: SessionEngine, host: HostOptions, config: Config) -> Self {
        Self {
            engine,
            host,
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

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreProgress {
    /// Whose sessions.
    pub tenant: TenantId,
    /// How many records the instance has taken.
    pub restored: u64,
    /// How many there are; it may be a little too many.
    pub total: u64,
}
