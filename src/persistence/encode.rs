//! Encoding records: the members of each kind, and the seal (R23, R24).

use crate::domain::id::WorkspaceId;
use crate::domain::session::RevokeFilter;
use crate::domain::state_key::StateKeys;
use crate::domain::superseded::{Renewal, Reply, SupersededToken};
use crate::persistence::hex;
use crate::persistence::json::Writer;
use crate::persistence::record::{
    CutoffRecord, EndedRecord, FORMAT, Header, MetaRecord, RecordBody, SessionRecord,
    UnconfirmedRevocation,
};

/// Returns the sealed record with this key, header and body.
#[must_use]
pub fn encode(
    keys: &StateKeys,
    workspace: WorkspaceId,
    header: &Header,
    key: &str,
    body: &RecordBody,
) -> String {
    let mut record = Writer::new();
    record.number("format", FORMAT);
    record.text("key", key);
    record.number("sequence", header.sequence);
    record.number("at", header.at.as_millis());
    if header.clocks_accepted > 0 {
        record.number("clocks-accepted", header.clocks_accepted);
    }
    record.text("workspace", &workspace.to_string());
    record.number("last-serial", header.last_serial);
    record.number("last-era", header.last_epoch.get());
    let (name, body) = match body {
        RecordBody::Meta(meta) => ("meta", meta_object(keys, meta)),
        RecordBody::Session(session) => ("session", session_object(session)),
        RecordBody::Ended(ended) => ("ended", ended_object(ended)),
        RecordBody::Cutoff(cutoff) => ("cut-off", cutoff_object(cutoff)),
        RecordBody::Revocation(_, revocation) => ("revocation", revocation_object(revocation)),
        RecordBody::Revoked(_) => ("revocation", revoked_object()),
    };
    record.object(name, body);
    keys.seal(&record.finish())
}

fn meta_object(keys: &StateKeys, meta: &MetaRecord) -> Writer {
    let wrapped = keys.current().wrap(meta.key.secret(), &meta.salt);
    let mut object = Writer::new();
    object.text("fingerprint-key", &hex::encode(&wrapped));
    object.text("salt", &hex::encode(&meta.salt));
    object.number("events", meta.events);
    if let Some(run) = meta.closed_run {
        object.number("closed-run", run.get());
    }
    object
}

fn session_object(record: &SessionRecord) -> Writer {
    let session = &record.session;
    let attributes = &session.attributes;
    let mut object = Writer::new();
    object.text("agent", &session.agent_id.to_string());
    object.text("role", attributes.role.as_str());
    object.pieces("scopes", attributes.scopes.text());
    if let Some(task) = &attributes.task_type {
        object.text("task-type", task.as_str());
    }
    object.pieces("metadata", attributes.metadata.text());
    object.number("created-at", session.created_at.as_millis());
    object.number("expires-at", session.expires_at.as_millis());
    object.number("lifetime", record.lifetime);
    object.number("serial", record.serial);
    object.number("used-at", record.used_at.as_millis());
    object.text("fingerprint", &hex::encode(record.fingerprint.as_bytes()));
    object.text("handle", &record.handle);
    object.number("token-expires-at", record.token_expires_at.as_millis());
    if let Some(parent) = session.parent {
        object.text("parent", &parent.to_string());
        object.text("root", &session.root.to_string());
    }
    object.number("generation", session.generation);
    if let Some(uses) = session.uses_left {
        object.number("uses-left", uses.into());
    }
    object.list(
        "superseded",
        record.superseded.iter().map(superseded_object),
    );
    if let Some(grace) = record.grace {
        object.number("grace-until", grace.until.as_millis());
        if grace.until_by_host != grace.until {
            object.number("grace-until-by-host", grace.until_by_host.as_millis());
        }
    }
    object.number("until", record.until.as_millis());
    object.number("began", record.created_epoch.get());
    object.list("owed", record.unconfirmed.iter().map(revocation_object));
    object
}

fn superseded_object(token: &SupersededToken) -> Writer {
    let mut object = Writer::new();
    object.text("fingerprint", &hex::encode(token.fingerprint.as_bytes()));
    object.number("replaced-by", token.replaced_by);
    object.flag("by-host", token.renewal == Renewal::Refresh);
    object.flag("by-retry", token.renewal == Renewal::Retry);
    object.flag("unanswered", token.reply != Reply::Ended);
    object
}

fn ended_object(ended: &EndedRecord) -> Writer {
    let mut object = Writer::new();
    object.number("until", ended.until.as_millis());
    object.list("owed", ended.unconfirmed.iter().map(revocation_object));
    object
}

fn cutoff_object(cutoff: &CutoffRecord) -> Writer {
    let mut object = Writer::new();
    object.number("era", cutoff.epoch.get());
    object.number("until", cutoff.until.as_millis());
    match &cutoff.filter {
        RevokeFilter::Agent(agent) => object.text("agent", &agent.to_string()),
        RevokeFilter::Role(role) => object.text("role", role.as_str()),
        RevokeFilter::Everything | RevokeFilter::Root(_) => {}
    }
    object
}

fn revocation_object(revocation: &UnconfirmedRevocation) -> Writer {
    let mut object = Writer::new();
    object.text("handle", &revocation.handle);
    object.number("expires-at", revocation.token_expires_at.as_millis());
    object
}

fn revoked_object() -> Writer {
    let mut object = Writer::new();
    object.flag("done", true);
    object
}
