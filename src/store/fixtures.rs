//! Sessions for the unit tests of the store's parts.

use std::rc::Rc;

use crate::domain::config::{Config, Limits};
use crate::domain::epoch::Epoch;
use crate::domain::id::{AgentId, SessionId, WorkspaceId};
use crate::domain::scope::Scopes;
use crate::domain::session::{Attributes, Metadata, Role, Session};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;
use crate::store::entry::{Entry, NewEntry};
use crate::store::lifetimes::Lifetimes;
use crate::store::plan::NewToken;
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;

pub fn at(seconds: u64) -> Timestamp {
    Timestamp::default().after_seconds(seconds)
}

pub fn lifetimes(idle_timeout: Option<u64>) -> Lifetimes {
    let config = Config {
        idle_timeout,
        max_lifetime: Some(10_000),
        ..Config::default()
    };
    Lifetimes::new(&Limits::new(&config).unwrap())
}

pub fn session_id(number: u8) -> SessionId {
    let id = format!("5e550000-0000-4000-8000-0000000000{number:02x}");
    SessionId::parse("id", &id).unwrap()
}

pub fn agent() -> AgentId {
    AgentId::parse("agent", "0a9e0000-0000-4000-8000-000000000001").unwrap()
}

pub fn role() -> Role {
    Role::parse("worker".into()).unwrap()
}

/// Adds a session that was created and last used at 0 s, and expires at `expires_at`. `parent` is
/// the number of its parent.
pub fn add(
    sessions: &mut SessionTable,
    number: u8,
    parent: Option<u8>,
    expires_at: u64,
) -> SessionSlot {
    let (agent, role) = (agent(), role());
    let (agent_slot, role_slot) = sessions.reserve_buckets(&agent, &role);
    let entry = Entry::from(NewEntry {
        session: Session {
            id: session_id(number),
            agent_id: agent,
            workspace_id: WorkspaceId::NIL,
            attributes: Rc::new(Attributes {
                role,
                scopes: Scopes::parse(&["memory:read".into()]).unwrap(),
                task_type: None,
                metadata: Metadata::default(),
            }),
            created_at: at(0),
            expires_at: at(expires_at),
            parent: parent.map(session_id),
            root: session_id(parent.unwrap_or(number)),
            generation: 0,
            uses_left: None,
        },
        serial: sessions.next_serial(),
        agent: agent_slot,
        role: role_slot,
        parent: parent.and_then(|parent| sessions.slot_of(session_id(parent))),
        created_epoch: Epoch::default(),
        lifetime: expires_at,
        used_at: at(0),
        token: NewToken {
            fingerprint: Fingerprint::from_bytes([number; 32]),
            handle: format!("handle-{number}").into(),
            expires_at: at(expires_at),
        },
    });
    let slot = sessions.insert(entry);
    sessions.release_buckets(agent_slot, role_slot);
    slot
}
