//! Why jobs do not run, what happened over time, and who keeps the engine going.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{JobState, Time};

/// What can stand between a job and its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Its time has not come.
    ScheduledLater,
    /// It backs off after a failure.
    RetryBackoff,
    /// It waits for other jobs.
    Dependency,
    /// An operator holds it.
    PausedJob,
    /// An operator holds its queue.
    PausedQueue,
    /// Its tenant is held, or runs as many jobs as it may.
    TenantLimit,
    /// Its queue runs as many jobs as it may.
    QueueLimit,
    /// A concurrency policy has no room.
    ConcurrencyPolicy,
    /// Its queue started as many jobs as its rate allows at this moment.
    RateLimit,
    /// Others come first.
    FairShare,
    /// Nobody is there who would run it.
    NoWorker,
    /// Its target fails too often.
    CircuitOpen,
    /// Its tenant has too many jobs waiting.
    BacklogCap,
    /// The job before it in its series has not ended.
    OverlapBlocked,
    /// Its queue takes no new jobs.
    Draining,
}

/// One gate on the way of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GateReport {
    /// Which.
    #[schema(example = "tenant_limit")]
    pub gate: Gate,
    /// Whether the job may pass.
    #[schema(example = false)]
    pub open: bool,
    /// What stands there, for people.
    #[schema(example = "the tenant acme may run 5 jobs at once and runs 5")]
    pub detail: String,
    /// Since when it is closed for this job; null while it is open.
    pub since: Option<Time>,
    /// What would open it, for people.
    #[schema(example = "one of the running jobs ends, or the limit is raised")]
    pub opens_when: Option<String>,
    /// When it opens by itself, if that is known.
    pub opens_at: Option<Time>,
    /// Its limit, where it is a number.
    #[schema(example = 5)]
    pub limit: Option<u32>,
    /// How much of the limit is in use; for `fair_share`, how many come first.
    #[schema(example = 5)]
    pub in_use: Option<u32>,
    /// The tenant's own jobs that use it, the latest first; ten at most.
    #[schema(value_type = Vec<String>, example = json!(["01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11"]))]
    pub held_by: Vec<Uuid>,
}

/// Why a job does not run, or that it is the next one that does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The job's state.
    pub state: JobState,
    /// Whether nothing stands between it and its start: it is what its queue
    /// hands out next.
    #[schema(example = false)]
    pub runnable: bool,
    /// Every gate that applies, open or not, in the order in which it meets them.
    pub gates: Vec<GateReport>,
}

/// How many jobs of a queue wait at one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueGate {
    /// Which.
    #[schema(example = "tenant_limit")]
    pub gate: Gate,
    /// How many jobs; each is counted at the first gate that it meets.
    #[schema(example = 1200)]
    pub jobs: u64,
    /// Whether there may be more.
    #[schema(example = false)]
    pub at_least: bool,
}

/// What the jobs of a queue wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueExplanation {
    /// Gates at which jobs wait, in the order in which a job meets them.
    pub gates: Vec<QueueGate>,
}

/// The middle and the ends of a distribution, in milliseconds; null if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Percentiles {
    /// Half of them took no longer.
    #[schema(example = 4.1)]
    pub p50: Option<f64>,
    /// 95 of 100 took no longer.
    #[schema(example = 12.5)]
    pub p95: Option<f64>,
    /// 99 of 100 took no longer.
    #[schema(example = 40.0)]
    pub p99: Option<f64>,
}

/// What a queue did in the last minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueRecent {
    /// How many seconds the figures cover.
    #[schema(example = 320.5)]
    pub seconds: f64,
    /// Jobs that ended, by the second.
    #[schema(example = 12.4)]
    pub throughput_per_s: f64,
    /// The share of the jobs that ended which ended SUCCEEDED, leaving aside
    /// CANCELLED ones; null if none ended.
    #[schema(example = 0.998)]
    pub success_rate: Option<f64>,
    /// Jobs accepted.
    #[schema(example = 4000)]
    pub created: u64,
    /// Jobs that ended.
    #[schema(example = 3974)]
    pub ended: u64,
    /// Attempts that were followed by another.
    #[schema(example = 12)]
    pub retried: u64,
    /// From due to started.
    pub wait_ms: Percentiles,
    /// From started to ended.
    pub run_ms: Percentiles,
}

/// That a queue takes no new jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drain {
    /// Why.
    #[schema(example = "the service behind it goes away")]
    pub reason: Option<String>,
    /// By whom.
    #[schema(example = "api")]
    pub actor: String,
    /// Since when.
    pub since: Time,
}

/// Why a queue shall take no new jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "the service behind it goes away"}))]
pub struct DrainRequest {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000, pattern = "^[^\\u0000]*$", example = "the service behind it goes away")]
    pub reason: Option<String>,
}

