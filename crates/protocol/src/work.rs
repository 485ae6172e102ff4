//! What workers on the network ask and tell.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{AttemptError, Document, Job, JobState, Time, schema};

/// A wish for work.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"worker_id": "mailer-1", "queues": ["mail"], "kinds": ["send-email"], "max": 10, "wait_ms": 0, "lease_ms": 30000}))]
pub struct ClaimRequest {
    /// Who asks: a name, unique for each worker.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$",
        example = "mailer-1"
    )]
    pub worker_id: String,
    /// Only jobs of these queues; of all if empty or not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::queues_or_null)]
    pub queues: Option<Vec<String>>,
    /// The kinds that the worker serves.
    #[schema(schema_with = schema::kinds)]
    pub kinds: Vec<String>,
    /// How many jobs at most; 1 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, example = 10)]
    pub max: Option<u32>,
    /// How long to wait for work if there is none, in milliseconds; 0 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 60_000, example = 0)]
    pub wait_ms: Option<u64>,
    /// How long each lease lasts without a heartbeat, in milliseconds; 30000 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1000, maximum = 3_600_000, example = 30_000)]
    pub lease_ms: Option<u64>,
}

/// The terms under which a job was handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseTerms {
    /// Which attempt of the job this is.
    #[schema(minimum = 1, example = 1)]
    pub attempt: u16,
    /// The fence: every report of the attempt carries it.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "00017c2e9f5c7b1a")]
    pub lease_token: String,
    /// When the lease ends unless it is extended.
    pub lease_expires_at: Time,
}

/// A job handed to a worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClaimedJob {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// The lease.
    #[serde(flatten)]
    pub lease: LeaseTerms,
}

impl<'de> Deserialize<'de> for ClaimedJob {
    /// Reads the text twice, because a document that is kept as its text cannot
    /// be read through a flattened field.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Document::deserialize(deserializer)?;
        let job = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        let lease = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self { job, lease })
    }
}

/// The jobs that a claim brought.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClaimAnswer {
    /// The jobs, in the order in which they should start.
    pub items: Vec<ClaimedJob>,
}

macro_rules! report {
    ($(#[$doc:meta])* $request:ident of $item:ident, $example:tt) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(example = json!($example))]
        pub struct $request {
            /// One entry for each lease: 1 to 1,000.
            #[schema(min_items = 1, max_items = 1000)]
            pub items: Vec<$item>,
        }
    };
}

report!(
    /// Attempts that ended well.
    CompleteRequest of CompleteItem,
    {"items": [{"job_id": "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11", "lease_token": "00017c2e9f5c7b1a", "result": {"ok": true}}]}
);
report!(
    /// Attempts that did not succeed.
    FailRequest of FailItem,
    {"items": [{"job_id": "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11", "lease_token": "00017c2e9f5c7b1a", "error": {"type": "smtp", "message": "mailbox unavailable"}}]}
);
report!(
    /// How far attempts are.
    ProgressRequest of ProgressItem,
    {"items": [{"job_id": "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11", "lease_token": "00017c2e9f5c7b1a", "percent": 40, "message": "3 of 8 files"}]}
);

/// Leases that are still needed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"items": [{"job_id": "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11", "lease_token": "00017c2e9f5c7b1a"}], "lease_ms": 30000}))]
pub struct HeartbeatRequest {
    /// The leases: 1 to 1,000.
    #[schema(min_items = 1, max_items = 1000)]
    pub items: Vec<HeartbeatItem>,
    /// How long each lease lasts from now on, in milliseconds; 30000 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1000, maximum = 3_600_000, example = 30_000)]
    pub lease_ms: Option<u64>,
}

/// A lease that is still needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatItem {
    /// The job.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub job_id: Uuid,
    /// The token that came with it.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "00017c2e9f5c7b1a")]
    pub lease_token: String,
}

/// An attempt that ended well.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteItem {
    /// The job.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub job_id: Uuid,
    /// The token that came with it.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "00017c2e9f5c7b1a")]
    pub lease_token: String,
    /// What it brought back: any JSON of at most 262,144 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>, example = json!({"ok": true}))]
    pub result: Option<Document>,
}

/// How an attempt ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(example = "FAILED")]
pub enum FailOutcome {
    /// It failed.
    Failed,
    /// It stopped because a heartbeat had told it to.
    Cancelled,
    /// Its worker has to go: the job is due again at once, and no attempt is spent,
    /// 20 times.
    Interrupted,
    /// It wants to be run later: no attempt is spent, 100 times.
    Snoozed,
}

/// An attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailItem {
    /// The job.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub job_id: Uuid,
    /// The token that came with it.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "00017c2e9f5c7b1a")]
    pub lease_token: String,
    /// How it ended. If not said, it stopped because a heartbeat had told it to, if
    /// one had, and else it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<FailOutcome>,
    /// Why. Required unless the outcome is CANCELLED, INTERRUPTED or SNOOZED, where
    /// it is not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
    /// Whether a retry is pointless: the job ends FAILED. Of failures only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub permanent: Option<bool>,
    /// When to try again, in milliseconds from now. Required for SNOOZED; of
    /// failures the retry policy decides if not said; of others not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 31_622_400_000_i64, example = 60_000)]
    pub retry_after_ms: Option<u64>,
}

/// How far an attempt is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgressItem {
    /// The job.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub job_id: Uuid,
    /// The token that came with it.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "00017c2e9f5c7b1a")]
    pub lease_token: String,
    /// 0 to 100.
    #[schema(minimum = 0, maximum = 100, example = 40)]
    pub percent: u8,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000, pattern = "^[^\\u0000]*$", example = "3 of 8 files")]
    pub message: Option<String>,
    /// Items done well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 3)]
    pub succeeded: Option<u64>,
    /// Items failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 0)]
    pub failed: Option<u64>,
}

/// What became of one entry of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportItem {
    /// The job.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub job_id: Uuid,
    /// Whether it was accepted.
    #[schema(example = false)]
    pub ok: bool,
    /// Why it was not: `stale_lease`, or `duplicate` if the request named the job before.
    #[schema(example = "stale_lease")]
    pub code: Option<String>,
    /// The job's state afterwards, where an attempt ended.
    pub state: Option<JobState>,
    /// Whether the worker should stop the job: somebody asked for its end, or the
    /// attempt takes longer than its timeout. Told by heartbeats.
    #[schema(example = false)]
    pub cancel_requested: Option<bool>,
}

/// What became of a report, entry by entry, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportAnswer {
    /// The entries.
    pub items: Vec<ReportItem>,
}
