//! The world `session-sync`: a call ends before it returns, because the guard answers at once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::bindings::{guard, sessions};

/// Defines an operation as a plain function that runs the `async` body to its end.
macro_rules! operation {
    (async fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty $body:block) => {
        fn $name($($argument: $type),*) -> $result {
            $crate::component::session_sync::end(::std::pin::pin!(async move $body))
        }
    };
}
pub(super) use operation;

/// The answer of an operation that did not end: a fault of the component.
pub(super) trait Unfinished {
    /// Returns the answer.
    fn unfinished() -> Self;
}

impl<T> Unfinished for Result<T, sessions::Error> {
    fn unfinished() -> Self {
        Err(fault())
    }
}

/// Returns the error of an operation that did not end. All operations share this code.
#[cold]
#[inline(never)]
fn fault() -> sessions::Error {
    let reason = "a fault of the component: the operation waits for something";
    let error = guard::GuardError::Unavailable(reason.into());
    sessions::Error::Guard(error)
}

impl Unfinished for sessions::FlushReport {
    fn unfinished() -> Self {
        Self {
            settled: 0,
            pending: u32::MAX,
        }
    }
}

/// Runs an operation to its end. In this world the guard's functions return their answers, so that
/// no operation waits. One that does is dropped, which leaves the store as a cancelled call does.
pub(super) fn end<T: Unfinished>(operation: Pin<&mut impl Future<Output = T>>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match operation.poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => {
            debug_assert!(false, "an operation waits although the guard does not");
            T::unfinished()
        }
    }
}
