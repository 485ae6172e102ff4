//! CloudEvents over HTTP.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use taskflow_application::automation::NewEvent;
use taskflow_application::ports::Appended;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{MAX_BATCH_BODY, MAX_BODY, RawBody};
use super::super::describe::{BulkProblems, ListProblems, TenantHeader, TraceHeader};
use super::super::extract::{Answer, Asker, JobsWrite, detached};
use super::super::jobs::traceparent;
use super::super::problem::{Code, Problem};
use super::super::query::NoQuery;
use super::cloud::{self, Mode};

/// Send CloudEvents
///
/// CloudEvents 1.0 in each of its modes: one event in the headers `ce-*` and the
/// body, one in `application/cloudevents+json`, or many in
/// `application/cloudevents-batch+json`. They are on disk when the answer arrives;
/// what comes of them comes later. Of one source, one id counts once.
#[utoipa::path(
    post,
    path = "/v1/events",
    operation_id = "postEvents",
    tag = "events",
    security(("key" = ["jobs:write"])),
    params(TenantHeader, TraceHeader),
    request_body(content(
        (wire::CloudEvent = "application/cloudevents+json"),
        (Vec<wire::CloudEvent> = "application/cloudevents-batch+json"),
    )),
    responses((status = 202, description = "They are kept.", body = wire::EventReceipts), BulkProblems)
)]
pub(super) async fn post_events(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<JobsWrite>,
    _: NoQuery,
    headers: HeaderMap,
    RawBody(body, _held): RawBody<MAX_BATCH_BODY>,
) -> Result<Response, Problem> {
    let mode = Mode::of(&headers)?;
    if mode != Mode::Batch && body.len() > MAX_BODY {
        let detail = format!("the body of one event may have at most {MAX_BODY} bytes");
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    let mut events = cloud::read(mode, &headers, &body)?;
    let trace = traceparent(&headers);
    for event in &mut events {
        event.traceparent = event.traceparent.take().or_else(|| trace.clone());
    }
    let named: Vec<_> =
        events.iter().map(|event: &NewEvent| (event.id.clone(), event.source.clone())).collect();
    let automation = state.rules()?.clone();
    let appended = detached(async move { automation.ingest(&caller, events).await }).await??;
    let receipt = |((id, source), appended): ((String, String), Appended)| wire::EventReceipt {
        id,
        source,
        duplicate: matches!(appended, Appended::Duplicate(_)),
    };
    let items = named.into_iter().zip(appended).map(receipt).collect();
    Ok((StatusCode::ACCEPTED, Answer(wire::EventReceipts { items })).into_response())
}

/// Agree to receive CloudEvents
///
/// The handshake of the CloudEvents webhook specification: whoever asks with
/// `WebHook-Request-Origin` may send, at any rate that the API's limits allow.
#[utoipa::path(
    options,
    path = "/v1/events",
    operation_id = "shakeHands",
    tag = "events",
    security(()),
    responses((status = 200, description = "Send."), ListProblems)
)]
pub(super) async fn shake_hands(headers: HeaderMap) -> Response {
    let origin = headers.get("webhook-request-origin").cloned();
    let mut response = StatusCode::OK.into_response();
    let answer = response.headers_mut();
    answer.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    if let Some(origin) = origin {
        answer.insert(HeaderName::from_static("webhook-allowed-origin"), origin);
        answer.insert(HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static("*"));
    }
    response
}
