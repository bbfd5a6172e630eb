//! The route `/healthz`: whether the service is ready.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use clawdb_session_durable::{DurableError, TenantId};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::clock;
use crate::error::{ApiError, NotReady};
use crate::service::Service;

/// The time limit of each check. Probes have short timeouts.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks that the default workspace answers, that the records of each workspace can be opened, and
/// that the clock is not behind the time of a loaded workspace. Loads the default workspace.
pub async fn check(State(service): State<Arc<Service>>) -> Result<Json<Value>, ApiError> {
    let (default, keys) = tokio::join!(default_workspace(&service), state_keys(&service));
    // The default workspace is loaded by now, if that is possible.
    let clock = host_clock(&service).await;
    let reasons: Vec<NotReady> = [default, keys, clock].into_iter().flatten().collect();
    match ApiError::not_ready(reasons) {
        Some(error) => Err(error),
        None => Ok(Json(json!({ "status": "ok" }))),
    }
}

async fn default_workspace(service: &Service) -> Option<NotReady> {
    let asking = async {
        let host = service.tenants.tenant(TenantId::default()).await?;
        host.active_count().await
    };
    let answer = timeout(CHECK_TIMEOUT, asking).await;
    let answer = answer.unwrap_or_else(|_| {
        let text = format!(
            "the default workspace did not answer within {} s",
            CHECK_TIMEOUT.as_secs()
        );
        Err(DurableError::Retry(text.into()))
    });
    match answer {
        // `state_keys` reports this workspace.
        Ok(_) | Err(DurableError::StateKeyMissing(_)) => None,
        Err(error) => Some(ApiError::of_health(error)),
    }
}

/// Returns a reason if the clock is behind the time of a loaded workspace.
async fn host_clock(service: &Service) -> Option<NotReady> {
    let figures = service.figures.current(&service.tenants).await;
    let lagging = clock::lagging(&figures);
    (!lagging.is_empty()).then(|| NotReady {
        error: "clock_behind",
        message: clock::message(&lagging),
    })
}

/// Returns a reason if a state key is missing for a workspace, or if not all are checked yet.
async fn state_keys(service: &Service) -> Option<NotReady> {
    let checked = timeout(CHECK_TIMEOUT, service.tenants.keys_checked()).await;
    let keys = service.tenants.keys();
    if keys.missing_workspaces > 0 {
        return Some(NotReady {
            error: "state_key_missing",
            message: format!(
                "no state key that was given opens the records of the workspaces {}: start the \
                 service with the key that they are sealed with; the log has the details",
                keys.missing_ids()
            ),
        });
    }
    checked.err().map(|_| NotReady {
        error: "unavailable",
        message: "the state keys of the workspaces are not checked yet; the log has the details"
            .into(),
    })
}
