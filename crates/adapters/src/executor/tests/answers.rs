//! What an answer means, and what is kept of it.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::any;
use futures_util::stream;
use serde_json::json;

use super::*;

async fn answered_by<R>(answer: impl Fn() -> R + Clone + Send + Sync + 'static) -> Verdict
where
    R: IntoResponse + 'static,
{
    let address = serve(Router::new().fallback(any(async move || answer().into_response()))).await;
    call(http(format!("http://{address}/"))).await
}

fn with_type(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

#[tokio::test]
async fn documents_are_kept_as_documents_and_text_as_text() {
    let body = async |kind, text: &'static str| {
        let verdict = answered_by(move || with_type(kind, text)).await;
        assert!(matches!(verdict, Verdict::Succeeded { .. }));
        result(&verdict)
    };
    assert_eq!(
        body("application/json", r#"{"ok":true}"#).await,
        json!({"status": 200, "body": {"ok": true}})
    );
    assert_eq!(body("application/problem+json; charset=utf-8", "5").await["body"], 5);
    assert_eq!(body("text/plain", r#" {"ok":true}"#).await["body"], json!({"ok": true}));
    assert_eq!(body("text/plain", "123").await["body"], "123");
    assert_eq!(body("text/html", "<p>hi</p>").await["body"], "<p>hi</p>");
    assert_eq!(body("application/json", "").await, json!({"status": 200, "body": null}));
    assert_eq!(body("application/json", "{broken").await["body"], "{broken");
    assert_eq!(body("application/json", "[1e400]").await["body"], "[1e400]");
    assert_eq!(body("application/json", r#"["\ud800"]"#).await["body"], r#"["\ud800"]"#);
    assert_eq!(
        body("application/json", r#"{"a\u0000":"\u0000"}"#).await["body"],
        json!({"a\u{FFFD}": "\u{FFFD}"})
    );
    let deep: &'static str = "[".repeat(100_000).leak();
    assert_eq!(body("application/json", deep).await["truncated"], true);
}

#[tokio::test]
async fn bytes_that_are_no_text_do_no_harm() {
    let verdict = answered_by(|| with_type("application/octet-stream", &b"a\0\xff\xfeb"[..])).await;
    assert_eq!(result(&verdict)["body"], "a\u{FFFD}\u{FFFD}\u{FFFD}b");
}

#[tokio::test]
async fn long_bodies_are_cut() {
    let exact = answered_by(|| "x".repeat(65_536)).await;
    assert_eq!(result(&exact)["body"].as_str().unwrap().len(), 65_536);
    assert_eq!(result(&exact).get("truncated"), None);
    let over = answered_by(|| "x".repeat(65_537)).await;
    assert_eq!(result(&over)["body"].as_str().unwrap().len(), 65_536);
    assert_eq!(result(&over)["truncated"], true);
    let document =
        answered_by(|| with_type("application/json", format!("[\"{}\"]", "ä".repeat(40_000)))).await;
    let kept = result(&document)["body"].as_str().unwrap().to_owned();
    assert!(kept.starts_with("[\"ä") && kept.len() <= 65_536);
    assert!(!kept.contains('\u{FFFD}'), "not even the last character is broken");
}

#[tokio::test]
async fn a_body_without_end_is_not_read_for_ever() {
    let endless = || {
        let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(10_000)));
        Body::from_stream(chunks)
    };
    let verdict = answered_by(move || endless().into_response()).await;
    assert_eq!(result(&verdict)["truncated"], true);
}

#[tokio::test]
async fn statuses_have_their_class() {
    for (status, permanent) in [
        (500, false),
        (503, false),
        (408, false),
        (425, false),
        (429, false),
        (400, true),
        (404, true),
        (410, true),
    ] {
        let code = StatusCode::from_u16(status).unwrap();
        let verdict = answered_by(move || (code, "no\n\u{1b}[31mgood")).await;
        let message = format!("HTTP {status}: no \u{FFFD}[31mgood");
        assert_eq!(failure(&verdict), ("http_status", &*message, permanent));
        assert_eq!(result(&verdict)["status"], status, "the result is kept for failures too");
    }
    let created = answered_by(|| StatusCode::CREATED).await;
    assert_eq!(result(&created), json!({"status": 201, "body": null}));
}

#[tokio::test]
async fn a_long_error_page_leaves_a_short_message() {
    let verdict = answered_by(|| (StatusCode::BAD_GATEWAY, "word ".repeat(10_000))).await;
    let (_, message, _) = failure(&verdict);
    assert!(message.starts_with("HTTP 502: word word") && message.ends_with('…'));
    assert!(message.chars().count() < 220);
}

#[tokio::test]
async fn a_target_has_statuses_of_its_own() {
    let address = serve(Router::new().fallback(any(async || StatusCode::NOT_FOUND))).await;
    let mut target = http(format!("http://{address}/"));
    target.retryable_statuses = vec![404];
    assert!(!failure(&call(target.clone()).await).2);
    target.retryable_statuses.clear();
    target.permanent_statuses = vec![404];
    assert!(failure(&call(target).await).2);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let address = serve(
        Router::new()
            .route("/", any(async || Redirect::temporary("/there")))
            .route("/there", any(async || "reached")),
    )
    .await;
    let verdict = call(http(format!("http://{address}/"))).await;
    assert_eq!(failure(&verdict), ("http_status", "HTTP 307", true));
}

#[tokio::test]
async fn retry_after_is_heard_where_a_retry_follows() {
    let asked = async |status: u16, value: &'static str| {
        let code = StatusCode::from_u16(status).unwrap();
        match answered_by(move || (code, [(header::RETRY_AFTER, value)])).await {
            Verdict::Failed { retry_after_ms, .. } => retry_after_ms,
            other => panic!("{other:?}"),
        }
    };
    for status in [408, 425, 429, 500, 503] {
        assert_eq!(asked(status, "7").await, Some(7_000));
    }
    assert_eq!(asked(503, "Sat, 21 Nov 2026 10:00:30 GMT").await, Some(30_000));
    assert_eq!(asked(503, "999999999").await, Some(86_400_000));
    assert_eq!(asked(503, "0").await, None);
    assert_eq!(asked(404, "7").await, None);
}
