//! What a handle sends to the task that drives the instance.

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::component::Accessor;

use crate::bindings::Session as Component;
use crate::imports::State;
use crate::poll_monitor::Reply;

pub(crate) type Call = Box<
    dyn for<'a> FnOnce(&'a Accessor<State>, &'a Component) -> BoxFuture<'a, wasmtime::Result<Reply>>
        + Send,
>;

pub(crate) enum Command {
    Call(Call),
    NotifyWhenIdle(oneshot::Sender<()>),
}
