//! What a connection is doing, told by its service and its socket: whether it owes an answer, and whether
//! the client may still be sending a request that was answered already.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body as AnswerBody, Bytes, HttpBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// What a connection is doing.
#[derive(Debug, Default)]
pub struct Activity {
    /// Requests whose answers are not written.
    requests: AtomicUsize,
    /// The routes work on a request. hyper takes one at a time.
    in_a_route: AtomicBool,
    /// Something is written that the client has not taken yet.
    writing: AtomicBool,
    /// A request was answered before its body had ended.
    unread: AtomicBool,
}

impl Activity {
    /// Whether the client waits for an answer, or for a part of one.
    pub fn owes_an_answer(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0 || self.writing.load(Ordering::Relaxed)
    }

    /// Returns whether the routes work on a request.
    pub fn is_in_a_route(&self) -> bool {
        self.in_a_route.load(Ordering::Relaxed)
    }

    /// Tells whether the routes work on a request.
    pub fn set_in_a_route(&self, in_a_route: bool) {
        self.in_a_route.store(in_a_route, Ordering::Relaxed);
    }

    /// Tells whether something is written that the client has not taken yet.
    pub fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Ordering::Relaxed);
    }

    /// Whether a request was answered before its body had ended.
    pub fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Expects that the client may still be sending.
    pub fn set_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }
}

/// A request that is being served, until its answer is dropped.
pub struct Serving(Arc<Activity>);

impl Serving {
    pub fn new(activity: Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a request. Dropping it before its end is noted.
pub struct Received {
    body: Incoming,
    has_ended: bool,
    activity: Arc<Activity>,
}

impl Received {
    pub fn new(body: Incoming, activity: Arc<Activity>) -> Self {
        Self {
            has_ended: body.is_end_stream(),
            body,
            activity,
        }
    }
}

impl Body for Received {
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

impl Drop for Received {
    fn drop(&mut self) {
        if !self.has_ended {
            self.activity.set_unread();
        }
    }
}

/// The body of an answer. Its request is being served until it is dropped.
pub struct Answered {
    body: AnswerBody,
    _serving: Serving,
}

impl Answered {
    pub fn new(body: AnswerBody, serving: Serving) -> Self {
        Self {
            body,
            _serving: serving,
        }
    }
}

impl Body for Answered {
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
