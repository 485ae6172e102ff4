//! What is asked of jobs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::{Document, JobPriority, JobState, JobTarget, RetryPolicy, Time, schema};

/// A job to be made. Only `kind` is required.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "kind": "send-email",
    "queue": "mail",
    "priority": "high",
    "payload": {"to": "a@example.com"},
    "labels": {"team": "growth"},
    "target": {"type": "builtin", "name": "echo"},
    "retry_policy": {"max_attempts": 5, "strategy": "exponential", "base_delay_ms": 500},
    "timeout_ms": 10000,
    "run_at": "2026-01-31T09:30:00Z"
}))]
pub struct JobRequest {
    /// What it does.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$",
        example = "send-email"
    )]
    pub kind: String,
    /// Where it waits; the queue `default` if not said. A new name makes a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$",
        example = "mail"
    )]
    pub queue: Option<String>,
    /// How urgent it is; `medium` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<JobPriority>,
    /// What it works on: any JSON of at most 262,144 bytes, kept exactly as it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>, example = json!({"to": "a@example.com"}))]
    pub payload: Option<Document>,
    /// What it can be found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::labels_or_null)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Where it executes; a pulling worker if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<JobTarget>,
    /// How often it is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// How long one attempt may take, in milliseconds; 30000 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400_000, example = 10_000)]
    pub timeout_ms: Option<u64>,
    /// When it is to run; now if not said, or if the time has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Time>,
    /// What makes a repeated submit the same submit; also the header `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]{1,255}$")]
    pub idempotency_key: Option<String>,
    /// What ties it to its cause; its parent's if it has one, else its own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub correlation_id: Option<Uuid>,
    /// The job that makes it. It must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub parent_job_id: Option<Uuid>,
}

/// A job of a batch.
#[derive(Clone, Debug, Serialize)]
pub struct BatchJob {
    /// A name for the job, unique in the batch.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub local_ref: Option<String>,
    /// The job.
    #[serde(flatten)]
    pub job: JobRequest,
}

impl PartialSchema for BatchJob {
    /// The schema of a job with one more property. A derive would make it
    /// `allOf`, and there the closed schema of the job refuses the property.
    fn schema() -> RefOr<Schema> {
        let mut schema = JobRequest::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            let name = ObjectBuilder::new()
                .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
                .description(Some("A name for the job, unique in the batch."))
                .min_length(Some(1))
                .max_length(Some(100))
                .pattern(Some("^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$"));
            object.properties.insert("ref".to_owned(), name.into());
            object.description = Some("A job of a batch.".to_owned());
            object.example =
                Some(serde_json::json!({"ref": "first", "kind": "resize-image", "payload": {"id": 1}}));
        }
        schema
    }
}

impl ToSchema for BatchJob {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("BatchJob")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        JobRequest::schemas(schemas);
    }
}

/// Jobs that are made together or not at all.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"jobs": [
    {"ref": "first", "kind": "resize-image", "payload": {"id": 1}},
    {"ref": "second", "kind": "resize-image", "payload": {"id": 2}}
]}))]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The jobs: 1 to 10,000.
    #[schema(min_items = 1, max_items = 10_000)]
    pub jobs: Vec<BatchJob>,
}

/// Why a job is cancelled.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "the order was withdrawn"}))]
pub struct CancelRequest {
    /// For the job's history and the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000, pattern = "^[^\\u0000]*$", example = "the order was withdrawn")]
    pub reason: Option<String>,
}

/// Why something is done.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "the target is back"}))]
pub struct ReasonRequest {
    /// For the audit; the header `Taskflow-Reason` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000, pattern = "^[^\\u0000]*$", example = "the target is back")]
    pub reason: Option<String>,
}

/// What is to change of a job that has not ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"priority": "high", "run_at": "2026-01-31T09:30:00Z", "labels": {"team": "growth"}}))]
pub struct EditRequest {
    /// The new time. A running job has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Time>,
    /// The new priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<JobPriority>,
    /// The new labels, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::labels_or_null)]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Which jobs. Everything that is given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"queue": "mail", "state": ["DEAD"]}))]
pub struct BulkFilter {
    /// In one of these states; in any that the action is for if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 9)]
    pub state: Option<Vec<JobState>>,
    /// In this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$",
        example = "mail"
    )]
    pub queue: Option<String>,
    /// Of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$",
        example = "send-email"
    )]
    pub kind: Option<String>,
    /// Of this priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<JobPriority>,
    /// From this cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub correlation_id: Option<Uuid>,
    /// Made by this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub rule_id: Option<Uuid>,
    /// With all of these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::labels_or_null)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Created later than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Time>,
    /// Created earlier than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Time>,
}

/// An action on all jobs that meet a filter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"filter": {"queue": "mail"}, "dry_run": true}))]
pub struct BulkRequest {
    /// Which jobs. `{}` means all that the action is possible for.
    pub filter: BulkFilter,
    /// Whether the jobs are only counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    pub dry_run: Option<bool>,
    /// Why: for the audit, and for the history of each job that is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000, pattern = "^[^\\u0000]*$", example = "the order was withdrawn")]
    pub reason: Option<String>,
}

/// What an action on many jobs met and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkAnswer {
    /// Jobs that met the filter in a state that allows the action.
    #[schema(minimum = 0, example = 12)]
    pub matched: u64,
    /// Jobs that were changed.
    #[schema(minimum = 0, example = 0)]
    pub changed: u64,
    /// Whether the jobs were only counted.
    #[schema(example = true)]
    pub dry_run: bool,
    /// Whether it ended early because the tenant's backlog is full.
    #[schema(example = false)]
    pub backlog_full: bool,
}
