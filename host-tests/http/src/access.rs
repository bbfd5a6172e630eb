//! Authentication of requests, and the workspace that they name.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use clawdb_session_durable::{DurableError, DurableHost, TenantId};
use clawdb_session_host::{
    Claims, GuardError, GuardFailure, GuardResult, SessionError, Token, with_guard_deadline,
};
use futures::poll;
use uuid::Uuid;

use crate::error::{ApiError, INVALID_TOKEN};
use crate::headers::single_value;
use crate::input::Body;
use crate::service::Service;

const ADMIN_KEY: &str = "x-admin-key";
const WORKSPACE: &str = "x-workspace-id";

/// The longest token, in bytes (`sessions.validate` in the WIT). A longer one is never issued.
const MAX_TOKEN: usize = 8_192;

/// An admin, and the host of the workspace that the request names.
pub struct Admin(pub DurableHost);

/// An agent: its token, which is not validated yet, and the host of the workspace that the request
/// names.
pub struct Agent {
    pub token: Token,
    pub host: DurableHost,
}

impl FromRequestParts<Arc<Service>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        let presented = match single_value(headers, ADMIN_KEY)? {
            Some(key) => Some(key),
            None => bearer(headers)?,
        };
        let presented = presented.ok_or_else(|| {
            ApiError::unauthorized(
                "the admin key is required, as X-Admin-Key or as Authorization: Bearer",
            )
        })?;
        if !service.admin_key.matches(presented) {
            return Err(ApiError::invalid_token(
                "the presented key is not the admin key",
            ));
        }
        let host = service.tenants.tenant(workspace(headers)?).await?;
        Ok(Self(host))
    }
}

impl FromRequestParts<Arc<Service>> for Agent {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let (token, tenant) = token_and_workspace(&parts.headers)?;
        if tenant != TenantId::default() && !service.tenants.is_loaded(tenant) {
            require_guard_approval(service, &token).await?;
        }
        let host = existing_workspace(service, tenant).await?;
        Ok(Self { token, host })
    }
}

/// An agent that ends its own session. The guard does not validate its token, not even before its
/// workspace is loaded, so that a logout works while the guard is down (R35).
pub struct LeavingAgent(pub Agent);

impl FromRequestParts<Arc<Service>> for LeavingAgent {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let (token, tenant) = token_and_workspace(&parts.headers)?;
        let host = existing_workspace(service, tenant).await?;
        Ok(Self(Agent { token, host }))
    }
}

/// Returns the token that an agent presents, and the workspace that it names.
fn token_and_workspace(headers: &HeaderMap) -> Result<(Token, TenantId), ApiError> {
    let token = bearer(headers)?.ok_or_else(|| {
        ApiError::unauthorized("the session's token is required, as Authorization: Bearer")
    })?;
    if token.len() > MAX_TOKEN {
        return Err(invalid_token());
    }
    let token = std::str::from_utf8(token).map_err(|_| invalid_token())?;
    Ok((Token::from(token.to_owned()), workspace(headers)?))
}

/// Returns the host of a workspace that an agent names. Refuses the token if the workspace does not
/// exist: only an admin's request creates a workspace.
async fn existing_workspace(service: &Service, tenant: TenantId) -> Result<DurableHost, ApiError> {
    if tenant != TenantId::default() {
        let exists = service.tenants.exists(tenant).await;
        if !exists.map_err(ApiError::of_agent)? {
            return Err(invalid_token());
        }
    }
    let host = service.tenants.tenant(tenant).await;
    host.map_err(ApiError::of_agent)
}

/// An agent, and the body of its request.
///
/// If the guard refuses the token, the answer is 401, even if the body is missing or invalid. If a
/// valid body has arrived already, the guard is not asked here, because the route asks it.
pub struct AgentWith<T> {
    pub agent: Agent,
    pub body: T,
}

impl<T: Send> FromRequest<Arc<Service>> for AgentWith<T>
where
    Body<T>: FromRequest<Arc<Service>, Rejection = ApiError>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let agent = Agent::from_request_parts(&mut parts, service).await?;
        let mut reading = pin!(Body::from_request(
            Request::from_parts(parts, body),
            service
        ));
        let read = match poll!(&mut reading) {
            Poll::Ready(Ok(body)) => Ok(body),
            Poll::Ready(Err(refusal)) => {
                reject_if_guard_refuses(service, &agent.token).await?;
                Err(refusal)
            }
            Poll::Pending => {
                reject_if_guard_refuses(service, &agent.token).await?;
                reading.await
            }
        };
        let Body(body) = read?;
        Ok(Self { agent, body })
    }
}

/// Returns an error if the guard refuses the token. An unavailable guard is not a refusal.
pub(super) async fn reject_if_guard_refuses(
    service: &Service,
    token: &Token,
) -> Result<(), ApiError> {
    match validate(service, token).await {
        Err(GuardFailure::Error(error)) if !matches!(error, GuardError::Unavailable(_)) => {
            Err(invalid_token())
        }
        _ => Ok(()),
    }
}

/// Returns an error unless the guard accepts the token. This is required before a workspace is
/// loaded; the component then validates the token itself.
async fn require_guard_approval(service: &Service, token: &Token) -> Result<(), ApiError> {
    match validate(service, token).await {
        Ok(_) => Ok(()),
        Err(GuardFailure::Error(error)) => {
            let error = DurableError::Session(SessionError::Guard(error));
            Err(ApiError::of_agent(error))
        }
        Err(_) => Err(ApiError::unavailable("the service cannot answer this now")),
    }
}

/// Asks the guard to validate a token, with the same deadline as for the component.
async fn validate(service: &Service, token: &Token) -> GuardResult<Claims> {
    let deadline = service.tenants.guard_deadline();
    // The call is made inside the future, so that a panic in it is contained too.
    let call = async { service.guard.validate_token(token.to_string()).await };
    with_guard_deadline(deadline, call).await
}

fn invalid_token() -> ApiError {
    ApiError::invalid_token(INVALID_TOKEN)
}

/// Returns the credentials of the scheme `Bearer` (RFC 6750, section 2.1), whose name is not case
/// sensitive. Returns `None` if there are none or they have another scheme.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, ApiError> {
    let Some(value) = single_value(headers, header::AUTHORIZATION.as_str())? else {
        return Ok(None);
    };
    let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let credentials = value.get(scheme.len()..).unwrap_or_default();
    Ok(Some(credentials.trim_ascii()))
}

fn workspace(headers: &HeaderMap) -> Result<TenantId, ApiError> {
    let Some(value) = single_value(headers, WORKSPACE)? else {
        return Ok(TenantId::default());
    };
    let text = std::str::from_utf8(value).unwrap_or_default();
    // Only the form with hyphens has this length.
    let workspace = Some(text)
        .filter(|text| text.len() == 36)
        .and_then(|text| Uuid::try_parse(text).ok());
    workspace
        .map(TenantId::new)
        .ok_or_else(|| ApiError::invalid_argument("x-workspace-id: must be a UUID with hyphens"))
}
