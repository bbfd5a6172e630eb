//! Checks of HTTP/1.1 and of sizes, which apply to every request before its route.

use axum::Json;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::ApiError;
use crate::headers::single_value;

/// The maximum size of the path and the query of a request, in bytes.
pub const MAX_TARGET: usize = 8 << 10;
/// The maximum number of header fields of a request, and their maximum size together, in bytes.
pub const MAX_FIELDS: usize = 100;
pub const MAX_FIELD_BYTES: usize = 64 << 10;
/// The number of header fields that hyper reads. It is higher, so that the service answers a
/// request with too many.
pub const MAX_FIELDS_READ: usize = 256;
/// How many bytes of a head hyper collects before it refuses it. A read can add once more as many.
/// hyper's default is three times as much, and each connection can have it before a key or token is
/// checked.
pub const MAX_HEAD: usize = 128 << 10;

/// Marks requests whose method was `HEAD`.
#[derive(Clone, Copy)]
pub struct WasHead;

/// Refuses requests that violate HTTP/1.1 or are too large.
pub async fn check(request: Request, next: Next) -> Response {
    if !is_chunked_at_most(request.headers()) {
        let body = json!({
            "error": "not_implemented",
            "message": "transfer-encoding: must be chunked or absent",
        });
        return (StatusCode::NOT_IMPLEMENTED, Json(body)).into_response();
    }
    match acceptable(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses `HEAD` below `/v1`. It must run before the route is chosen.
pub async fn refuse_head(mut request: Request, next: Next) -> Response {
    let takes_no_head = request.uri().path().starts_with("/v1/");
    if takes_no_head && request.method() == Method::HEAD {
        // No route supports TRACE. With HEAD, axum would run the handler of GET.
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

/// Checks that a request of HTTP/1.1 has exactly one valid `Host` (RFC 9112, section 3.2).
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), ApiError> {
    match single_value(headers, header::HOST.as_str())? {
        Some([]) => Ok(()),
        Some(host) => match Authority::try_from(host) {
            Ok(authority) if names_one_host(&authority) => Ok(()),
            _ => Err(ApiError::bad_request(
                "host: must be a host with an optional port",
            )),
        },
        None if version == Version::HTTP_11 => Err(ApiError::bad_request("host: is missing")),
        None => Ok(()),
    }
}

/// Returns whether it is one host with an optional port. `Authority` accepts any text as port. It
/// also accepts commas, which no host name has, but which join the values of two header fields.
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

/// Returns whether the body has no transfer coding or only `chunked`, which hyper decodes (RFC
/// 9112, section 6.1). hyper accepts others before it, but does not decode them.
fn is_chunked_at_most(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    let field = fields.next();
    fields.next().is_none()
        && field.is_none_or(|field| field.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Removes `HEAD` from `Allow`, where axum adds it to each route with GET.
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
