//! The routes, and how they are served.

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

use crate::agents;
use crate::connections;
use crate::error::ApiError;
use crate::events;
use crate::health;
use crate::housekeeping::housekeeping;
use crate::metrics;
use crate::options::ServeOptions;
use crate::protocol;
use crate::request_metrics::RequestMetrics;
use crate::service::{MAX_BODY, Service, ShutdownSignal};
use crate::sessions;
use crate::time_limit;

/// Serves until `shutdown` ends. Then no connection is taken any more, streams of events end, requests
/// under way get [`ServeOptions::drain`] to end, and the tenants are shut down.
///
/// # Errors
/// [`InvalidSetting`], before it serves, for an option that is outside its bounds.
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
    let housekeeping_task = tokio::spawn(housekeeping(tenants.clone(), options.housekeeping));
    let routes = router(tenants.clone(), &options, closing.clone());
    let serving = connections::serve(listener, routes, &options, ShutdownSignal(closing));
    let ending = async {
        shutdown.await;
        close.send_replace(true);
    };
    tokio::join!(serving, ending);
    housekeeping_task.abort();
    tenants.shutdown().await;
    Ok(())
}

/// The routes, for those who serve them by themselves. Streams of events end when `closing` says so, or
/// its sender is gone.
///
/// The bounds that are about connections ([`ServeOptions::header_timeout`], `write_timeout`,
/// `max_connections`, `drain`) and [`housekeeping`] are theirs then.
pub fn router(tenants: Tenants, options: &ServeOptions, closing: watch::Receiver<bool>) -> Router {
    let service = Arc::new(Service {
        tenants,
        admin_key: options.admin_key.clone(),
        guard: Arc::clone(&options.guard),
        body_timeout: options.body_timeout,
        keep_alive: options.keep_alive,
        metrics: RequestMetrics::default(),
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
    // What a layer on the routes themselves changes comes too late to choose one of them.
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

/// Answers hold tokens, and what is true of sessions only now.
async fn no_store(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
