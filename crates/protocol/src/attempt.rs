//! A job's attempts and history as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Document, Time};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(example = "SUCCEEDED")]
pub enum AttemptOutcome {
    /// It did its work.
    Succeeded,
    /// It failed.
    Failed,
    /// It took longer than the job's timeout.
    Timeout,
    /// Its worker was lost.
    LeaseExpired,
    /// Its worker was taken away in good order.
    Interrupted,
    /// It asked to be run later.
    Snoozed,
    /// It was cancelled while it ran.
    Cancelled,
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttemptError {
    /// A short, stable word.
    #[serde(rename = "type")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$",
        example = "smtp"
    )]
    pub kind: String,
    /// For people.
    #[schema(max_length = 10_000, pattern = "^[^\\u0000]*$", example = "mailbox unavailable")]
    pub message: String,
}

/// One execution of a job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// 1 for the first execution of the job.
    #[schema(minimum = 1, example = 1)]
    pub attempt: u16,
    /// Who ran it.
    #[schema(example = "worker-1")]
    pub worker_id: String,
    /// When it was claimed.
    pub started_at: Time,
    /// When it ended; null while it runs.
    pub finished_at: Option<Time>,
    /// How long it took, in milliseconds; null while it runs.
    #[schema(minimum = 0, example = 37)]
    pub duration_ms: Option<u64>,
    /// How it ended; null while it runs.
    pub outcome: Option<AttemptOutcome>,
    /// Why it did not succeed.
    pub error: Option<AttemptError>,
    /// What it brought back.
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Document>,
}

/// One entry of a job's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobEvent {
    /// 1 for the first entry of the job; no number is missing.
    #[schema(minimum = 1, example = 1)]
    pub seq: u32,
    /// What happened: `created`, `started`, `progressed`, `succeeded`, `failed`, `retry_scheduled`,
    /// `dead`, `cancel_requested`, `cancelled`, `paused`, `resumed`, `redriven`, `rescheduled`,
    /// `interrupted` or `snoozed`. More may come.
    #[serde(rename = "type")]
    #[schema(example = "created")]
    pub kind: String,
    /// When.
    pub at: Time,
    /// By whom: `api`, `engine`, `worker:<name>` or `rule:<id>`.
    #[schema(example = "api")]
    pub actor: String,
    /// What belongs to it, by its type.
    #[schema(value_type = Object, example = json!({}))]
    pub data: serde_json::Value,
}
