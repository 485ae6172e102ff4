//! Webhook deliveries. Whoever sends one shows no key: the signature is what
//! lets it in.

use axum::Extension;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use taskflow_application::automation::{AutomationError, Delivered, Delivery};
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{MAX_BODY, RawBody};
use super::super::context::Quotas;
use super::super::describe::{DeliverProblems, WebhookParam};
use super::super::extract::{Answer, NamePath, detached};
use super::super::jobs::traceparent;
use super::super::problem::Problem;
use super::super::query::Query;
use super::super::rules::firing;

/// Whether a webhook could have this key. What could not belongs to nobody, and no
/// database is asked for it: PostgreSQL keeps no text with U+0000.
fn may_be_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Headers by names in lower case. What is no text has U+FFFD in its place, so that
/// a header that names the delivery is refused and not taken for a missing one.
fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(text).collect()
}

/// The key of the path, which is that of a rule. It is looked at before the body
/// is: whoever knows no key has nothing read.
pub(super) struct Hook(String);

impl FromRequestParts<ApiState> for Hook {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let NamePath(key) = NamePath::from_request_parts(parts, state).await?;
        if !may_be_key(&key) {
            return Err(Problem::not_found("webhook"));
        }
        let (automation, asked) = (state.rules()?.clone(), key.clone());
        let known = detached(async move { automation.has_webhook(&asked).await }).await??;
        if known { Ok(Self(key)) } else { Err(Problem::not_found("webhook")) }
    }
}

/// Deliver a webhook
///
/// Any body of at most 1,048,576 bytes. The signature is checked over the bytes
/// as they come, by the scheme of the rule. The delivery is on disk when the
/// answer arrives, and of one rule a delivery id counts once: a repeat is
/// answered with what came of the first. Deliveries that are accepted count in the
/// tenant's request rate.
#[utoipa::path(
    post,
    path = "/v1/events/webhook/{key}",
    operation_id = "deliverWebhook",
    tag = "events",
    security(()),
    params(WebhookParam),
    request_body(content = Vec<u8>, content_type = "*/*", description = "Anything; JSON is read."),
    responses(
        (status = 202, description = "It is kept, and this came of it.", body = wire::DeliveryAnswer),
        (status = 200, description = "It had come before, and this came of it then.", body = wire::DeliveryAnswer),
        DeliverProblems,
    )
)]
pub(super) async fn deliver(
    State(state): State<ApiState>,
    Hook(key): Hook,
    // Senders add parameters of their own to the address that they are given.
    _: Query,
    Extension(quotas): Extension<Quotas>,
    headers: HeaderMap,
    RawBody(body, _held): RawBody<MAX_BODY>,
) -> Result<Response, Problem> {
    let automation = state.rules()?.clone();
    let delivery = Delivery { headers: texts(&headers), body, traceparent: traceparent(&headers) };
    let access = state.access.clone();
    let delivered = detached(async move { automation.deliver(&access, &key, delivery).await }).await?;
    if let Err(AutomationError::Exhausted { quotas: left, .. }) = &delivered {
        quotas.note(left);
    }
    let delivered = delivered.map_err(|error| Problem::of_automation(error, "webhook"))?;
    match delivered {
        Delivered::Challenge(challenge) => Ok(Answer(json!({ "challenge": challenge })).into_response()),
        Delivered::Accepted { delivery_id, firings, repeated, quotas: left } => {
            quotas.note(&left);
            let status = if repeated { StatusCode::OK } else { StatusCode::ACCEPTED };
            let automation = state.rules()?.clone();
            let firings = detached(async move { automation.named(firings).await }).await??;
            let firings = firings.iter().map(|(fired, tenant)| firing(fired, tenant)).collect();
            Ok((status, Answer(wire::DeliveryAnswer { delivery_id, firings })).into_response())
        }
    }
}
