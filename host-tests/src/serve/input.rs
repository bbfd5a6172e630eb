//! What requests bring along, parsed; what cannot be is refused as all else is.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Service;
use super::body;
use super::error::ApiError;
use crate::bindings::exports::clawdb::session::sessions::{CreateRequest, Page, RevokeFilter};

/// A body, from JSON.
pub struct Body<T>(pub T);

/// A part of the path.
pub struct Id(pub String);

/// What stands behind the `?`.
pub struct Asked<T>(pub T);

/// What a session is asked for with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateBody {
    agent_id: String,
    role: String,
    scopes: Vec<String>,
    ttl_secs: Option<u64>,
    task_type: Option<String>,
    metadata: Option<Value>,
    max_uses: Option<u32>,
}

/// What an agent wants to do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizeBody {
    pub scope: String,
}

/// Which sessions are to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeAllBody {
    filter: Filter,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Filter {
    Everything,
    Role(String),
    Root(String),
}

/// Which part of a listing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    cursor: Option<u64>,
    limit: Option<u32>,
}

/// From where on events are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    pub since: Option<u64>,
}

impl From<CreateBody> for CreateRequest {
    fn from(body: CreateBody) -> Self {
        Self {
            agent_id: body.agent_id,
            role: body.role,
            scopes: body.scopes,
            task_type: body.task_type,
            expires_in: body.ttl_secs,
            metadata: body.metadata.map(|value| value.to_string()),
            max_uses: body.max_uses,
        }
    }
}

impl From<RevokeAllBody> for RevokeFilter {
    fn from(body: RevokeAllBody) -> Self {
        match body.filter {
            Filter::Everything => Self::Everything,
            Filter::Role(role) => Self::Role(role),
            Filter::Root(id) => Self::Root(id),
        }
    }
}

impl From<ListQuery> for Page {
    fn from(query: ListQuery) -> Self {
        Self {
            cursor: query.cursor,
            limit: query.limit,
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, ApiError> {
        let (parts, body) = body::read(request, service).await?;
        // serde would take a list for an object whose members it has in their order.
        let is_list = body.trim_ascii_start().starts_with(b"[");
        let parsed = Json::from_request(Request::from_parts(parts, body.into()), service).await;
        match parsed {
            Ok(_) | Err(JsonRejection::JsonDataError(_)) if is_list => {
                Err(ApiError::invalid_argument("the body must be an object"))
            }
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|error| ApiError::invalid_argument(error.body_text()))?;
        Ok(Self(id))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::try_from_uri(&parts.uri);
        let Query(query) = query.map_err(|error| ApiError::invalid_argument(reason(&error)))?;
        Ok(Self(query))
    }
}

fn refused(rejection: &JsonRejection) -> ApiError {
    match rejection {
        JsonRejection::JsonDataError(error) => ApiError::invalid_argument(reason(error)),
        JsonRejection::JsonSyntaxError(error) => ApiError::invalid_json(reason(error)),
        JsonRejection::MissingJsonContentType(_) => ApiError::unsupported_media_type(),
        rejection => ApiError::bad_request(rejection.body_text()),
    }
}

/// What serde says of it, without what axum says before: it begins with the field.
fn reason(error: &dyn std::error::Error) -> String {
    let source = error.source();
    source.map_or_else(|| error.to_string(), ToString::to_string)
}
