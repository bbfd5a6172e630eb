//! Checks that the options of a durable host are within their bounds.

use clawdb_session_host::{
    AnySessions, CallError, Config, InvalidArgument, InvalidSetting, SessionError,
};

use crate::error::DurableError;
use crate::options::DurableOptions;

impl DurableOptions {
    /// Checks that all options are within their bounds. The component checks the configuration, in
    /// an instance that is started for this and dropped.
    ///
    /// [`DurableHost::start`](super::DurableHost::start) calls this;
    /// [`Tenants::new`](crate::Tenants::new) does not.
    ///
    /// # Errors
    /// [`DurableError::Settings`] for the first option that is outside its bounds, or for a missing
    /// `state-key`; [`DurableError::Retry`] if no instance can be started.
    pub async fn check(&self) -> Result<(), DurableError> {
        self.instances.check()?;
        InvalidSetting::nonzero("patience", self.patience)?;
        InvalidSetting::nonzero("tick", self.tick)?;
        let sessions = AnySessions::start(self.instances.clone()).await?;
        let configured = sessions.configure(self.config.clone()).await;
        configured.map_err(|error| config_error(&self.config, error))?;
        if self.config.state_key.is_none() {
            let reason = "must be set, because the records of the sessions are sealed with it";
            return Err(InvalidSetting::new("state-key", "none", reason).into());
        }
        Ok(())
    }
}

/// Returns the error for a configuration that the component refuses. An invalid argument is
/// reported as an invalid setting, because no call is at fault.
pub(super) fn config_error(config: &Config, error: CallError) -> DurableError {
    match error {
        CallError::Session(SessionError::InvalidArgument(InvalidArgument { field, reason })) => {
            let value = value_of(config, &field);
            InvalidSetting::new(field, value, reason).into()
        }
        error => error.into(),
    }
}

/// Returns the value of a field for a message. Of keys, it returns the lengths only.
fn value_of(config: &Config, field: &str) -> String {
    fn shown(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "none".into(), |value| value.to_string())
    }
    match field {
        "workspace-id" => shown(config.workspace_id.as_ref()),
        "default-ttl" => shown(config.default_ttl),
        "max-lifetime" => shown(config.max_lifetime),
        "max-sessions" => shown(config.max_sessions),
        "max-sessions-per-agent" => shown(config.max_sessions_per_agent),
        "max-sessions-per-root" => shown(config.max_sessions_per_root),
        "max-depth" => shown(config.max_depth),
        "rotation-grace" => shown(config.rotation_grace),
        "idle-timeout" => shown(config.idle_timeout),
        "guard-recheck-interval" => shown(config.guard_recheck_interval),
        "clock-tolerance" => shown(config.clock_tolerance),
        "event-capacity" => shown(config.event_capacity),
        "max-state-bytes" => shown(config.max_state_bytes),
        "state-key" => match &config.state_key {
            Some(key) => format!("{} bytes", key.len()),
            None => "none".into(),
        },
        "previous-state-keys" => {
            let lengths = config.previous_state_keys.iter().map(Vec::len);
            let keys = counted(lengths.len(), "key");
            let shortest = lengths.clone().min().unwrap_or_default();
            let longest = lengths.max().unwrap_or_default();
            if shortest == longest {
                format!("{keys} of {}", counted(longest, "byte"))
            } else {
                format!("{keys} of {shortest} to {longest} bytes")
            }
        }
        _ => "not shown".into(),
    }
}

/// Returns the count and the unit, with a plural `s` unless the count is 1.
fn counted(count: usize, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}
