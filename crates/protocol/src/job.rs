//! A job as the API shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::attempt::AttemptError;
use crate::{Document, Time, schema};

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(example = "PENDING")]
pub enum JobState {
    /// Held back until the jobs that it depends on have ended.
    Waiting,
    /// Its time has not come.
    Scheduled,
    /// Due, and claimable.
    Pending,
    /// Leased to a worker.
    Running,
    /// Held by an operator.
    Paused,
    /// Ended well.
    Succeeded,
    /// Ended by a failure that no retry can mend.
    Failed,
    /// Ended because its retry budget is spent.
    Dead,
    /// Ended because somebody said so.
    Cancelled,
}

/// How urgent a job is among the jobs of its tenant in its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "medium")]
pub enum JobPriority {
    /// Before all others.
    Critical,
    /// Before the usual.
    High,
    /// The usual.
    #[default]
    Medium,
    /// After the usual.
    Low,
    /// When nothing else is due, yet within the hour.
    Background,
}

/// The method of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(example = "POST")]
pub enum HttpMethod {
    /// GET: the payload is not sent.
    Get,
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

/// Work that the worker does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "noop")]
pub enum Builtin {
    /// Succeeds at once.
    Noop,
    /// Succeeds with the payload as its result.
    Echo,
    /// Succeeds after `ms`.
    Sleep,
    /// Fails, retryably, after `ms`.
    Fail,
}

/// Where a job executes. A job without a target waits for a pulling worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"type": "builtin", "name": "noop"}))]
pub enum JobTarget {
    /// An HTTP endpoint that TaskFlow calls with the payload as the JSON body.
    Http {
        /// Absolute, `http` or `https`, with a host, without credentials and fragment.
        #[schema(
            format = "uri",
            pattern = "^https?://[!-~]+$",
            max_length = 2048,
            example = "http://127.0.0.1:9000/send"
        )]
        url: String,
        /// How it is called.
        #[serde(default)]
        method: HttpMethod,
        /// Sent with the call.
        #[serde(default)]
        #[schema(schema_with = schema::headers)]
        headers: BTreeMap<String, String>,
        /// Answers that end the job although they would be retried.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schema(schema_with = schema::statuses)]
        permanent_statuses: Vec<u16>,
        /// Answers that are retried although they would end the job.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schema(schema_with = schema::statuses)]
        retryable_statuses: Vec<u16>,
    },
    /// Inside the worker, for trying things out and for measuring.
    Builtin {
        /// Which work.
        name: Builtin,
        /// How long it takes, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 0, maximum = 86_400_000, example = 5)]
        ms: Option<u64>,
    },
}

/// How the delay grows with the number of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "exponential")]
pub enum RetryStrategy {
    /// Always the base.
    Fixed,
    /// The base times the number of failures.
    Linear,
    /// The base times the factor to the power of one less than the failures.
    #[default]
    Exponential,
}

/// How the delay is spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "full")]
pub enum RetryJitter {
    /// Exactly the delay.
    None,
    /// Anywhere from nothing to the delay.
    #[default]
    Full,
    /// Half of the delay, and anywhere in the other half.
    Equal,
    /// Anywhere from the base to three times the delay before, within the cap.
    Decorrelated,
}

/// How often and when a job is tried. What is left out has its default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts that may be spent.
    #[serde(default = "defaults::max_attempts")]
    #[schema(minimum = 1, maximum = 100, default = 3, example = 3)]
    pub max_attempts: u16,
    /// How the delay grows.
    #[serde(default)]
    pub strategy: RetryStrategy,
    /// The first delay, in milliseconds.
    #[serde(default = "defaults::base_delay_ms")]
    #[schema(minimum = 0, maximum = 31_622_400_000_i64, default = 1000, example = 1000)]
    pub base_delay_ms: u64,
    /// The growth of the exponential strategy.
    #[serde(default = "defaults::factor")]
    #[schema(minimum = 1, maximum = 100, default = 2.0, example = 2.0)]
    pub factor: f64,
    /// No delay is longer, in milliseconds.
    #[serde(default = "defaults::max_delay_ms")]
    #[schema(minimum = 0, maximum = 31_622_400_000_i64, default = 3_600_000, example = 3_600_000)]
    pub max_delay_ms: u64,
    /// How the delay is spread.
    #[serde(default)]
    pub jitter: RetryJitter,
}

/// One function for each field: a default of the whole struct would be described
/// as an object beside each reference, which no value can meet.
mod defaults {
    pub(super) const fn max_attempts() -> u16 {
        3
    }
    pub(super) const fn base_delay_ms() -> u64 {
        1_000
    }
    pub(super) const fn factor() -> f64 {
        2.0
    }
    pub(super) const fn max_delay_ms() -> u64 {
        3_600_000
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: defaults::max_attempts(),
            strategy: RetryStrategy::Exponential,
            base_delay_ms: defaults::base_delay_ms(),
            factor: defaults::factor(),
            max_delay_ms: defaults::max_delay_ms(),
            jitter: RetryJitter::Full,
        }
    }
}

/// How far a running job is, as it told last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// 0 to 100.
    #[schema(minimum = 0, maximum = 100, example = 40)]
    pub percent: u8,
    /// For people.
    #[schema(example = "3 of 8 files")]
    pub message: Option<String>,
    /// Items done well.
    #[schema(example = 3)]
    pub succeeded: u64,
    /// Items failed.
    #[schema(example = 0)]
    pub failed: u64,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// `UUIDv7`: order of ids is order of creation.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub id: Uuid,
    /// Who owns it.
    #[schema(example = "default")]
    pub tenant: String,
    /// Where it waits.
    #[schema(example = "default")]
    pub queue: String,
    /// What it does.
    #[schema(example = "send-email")]
    pub kind: String,
    /// Where it is in its life.
    pub state: JobState,
    /// How urgent it is.
    pub priority: JobPriority,
    /// What it works on, exactly as it was sent.
    #[schema(value_type = serde_json::Value, example = json!({"to": "a@example.com"}))]
    pub payload: Document,
    /// What it can be found by.
    #[schema(schema_with = schema::labels)]
    pub labels: BTreeMap<String, String>,
    /// Where it executes; null leaves it to a pulling worker.
    pub target: Option<JobTarget>,
    /// How often it is tried.
    pub retry_policy: RetryPolicy,
    /// How long one attempt may take, in milliseconds.
    #[schema(example = 30_000)]
    pub timeout_ms: u64,
    /// Executions so far.
    #[schema(example = 1)]
    pub attempts_made: u16,
    /// How far it is.
    pub progress: Progress,
    /// What its latest attempt brought back.
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Document>,
    /// Why its latest attempt that has ended did not succeed.
    pub last_error: Option<AttemptError>,
    /// Why it is in its state, where the state alone does not say it.
    #[schema(example = "attempts_exhausted")]
    pub state_reason: Option<String>,
    /// What makes a repeated submit the same submit.
    #[schema(example = "order-17")]
    pub idempotency_key: Option<String>,
    /// What ties it to its cause; its own id if it has none.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub correlation_id: Uuid,
    /// The job that made it.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub parent_job_id: Option<Uuid>,
    /// The rule that made it.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub rule_id: Option<Uuid>,
    /// The firing that made it.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub firing_id: Option<Uuid>,
    /// Who runs it.
    #[schema(example = "worker-1")]
    pub worker_id: Option<String>,
    /// When it was accepted.
    pub created_at: Time,
    /// When it was to run.
    pub run_at: Time,
    /// When it runs next, if it waits for a time.
    pub next_run_at: Option<Time>,
    /// When its latest attempt began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// When it last changed.
    pub updated_at: Time,
}
