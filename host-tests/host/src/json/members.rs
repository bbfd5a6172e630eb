//! The records that operations return, with a list of the members of each.

use std::marker::PhantomData;

use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use super::style::{Style, Styled, ToJson};
use super::time;
use crate::answer::{Grant, Revocation};
use crate::bindings::exports::clawdb::session::events::{Event, EventPage};
use crate::bindings::exports::clawdb::session::persistence::{Change, ChangePage};
use crate::bindings::exports::clawdb::session::sessions::{FlushReport, Session, SessionPage};
use crate::bindings::exports::clawdb::session::settings::Statistics;
use crate::name;
use crate::names::{Name, event_run};

/// A record of the WIT.
pub trait Record {
    /// The name of the Rust type.
    const NAME: &'static str;

    /// Writes the members of the record, in the order of the WIT.
    ///
    /// # Errors
    /// The error of the map.
    fn write_members<S: Style, M: SerializeMap>(
        &self,
        to: &mut MemberWriter<'_, S, M>,
    ) -> Result<(), M::Error>;
}

/// Writes members of a record to a map.
pub struct MemberWriter<'a, S, M> {
    record: &'static str,
    map: &'a mut M,
    keep: fn(Name) -> bool,
    style: PhantomData<S>,
}

impl<S: Style, M: SerializeMap> MemberWriter<'_, S, M> {
    /// Writes a member, unless the style leaves it out.
    ///
    /// # Errors
    /// The error of the map.
    pub fn write<T: ToJson + ?Sized>(&mut self, member: Name, value: &T) -> Result<(), M::Error> {
        if S::leaves_out(self.record, member) || !(self.keep)(member) {
            return Ok(());
        }
        let name = S::member(self.record, member);
        self.map.serialize_entry(name, &Styled::<S, T>::new(value))
    }
}

/// Writes the members of a record for which `keep` returns true to a map.
///
/// # Errors
/// The error of the map.
pub fn write_members<S: Style, M: SerializeMap, R: Record>(
    record: &R,
    map: &mut M,
    keep: fn(Name) -> bool,
) -> Result<(), M::Error> {
    record.write_members::<S, M>(&mut MemberWriter {
        record: R::NAME,
        map,
        keep,
        style: PhantomData,
    })
}

/// Lists the members of records. A member with `as` is written through another type.
macro_rules! records {
    ($($record:ident { $($member:ident $(as $form:ident)?),* $(,)? })*) => {$(
        impl Record for $record {
            const NAME: &'static str = stringify!($record);

            fn write_members<S: Style, M: SerializeMap>(
                &self,
                to: &mut MemberWriter<'_, S, M>,
            ) -> Result<(), M::Error> {
                $(to.write(name!($member), records!(@form self.$member $($form)?))?;)*
                Ok(())
            }
        }

        records!(@json $record);
    )*};
    (@json $record:ident) => {
        impl ToJson for $record {
            fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                let mut map = serializer.serialize_map(None)?;
                write_members::<S, _, _>(self, &mut map, |_| true)?;
                map.end()
            }
        }
    };
    (@form $self:ident.$member:ident) => { &$self.$member };
    (@form $self:ident.$member:ident $form:ident) => { &$form(&$self.$member) };
}

records! {
    Session {
        id,
        agent_id,
        workspace_id,
        role,
        scopes,
        task_type,
        created_at as Time,
        expires_at as Time,
        metadata as JsonText,
        parent,
        root,
        generation,
        uses_left,
    }
    Grant { session, token as Text }
    Revocation { session_id, guard_confirmed, guard_error, descendants }
    FlushReport { settled, pending }
    SessionPage { sessions, next }
    EventPage { events, next, missed, run as Run }
    Change { sequence, key, value, forget_at as MaybeTime }
    ChangePage { changes, next, more, now as Time }
    Statistics {
        version,
        now as Time,
        clock_lag,
        clock_behind,
        live_sessions,
        prunable_sessions,
        creates_in_flight,
        tracked_agents,
        pending_revocations,
        subscribers,
        tombstones,
        last_change,
        state_bytes,
        last_event,
        event_run as Run,
        created,
        refreshed,
        rotated,
        denied,
        ended,
    }
}

impl Record for Event {
    const NAME: &'static str = "Event";

    fn write_members<S: Style, M: SerializeMap>(
        &self,
        to: &mut MemberWriter<'_, S, M>,
    ) -> Result<(), M::Error> {
        to.write(name!(run), &Run(&self.run))?;
        to.write(name!(sequence), &self.sequence)?;
        to.write(name!(time), &Time(&self.time))?;
        to.write(name!(session_id), &self.session_id)?;
        to.write(name!(agent_id), &self.agent_id)?;
        to.write(name!(parent), &self.parent)?;
        to.write(name!(root), &self.root)?;
        to.write(name!(generation), &self.generation)?;
        to.write(name!(kind), &self.kind.kind())?;
        let reason = self.kind.reason();
        if S::WRITES_EMPTY || reason.is_some() {
            to.write(name!(reason), &reason)?;
        }
        if S::WRITES_EMPTY || self.missed > 0 {
            to.write(name!(missed), &self.missed)?;
        }
        Ok(())
    }
}

records!(@json Event);

/// A time of the component, written in the format of RFC 3339.
struct Time<'a>(&'a u64);

impl ToJson for Time<'_> {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.serialize_str(&time(*self.0))
    }
}

/// An optional time of the component.
struct MaybeTime<'a>(&'a Option<u64>);

impl ToJson for MaybeTime<'_> {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        self.0.as_ref().map(Time).write::<S, Z>(serializer)
    }
}

/// A run of events, written as hexadecimal digits.
struct Run<'a>(&'a u64);

impl ToJson for Run<'_> {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.serialize_str(&event_run(*self.0))
    }
}

/// A text that is not a `String`.
struct Text<'a>(&'a str);

impl ToJson for Text<'_> {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.serialize_str(self.0)
    }
}

/// A JSON text.
struct JsonText<'a>(&'a str);

impl ToJson for JsonText<'_> {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        if !S::NESTS_JSON {
            return serializer.serialize_str(self.0);
        }
        // The text is written byte for byte, without white space around it.
        if let Ok(value) = serde_json::from_str::<&RawValue>(self.0) {
            return serde::Serialize::serialize(value, serializer);
        }
        debug_assert!(false, "the component accepts only JSON as metadata");
        serializer.serialize_unit()
    }
}

impl ToJson for Name {
    fn write<S: Style, Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.serialize_str(S::case(*self))
    }
}
