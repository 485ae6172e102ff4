//! What surrounds every request: its id, its span, its metrics, the limits of
//! its head, and the one place where a problem is written out.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{counter, histogram};
use taskflow_application::access::Quota;
use taskflow_domain::queue::Rate;
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use super::ApiState;
use super::problem::{Code, Problem};
use crate::telemetry::{HTTP_REQUESTS, HTTP_SECONDS, Span};

/// A longer request target is refused.
pub(super) const MAX_URI: usize = 8 * 1024;
/// More bytes of names and values of headers are refused.
pub(super) const MAX_HEADERS: usize = 16 * 1024;

/// The header that names a request.
const REQUEST_ID: &str = "x-request-id";

/// The id of a request, for whoever handles it.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// What is left of the caller's allowances, told by whoever let it in.
#[derive(Clone, Debug, Default)]
pub(super) struct Quotas(Arc<Mutex<Vec<Quota>>>);

impl Quotas {
    /// Keeps them for the answer.
    pub(super) fn note(&self, quotas: &[Quota]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = quotas.to_vec();
    }

    /// Tells them in the fields of the HTTP working group's draft.
    fn write(&self, headers: &mut HeaderMap) {
        let quotas = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = |one: fn(&Quota) -> String| quotas.iter().map(one).collect::<Vec<_>>().join(", ");
        let policy = all(|quota| {
            let Rate { limit, period_ms } = quota.rate;
            format!("\"{}\";q={limit};w={};qu=\"requests\"", quota.name, period_ms.div_ceil(1_000))
        });
        let left = all(|quota| format!("\"{}\";r={};t={}", quota.name, quota.left, quota.full_in_s));
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
            if let (false, Ok(value)) = (quotas.is_empty(), HeaderValue::from_str(&value)) {
                headers.insert(name, value);
            }
        }
    }
}

/// The header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// The id of a request: the caller's, if it is harmless in a log, or a new one.
fn request_id(headers: &HeaderMap, state: &ApiState) -> Arc<str> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(harmless)) {
        Some(id) => id.into(),
        None => format!("{:032x}", u128::from_be_bytes(state.ids.bytes())).into(),
    }
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn head_fault(request: &Request) -> Option<Problem> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_URI {
        let detail = format!("the path and query have {target} bytes; {MAX_URI} are possible");
        return Some(Problem::new(Code::UriTooLong, detail));
    }
    let headers = request.headers().iter();
    let size: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
    let detail = || format!("the headers have {size} bytes; {MAX_HEADERS} are possible");
    (size > MAX_HEADERS).then(|| Problem::new(Code::HeadersTooLarge, detail()))
}

/// Begins the span of a request under that of its caller. What comes of the
/// request stands under this span, so it takes the place of the caller's.
fn trace(request: &mut Request, method: &'static str, route: &str) -> Span {
    let given = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let span = Span::request(method, route, given);
    if let Some(own) = span.traceparent().and_then(|own| HeaderValue::from_str(&own).ok()) {
        request.headers_mut().insert(TRACEPARENT, own);
    }
    span
}

/// The layer around the router.
pub(super) async fn context(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers(), &state);
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let quotas = Quotas::default();
    request.extensions_mut().insert(quotas.clone());
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    // Health and figures are asked for all the time, and are nobody's work.
    let traced = !matches!(route, "/health/live" | "/health/ready" | "/metrics");
    let mut trace = if traced { trace(&mut request, method_label(&method), route) } else { Span::none() };
    let span = tracing::info_span!(
        "request",
        http.request.method = method_label(&method),
        http.route = route,
        http.response.status_code = Empty,
        request.id = %id,
        tenant.id = Empty,
        trace.id = trace.trace_id(),
    );
    let begun = Instant::now();
    let mut response = match head_fault(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).instrument(span.clone()).await,
    };
    write_out(&mut response, &id, method == Method::HEAD);
    quotas.write(response.headers_mut());
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    trace.answered(status.as_u16());
    let route = route.to_owned();
    let method = method_label(&method);
    counter!(HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => status.as_str().to_owned())
        .increment(1);
    histogram!(HTTP_SECONDS, "method" => method, "route" => route).record(begun.elapsed().as_secs_f64());
    span.in_scope(|| tracing::debug!("request answered"));
    response
}

/// Turns a problem into its document, and names the request.
fn write_out(response: &mut Response, id: &str, without_body: bool) {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let document = serde_json::to_vec(&problem.to_wire(id)).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(document.len()));
        *response.body_mut() = if without_body { Body::empty() } else { Body::from(document) };
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// A handler that panicked.
pub(super) fn panicked(cause: &(dyn std::any::Any + Send)) -> Response {
    let message = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message.or_else(|| cause.downcast_ref::<String>().cloned());
    let message = message.unwrap_or_else(|| "a handler panicked".to_owned());
    Problem::internal(&message).into_response()
}
