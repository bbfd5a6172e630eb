//! The methods of [`SessionHost`] for the operations, made from the table.

use crate::answer::{FromComponent, Grant, Revocation, Validated};
use crate::argument::{Argument, Tokens};
use crate::bindings::exports::clawdb::session::events::EventPage;
use crate::bindings::exports::clawdb::session::persistence::{Change, ChangePage};
use crate::bindings::exports::clawdb::session::sessions::{
    CreateRequest, FlushReport, Page, RevokeFilter, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::{Config, Statistics};
use crate::error::{CallError, HostError};
use crate::handle::SessionHost;
use crate::{for_each_operation, name, parameter};

/// Defines the method of a row.
macro_rules! method {
    (
        $(#[doc = $doc:literal])*
        $(#[errors($($errors:literal),+)])?
        #[permits($($permits:tt)+)]
        #[durable($durable:ident)]
        fn $name:ident($($argument:ident: $type:ident $(<$item:ident>)?),*)
            -> Result<$answer:ty, $error:ident> = $interface:ident.$function:ident
    ) => {
        $(#[doc = $doc])*
        #[doc = ""]
        #[doc = " # Errors"]
        $(#[doc = concat!(" [`CallError::Session`] with ", $($errors,)+ ".")])?
        #[doc = " [`HostError`] if the instance has ended."]
        pub async fn $name(
            &self,
            $($argument: parameter!($type $(<$item>)?)),*
        ) -> Result<$answer, $error> {
            $(
                let $argument: <$type $(<$item>)? as Argument>::Value = $argument.into();
                <$type $(<$item>)? as Argument>::check(&$argument, name!($argument).kebab)?;
            )*
            let permits = permits!(self, $($permits)+);
            let answer = self.call(permits, move |accessor, component| {
                let interface = interface!(component, $interface);
                Box::pin(interface.$function(accessor, $($argument),*))
            });
            FromComponent::from_component(answer.await?)
        }
    };
}

/// Waits for the permits of a call and returns them. The call holds them until it has ended.
macro_rules! permits {
    ($host:ident, none) => {
        ()
    };
    ($host:ident, $permits:expr) => {
        $host.wait_for_permits($permits).await
    };
}

macro_rules! interface {
    ($component:ident, sessions) => {
        $component.clawdb_session_sessions()
    };
    ($component:ident, legacy) => {
        $component.clawdb_session_legacy()
    };
    ($component:ident, events) => {
        $component.clawdb_session_events()
    };
    ($component:ident, persistence) => {
        $component.clawdb_session_persistence()
    };
    ($component:ident, settings) => {
        $component.clawdb_session_settings()
    };
}

impl SessionHost {
    for_each_operation!(method);
}
