//! The routes of sessions.

use axum::Json;
use axum::http::StatusCode;

use super::access::{Admin, Agent, AgentWith};
use super::error::ApiError;
use super::form::{GrantForm, RevocationForm, SessionForm};
use super::input::{AuthorizeBody, Body, CreateBody, Id};

type Answer<T> = Result<Json<T>, ApiError>;
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

pub async fn get(Admin(host): Admin, Id(id): Id) -> Answer<SessionForm> {
    Ok(Json(host.get(id).await?.into()))
}

pub async fn refresh(Admin(host): Admin, Id(id): Id) -> Answer<GrantForm> {
    Ok(Json(host.refresh(id).await?.into()))
}

pub async fn revoke(Admin(host): Admin, Id(id): Id) -> Answer<RevocationForm> {
    Ok(Json(host.revoke(id).await?.into()))
}

pub async fn me(Agent { token, host }: Agent) -> Answer<SessionForm> {
    let session = host.validate(token).await;
    Ok(Json(session.map_err(ApiError::of_agent)?.into()))
}

pub async fn rotate(Agent { token, host }: Agent) -> Answer<GrantForm> {
    let grant = host.rotate(token).await;
    Ok(Json(grant.map_err(ApiError::of_rotation)?.into()))
}

pub async fn authorize(with: AgentWith<AuthorizeBody>) -> Answer<SessionForm> {
    let AgentWith {
        agent: Agent { token, host },
        body,
    } = with;
    let session = host.authorize(token, body.scope).await;
    Ok(Json(session.map_err(ApiError::of_agent)?.into()))
}
