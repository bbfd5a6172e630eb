//! Connections: how many there are, how long they may wait for a request, and how they end.
//!
//! axum's own `serve` bounds neither, so that whoever sends half a request, or none, would keep a
//! connection for ever.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Closing, ServeOptions};

/// How long to wait when the machine has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the service closes. Then those that wait for a request end, the others have
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
    loop {
        tokio::select! {
            () = &mut begun => break,
            (stream, place) = accept(&listener, &places) => {
                let serving = connection(
                    stream, routes.clone(), options.header_timeout, closing.clone(),
                );
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

async fn connection(stream: TcpStream, routes: Router, header_timeout: Duration, closing: Closing) {
    // Answers and events are small, and wait for nothing. A connection that refuses works all the same.
    let _ = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut serving = pin!(serving);
    tokio::select! {
        // How a connection ends is between the client and the network.
        _ = &mut serving => return,
        () = closing.begun() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}
