//! What HTTP asks of every request, before its route does.

use axum::Json;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::ApiError;
use crate::headers::single_value;

/// How many bytes the path and the query of a request have at most.
pub const MAX_TARGET: usize = 8 << 10;
/// How many header fields a request has at most, and how many bytes they have together.
pub const MAX_FIELDS: usize = 100;
pub const MAX_FIELD_BYTES: usize = 64 << 10;
/// How many header fields are read, so that it is the service that refuses too many.
pub const MAX_FIELDS_READ: usize = 256;

/// A mark of requests whose method was `HEAD`.
#[derive(Clone, Copy)]
pub struct WasHead;

/// Refuses requests that violate HTTP/1.1 or are larger than the service takes.
pub async fn check(request: Request, next: Next) -> Response {
    if !is_chunked_at_most(request.headers()) {
        let body = json!({
            "error": "not_implemented",
            "message": "transfer-encoding: must be chunked, and no other coding",
        });
        return (StatusCode::NOT_IMPLEMENTED, Json(body)).into_response();
    }
    match acceptable(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses `HEAD` below `/v1`. Call it before there is a route.
pub async fn refuse_head(mut request: Request, next: Next) -> Response {
    let takes_no_head = request.uri().path().starts_with("/v1/");
    if takes_no_head && request.method() == Method::HEAD {
        // A method that no route takes. Otherwise the route would do what it does for GET.
        *request.method_mut() = Method::TRACE;
        request.extensions_mut().insert(WasHead);
    }
    let mut answer = next.run(request).await;
    if takes_no_head {
        forget_head(answer.headers_mut());
    }
    answer
}

fn acceptable(request: &Request) -> Result<(), ApiError> {
    let target = request.uri().path_and_query();
    if target.is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return Err(ApiError::uri_too_long(MAX_TARGET));
    }
    let headers = request.headers();
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    if headers.len() > MAX_FIELDS || sizes.sum::<usize>() > MAX_FIELD_BYTES {
        return Err(ApiError::header_fields_too_large(
            MAX_FIELDS,
            MAX_FIELD_BYTES,
        ));
    }
    check_host(headers, request.version())
}

/// RFC 9112, section 3.2: a request of HTTP/1.1 has exactly one `Host`, and a valid one.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), ApiError> {
    match single_value(headers, header::HOST.as_str())? {
        Some([]) => Ok(()),
        Some(host) => match Authority::try_from(host) {
            Ok(authority) if names_one_host(&authority) => Ok(()),
            _ => Err(ApiError::bad_request("host: must be a host and a port")),
        },
        None if version == Version::HTTP_11 => Err(ApiError::bad_request("host is missing")),
        None => Ok(()),
    }
}

/// Returns whether it is one host and a port at most. `Authority` takes any text as port, and
/// commas, which are in no name but join the values of two fields.
fn names_one_host(authority: &Authority) -> bool {
    let text = authority.as_str();
    let port = text.strip_prefix(authority.host());
    let port = port.map(|port| port.strip_prefix(':').unwrap_or(port));
    let is_port = |port: &str| {
        port.is_empty()
            || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    !text.contains(['@', ',']) && port.is_some_and(is_port)
}

/// Returns whether the body has no transfer coding but `chunked`, which hyper decodes (RFC 9112,
/// section 6.1). hyper takes others before it, and leaves them in the body.
fn is_chunked_at_most(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    let field = fields.next();
    fields.next().is_none()
        && field.is_none_or(|field| field.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Takes `HEAD` out of `Allow`, where it stands for each route that takes GET.
fn forget_head(headers: &mut HeaderMap) {
    let Some(allow) = headers.get(header::ALLOW).and_then(|it| it.to_str().ok()) else {
        return;
    };
    let methods = allow.split(',').map(str::trim);
    let methods: Vec<&str> = methods.filter(|method| *method != "HEAD").collect();
    if let Ok(allow) = HeaderValue::try_from(methods.join(",")) {
        headers.insert(header::ALLOW, allow);
    }
}
