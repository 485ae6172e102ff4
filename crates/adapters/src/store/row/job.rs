//! `job`: what was asked for.

use std::collections::BTreeMap;

use taskflow_application::ports::StoreError;
use taskflow_domain::{
    Actor, CorrelationId, FiringId, JobId, JobSpec, Json, Kind, Labels, Priority, QueueName, RetryPolicy,
    RuleId, Target, TenantId, Timestamp,
};
use uuid::Uuid;

use super::{corrupt, row};

row! {
    /// A row of `job`.
    JobRow {
        tenant_id: i32,
        id: Uuid,
        queue_id: i32,
        kind_id: i32,
        priority: i16,
        payload: String,
        /// A JSON object; null for none.
        labels: Option<String>,
        /// JSON.
        target: Option<String>,
        /// JSON; null for the default policy.
        retry_policy: Option<String>,
        timeout_ms: i64,
        idempotency_key: Option<String>,
        /// Null for the job's own id.
        correlation_id: Option<Uuid>,
        parent_job_id: Option<Uuid>,
        rule_id: Option<Uuid>,
        firing_id: Option<Uuid>,
        traceparent: Option<String>,
        created_by: String,
        created_at: i64,
        run_at: i64,
    }
}

impl JobRow {
    /// What was asked for; the names are those of `queue_id` and `kind_id`.
    pub(crate) fn spec(self, queue: QueueName, kind: Kind) -> Result<JobSpec, StoreError> {
        let id = self.id;
        let fault = |column, detail: String| corrupt("job", column, id, detail);
        Ok(JobSpec {
            id: JobId(id),
            tenant: TenantId(self.tenant_id),
            queue,
            kind,
            priority: Priority::from_code(self.priority)
                .ok_or_else(|| fault("priority", self.priority.to_string()))?,
            payload: Json::from_valid(&self.payload),
            labels: labels_from_text(self.labels.as_deref())
                .map_err(|detail| fault("labels", detail.to_string()))?,
            target: self
                .target
                .as_deref()
                .map(serde_json::from_str::<Target>)
                .transpose()
                .map_err(|detail| fault("target", detail.to_string()))?,
            retry_policy: policy_from_text(self.retry_policy.as_deref())
                .map_err(|detail| fault("retry_policy", detail.to_string()))?,
            timeout_ms: u64::try_from(self.timeout_ms)
                .map_err(|detail| fault("timeout_ms", detail.to_string()))?,
            idempotency_key: self.idempotency_key,
            correlation_id: CorrelationId(self.correlation_id.unwrap_or(id)),
            parent_job_id: self.parent_job_id.map(JobId),
            rule_id: self.rule_id.map(RuleId),
            firing_id: self.firing_id.map(FiringId),
            traceparent: self.traceparent,
            created_by: Actor::from_stored(self.created_by),
            created_at: Timestamp::from_micros(self.created_at),
            run_at: Timestamp::from_micros(self.run_at),
        })
    }

    /// The row of a job. Its queue and kind have ids already.
    pub(crate) fn of(spec: &JobSpec, queue_id: i32, kind_id: i32) -> Result<Self, StoreError> {
        Ok(Self {
            tenant_id: spec.tenant.0,
            id: spec.id.0,
            queue_id,
            kind_id,
            priority: spec.priority.code(),
            payload: spec.payload.as_str().to_owned(),
            labels: labels_to_text(&spec.labels)?,
            target: spec.target.as_ref().map(to_text).transpose()?,
            retry_policy: policy_to_text(&spec.retry_policy)?,
            timeout_ms: i64::try_from(spec.timeout_ms).unwrap_or(i64::MAX),
            idempotency_key: spec.idempotency_key.clone(),
            correlation_id: (spec.correlation_id.0 != spec.id.0).then_some(spec.correlation_id.0),
            parent_job_id: spec.parent_job_id.map(|id| id.0),
            rule_id: spec.rule_id.map(|id| id.0),
            firing_id: spec.firing_id.map(|id| id.0),
            traceparent: spec.traceparent.clone(),
            created_by: spec.created_by.as_str().to_owned(),
            created_at: spec.created_at.micros(),
            run_at: spec.run_at.micros(),
        })
    }
}

fn to_text<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|fault| StoreError::Rejected(fault.to_string()))
}

/// Labels as they are stored.
pub(crate) fn labels_to_text(labels: &Labels) -> Result<Option<String>, StoreError> {
    if labels.is_empty() { Ok(None) } else { to_text(labels).map(Some) }
}

fn labels_from_text(text: Option<&str>) -> Result<Labels, serde_json::Error> {
    text.map_or_else(|| Ok(BTreeMap::new()), serde_json::from_str)
}

fn policy_to_text(policy: &RetryPolicy) -> Result<Option<String>, StoreError> {
    if *policy == RetryPolicy::default() { Ok(None) } else { to_text(policy).map(Some) }
}

/// A retry policy from its stored form.
pub(super) fn policy_from_text(text: Option<&str>) -> Result<RetryPolicy, serde_json::Error> {
    text.map_or_else(|| Ok(RetryPolicy::default()), serde_json::from_str)
}
