//! The routes of sessions.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use clawdb_session_durable::DurableError;
use clawdb_session_host::{GuardError, SessionError};

use crate::access::{Admin, Agent, AgentWith, LeavingAgent, reject_if_guard_refuses};
use crate::error::ApiError;
use crate::form::{GrantForm, RevocationForm, SessionForm};
use crate::input::{AuthorizeBody, Body, CreateBody, Id};
use crate::service::Service;

type JsonResult<T> = Result<Json<T>, ApiError>;
type Created = Result<(StatusCode, Json<GrantForm>), ApiError>;

pub async fn create(Admin(host): Admin, Body(CreateBody(request)): Body<CreateBody>) -> Created {
    let grant = host.create(request).await?;
    Ok((StatusCode::CREATED, Json(grant.into())))
}

pub async fn delegate(
    Admin(host): Admin,
    Id(parent): Id,
    Body(CreateBody(request)): Body<CreateBody>,
) -> Created {
    let grant = host.delegate(parent, request).await?;
    Ok((StatusCode::CREATED, Json(grant.into())))
}

pub async fn get(Admin(host): Admin, Id(id): Id) -> JsonResult<SessionForm> {
    Ok(Json(host.get(id).await?.into()))
}

pub async fn refresh(Admin(host): Admin, Id(id): Id) -> JsonResult<GrantForm> {
    Ok(Json(host.refresh(id).await?.into()))
}

pub async fn revoke(Admin(host): Admin, Id(id): Id) -> JsonResult<RevocationForm> {
    Ok(Json(host.revoke(id).await?.into()))
}

pub async fn me(Agent { token, host }: Agent) -> JsonResult<SessionForm> {
    let session = host.validate(token).await;
    Ok(Json(session.map_err(ApiError::of_agent)?.into()))
}

pub async fn log_out(
    LeavingAgent(Agent { token, host }): LeavingAgent,
) -> JsonResult<RevocationForm> {
    let revocation = host.revoke_by_token(token).await;
    Ok(Json(revocation.map_err(ApiError::of_agent)?.into()))
}

pub async fn rotate(
    State(service): State<Arc<Service>>,
    Agent { token, host }: Agent,
) -> JsonResult<GrantForm> {
    let grant = host.rotate(token.clone()).await;
    if let Err(DurableError::Session(SessionError::Guard(GuardError::Denied(_)))) = &grant {
        // The guard denied the presented token or the new one, and the error is the same.
        reject_if_guard_refuses(&service, &token).await?;
    }
    Ok(Json(grant.map_err(ApiError::of_rotation)?.into()))
}

pub async fn authorize(
    State(service): State<Arc<Service>>,
    with: AgentWith<AuthorizeBody>,
) -> JsonResult<SessionForm> {
    let AgentWith {
        agent: Agent { token, host },
        body,
    } = with;
    let session = host.authorize(token.clone(), body.scope).await;
    if let Err(DurableError::Session(SessionError::InvalidArgument(_))) = &session {
        // The component checks the scope before the token.
        reject_if_guard_refuses(&service, &token).await?;
    }
    Ok(Json(session.map_err(ApiError::of_agent)?.into()))
}
