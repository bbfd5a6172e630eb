//! Extractors for bodies, paths and queries, whose errors are answered as all others.

use std::sync::Arc;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use clawdb_session_host::json::fields;
use clawdb_session_host::json::fields::{Fields, FromFields, Invalid};
use clawdb_session_host::json::{create_request, revoke_filter};
use clawdb_session_host::{CreateRequest, RevokeFilter};
use serde_json::Value;

use crate::body;
use crate::error::ApiError;
use crate::form::Http;
use crate::headers::single_value;
use crate::service::Service;

/// A JSON body.
pub struct Body<T>(pub T);

/// The id in the path.
pub struct Id(pub String);

/// The query.
pub struct QueryFields<T>(pub T);

/// The body of a create or a delegation.
pub struct CreateBody(pub CreateRequest);

/// The body of `authorize`.
pub struct AuthorizeBody {
    pub scope: String,
}

/// The body of `revoke-all`.
pub struct RevokeAllBody {
    pub filter: RevokeFilter,
}

/// The query of `events`.
pub struct EventsQuery {
    pub since: Option<u64>,
}

impl<'a> FromFields<'a> for CreateBody {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        create_request::<Http>(fields).map(Self)
    }
}

impl<'a> FromFields<'a> for AuthorizeBody {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        let scope = fields.required("scope")?;
        Ok(Self { scope })
    }
}

impl<'a> FromFields<'a> for RevokeAllBody {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        let filter = fields.required_by("filter", revoke_filter)?;
        Ok(Self { filter })
    }
}

impl<'a> FromFields<'a> for EventsQuery {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        let since = fields.optional("since")?;
        Ok(Self { since })
    }
}

impl<T: for<'a> FromFields<'a>> FromRequest<Arc<Service>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, ApiError> {
        if !is_json(request.headers())? {
            return Err(ApiError::unsupported_media_type());
        }
        let body = body::read(request, service).await?;
        Ok(Self(fields::read("body", &body)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|rejection| match &rejection {
            PathRejection::FailedToDeserializePathParams(error) => match error.kind() {
                ErrorKind::InvalidUtf8InPathParam { key } => {
                    ApiError::invalid_argument(format!("{key}: must be UTF-8"))
                }
                _ => ApiError::bad_request(rejection.body_text()),
            },
            rejection => ApiError::bad_request(rejection.body_text()),
        })?;
        Ok(Self(id))
    }
}

impl<S: Send + Sync, T: for<'a> FromFields<'a>> FromRequestParts<S> for QueryFields<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = query.map_err(|rejection| {
            ApiError::invalid_argument(format!("query: {}", rejection.body_text()))
        })?;
        Ok(Self(fields::read(
            "query",
            query_as_json(&pairs).as_bytes(),
        )?))
    }
}

/// Converts a query to a JSON object, which is then parsed like a body. Values that are whole
/// numbers become numbers.
fn query_as_json(query: &[(String, String)]) -> String {
    let members = query.iter().map(|(name, value)| {
        let number = value.parse::<u64>().ok();
        let number = number.filter(|number| number.to_string() == *value);
        let value = number.map_or_else(|| Value::from(value.as_str()), Value::from);
        format!("{}:{value}", Value::from(name.as_str()))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// Returns whether the body is declared as JSON: `application/json` or `application/...+json`.
fn is_json(headers: &HeaderMap) -> Result<bool, ApiError> {
    let value = single_value(headers, header::CONTENT_TYPE.as_str())?.unwrap_or_default();
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    let subtype = essence.strip_prefix(b"application/").unwrap_or_default();
    Ok(subtype == b"json" || subtype.ends_with(b"+json"))
}
