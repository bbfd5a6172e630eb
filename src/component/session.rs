//! The world `session`: operations are `async`, and events can be pushed.

mod stream;

use wit_bindgen::{StreamReader, spawn_local};

use super::bindings::events;
use super::imports::{HostClock, HostGuard};
use crate::{Subscription, SystemEntropy};

/// Defines an operation that may wait for the guard.
macro_rules! operation {
    ($($operation:tt)*) => {
        $($operation)*
    };
}
pub(super) use operation;

/// Returns a stream to which the events of the subscription are pushed.
pub(super) fn push_events(
    subscription: Subscription<'static, HostGuard, HostClock, SystemEntropy>,
) -> StreamReader<events::Event> {
    let (writer, reader) = super::bindings::wit_stream::new();
    spawn_local(stream::push(subscription, writer));
    reader
}
