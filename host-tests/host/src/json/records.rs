//! Reads records of the WIT from JSON.

use serde_json::value::RawValue;

use super::fields::{Fields, FromFields, Invalid, Read, invalid, object_by, one_of};
use super::style::{Style, Wit};
use crate::bindings::exports::clawdb::session::persistence::Change;
use crate::bindings::exports::clawdb::session::sessions::{CreateRequest, Page, RevokeFilter};
use crate::bindings::exports::clawdb::session::settings::{Config, Overflow};
use crate::name;

impl<'a> FromFields<'a> for CreateRequest {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        create_request::<Wit>(fields)
    }
}

/// Reads `sessions.create-request` in a style.
///
/// # Errors
/// [`Invalid`].
pub fn create_request<S: Style>(fields: &mut Fields<'_>) -> Result<CreateRequest, Invalid> {
    let member = |member| S::member("CreateRequest", member);
    let mut request = CreateRequest {
        agent_id: fields.required(member(name!(agent_id)))?,
        role: fields.required(member(name!(role)))?,
        scopes: if S::REQUIRES_LISTS {
            fields.required(member(name!(scopes)))?
        } else {
            fields.optional(member(name!(scopes)))?.unwrap_or_default()
        },
        ..CreateRequest::default()
    };
    if S::LIFETIME_FIRST {
        request.expires_in = fields.optional(member(name!(expires_in)))?;
    }
    request.task_type = fields.optional(member(name!(task_type)))?;
    if !S::LIFETIME_FIRST {
        request.expires_in = fields.optional(member(name!(expires_in)))?;
    }
    request.metadata = if S::NESTS_JSON {
        // The text byte for byte. `null` is a value here and does not mean absent.
        fields.text(member(name!(metadata))).map(Into::into)
    } else {
        fields.optional(member(name!(metadata)))?
    };
    request.max_uses = fields.optional(member(name!(max_uses)))?;
    Ok(request)
}

/// Reads `sessions.revoke-filter`: `"everything"`, `{"role":...}` or `{"root":...}`.
///
/// # Errors
/// [`Invalid`].
pub fn revoke_filter(path: &str, value: &RawValue) -> Result<RevokeFilter, Invalid> {
    let filter = if value.get().starts_with('{') {
        object_by(path, value, |fields| {
            let role = fields.optional("role")?;
            Ok(match (role, fields.optional("root")?) {
                (Some(role), None) => Some(RevokeFilter::Role(role)),
                (None, Some(id)) => Some(RevokeFilter::Root(id)),
                _ => None,
            })
        })?
    } else {
        let text = String::read(path, value).ok();
        text.filter(|text| text == "everything")
            .map(|_| RevokeFilter::Everything)
    };
    filter.ok_or_else(|| {
        let reason = r#"must be "everything", {"role": "..."} or {"root": "<session id>"}"#;
        invalid(path, reason)
    })
}

impl<'a> FromFields<'a> for Page {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        Ok(Self {
            cursor: fields.optional("cursor")?,
            limit: fields.optional("limit")?,
        })
    }
}

impl<'a> FromFields<'a> for Config {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        let overflow = [Overflow::Refuse, Overflow::EvictOldest];
        let overflow = overflow.map(|overflow| (overflow.name().kebab, overflow));
        let overflow = |path: &str, value| one_of(path, value, &overflow);
        Ok(Self {
            workspace_id: fields.optional("workspace-id")?,
            default_ttl: fields.optional("default-ttl")?,
            max_lifetime: fields.optional("max-lifetime")?,
            max_sessions: fields.optional("max-sessions")?,
            max_sessions_per_agent: fields.optional("max-sessions-per-agent")?,
            agent_overflow: fields.optional_by("agent-overflow", overflow)?,
            max_sessions_per_root: fields.optional("max-sessions-per-root")?,
            max_depth: fields.optional("max-depth")?,
            rotation_grace: fields.optional("rotation-grace")?,
            idle_timeout: fields.optional("idle-timeout")?,
            guard_recheck_interval: fields.optional("guard-recheck-interval")?,
            clock_tolerance: fields.optional("clock-tolerance")?,
            event_capacity: fields.optional("event-capacity")?,
            max_state_bytes: fields.optional("max-state-bytes")?,
            state_key: fields.optional("state-key")?.map(|Key(key)| key),
            previous_state_keys: fields
                .optional("previous-state-keys")?
                .map_or_else(Vec::new, |keys: Vec<Key>| {
                    keys.into_iter().map(|Key(key)| key).collect()
                }),
        })
    }
}

/// Bytes that are written as hexadecimal digits.
struct Key(Vec<u8>);

impl<'a> Read<'a> for Key {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        let digits = String::read(path, value)?;
        let key = hex::decode(digits).map(Self);
        key.map_err(|_| invalid(path, "must be an even number of hexadecimal digits"))
    }
}

impl<'a> Read<'a> for Change {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        object_by(path, value, |fields| {
            // `forget-at` is accepted and ignored: the record itself contains it.
            fields.text("forget-at");
            Ok(Self {
                sequence: fields.required("sequence")?,
                key: fields.required("key")?,
                value: fields.required("value")?,
                forget_at: None,
            })
        })
    }
}
