//! Connections: how many there are, how long they may wait for a request and for their client, and how
//! they end.
//!
//! axum's own `serve` bounds none of that: a client that sends half a request, or none, or never
//! reads, would hold its connection without limit.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::activity::{Activity, Answered, Received, Serving};
use crate::no_clock;
use crate::options::ServeOptions;
use crate::protocol::MAX_FIELDS_READ;
use crate::service::Closing;
use crate::socket::Socket;

/// How long to wait when the machine has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the service closes. Then those that owe no answer end, the others have
/// `options.drain` for the one that they work on, and what is left is cut off.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    options: &ServeOptions,
    closing: Closing,
) {
    let places = options.max_connections.min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places));
    let mut connections = JoinSet::new();
    let mut begun = pin!(closing.clone().begun());
    let limits = Limits {
        header_timeout: options.header_timeout,
        write_timeout: options.write_timeout,
    };
    loop {
        tokio::select! {
            () = &mut begun => break,
            (stream, place) = accept(&listener, &places) => {
                let serving = connection(stream, routes.clone(), limits, closing.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    // Whoever comes now is told at once that nobody listens.
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(options.drain, ended).await;
    connections.shutdown().await;
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // It was gone before it was taken.
            Err(error) if is_about_the_connection(&error) => {}
            // Too many open files, and the like.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

fn is_about_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// How long a connection waits.
#[derive(Clone, Copy)]
struct Limits {
    header_timeout: Duration,
    write_timeout: Duration,
}

async fn connection(stream: TcpStream, routes: Router, limits: Limits, closing: Closing) {
    // Answers and events are small, and wait for nothing. A connection that refuses works all the same.
    let _ = stream.set_nodelay(true);
    let stream = Arc::new(stream);
    let activity = Arc::<Activity>::default();
    let socket = Socket::new(
        Arc::clone(&stream),
        Arc::clone(&activity),
        limits.write_timeout,
    );
    if !no_clock::hyper_can_tell_the_time() {
        return no_clock::refuse(socket, &activity, limits.header_timeout, closing).await;
    }
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(|request: Request<Incoming>| {
        let serving = Serving::new(Arc::clone(&activity));
        let request = request.map(|body| Received::new(body, Arc::clone(&activity)));
        activity.set_in_a_route(true);
        let answering = routes.call(request);
        async {
            let answer = answering.await?;
            activity.set_in_a_route(false);
            Ok::<_, Infallible>(answer.map(|body| Answered::new(body, serving)))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(MAX_FIELDS_READ)
        // A client may have sent all that it will, and still read.
        .half_close(true)
        .serve_connection(TokioIo::new(socket), service);
    let mut serving = pin!(serving);
    tokio::select! {
        biased;
        // First, so that a request that came before a reset is read.
        () = poll_fn(|context| poll_connection(serving.as_mut(), context)) => return,
        () = reset(&stream) => {
            // To drop the connection drops the route that works on its request. What is left of the
            // body is read for it; a body that the reset cut off ends the connection.
            return poll_fn(|context| match poll_connection(serving.as_mut(), context) {
                Poll::Pending if !activity.is_in_a_route() => Poll::Ready(()),
                polled => polled,
            })
            .await;
        }
        () = closing.begun() => {}
    }
    serving.as_mut().graceful_shutdown();
    // hyper ends a connection that is idle, but would wait for the rest of a request that has begun.
    poll_fn(|context| match poll_connection(serving.as_mut(), context) {
        Poll::Pending if !activity.owes_an_answer() => Poll::Ready(()),
        polled => polled,
    })
    .await;
}

/// Ready when the connection has ended. How it did is between the client and the network.
fn poll_connection(serving: Pin<&mut impl Future>, context: &mut Context<'_>) -> Poll<()> {
    if !no_clock::hyper_can_tell_the_time() {
        return Poll::Ready(());
    }
    serving.poll(context).map(drop)
}

/// Waits until the client has given the connection up. hyper reads nothing while it answers, so it would
/// not learn of that before the second time that it writes.
async fn reset(stream: &TcpStream) {
    let _ = stream.ready(Interest::ERROR).await;
}
