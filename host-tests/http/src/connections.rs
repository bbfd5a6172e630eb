//! Accepts connections, limits their number and their time, and closes them.
//!
//! axum's `serve` has no such limits: a client that sends no request, or half of one, or never
//! reads the answer would keep its connection forever.

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

use crate::clock_range;
use crate::connection_state::{ConnectionState, RequestBody, RequestInProgress, ResponseBody};
use crate::options::ServeOptions;
use crate::protocol::{MAX_FIELDS_READ, MAX_HEAD};
use crate::service::ShutdownSignal;
use crate::socket::Socket;

/// How long a shutdown waits for connections that it has closed.
const ABORT_TIME: Duration = Duration::from_secs(1);

/// The pause after a failed accept, for example when too many files are open.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the shutdown begins. Then it closes connections without a pending
/// request, waits up to `options.drain` for the others to finish theirs, and closes the rest.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    options: &ServeOptions,
    closing: ShutdownSignal,
) {
    let permits = options.max_connections.min(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(permits));
    let mut connections = JoinSet::new();
    let mut shutdown_started = pin!(closing.clone().started());
    let limits = Limits {
        header_timeout: options.bounded_header_timeout(),
        write_timeout: options.write_timeout,
    };
    loop {
        tokio::select! {
            () = &mut shutdown_started => break,
            (stream, permit) = accept(&listener, &permits) => {
                let serving = connection(stream, routes.clone(), limits, closing.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    // Refuses new connections from now on.
    drop(listener);
    let _ = timeout(options.drain, ended(&mut connections)).await;
    connections.abort_all();
    // In the world `session-sync`, a worker can be in a call whose guard takes long. The connection
    // of that call ends when the guard answers.
    let _ = timeout(ABORT_TIME, ended(&mut connections)).await;
}

/// Waits until all connections have ended.
async fn ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// Returns the next connection, as soon as the number of connections allows one.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            // The client closed it before it was accepted.
            Err(error) if is_connection_error(&error) => {}
            // Too many open files, for example.
            Err(_) => sleep(ACCEPT_RETRY_PAUSE).await,
        }
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// The time limits of a connection.
#[derive(Clone, Copy)]
struct Limits {
    header_timeout: Duration,
    write_timeout: Duration,
}

async fn connection(stream: TcpStream, routes: Router, limits: Limits, closing: ShutdownSignal) {
    // Answers and events are small and are sent at once. Without this option they are only slower.
    let _ = stream.set_nodelay(true);
    let stream = Arc::new(stream);
    let state = Arc::<ConnectionState>::default();
    let socket = Socket::new(
        Arc::clone(&stream),
        Arc::clone(&state),
        limits.write_timeout,
    );
    if !clock_range::is_clock_in_range() {
        return clock_range::refuse(socket, &state, limits.header_timeout, closing).await;
    }
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(|request: Request<Incoming>| {
        let in_progress = RequestInProgress::new(Arc::clone(&state));
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&state)));
        state.set_handling(true);
        let answering = routes.call(request);
        async {
            let answer = answering.await?;
            state.set_handling(false);
            Ok::<_, Infallible>(answer.map(|body| ResponseBody::new(body, in_progress)))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(MAX_FIELDS_READ)
        .max_buf_size(MAX_HEAD)
        // A client may close its half of the connection and still read the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(socket), service);
    let mut serving = pin!(serving);
    tokio::select! {
        biased;
        // This branch is first, so that a request that arrived before a reset is read.
        () = poll_fn(|context| poll_connection(serving.as_mut(), context)) => return,
        () = reset(&stream) => {
            // Dropping the connection now would cancel the route that handles its request. So it is
            // polled until the route has answered, or until a body that the reset cut off fails.
            return poll_fn(|context| match poll_connection(serving.as_mut(), context) {
                Poll::Pending if !state.is_handling() => Poll::Ready(()),
                polled => polled,
            })
            .await;
        }
        () = closing.started() => {}
    }
    serving.as_mut().graceful_shutdown();
    // hyper closes an idle connection, but would wait for the rest of an incomplete request.
    poll_fn(|context| match poll_connection(serving.as_mut(), context) {
        Poll::Pending if !state.has_pending_response() => Poll::Ready(()),
        polled => polled,
    })
    .await;
}

/// Is ready when the connection has ended. An error of the connection is ignored: it concerns only
/// the client. A connection also ends when hyper could not format the time.
fn poll_connection(serving: Pin<&mut impl Future>, context: &mut Context<'_>) -> Poll<()> {
    if !clock_range::is_clock_in_range() {
        return Poll::Ready(());
    }
    serving.poll(context).map(drop)
}

/// Waits until the client resets the connection. hyper does not read while a request is handled, so
/// it would notice a reset only when it writes for the second time.
async fn reset(stream: &TcpStream) {
    let _ = stream.ready(Interest::ERROR).await;
}
