//! Traces over OTLP, if somebody wants them.
//!
//! Spans are collected in memory and sent in batches by a thread of the SDK, as
//! protobuf over HTTP; a collector that is away costs spans and never a job.
//! What the SDK reads of `OTEL_*` (sampler, service name, resource, headers,
//! timeouts, sizes of batches) holds as it is documented there.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

/// What sending the last spans may take when the process ends.
const LAST: Duration = Duration::from_secs(3);
/// What a call of the collector may take at most, whatever it is told.
const CALL: Duration = Duration::from_secs(30);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// The tracer, if traces are made.
pub(super) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// The making of traces; see [`start_traces`].
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

/// Makes traces from now on and sends them to `endpoint`, the whole URL of the
/// collector's traces. Once in each process, inside its runtime, after a TLS
/// provider was installed.
pub fn start_traces(endpoint: &str) -> Result<Traces, String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(CALL)
        .build()
        .map_err(|error| error.to_string())?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector { client, runtime: tokio::runtime::Handle::current() })
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| error.to_string())?;
    let mut resource = Resource::builder();
    let named = Resource::builder().build();
    let name = named.get(&opentelemetry::Key::from_static_str("service.name"));
    if name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        resource = resource.with_service_name("taskflow");
    }
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.with_attribute(version).build())
        .build();
    TRACER.set(provider.tracer("taskflow")).map_err(|_| "traces were started before".to_owned())?;
    Ok(Traces(provider))
}

impl Traces {
    /// Sends what was collected last. It blocks for a few seconds at most, so it
    /// stands on a thread for blocking work.
    pub async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// The collector, called from the SDK's thread through the process's runtime.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let (parts, body) = request.into_parts();
        let call = self.runtime.spawn(async move {
            let request = client.request(parts.method, parts.uri.to_string()).headers(parts.headers);
            let answer = request.body(body).send().await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        });
        let (status, body) = call.await??;
        Ok(Response::builder().status(status).body(body)?)
    }
}
