//! The answers to requests that fail: a status, and `{"error", "message"}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use clawdb_session_durable::DurableError;
use clawdb_session_host::json::fields::{Invalid, shortened};
use clawdb_session_host::{Duplicate, GuardError, InvalidArgument, Limit, SessionError, full_text};
use serde_json::json;

use crate::form::name_of;

/// The value of `Retry-After`, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The message about an agent's token that is refused for any reason.
pub(crate) const INVALID_TOKEN: &str = "the token is invalid or no longer valid";

/// The answer to a request that fails.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    error: &'static str,
    message: String,
    /// `WWW-Authenticate` (RFC 6750, section 3).
    challenge: Option<HeaderValue>,
    /// `Accept-Encoding` (RFC 9110, section 12.5.3).
    accept_encoding: Option<&'static str>,
}

/// A reason for which the service is not ready.
pub struct NotReady {
    /// The stable name, which is `error` in the answer.
    pub error: &'static str,
    /// The condition and its remedy. Anyone may read it.
    pub message: String,
}

impl ApiError {
    fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
            challenge: None,
            accept_encoding: None,
        }
    }

    /// Returns the error of an invalid argument. The message begins with its name and is cut at 256
    /// bytes.
    pub fn invalid_argument(message: impl AsRef<str>) -> Self {
        let message = shortened(message.as_ref());
        Self::new(StatusCode::BAD_REQUEST, "invalid_argument", message)
    }

    /// Returns the error of a body that is not JSON.
    pub fn invalid_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    }

    /// Returns the error of a malformed request that has no more specific error.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Returns the error of a request without credentials. RFC 6750 has no error code for it.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            challenge: Some(HeaderValue::from_static("Bearer")),
            ..Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        }
    }

    /// Returns the error of a wrong key or token, without the reason.
    pub fn invalid_token(message: impl Into<String>) -> Self {
        Self {
            challenge: Some(HeaderValue::from_static(r#"Bearer error="invalid_token""#)),
            ..Self::new(StatusCode::UNAUTHORIZED, "invalid_token", message)
        }
    }

    /// Returns the error of an unknown route.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "no such route")
    }

    /// Returns the error of a method that the route does not support.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "the route does not support this method; Allow lists the supported ones",
        )
    }

    /// Returns the error of a body that takes too long.
    pub fn request_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "the body did not arrive in time",
        )
    }

    /// Returns the error of a body that is too large.
    pub fn body_too_large(max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body must have at most {max} bytes"),
        )
    }

    /// Returns the error of a body that is not declared as JSON.
    pub fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be JSON, with Content-Type: application/json",
        )
    }

    /// Returns the error of a body with a content coding.
    pub fn unsupported_content_coding() -> Self {
        Self {
            accept_encoding: Some("identity"),
            ..Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must not be encoded: leave out Content-Encoding, or use identity",
            )
        }
    }

    /// Returns the error of a path and query that are too long together.
    pub fn uri_too_long(max: usize) -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            format!("the path and the query must have at most {max} bytes together"),
        )
    }

    /// Returns the error of header fields that are too many or too large.
    pub fn header_fields_too_large(max: usize, max_bytes: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "header_fields_too_large",
            format!(
                "a request must have at most {max} header fields, of {max_bytes} bytes together"
            ),
        )
    }

    /// Returns the error of an operation that takes too long.
    pub fn timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "the operation took too long; it may or may not have taken effect",
        )
    }

    /// Returns an error after which a retry may succeed soon.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// Returns the error of a request that the guard denies.
    fn guard_denied(reason: &str) -> Self {
        let message = format!("the guard denied the request: {reason}");
        Self::new(StatusCode::FORBIDDEN, "guard_denied", message)
    }

    /// Returns the error of a guard that failed or gave an unusable answer.
    fn guard_error(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "guard_error", message)
    }

    fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Returns the error for an admin, with all details.
    fn of_admin(error: DurableError) -> Self {
        match error {
            DurableError::Session(error) => Self::of_session(error),
            DurableError::Retry(reason) => Self::unavailable(full_text(&reason)),
            DurableError::NotOwner(reason) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_owner",
                format!("another host owns the workspace: {}", full_text(&reason)),
            ),
            DurableError::Journal(error) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "journal",
                full_text(&error),
            ),
            DurableError::StateKeyMissing(missing) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "state_key_missing",
                missing.to_string(),
            ),
            // No request upgrades the component or changes a setting.
            error => Self::internal(full_text(&error)),
        }
    }

    /// Returns the error for an admin, if the component's arguments are members of the field
    /// `outer` in HTTP.
    pub fn in_field(outer: &str, error: DurableError) -> Self {
        match error {
            DurableError::Session(SessionError::InvalidArgument(argument)) => {
                let InvalidArgument { field, reason } = argument;
                Self::invalid_argument(format!("{outer}.{}: {reason}", name_of(&field)))
            }
            error => Self::of_admin(error),
        }
    }

    /// Returns the error for an agent. It does not say why a token is refused, and gives no details
    /// of failures inside the service.
    pub fn of_agent(error: DurableError) -> Self {
        let error = match error {
            DurableError::Session(
                SessionError::InvalidToken
                | SessionError::SessionNotFound
                | SessionError::SessionExpired
                | SessionError::SessionRevoked
                | SessionError::Guard(
                    GuardError::InvalidToken
                    | GuardError::Expired
                    | GuardError::Revoked
                    | GuardError::Denied(_),
                ),
            ) => return Self::invalid_token(INVALID_TOKEN),
            DurableError::Session(SessionError::ScopeDenied(scope)) => {
                let challenge = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
                return Self {
                    challenge: HeaderValue::try_from(challenge).ok(),
                    ..Self::insufficient_scope(&scope)
                };
            }
            error => Self::of_admin(error),
        };
        if error.status.is_server_error() {
            let message = "the service cannot answer this now".into();
            return Self { message, ..error };
        }
        error
    }

    /// Returns the error of a rotation for an agent whose token the guard accepts. A denial then
    /// concerns the new token and not the presented one.
    pub fn of_rotation(error: DurableError) -> Self {
        match error {
            DurableError::Session(SessionError::Guard(GuardError::Denied(_))) => {
                Self::guard_denied("the token was not replaced")
            }
            error => Self::of_agent(error),
        }
    }

    /// Returns the answer of a service that is not ready, or `None` if there is no reason. It has
    /// the name of the first reason and the messages of all.
    pub fn not_ready(reasons: Vec<NotReady>) -> Option<Self> {
        let error = reasons.first()?.error;
        let messages = reasons.into_iter().enumerate().map(|(at, reason)| {
            if at == 0 {
                return reason.message;
            }
            format!("{}: {}", reason.error, reason.message)
        });
        let message = messages.collect::<Vec<_>>().join("; ");
        Some(Self::new(StatusCode::SERVICE_UNAVAILABLE, error, message))
    }

    /// Returns the reason for which the service is not ready if a call failed with this error.
    pub fn of_health(error: DurableError) -> NotReady {
        // Anyone may read it, so it names no paths and no other hosts.
        let message = match &error {
            DurableError::NotOwner(_) => "another host owns the sessions",
            DurableError::Journal(_) => {
                "the journal is damaged or misconfigured; the log has the details"
            }
            _ => "the service cannot answer this now",
        };
        NotReady {
            error: Self::of_admin(error).error,
            message: message.into(),
        }
    }

    fn insufficient_scope(scope: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            format!("the session lacks the scope {scope}"),
        )
    }

    fn of_session(error: SessionError) -> Self {
        let kind = error.kind().snake;
        let new = |status, message: &str| Self::new(status, kind, message);
        match error {
            SessionError::InvalidArgument(InvalidArgument { field, reason }) => {
                Self::invalid_argument(format!("{}: {reason}", name_of(&field)))
            }
            SessionError::InvalidToken => Self::invalid_token("the token is invalid"),
            SessionError::SessionNotFound => {
                new(StatusCode::NOT_FOUND, "no live session has this id")
            }
            SessionError::SessionExpired => new(StatusCode::GONE, "the session has expired"),
            SessionError::SessionRevoked => new(
                StatusCode::CONFLICT,
                "the session was revoked during the request",
            ),
            SessionError::Conflict => new(
                StatusCode::CONFLICT,
                "another refresh or rotation of the session was faster",
            ),
            SessionError::LimitReached(limit) => {
                let status = match limit {
                    // Waiting does not help: the parent can never delegate.
                    Limit::MaxDepth | Limit::MaxUses => StatusCode::CONFLICT,
                    _ => StatusCode::TOO_MANY_REQUESTS,
                };
                new(status, &format!("{limit} is reached"))
            }
            SessionError::ScopeDenied(scope) => Self::insufficient_scope(&scope),
            SessionError::Guard(error) => Self::of_guard(error),
            SessionError::Collision(Duplicate::Token) => {
                Self::guard_error("the guard issued a token that another session has")
            }
            SessionError::Collision(Duplicate::Handle) => {
                Self::guard_error("the guard issued a handle that another session has")
            }
            SessionError::ClockBehind(lag) => new(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!(
                    "the host's clock is {lag} ms behind the time of the sessions; set it right, \
                     or accept it with POST /v1/clock/accept, which ends all sessions"
                ),
            ),
            SessionError::ClockNotBehind => new(
                StatusCode::CONFLICT,
                "the host's clock is not behind the time of the sessions: nothing to accept",
            ),
            // No request leads to any other error.
            error => Self::internal(error.to_string()),
        }
    }

    fn of_guard(error: GuardError) -> Self {
        match error {
            GuardError::Denied(reason) => Self::guard_denied(&reason),
            GuardError::Unavailable(reason) => {
                Self::guard_error(format!("the guard is unavailable: {reason}"))
            }
            GuardError::InvalidToken => {
                Self::guard_error("the guard reports that the token is invalid")
            }
            GuardError::Expired => {
                Self::guard_error("the guard reports that the token has expired")
            }
            GuardError::Revoked => Self::guard_error("the guard reports that the token is revoked"),
            error => Self::guard_error(error.to_string()),
        }
    }
}

impl From<DurableError> for ApiError {
    fn from(error: DurableError) -> Self {
        Self::of_admin(error)
    }
}

impl From<Invalid> for ApiError {
    fn from(error: Invalid) -> Self {
        match error {
            Invalid::Syntax(reason) => Self::invalid_json(reason),
            Invalid::Field(reason) => Self::invalid_argument(reason),
            error => Self::invalid_argument(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "message": self.message });
        let mut response = (self.status, Json(body)).into_response();
        if let Some(challenge) = self.challenge {
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(codings) = self.accept_encoding {
            let headers = response.headers_mut();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
