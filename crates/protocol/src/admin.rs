//! Queues, tenants and workers as operators see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Drain, QueueRecent, Time, schema};

/// So many starts in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Starts allowed per period; also the burst.
    #[schema(minimum = 1, maximum = 1_000_000, example = 100)]
    pub limit: u32,
    /// The period, in milliseconds.
    #[schema(minimum = 1, maximum = 86_400_000, example = 1000)]
    pub period_ms: u32,
}

/// A hold on a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pause {
    /// Why.
    #[schema(example = "the mail server is down")]
    pub reason: Option<String>,
    /// By whom.
    #[schema(example = "api")]
    pub actor: String,
    /// Since when.
    pub since: Time,
    /// Until when; null until somebody resumes it.
    pub until: Option<Time>,
}

/// Jobs of a queue by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct QueueCounts {
    /// Held back by dependencies.
    #[schema(example = 0)]
    pub waiting: u64,
    /// Their time has not come.
    #[schema(example = 2)]
    pub scheduled: u64,
    /// Due.
    #[schema(example = 7)]
    pub pending: u64,
    /// Leased to a worker.
    #[schema(example = 3)]
    pub running: u64,
    /// Held by an operator.
    #[schema(example = 0)]
    pub paused: u64,
    /// Ended well, and kept.
    #[schema(example = 90)]
    pub succeeded: u64,
    /// Ended by a permanent failure, and kept.
    #[schema(example = 1)]
    pub failed: u64,
    /// Retry budget spent, and kept.
    #[schema(example = 0)]
    pub dead: u64,
    /// Cancelled, and kept.
    #[schema(example = 0)]
    pub cancelled: u64,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Its name.
    #[schema(example = "mail")]
    pub name: String,
    /// Jobs of this queue that may run at once; null for any number.
    #[schema(example = 50)]
    pub max_running: Option<u32>,
    /// Jobs of one tenant in this queue that may run at once; null for any number.
    #[schema(example = 10)]
    pub max_running_per_tenant: Option<u32>,
    /// Starts in a time; null for any number.
    pub rate_limit: Option<Rate>,
    /// Whether nothing of it may start.
    #[schema(example = false)]
    pub paused: bool,
    /// The hold, if it is paused.
    pub pause: Option<Pause>,
    /// Jobs by state.
    pub depth: QueueCounts,
    /// Since when the oldest due job is due.
    pub oldest_due_at: Option<Time>,
    /// How long the oldest due job has been due, in milliseconds; 0 if none is.
    #[schema(example = 120)]
    pub oldest_due_age_ms: u64,
    /// Whether it takes no new jobs.
    #[schema(example = false)]
    pub draining: bool,
    /// Why, if it takes no new jobs.
    pub drain: Option<Drain>,
    /// What it did in the last minutes.
    pub recent: QueueRecent,
}

/// What is set of a queue. What is left out or null is not limited; `paused`
/// stays as it is if it is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"max_running": 50, "max_running_per_tenant": 10, "rate_limit": {"limit": 100, "period_ms": 1000}, "paused": false}))]
pub struct QueueRequest {
    /// Jobs of this queue that may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000, example = 50)]
    pub max_running: Option<u32>,
    /// Jobs of one tenant in this queue that may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000, example = 10)]
    pub max_running_per_tenant: Option<u32>,
    /// Starts in a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<Rate>,
    /// Whether nothing of it may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub paused: Option<bool>,
}

/// A hold on a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "the mail server is down", "until": "2030-01-01T00:00:00Z"}))]
pub struct PauseRequest {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000, pattern = "^[^\\u0000]*$", example = "the mail server is down")]
    pub reason: Option<String>,
    /// Until when; until somebody resumes it if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Its name.
    #[schema(example = "acme")]
    pub slug: String,
    /// Free-form facts.
    #[schema(schema_with = schema::attributes)]
    pub attributes: serde_json::Value,
    /// Its share of a busy system relative to others.
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub weight: u32,
    /// Its jobs that may run at once; null for any number.
    #[schema(example = 20)]
    pub max_running: Option<u32>,
    /// Its jobs that may wait at once; null for any number.
    #[schema(example = 100_000)]
    pub max_backlog: Option<u32>,
    /// Requests of its keys in a time; null for any number.
    pub request_rate: Option<Rate>,
    /// Whether none of its jobs may start.
    #[schema(example = false)]
    pub paused: bool,
    /// Whether it may change nothing: none of its jobs may start, submits are
    /// refused, and its keys only read.
    #[schema(example = false)]
    pub suspended: bool,
    /// Since when it exists.
    pub created_at: Time,
    /// When a setting last changed.
    pub updated_at: Time,
}

/// What is set of a tenant. What is left out or null has its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"attributes": {"plan": "pro"}, "weight": 2, "max_running": 20, "max_backlog": 100_000, "paused": false}))]
pub struct TenantRequest {
    /// Free-form facts, at most 16,384 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::attributes_or_null)]
    pub attributes: Option<serde_json::Value>,
    /// Its share of a busy system relative to others; 1 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, example = 2)]
    pub weight: Option<u32>,
    /// Its jobs that may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000, example = 20)]
    pub max_running: Option<u32>,
    /// Its jobs that may wait at once; beyond, submits are answered 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 100_000)]
    pub max_backlog: Option<u32>,
    /// Requests of its keys in a time; beyond, they are answered 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<Rate>,
    /// Whether none of its jobs may start; false if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub paused: Option<bool>,
    /// Whether it may change nothing; false if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = false)]
    pub suspended: Option<bool>,
}

/// Whether a worker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkerState {
    /// It was heard of in time.
    Alive,
    /// The same, and it takes no more jobs: it finishes what it runs.
    Leaving,
    /// Its lease has ended and it was not heard of: it is forgotten later, or comes back.
    Lost,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its name, unique for each process.
    #[schema(example = "mailer-1")]
    pub id: String,
    /// The tenant that it serves; null for all.
    #[schema(example = "default")]
    pub tenant: Option<String>,
    /// Whether it is there.
    pub state: WorkerState,
    /// The queues that it serves; empty for all.
    #[schema(example = json!(["mail"]))]
    pub queues: Vec<String>,
    /// The kinds that it serves; empty for the engine's own worker.
    #[schema(example = json!(["send-email"]))]
    pub kinds: Vec<String>,
    /// How many jobs it runs at once.
    #[schema(minimum = 0, example = 10)]
    pub slots: u32,
    /// Since when it is known.
    pub started_at: Time,
    /// How many jobs it runs now.
    #[schema(minimum = 0, example = 3)]
    pub running: u32,
    /// When it was last heard of.
    pub seen_at: Time,
    /// When it counts as lost unless it is heard of again.
    pub lease_expires_at: Time,
}