/// Which jobs of a queue are to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"states": ["DEAD", "FAILED"], "older_than_ms": 86_400_000, "dry_run": true}))]
pub struct PurgeRequest {
    /// In these states; all but RUNNING are possible.
    #[schema(min_items = 1, max_items = 8)]
    pub states: Vec<JobState>,
    /// Only such that have been in their state for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 315_360_000_000_u64, example = 86_400_000)]
    pub older_than_ms: Option<u64>,
    /// Whether they are only counted; true if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    pub dry_run: Option<bool>,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeAnswer {
    /// Jobs deleted; of a dry run, jobs that would be.
    #[schema(example = 120)]
    pub jobs: u64,
    /// Whether there are more: the call stopped after its time, or after counting many.
    #[schema(example = false)]
    pub more: bool,
    /// Whether they were only counted.
    #[schema(example = true)]
    pub dry_run: bool,
}

/// What happened in one stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatBucket {
    /// When it begins.
    pub at: Time,
    /// Of which tenant; null if they are not told apart.
    #[schema(example = "acme")]
    pub tenant: Option<String>,
    /// Of which queue; null if they are not told apart.
    #[schema(example = "mail")]
    pub queue: Option<String>,
    /// Of which kind; null if they are not told apart.
    #[schema(example = "send-email")]
    pub kind: Option<String>,
    /// Jobs accepted.
    #[schema(example = 4000)]
    pub created: u64,
    /// Attempts begun.
    #[schema(example = 4012)]
    pub started: u64,
    /// Jobs that ended SUCCEEDED.
    #[schema(example = 3980)]
    pub succeeded: u64,
    /// Jobs that ended FAILED.
    #[schema(example = 3)]
    pub failed: u64,
    /// Jobs that ended DEAD.
    #[schema(example = 1)]
    pub dead: u64,
    /// Jobs that ended CANCELLED.
    #[schema(example = 2)]
    pub cancelled: u64,
    /// Attempts that were followed by another.
    #[schema(example = 12)]
    pub retried: u64,
    /// The mean time from due to started; null if none started.
    #[schema(example = 4.5)]
    pub mean_wait_ms: Option<f64>,
    /// The mean time that an attempt took which was not cancelled; null if none ended.
    #[schema(example = 82.0)]
    pub mean_run_ms: Option<f64>,
}

/// What happened over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatSeries {
    /// How long each bucket is.
    #[schema(example = 60)]
    pub span_seconds: u32,
    /// The buckets in which something happened, the latest first.
    pub items: Vec<StatBucket>,
    /// Where the next page begins; null on the last one.
    #[schema(example = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    pub next_cursor: Option<String>,
}

/// What a loop of a process did last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunnerLoop {
    /// Its name.
    #[schema(example = "sweep")]
    pub name: String,
    /// How often it ran since the process began.
    #[schema(example = 120)]
    pub runs: u64,
    /// How many of these runs failed.
    #[schema(example = 0)]
    pub failures: u64,
    /// When its last run began.
    pub last_started_at: Option<Time>,
    /// How long its last run took that has ended, in microseconds.
    #[schema(example = 850)]
    pub last_took_us: Option<i64>,
    /// Why its last run failed; null if it did not.
    #[schema(example = "the database is unavailable")]
    pub error: Option<String>,
}

/// A process with loops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Runner {
    /// Its name, unique for each process.
    #[schema(example = "host-1:4711:8f3a2b1c")]
    pub id: String,
    /// Since when it runs.
    pub started_at: Time,
    /// When it last told.
    pub seen_at: Time,
    /// Its loops, by name.
    pub loops: Vec<RunnerLoop>,
}

/// How an automation rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Automation {
    /// The rule.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub id: Uuid,
    /// Its owner.
    #[schema(example = "acme")]
    pub tenant: String,
    /// For people.
    #[schema(example = "nightly-billing")]
    pub name: String,
    /// What it waits for: `cron`, `webhook`, `event` or `manual`.
    #[schema(example = "cron")]
    pub trigger: String,
    /// Whether it is on.
    #[schema(example = true)]
    pub enabled: bool,
    /// `live`, or `shadow` if it only records what it would do.
    #[schema(example = "live")]
    pub mode: String,
    /// 1, and one more with each change.
    #[schema(example = 3)]
    pub revision: u32,
    /// When it fires next; null if the clock does not tell.
    pub next_at: Option<Time>,
    /// The occurrence that waits for the end of the previous instance.
    pub waiting_at: Option<Time>,
    /// When it was last evaluated.
    pub last_at: Option<Time>,
    /// What that came to.
    #[schema(example = "FIRED")]
    pub last_outcome: Option<String>,
    /// How many evaluations in a row were ERROR, up to the last one.
    #[schema(example = 0)]
    pub error_streak: u32,
    /// Since when it has been failing, while it does.
    pub failing_since: Option<Time>,
    /// Jobs that it made.
    #[schema(example = 120)]
    pub jobs_made: u64,
}
