//! The state of a connection, which its service and its socket record: whether an answer is
//! pending, and whether the client may still be sending a request that was answered already.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body as AxumBody, Bytes, HttpBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The state of a connection.
#[derive(Debug, Default)]
pub struct ConnectionState {
    /// The number of requests whose answers are not written yet.
    requests: AtomicUsize,
    /// Whether a route handles a request. hyper reads one request at a time.
    handling: AtomicBool,
    /// Whether the socket has data that the client has not accepted yet.
    writing: AtomicBool,
    /// Whether a request was answered before its body had ended.
    unread: AtomicBool,
}

impl ConnectionState {
    /// Returns whether the client waits for an answer or for a part of one.
    pub fn has_pending_response(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0 || self.writing.load(Ordering::Relaxed)
    }

    /// Returns whether a route handles a request.
    pub fn is_handling(&self) -> bool {
        self.handling.load(Ordering::Relaxed)
    }

    /// Records whether a route handles a request.
    pub fn set_handling(&self, handling: bool) {
        self.handling.store(handling, Ordering::Relaxed);
    }

    /// Records whether the socket has data that the client has not accepted yet.
    pub fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Ordering::Relaxed);
    }

    /// Returns whether a request was answered before its body had ended.
    pub fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Records that a request was answered before its body had ended.
    pub fn set_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }
}

/// Counts a request as pending until it is dropped with the answer's body.
pub struct RequestInProgress(Arc<ConnectionState>);

impl RequestInProgress {
    pub fn new(state: Arc<ConnectionState>) -> Self {
        state.requests.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a request. If it is dropped before its end, the connection's state records that.
pub struct RequestBody {
    body: Incoming,
    has_ended: bool,
    state: Arc<ConnectionState>,
}

impl RequestBody {
    pub fn new(body: Incoming, state: Arc<ConnectionState>) -> Self {
        Self {
            has_ended: body.is_end_stream(),
            body,
            state,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.has_ended = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.has_ended {
            self.state.set_unread();
        }
    }
}

/// The body of an answer. Its request is pending until this is dropped.
pub struct ResponseBody {
    body: AxumBody,
    _in_progress: RequestInProgress,
}

impl ResponseBody {
    pub fn new(body: AxumBody, in_progress: RequestInProgress) -> Self {
        Self {
            body,
            _in_progress: in_progress,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        HttpBody::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}
