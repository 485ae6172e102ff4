//! Traces, as a collector receives them: from the request through the job's
//! attempt to the call that it makes.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use taskflow_tests::hex;
use taskflow_tests::process::{Launch, Process, Signal, client, eventually};

/// A collector, and a target that remembers how it was called.
#[derive(Clone, Default)]
struct Outside {
    spans: Arc<Mutex<Vec<Span>>>,
    calls: Arc<Mutex<Vec<String>>>,
}

async fn collect(State(outside): State<Outside>, body: Bytes) {
    let Ok(export) = ExportTraceServiceRequest::decode(body) else { return };
    let spans = export.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    outside.spans.lock().unwrap().extend(spans.flat_map(|scope| scope.spans));
}

async fn target(State(outside): State<Outside>, headers: HeaderMap) -> &'static str {
    let trace = headers.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    outside.calls.lock().unwrap().push(trace.to_owned());
    "{}"
}

impl Outside {
    async fn serve() -> Result<(Self, String)> {
        let outside = Self::default();
        let router = Router::new().route("/v1/traces", post(collect)).route("/target", post(target));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = router.with_state(outside.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((outside, url))
    }

    fn span(&self, name: &str, job: Option<&str>) -> Option<Span> {
        let spans = self.spans.lock().unwrap();
        let of_job =
            |span: &&Span| job.is_none_or(|job| attribute(span, "taskflow.job.id").as_deref() == Some(job));
        spans.iter().filter(|span| span.name == name).find(of_job).cloned()
    }

    async fn await_span(&self, name: &str, job: Option<&str>) -> Result<Span> {
        eventually(&format!("the span {name} arrives"), async || Ok(self.span(name, job))).await
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

async fn send(
    process: &Process,
    path: &str,
    trace: &str,
    body: serde_json::Value,
) -> Result<serde_json::Value> {
    let request = client()?.post(format!("{}{path}", process.url));
    let answer = request.header("traceparent", trace).json(&body).send().await?.error_for_status()?;
    Ok(answer.json().await?)
}

async fn submit(process: &Process, trace: &str, job: serde_json::Value) -> Result<String> {
    let job = send(process, "/v1/jobs", trace, job).await?;
    Ok(job["id"].as_str().context("an id")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_from_the_request_to_the_call() -> Result<()> {
    let (outside, url) = Outside::serve().await?;
    let directory = tempfile::tempdir()?;
    let mut process = Launch::new(["up"])
        .directory(directory.path())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start()
        .await?;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let given = format!("00-{trace}-b7ad6b7169203331-01");
    let http = json!({"type": "http", "url": format!("{url}/target")});
    let at_once = submit(&process, &given, json!({"kind": "call", "target": http})).await?;

    let request = outside.await_span("POST /v1/jobs", None).await?;
    let attempt = outside.await_span("run call", Some(&at_once)).await?;
    let call = outside.await_span("POST", None).await?;
    assert_eq!(hex(&request.trace_id), trace, "the caller's trace");
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!((&attempt.trace_id, &attempt.parent_span_id), (&request.trace_id, &request.span_id));
    assert_eq!((&call.trace_id, &call.parent_span_id), (&request.trace_id, &attempt.span_id));
    assert_eq!(attribute(&attempt, "taskflow.outcome").as_deref(), Some("SUCCEEDED"));
    assert_eq!(attribute(&request, "http.response.status_code").as_deref(), Some("201"));
    let told = format!("00-{trace}-{}-01", hex(&call.span_id));
    assert_eq!(outside.calls.lock().unwrap().as_slice(), [told], "the target hears of the call's span");

    let retried = json!({
        "kind": "again", "target": {"type": "builtin", "name": "fail"},
        "retry_policy": {"max_attempts": 2, "base_delay_ms": 10, "jitter": "none"},
    });
    let retried = submit(&process, &given, retried).await?;
    let second = |span: &Span| {
        attribute(span, "taskflow.job.id").as_deref() == Some(&retried)
            && attribute(span, "taskflow.attempt").as_deref() == Some("2")
    };
    let attempt = eventually("the second attempt's span arrives", async || {
        Ok(outside.spans.lock().unwrap().iter().find(|span| second(span)).cloned())
    });
    let attempt = attempt.await?;
    assert_ne!(hex(&attempt.trace_id), trace, "delayed work begins a trace of its own");
    assert!(attempt.parent_span_id.is_empty());
    assert_eq!(attempt.links.len(), 1, "with a link to its cause");
    assert_eq!(hex(&attempt.links[0].trace_id), trace);

    let rule = send(
        &process,
        "/v1/automation-rules",
        &given,
        json!({
            "name": "by hand", "trigger": {"type": "manual"},
            "actions": [{"kind": "made", "target": {"type": "builtin", "name": "noop"}}],
        }),
    )
    .await?;
    let rule = rule["id"].as_str().context("an id")?;
    let fired = send(&process, &format!("/v1/automation-rules/{rule}/trigger"), &given, json!({})).await?;
    let attempt = outside.await_span("run made", None).await?;
    assert_eq!(hex(&attempt.trace_id), trace, "from the start by hand to what it made");
    assert_eq!(attribute(&attempt, "taskflow.rule.id").as_deref(), Some(rule));
    assert_eq!(attribute(&attempt, "taskflow.firing.id").as_deref(), fired["items"][0]["id"].as_str());

    process.signal(Signal::Term)?;
    assert!(process.ended().await?.success(), "it ends in good order with a collector");
    Ok(())
}
