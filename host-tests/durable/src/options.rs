//! What a durable host is given.

use std::sync::Arc;
use std::time::Duration;

use clawdb_session_host::{Config, HostOptions, SessionEngine};

use crate::journal::TenantId;
use crate::key_report::KeyReport;

/// Is told how far a restore is.
pub type ProgressCallback = Arc<dyn Fn(RestoreProgress) + Send + Sync>;
/// Is told, in a line, what happens to a tenant's host.
pub type LogCallback = Arc<dyn Fn(TenantId, &str) + Send + Sync>;
/// Is told how far the check of the state keys is.
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
    /// Is told how far a restore is, after each page of it.
    pub progress: Option<ProgressCallback>,
    /// Is told, in a line, when the host restores, serves no more, waits or is upgraded: for a log.
    pub report: Option<LogCallback>,
    /// Is told how far [`Tenants`](crate::Tenants) are with the check of the state keys: when
    /// all `meta` records were looked at, when all records were, every 10 s while records are resealed,
    /// and when a round is over. Only where there is a previous key, or something is wrong.
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
