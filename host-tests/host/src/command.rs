//! The commands that handles send to the task that drives the instance.

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::component::Accessor;

use crate::bindings::Session as Component;
use crate::imports::State;
use crate::poll_monitor::Reply;

/// A call of the component. It returns the function that sends the answer to the caller.
pub(crate) type Call = Box<
    dyn for<'a> FnOnce(&'a Accessor<State>, &'a Component) -> BoxFuture<'a, wasmtime::Result<Reply>>
        + Send,
>;

/// A command of a handle.
pub(crate) enum Command {
    /// Runs a call in the instance.
    Call(Call),
    /// Sends a notification as soon as no call can make progress without the guard.
    NotifyWhenIdle(oneshot::Sender<()>),
}
