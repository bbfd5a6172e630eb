//! Whether the service can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Service;
use super::error::ApiError;
use crate::durable::DurableError;
use crate::journal::TenantId;

/// Who asks does not wait long, so neither does this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the default workspace answers. It is loaded for that.
pub async fn check(State(service): State<Arc<Service>>) -> Result<Json<Value>, ApiError> {
    let asking = async {
        let host = service.tenants.tenant(TenantId::default()).await?;
        host.active_count().await
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    let answer = answer.unwrap_or_else(|_| {
        Err(DurableError::Retry(format!(
            "the default workspace did not answer in {} s",
            PATIENCE.as_secs()
        )))
    });
    answer.map_err(ApiError::of_health)?;
    Ok(Json(json!({ "status": "ok" })))
}
