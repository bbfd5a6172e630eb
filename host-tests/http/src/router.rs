//! The routes, and serving them.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{delete, get, post};
use clawdb_session_durable::Tenants;
use clawdb_session_host::InvalidSetting;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agents;
use crate::connections;
use crate::error::ApiError;
use crate::events;
use crate::figures::Figures;
use crate::health;
use crate::housekeeping::housekeeping;
use crate::metrics;
use crate::options::ServeOptions;
use crate::protocol;
use crate::request_metrics::RequestMetrics;
use crate::service::{MAX_BODY, Service, ShutdownSignal};
use crate::sessions;
use crate::time_limit;

/// Serves until `shutdown` ends, and then shuts down: it accepts no more connections, ends the
/// streams of events, waits up to [`ServeOptions::drain`] for requests in flight, and shuts the
/// tenants down.
///
/// # Errors
/// [`InvalidSetting`] for a setting outside its bounds; nothing is served then.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn serve(
    listener: TcpListener,
    tenants: Tenants,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), InvalidSetting> {
    options.check()?;
    let (close, closing) = watch::channel(false);
    // Dropping the set ends the task, also if this future is dropped.
    let mut housekeeping_task = JoinSet::new();
    housekeeping_task.spawn(housekeeping(tenants.clone(), options.housekeeping));
    let routes = router(tenants.clone(), &options, closing.clone());
    let serving = connections::serve(listener, routes, &options, ShutdownSignal(closing));
    let ending = async {
        shutdown.await;
        close.send_replace(true);
    };
    tokio::join!(serving, ending);
    drop(housekeeping_task);
    tenants.shutdown().await;
    Ok(())
}

/// Returns the routes, for programs that accept connections themselves. Streams of events end when
/// `closing` becomes true or its sender is dropped.
///
/// The caller limits connections (the routes ignore [`ServeOptions::header_timeout`],
/// `write_timeout`, `max_connections` and `drain`) and runs [`housekeeping`].
pub fn router(tenants: Tenants, options: &ServeOptions, closing: watch::Receiver<bool>) -> Router {
    let service = Arc::new(Service {
        tenants,
        admin_key: options.admin_key.clone(),
        guard: Arc::clone(&options.guard),
        body_timeout: options.body_timeout,
        keep_alive: options.bounded_keep_alive(),
        metrics: RequestMetrics::default(),
        figures: Figures::default(),
        closing: ShutdownSignal(closing),
    });
    let routes = Router::new()
        .route("/v1/sessions", post(sessions::create))
        .route(
            "/v1/sessions/me",
            get(sessions::me).delete(sessions::log_out),
        )
        .route("/v1/sessions/me/rotate", post(sessions::rotate))
        .route("/v1/sessions/me/authorize", post(sessions::authorize))
        .route(
            "/v1/sessions/{session_id}",
            get(sessions::get).delete(sessions::revoke),
        )
        .route("/v1/sessions/{session_id}/refresh", post(sessions::refresh))
        .route(
            "/v1/sessions/{session_id}/delegate",
            post(sessions::delegate),
        )
        .route(
            "/v1/agents/{agent_id}/sessions",
            get(agents::list).merge(delete(agents::revoke_all)),
        )
        .route("/v1/revoke-all", post(agents::revoke_filtered))
        .route("/v1/clock/accept", post(agents::accept_clock))
        .route("/v1/events", get(events::stream))
        .route("/metrics", get(metrics::scrape))
        .route("/healthz", get(health::check))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(
            options.request_timeout,
            time_limit::limit,
        ))
        .layer(from_fn(protocol::check))
        .layer(from_fn_with_state(Arc::clone(&service), metrics::observe))
        .with_state(service);
    // A layer of the routes runs after a route is chosen. `refuse_head` must run before, so the
    // routes are a service inside another router.
    Router::new()
        .fallback_service(routes)
        .layer(from_fn(protocol::refuse_head))
        .layer(map_response(no_store))
}

async fn no_route() -> ApiError {
    ApiError::not_found()
}

async fn no_method() -> ApiError {
    ApiError::method_not_allowed()
}

/// Forbids caching: answers contain tokens and the current state of sessions.
async fn no_store(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
