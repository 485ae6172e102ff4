//! Calling an HTTP target.

use std::sync::Arc;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder};
use taskflow_application::jobs::target_url;
use taskflow_application::ports::{Clock, Ids, Vault};
use taskflow_application::sealing::open_headers;
use taskflow_domain::target::StatusClass;
use taskflow_domain::{AttemptError, ClaimedJob, HttpTarget, Method, Target, Verdict};
use taskflow_worker::RunContext;

use super::egress::EgressPolicy;
use super::response::Answer;
use super::{failure, headers, retry_after, trace};
use crate::telemetry::Span;

/// Calls HTTP targets.
pub(super) struct Http {
    client: Client,
    egress: EgressPolicy,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    vault: Option<Arc<dyn Vault>>,
}

impl Http {
    pub(super) fn new(
        client: Client,
        egress: EgressPolicy,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        vault: Option<Arc<dyn Vault>>,
    ) -> Self {
        Self { client, egress, clock, ids, vault }
    }

    /// Calls the job's target once. A cancel drops the request.
    pub(super) async fn execute(&self, job: &ClaimedJob, context: &RunContext) -> Verdict {
        let Some(Target::Http(target)) = &job.spec.target else {
            return failure::invalid("the job has no HTTP target");
        };
        let mut attempt = Span::attempt(job);
        let verdict = tokio::select! {
            biased;
            () = context.cancel.cancelled() => Verdict::Cancelled,
            verdict = self.call(job, target, &attempt) => verdict,
        };
        attempt.ended(&verdict);
        verdict
    }

    async fn call(&self, job: &ClaimedJob, target: &HttpTarget, attempt: &Span) -> Verdict {
        let (request, mut span) = match self.request(job, target, attempt) {
            Ok(request) => request,
            Err(verdict) => return verdict,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return failure::of_call(error),
        };
        span.answered(response.status().as_u16());
        let asks =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(String::from);
        match Answer::read(response).await {
            Ok(answer) => self.judge(target, &answer, asks.as_deref()),
            Err(error) => failure::of_call(error),
        }
    }

    /// The request, and the span of the call. Where no traces are made, the call
    /// still tells to which trace it belongs.
    fn request(
        &self,
        job: &ClaimedJob,
        target: &HttpTarget,
        attempt: &Span,
    ) -> Result<(RequestBuilder, Span), Verdict> {
        let url = target_url(&target.url)
            .map_err(|fault| failure::invalid(&format!("the target's url {fault}")))?;
        self.egress.check_url(&url).map_err(|denied| failure::denied(&denied))?;
        let body = target.method != Method::Get;
        let span = attempt.call(target.method.as_str(), url.host_str().unwrap_or_default());
        let traceparent = span.traceparent().unwrap_or_else(|| trace::child(&job.spec, self.ids.bytes()));
        let own = open_headers(self.vault.as_deref(), job.spec.tenant, target)
            .map_err(|fault| failure::invalid(&fault))?;
        let headers = headers::of_call(job, &own, &traceparent, body)
            .map_err(|name| failure::invalid(&format!("the target's header {name:?} cannot be sent")))?;
        let request = self.client.request(method(target.method), url).headers(headers);
        let request = if body { request.body(job.spec.payload.as_str().to_owned()) } else { request };
        Ok((request, span))
    }

    fn judge(&self, target: &HttpTarget, answer: &Answer, retry_after: Option<&str>) -> Verdict {
        let class = target.classify(answer.status);
        let result = Some(answer.result());
        if class == StatusClass::Success {
            return Verdict::Succeeded { result };
        }
        let permanent = class == StatusClass::Permanent;
        let retry_after_ms =
            retry_after.filter(|_| !permanent).and_then(|text| retry_after::millis(text, self.clock.now()));
        let error = AttemptError { kind: "http_status".into(), message: answer.message() };
        Verdict::Failed { error, result, permanent, retry_after_ms }
    }
}

const fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}
