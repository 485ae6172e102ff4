//! What a call looks like to the target.

use axum::body::Bytes;
use axum::http::{HeaderMap, Method as Verb, Uri};
use axum::routing::any;
use serde_json::{Value, json};

use super::*;
use crate::executor::validate_header;

/// Answers with what it was asked.
async fn mirror(verb: Verb, uri: Uri, headers: HeaderMap, body: Bytes) -> axum::Json<Value> {
    let headers: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    axum::Json(json!({
        "method": verb.as_str(),
        "uri": uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
}

async fn seen(change: impl FnOnce(&mut ClaimedJob, &mut HttpTarget)) -> Value {
    let address = serve(Router::new().fallback(any(mirror))).await;
    let (mut job, mut target) = (job(None), http(format!("http://{address}/send?x=1")));
    change(&mut job, &mut target);
    job.spec.target = Some(Target::Http(target));
    let verdict = execute(&executor(EgressPolicy::default().with_loopback()), job).await;
    let result = result(&verdict);
    assert_eq!(result["status"], 200);
    result["body"].clone()
}

#[tokio::test]
async fn the_payload_goes_with_identifying_headers() {
    let seen = seen(|_, _| {}).await;
    assert_eq!((&seen["method"], &seen["uri"]), (&json!("POST"), &json!("/send?x=1")));
    assert_eq!(seen["body"], r#"{"to": "a@example.com"}"#, "byte for byte");
    let headers = &seen["headers"];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["taskflow-job-id"], "00000000-0000-0000-0000-000000000077");
    assert_eq!(headers["taskflow-attempt"], "2");
    assert_eq!(headers["taskflow-lease-token"], LeaseToken::new(2, 0xfeed).to_string());
    assert_eq!(headers["taskflow-tenant"], "acme");
    assert_eq!(headers["user-agent"], concat!("taskflow/", env!("CARGO_PKG_VERSION")));
    assert_eq!(headers["traceparent"], "00-00000000000000000000000000c0ffee-abababababababab-01");
    assert_eq!(headers.get("idempotency-key"), None);
}

#[tokio::test]
async fn a_call_is_a_child_of_the_submit_in_its_trace() {
    let seen = seen(|job, _| {
        job.spec.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00".into());
    })
    .await;
    assert_eq!(seen["headers"]["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-abababababababab-00");
}

#[tokio::test]
async fn every_method_but_get_sends_the_payload() {
    for method in [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete] {
        let seen = seen(|_, target| target.method = method).await;
        assert_eq!(seen["method"], method.as_str());
        let sent = seen["body"] != "";
        assert_eq!(sent, method != Method::Get);
        assert_eq!(seen["headers"].get("content-type").is_some(), sent);
    }
}

#[tokio::test]
async fn a_target_may_add_headers_but_not_pretend() {
    let seen = seen(|_, target| {
        let headers = [
            ("Authorization", "Bearer x"),
            ("Content-Type", "application/vnd.acme+json"),
            ("User-Agent", "mine"),
            ("Taskflow-Job-Id", "forged"),
            ("taskflow-anything", "forged"),
            ("Traceparent", "forged"),
            ("Host", "forged"),
            ("Content-Length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("Te", "trailers"),
            ("Upgrade", "h2c"),
            ("Proxy-Authorization", "forged"),
        ];
        target.headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    })
    .await;
    let headers = &seen["headers"];
    assert_eq!(headers["authorization"], "Bearer x");
    assert_eq!(headers["content-type"], "application/vnd.acme+json");
    assert_eq!(headers["user-agent"], "mine");
    assert!(!headers.to_string().contains("forged"), "{headers}");
    for name in ["transfer-encoding", "connection", "te", "upgrade", "taskflow-anything"] {
        assert_eq!(headers.get(name), None, "{name}");
    }
    assert_eq!(seen["body"], r#"{"to": "a@example.com"}"#);
}

#[tokio::test]
async fn headers_that_cannot_be_sent_end_the_job() {
    for (name, value) in [("bad name", "x"), ("", "x"), ("x", "a\r\nInjected: yes"), ("x", "\0")] {
        assert!(validate_header(name, value).is_err());
        let mut target = http("http://127.0.0.1:9/");
        target.headers.insert(name.into(), value.into());
        let verdict = call(target).await;
        assert_eq!((failure(&verdict).0, failure(&verdict).2), ("invalid_target", true), "{name:?}");
    }
    assert_eq!(validate_header("X-Mine", "ä"), Ok(()));
    assert!(validate_header("HOST", "x").is_err());
}
