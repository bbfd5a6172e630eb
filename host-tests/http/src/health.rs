//! Whether the service can do its work.

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

/// Probes have short timeouts, so this does not wait long either.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the default workspace answers, each workspace can be read, and the clock is not behind in
/// any that is loaded. The default workspace is loaded for that.
pub async fn check(State(service): State<Arc<Service>>) -> Result<Json<Value>, ApiError> {
    let (default, keys) = tokio::join!(default_workspace(&service), state_keys(&service));
    // The default workspace is loaded by now, where it can be.
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
            "the default workspace did not answer in {} s",
            CHECK_TIMEOUT.as_secs()
        );
        Err(DurableError::Retry(text.into()))
    });
    match answer {
        // It is among those that the state keys are checked of.
        Ok(_) | Err(DurableError::StateKeyMissing(_)) => None,
        Err(error) => Some(ApiError::of_health(error)),
    }
}

/// Whether the clock is behind in any workspace that is loaded.
async fn host_clock(service: &Service) -> Option<NotReady> {
    let lagging = clock::lagging(&service.tenants, CHECK_TIMEOUT).await;
    (!lagging.is_empty()).then(|| NotReady {
        error: "clock_behind",
        message: clock::message(&lagging),
    })
}

/// Whether a state key is missing for any workspace.
async fn state_keys(service: &Service) -> Option<NotReady> {
    let checked = timeout(CHECK_TIMEOUT, service.tenants.keys_checked()).await;
    let keys = service.tenants.keys();
    if keys.missing_workspaces > 0 {
        return Some(NotReady {
            error: "state_key_missing",
            message: format!(
                "no state key that was given opens the records of the workspaces {}: start the \
                 service with the key that they are sealed with; the log says more",
                keys.missing_ids()
            ),
        });
    }
    checked.err().map(|_| NotReady {
        error: "unavailable",
        message: "the state keys of the workspaces are not checked yet; the log says more".into(),
    })
}
