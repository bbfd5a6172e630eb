//! The JSON of answers and bodies: the records of the WIT, with names in the style of this service.

use clawdb_session_host::json::{Style, Styled, ToJson, write_members};
use clawdb_session_host::{Event, Grant, Name, Revocation, Session, SessionPage};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The style: names with underscores, and some members left out.
pub enum Http {}

impl Style for Http {
    const NESTS_JSON: bool = true;
    const WRITES_EMPTY: bool = true;
    const REQUIRES_LISTS: bool = true;
    const LIFETIME_FIRST: bool = true;

    fn member(record: &str, member: Name) -> &'static str {
        match (record, member.snake) {
            ("Session", "id") => "session_id",
            (_, "expires_in") => LIFETIME,
            (_, snake) => snake,
        }
    }

    fn leaves_out(record: &str, member: Name) -> bool {
        matches!(
            (record, member.snake),
            ("Revocation", "guard_error") | ("Event", "run")
        )
    }

    fn case(case: Name) -> &'static str {
        case.snake
    }
}

/// The name of `expires-in` of the WIT in this service.
const LIFETIME: &str = "ttl_secs";

/// Returns the name of a field of the WIT in this service.
pub fn name_of(field: &str) -> String {
    match field {
        "expires-in" => LIFETIME.into(),
        field => field.replace('-', "_"),
    }
}

/// A record in this style.
pub struct Form<T>(T);

/// A session.
pub type SessionForm = Form<Session>;
/// A page of sessions.
pub type PageForm = Form<SessionPage>;
/// The result of a revocation.
pub type RevocationForm = Form<Revocation>;
/// An event.
pub type EventForm = Form<Event>;

impl<T> From<T> for Form<T> {
    fn from(record: T) -> Self {
        Self(record)
    }
}

impl<T: ToJson> Serialize for Form<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Styled::<Http, T>::new(&self.0).serialize(serializer)
    }
}

/// A token and some members of its session.
pub struct GrantForm(Grant);

impl From<Grant> for GrantForm {
    fn from(grant: Grant) -> Self {
        Self(grant)
    }
}

impl Serialize for GrantForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Grant { session, token } = &self.0;
        let mut map = serializer.serialize_map(None)?;
        write_members::<Http, _, _>(session, &mut map, |member| member.snake == "id")?;
        map.serialize_entry("token", &**token)?;
        write_members::<Http, _, _>(session, &mut map, |member| {
            matches!(member.snake, "agent_id" | "role" | "scopes" | "expires_at")
        })?;
        map.end()
    }
}

/// The result of a kill switch: how many sessions it ended.
#[derive(Serialize)]
pub struct RevokedForm {
    pub revoked: u32,
}
