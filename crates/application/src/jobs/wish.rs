//! What a caller may ask for when submitting a job.

use taskflow_domain::{
    Actor, CorrelationId, FiringId, JobId, JobSpec, Json, Kind, Labels, Priority, QueueName, RetryPolicy,
    RuleId, Target, TenantId, Timestamp,
};

/// A job as it is asked for. Only the kind has no default.
#[derive(Clone, Debug)]
pub struct JobWish {
    /// What it does.
    pub kind: Kind,
    /// Where it waits; the queue `default` if not said.
    pub queue: Option<QueueName>,
    /// How urgent it is.
    pub priority: Priority,
    /// What it works on.
    pub payload: Json,
    /// What it can be found by.
    pub labels: Labels,
    /// Where it executes; a pulling worker if not said.
    pub target: Option<Target>,
    /// How often it is tried.
    pub retry_policy: RetryPolicy,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// What makes a repeated submit the same submit.
    pub idempotency_key: Option<String>,
    /// What ties it to its cause; its parent's if it has one, else its own id.
    pub correlation_id: Option<CorrelationId>,
    /// The job that makes it.
    pub parent_job_id: Option<JobId>,
    /// The rule and the firing that make it.
    pub made_by: Option<(RuleId, FiringId)>,
    /// When it is to run; now if not said.
    pub run_at: Option<Timestamp>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// SHA-256 of all of the above, as the caller meant it.
    pub fingerprint: [u8; 32],
}

impl JobWish {
    /// How long an attempt may take if nobody says: 30 seconds.
    pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;
    /// How long an attempt may take at most: a day.
    pub const MAX_TIMEOUT_MS: u64 = 86_400_000;

    /// A wish for `kind` with every default.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            queue: None,
            priority: Priority::default(),
            payload: Json::null(),
            labels: Labels::new(),
            target: None,
            retry_policy: RetryPolicy::default(),
            timeout_ms: Self::DEFAULT_TIMEOUT_MS,
            idempotency_key: None,
            correlation_id: None,
            parent_job_id: None,
            made_by: None,
            run_at: None,
            traceparent: None,
            fingerprint: [0; 32],
        }
    }

    /// The job that this wish becomes.
    pub(super) fn into_spec(self, id: JobId, tenant: TenantId, actor: Actor, now: Timestamp) -> JobSpec {
        JobSpec {
            id,
            tenant,
            queue: self.queue.unwrap_or_else(QueueName::fallback),
            kind: self.kind,
            priority: self.priority,
            payload: self.payload,
            labels: self.labels,
            target: self.target,
            retry_policy: self.retry_policy,
            timeout_ms: self.timeout_ms,
            idempotency_key: self.idempotency_key,
            correlation_id: self.correlation_id.unwrap_or(CorrelationId(id.0)),
            parent_job_id: self.parent_job_id,
            rule_id: self.made_by.map(|(rule, _)| rule),
            firing_id: self.made_by.map(|(_, firing)| firing),
            traceparent: self.traceparent,
            created_by: actor,
            created_at: now,
            run_at: self.run_at.unwrap_or(now),
        }
    }
}
