//! Reading the body of a request, with its maximum size and time.

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::time::sleep;

use crate::error::ApiError;
use crate::service::MAX_BODY;
use crate::service::Service;

/// How long a body may still take after the shutdown began.
const SHUTDOWN_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the body of a request to its end.
///
/// # Errors
/// An error for a body that is encoded, has more than [`MAX_BODY`] bytes, or takes too long.
pub async fn read(request: Request, service: &Service) -> Result<Bytes, ApiError> {
    if !is_unencoded(request.headers()) {
        return Err(ApiError::unsupported_content_coding());
    }
    // A body whose declared length is too large is not waited for.
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return Err(ApiError::body_too_large(MAX_BODY));
    }
    let reading = Bytes::from_request(request, &());
    let shutdown_deadline = async {
        service.closing.clone().started().await;
        sleep(SHUTDOWN_BODY_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        body = reading => body.map_err(|rejection| body_error(&rejection)),
        () = sleep(service.body_timeout) => Err(ApiError::request_timeout()),
        () = shutdown_deadline => Err(ApiError::request_timeout()),
    }
}

/// Returns whether the content is not encoded (RFC 9110, section 8.4).
fn is_unencoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.all(|codings| {
        let mut codings = codings.as_bytes().split(|byte| *byte == b',');
        codings.all(|coding| {
            let coding = coding.trim_ascii();
            coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
        })
    })
}

fn body_error(rejection: &BytesRejection) -> ApiError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::body_too_large(MAX_BODY),
        _ => ApiError::bad_request("the body ended early or is malformed"),
    }
}
