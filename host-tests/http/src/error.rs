//! What a request is refused with: a status, and `{"error", "message"}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use clawdb_session_durable::DurableError;
use clawdb_session_host::json::fields::{Invalid, shortened};
use clawdb_session_host::{Duplicate, GuardError, InvalidArgument, Limit, SessionError, full_text};
use serde_json::json;

use crate::form::name_of;

/// How long to wait before the same is asked for again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A refusal.
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

/// A reason why the service is not ready.
pub struct NotReady {
    /// The stable name: `error` of the answer.
    pub error: &'static str,
    /// For people: what it is about, and what to do. Anybody may read it.
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

    /// An argument that is not accepted. The message begins with its name and is cut at 256 bytes.
    pub fn invalid_argument(message: impl AsRef<str>) -> Self {
        let message = shortened(message.as_ref());
        Self::new(StatusCode::BAD_REQUEST, "invalid_argument", message)
    }

    /// A body that is not JSON.
    pub fn invalid_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    }

    /// A body that could not be read, for another reason than the others.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Nothing was presented, and something has to be: RFC 6750 has no error code for that.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            challenge: Some(HeaderValue::from_static("Bearer")),
            ..Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        }
    }

    /// What was presented is not good. The caller learns no more.
    pub fn invalid_token(message: impl Into<String>) -> Self {
        Self {
            challenge: Some(HeaderValue::from_static(r#"Bearer error="invalid_token""#)),
            ..Self::new(StatusCode::UNAUTHORIZED, "invalid_token", message)
        }
    }

    /// No route.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such route")
    }

    /// A route, but not for this method.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "the route does not take this method; Allow has those that it takes",
        )
    }

    /// The body took too long.
    pub fn request_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "the body did not come in time",
        )
    }

    /// The body is too large.
    pub fn body_too_large(max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("a body has at most {max} bytes"),
        )
    }

    /// The body is not said to be JSON.
    pub fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "a body is JSON, and Content-Type says so: application/json",
        )
    }

    /// The body is encoded.
    pub fn unsupported_content_coding() -> Self {
        Self {
            accept_encoding: Some("identity"),
            ..Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "a body is not encoded: without Content-Encoding, or with identity",
            )
        }
    }

    /// The path and the query are too long.
    pub fn uri_too_long(max: usize) -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            format!("a path and its query have at most {max} bytes"),
        )
    }

    /// The headers are too many, or too large.
    pub fn header_fields_too_large(max: usize, max_bytes: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "header_fields_too_large",
            format!("a request has at most {max} header fields, of {max_bytes} bytes together"),
        )
    }

    /// There is no answer in time.
    pub fn timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "there was no answer in time; whether the operation was done is not known",
        )
    }

    /// The same may succeed soon.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// The guard will not do this, now or later.
    fn guard_denied(reason: &str) -> Self {
        let message = format!("the guard refuses: {reason}");
        Self::new(StatusCode::FORBIDDEN, "guard_denied", message)
    }

    /// The guard failed, or its answer is of no use.
    fn guard_error(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "guard_error", message)
    }

    fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// What an admin is told.
    fn of_admin(error: DurableError) -> Self {
        match error {
            DurableError::Session(error) => Self::of_session(error),
            DurableError::Retry(reason) => Self::unavailable(full_text(&reason)),
            DurableError::NotOwner(reason) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_owner",
                format!("another host has the workspace: {}", full_text(&reason)),
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

    /// Returns an error for an admin. An argument of the component is a member of the field `outer`
    /// in HTTP.
    pub fn in_field(outer: &str, error: DurableError) -> Self {
        match error {
            DurableError::Session(SessionError::InvalidArgument(argument)) => {
                let InvalidArgument { field, reason } = argument;
                Self::invalid_argument(format!("{outer}.{}: {reason}", name_of(&field)))
            }
            error => Self::of_admin(error),
        }
    }

    /// What an agent is told: that its token is good for nothing any more is all that there is to know,
    /// and what is wrong in the service is not the agent's concern.
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
            ) => return Self::invalid_token("the token is not, or no longer, good"),
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

    /// Returns the error of a rotation for an agent whose token the guard accepts. A denial is then
    /// about the new token and says nothing about the presented one.
    pub fn of_rotation(error: DurableError) -> Self {
        match error {
            DurableError::Session(SessionError::Guard(GuardError::Denied(_))) => {
                Self::guard_denied("the token was not replaced")
            }
            error => Self::of_agent(error),
        }
    }

    /// The answer of a service that is not ready: the name of the first reason, and what each of them
    /// says. None: there is no reason.
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

    /// Why the service is not ready where a call on it fails so.
    pub fn of_health(error: DurableError) -> NotReady {
        // Anybody may ask, so it does not tell of paths and other hosts.
        let message = match &error {
            DurableError::NotOwner(_) => "another host has the sessions",
            DurableError::Journal(_) => {
                "the journal needs somebody to look at it; the log says more"
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
            SessionError::InvalidToken => Self::invalid_token("the token is not good"),
            SessionError::SessionNotFound => {
                new(StatusCode::NOT_FOUND, "no live session has this id")
            }
            SessionError::SessionExpired => new(StatusCode::GONE, "the session has expired"),
            SessionError::SessionRevoked => new(StatusCode::CONFLICT, "a revocation came first"),
            SessionError::Conflict => new(
                StatusCode::CONFLICT,
                "another refresh or rotation of the session came first",
            ),
            SessionError::LimitReached(limit) => {
                let status = match limit {
                    // To wait changes nothing: it is the parent's nature.
                    Limit::MaxDepth | Limit::MaxUses => StatusCode::CONFLICT,
                    _ => StatusCode::TOO_MANY_REQUESTS,
                };
                new(status, &format!("{limit} is reached"))
            }
            SessionError::ScopeDenied(scope) => Self::insufficient_scope(&scope),
            SessionError::Guard(error) => Self::of_guard(error),
            SessionError::Collision(Duplicate::Token) => {
                Self::guard_error("the guard issued a token of another session")
            }
            SessionError::Collision(Duplicate::Handle) => {
                Self::guard_error("the guard issued a handle that is in use")
            }
            SessionError::ClockBehind(lag) => new(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!(
                    "the host's clock is {lag} ms before the time of the sessions; set it right, \
                     or end all sessions with POST /v1/clock/accept"
                ),
            ),
            SessionError::ClockNotBehind => new(
                StatusCode::CONFLICT,
                "the host's clock is not behind, so there is nothing to accept",
            ),
            // Nothing that a request asks for can end so.
            error => Self::internal(error.to_string()),
        }
    }

    fn of_guard(error: GuardError) -> Self {
        match error {
            GuardError::Denied(reason) => Self::guard_denied(&reason),
            GuardError::Unavailable(reason) => {
                Self::guard_error(format!("the guard is not available: {reason}"))
            }
            GuardError::InvalidToken => {
                Self::guard_error("the guard says that the token is invalid")
            }
            GuardError::Expired => Self::guard_error("the guard says that the token has expired"),
            GuardError::Revoked => Self::guard_error("the guard says that the token is revoked"),
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
