//! The routes of an agent's sessions, of kill switches and of the clock.

use axum::Json;
use clawdb_session_host::Page;

use crate::access::Admin;
use crate::error::ApiError;
use crate::form::{PageForm, RevokedForm};
use crate::input::{Body, Id, QueryFields, RevokeAllBody};

pub async fn list(
    Admin(host): Admin,
    Id(agent): Id,
    QueryFields(page): QueryFields<Page>,
) -> Result<Json<PageForm>, ApiError> {
    let page = host.list_for_agent(agent, page).await?;
    Ok(Json(page.into()))
}

pub async fn revoke_all(Admin(host): Admin, Id(agent): Id) -> Result<Json<RevokedForm>, ApiError> {
    let revoked = host.revoke_all_for_agent(agent).await?;
    Ok(Json(RevokedForm { revoked }))
}

pub async fn accept_clock(Admin(host): Admin) -> Result<Json<RevokedForm>, ApiError> {
    let revoked = host.accept_clock_fully().await?;
    Ok(Json(RevokedForm { revoked }))
}

pub async fn revoke_filtered(
    Admin(host): Admin,
    Body(body): Body<RevokeAllBody>,
) -> Result<Json<RevokedForm>, ApiError> {
    let revoked = host.revoke_all(body.filter).await;
    let revoked = revoked.map_err(|error| ApiError::in_field("filter", error))?;
    Ok(Json(RevokedForm { revoked }))
}
