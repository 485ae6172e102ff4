//! The spans of a trace: a request, the attempt that came of it, and the call
//! that the attempt made.
//!
//! An attempt that follows its submit at once is a child of it. One that was
//! delayed, by a schedule or by a failure, begins a trace of its own with a link
//! to what caused it, so that no trace lasts for days. Where no traces are made
//! all of this is nothing.

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span as SdkSpan;
use taskflow_domain::{ClaimedJob, Timestamp, Verdict};

use super::otlp::tracer;

/// A span under way; it ends when it is dropped. Nothing, where no traces are made.
pub(crate) struct Span(Option<SdkSpan>);

/// A W3C `traceparent` as a context; `None` if it is not one.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex(version, 2) || version == "ff" || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

fn under(parent: Option<SpanContext>) -> Context {
    let context = Context::new();
    parent.map_or(context.clone(), |parent| context.with_remote_span_context(parent))
}

impl Span {
    /// No span.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The span of a request. `traceparent` is what its caller sent.
    pub(crate) fn request(method: &'static str, route: &str, traceparent: Option<&str>) -> Self {
        Self(tracer().map(|tracer| {
            let attributes = vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route.to_owned()),
            ];
            let builder = tracer.span_builder(format!("{method} {route}")).with_kind(SpanKind::Server);
            let parent = under(traceparent.and_then(parse));
            tracer.build_with_context(builder.with_attributes(attributes), &parent)
        }))
    }

    /// The span of an attempt.
    pub(crate) fn attempt(job: &ClaimedJob) -> Self {
        Self(tracer().map(|tracer| {
            let (spec, lease) = (&job.spec, &job.lease);
            let mut attributes = vec![
                KeyValue::new("taskflow.job.id", spec.id.to_string()),
                KeyValue::new("taskflow.job.kind", spec.kind.to_string()),
                KeyValue::new("taskflow.queue", spec.queue.to_string()),
                KeyValue::new("taskflow.tenant", job.slug.to_string()),
                KeyValue::new("taskflow.attempt", i64::from(lease.counters.attempt)),
                KeyValue::new("taskflow.correlation_id", spec.correlation_id.0.to_string()),
            ];
            attributes.extend(spec.rule_id.map(|rule| KeyValue::new("taskflow.rule.id", rule.to_string())));
            let firing = spec.firing_id.map(|firing| KeyValue::new("taskflow.firing.id", firing.to_string()));
            attributes.extend(firing);
            let mut builder = tracer
                .span_builder(format!("run {}", spec.kind))
                .with_kind(SpanKind::Consumer)
                .with_attributes(attributes);
            let cause = spec.traceparent.as_deref().and_then(parse);
            if follows_at_once(spec.created_at, spec.run_at, lease.counters.attempt) {
                return tracer.build_with_context(builder, &under(cause));
            }
            if let Some(cause) = cause {
                builder = builder.with_links(vec![Link::with_context(cause)]);
            }
            tracer.build_with_context(builder, &Context::new())
        }))
    }

    /// The span of the call that an attempt makes.
    pub(crate) fn call(&self, method: &str, host: &str) -> Self {
        Self(self.0.as_ref().zip(tracer()).map(|(attempt, tracer)| {
            let attributes = vec![
                KeyValue::new("http.request.method", method.to_owned()),
                KeyValue::new("server.address", host.to_owned()),
            ];
            let builder = tracer.span_builder(method.to_owned()).with_kind(SpanKind::Client);
            let parent = under(Some(attempt.span_context().clone()));
            tracer.build_with_context(builder.with_attributes(attributes), &parent)
        }))
    }

    /// Whether there is a span at all.
    pub(crate) fn is_made(&self) -> bool {
        self.0.is_some()
    }

    /// The span as a `traceparent` for whatever comes of it.
    pub(crate) fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?.span_context();
        let flags = context.trace_flags().to_u8() & 1;
        Some(format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
    }

    /// The trace that it belongs to.
    pub(crate) fn trace_id(&self) -> Option<String> {
        Some(self.0.as_ref()?.span_context().trace_id().to_string())
    }

    /// Notes the status of an HTTP answer.
    pub(crate) fn answered(&mut self, status: u16) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
            if status >= 500 {
                span.set_status(Status::error(""));
            }
        }
    }

    /// Notes how an attempt ended.
    pub(crate) fn ended(&mut self, verdict: &Verdict) {
        let Some(span) = &mut self.0 else { return };
        let (word, error) = match verdict {
            Verdict::Succeeded { .. } => ("SUCCEEDED", None),
            Verdict::Failed { error, .. } => ("FAILED", Some(error.kind.clone())),
            Verdict::TimedOut { .. } => ("TIMEOUT", Some("timeout".to_owned())),
            Verdict::Cancelled => ("CANCELLED", None),
            Verdict::Interrupted => ("INTERRUPTED", None),
            Verdict::Lost => ("LEASE_EXPIRED", Some("lease_expired".to_owned())),
            Verdict::Snoozed { .. } => ("SNOOZED", None),
        };
        span.set_attribute(KeyValue::new("taskflow.outcome", word));
        if let Some(error) = error {
            span.set_status(Status::error(error));
        }
    }
}

/// Whether an attempt belongs to the trace of its submit: the first one of a job
/// that was to run at once.
fn follows_at_once(created: Timestamp, run_at: Timestamp, attempt: u16) -> bool {
    attempt == 1 && run_at <= created
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = parse(good).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn delayed_work_begins_a_trace_of_its_own() {
        let at = |ms| Timestamp::from_micros(0).plus_millis(ms);
        assert!(follows_at_once(at(5), at(5), 1));
        assert!(!follows_at_once(at(5), at(6), 1));
        assert!(!follows_at_once(at(5), at(5), 2));
    }

    #[test]
    fn without_a_collector_nothing_is_made() {
        let span = Span::request("GET", "/v1/jobs", None);
        assert!(!span.is_made());
        assert_eq!((span.traceparent(), span.trace_id()), (None, None));
        assert!(!span.call("POST", "example.com").is_made());
    }
}
