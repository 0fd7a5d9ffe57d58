//! Errors of the HTTP interfaces: RFC 9457 problem documents that name the field.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

const PROBLEM: &str = "application/problem+json";
/// What a frame is refused with for the time being, since its time lies ahead: the agent knows it by these words.
pub const AHEAD: &str = "ahead of the aggregator's clock";
/// The longest detail that is taken over from an answer that is no problem document.
const LONGEST_DETAIL: usize = 4096;

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What is wrong with this request, and what would be right.
    pub detail: String,
    /// The field, header or parameter concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Seconds after which to try again; becomes `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A problem with a status and a detail.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { status: status.as_u16(), title, detail: detail.into(), field: None, retry_after: None }
    }

    /// 400 for a field.
    pub fn bad(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503, to be tried again after some seconds.
    pub fn unavailable(detail: impl Into<String>, retry_after: u32) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Middleware: what the framework itself refuses (a wrong method, a path that does not decode, a bad query) is told in
/// a problem document too. A wrong method's answer keeps its `Allow`.
pub async fn uniform(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    let status = response.status();
    // A problem, or another document of our own such as that of `/readyz`.
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    let is_document = kind.is_some_and(|kind| kind == PROBLEM.as_bytes() || kind.starts_with(b"application/json"));
    if is_document || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let detail = if status == StatusCode::METHOD_NOT_ALLOWED {
        // Which are, the router adds behind this.
        format!("{method} is not allowed here: expected one that the header Allow names")
    } else {
        let text = to_bytes(body, LONGEST_DETAIL).await.unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    };
    let mut response = Problem::new(status, detail).into_response();
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}
