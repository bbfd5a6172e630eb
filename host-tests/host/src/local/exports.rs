//! The functions that the component exports, made from the table of operations.

use wasmtime::AsContextMut;
use wasmtime::component::{ComponentNamedList, Instance, Lift, Lower, TypedFunc};

use crate::answer::{FromComponent, Grant, Revocation, Validated};
use crate::argument::{Argument, Tokens};
use crate::bindings::exports::clawdb::session::events::EventPage;
use crate::bindings::exports::clawdb::session::persistence::{Change, ChangePage};
use crate::bindings::exports::clawdb::session::sessions::{
    CreateRequest, FlushReport, Page, RevokeFilter, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::{Config, Statistics};
use crate::error::{CallError, HostError};
use crate::{for_all_operations, name};

/// Defines the table of functions from all rows.
macro_rules! exports {
    ($({
        $(#[doc = $doc:literal])*
        $(#[errors($($errors:literal),+)])?
        #[permits($($permits:tt)+)]
        #[durable($durable:ident)]
        fn $name:ident($($argument:ident: $type:ident $(<$item:ident>)?),*)
            -> Result<$answer:ty, $error:ident> = $interface:ident.$function:ident
    })*) => {
        /// The functions of an instance. The types of both worlds have the same fields, so the
        /// functions take and return the types that are generated for the world `session`.
        pub(super) struct Exports {$(
            pub $name: TypedFunc<
                ($(<$type $(<$item>)? as Argument>::Value,)*),
                (<Result<$answer, $error> as FromComponent>::Value,),
            >,
        )*}

        impl Exports {
            /// Returns the functions of an instance, and checks their types.
            pub fn new(
                instance: &Instance,
                mut store: impl AsContextMut,
            ) -> wasmtime::Result<Self> {
                Ok(Self {$(
                    $name: function(
                        instance,
                        &mut store,
                        name!($interface).kebab,
                        name!($name).kebab,
                    )?,
                )*})
            }
        }
    };
}

for_all_operations!(exports);

/// Returns a function of an interface of the instance.
fn function<P, R>(
    instance: &Instance,
    mut store: impl AsContextMut,
    interface: &str,
    function: &str,
) -> wasmtime::Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let interface = format!("clawdb:session-sync/{interface}@0.1.0");
    let missing = || wasmtime::format_err!("the component does not export {interface}.{function}");
    let within = instance.get_export_index(&mut store, None, &interface);
    let within = within.ok_or_else(missing)?;
    let index = instance.get_export_index(&mut store, Some(&within), function);
    instance.get_typed_func(&mut store, index.ok_or_else(missing)?)
}
