//! Why a job does not run: every gate between it and its start.
//!
//! A store gathers [`Facts`]: the same rows that a claim looks at. What they mean
//! is decided here, so that it is the same over every database. A job is
//! *runnable* if all its gates are open: then it is what its queue hands out
//! next to a worker that serves it. The contract suite holds this against the
//! claim itself.

mod gates;
mod queue;
#[cfg(test)]
mod tests;

use crate::id::JobId;
use crate::job::Job;
use crate::queue::{Bucket, QueueSettings};
use crate::state::JobState;
use crate::time::Timestamp;

pub use gates::explain;
pub use queue::{Counted, DueJobs, QueueGate, QueueLine, explain_queue};

/// So many jobs that hold a limit are named.
pub const MOST_HOLDERS: usize = 10;
/// Jobs and lanes ahead are counted up to here.
pub const MOST_AHEAD: u32 = 1_000;

/// What can stand between a job and its start. The names are public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Gate {
    /// All gates, in the order in which a job meets them.
    pub const ALL: [Self; 15] = [
        Self::Dependency,
        Self::ScheduledLater,
        Self::RetryBackoff,
        Self::PausedJob,
        Self::PausedQueue,
        Self::QueueLimit,
        Self::RateLimit,
        Self::TenantLimit,
        Self::ConcurrencyPolicy,
        Self::CircuitOpen,
        Self::OverlapBlocked,
        Self::NoWorker,
        Self::FairShare,
        Self::BacklogCap,
        Self::Draining,
    ];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScheduledLater => "scheduled_later",
            Self::RetryBackoff => "retry_backoff",
            Self::Dependency => "dependency",
            Self::PausedJob => "paused_job",
            Self::PausedQueue => "paused_queue",
            Self::TenantLimit => "tenant_limit",
            Self::QueueLimit => "queue_limit",
            Self::ConcurrencyPolicy => "concurrency_policy",
            Self::RateLimit => "rate_limit",
            Self::FairShare => "fair_share",
            Self::NoWorker => "no_worker",
            Self::CircuitOpen => "circuit_open",
            Self::BacklogCap => "backlog_cap",
            Self::OverlapBlocked => "overlap_blocked",
            Self::Draining => "draining",
        }
    }
}

/// A limit on running jobs, as a claim finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFacts {
    /// So many may run.
    pub max: u32,
    /// So many do.
    pub running: u32,
    /// Jobs of the job's own tenant among them, the latest first, at most [`MOST_HOLDERS`].
    pub holders: Vec<JobId>,
    /// When the latest of these began.
    pub last_start: Option<Timestamp>,
    /// When the limit was last changed, if that is known.
    pub set_at: Option<Timestamp>,
}

impl LimitFacts {
    /// Whether one more may run.
    pub const fn has_room(&self) -> bool {
        self.running < self.max
    }
}

/// The job's tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantFacts {
    /// Whether none of its jobs may start.
    pub paused: bool,
    /// Whether that is because it is suspended.
    pub suspended: bool,
    /// Since when that is so, if it is.
    pub paused_at: Timestamp,
}

/// The job's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    /// What is set.
    pub settings: QueueSettings,
    /// Its running jobs; kept only where it is limited.
    pub running: u32,
    /// When the latest of them began.
    pub last_start: Option<Timestamp>,
    /// When the limit on them was last changed, if that is known.
    pub max_set_at: Option<Timestamp>,
    /// The state of its rate limit.
    pub bucket: Bucket,
}

/// Who comes before a due job in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Jobs of the same tenant and route that come first, at most [`MOST_AHEAD`].
    pub jobs_ahead: u32,
    /// Tenants with due jobs of the same route that have had less than their
    /// share, and room under their limits, at most [`MOST_AHEAD`].
    pub lanes_ahead: u32,
}

/// Who would run the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Workers whose lease stands and that serve its tenant, queue and kind.
    pub workers: u32,
    /// What they run at once, together.
    pub slots: u32,
    /// What they run now.
    pub busy: u32,
    /// When the latest of that began.
    pub last_start: Option<Timestamp>,
    /// When the last of those was lost, or left, that are no longer there.
    pub last_lost: Option<Timestamp>,
}

impl Serving {
    /// Whether workers of TaskFlow itself are there and have no room.
    pub const fn is_full(&self) -> bool {
        self.workers > 0 && self.slots > 0 && self.busy >= self.slots
    }
}

/// What a store knows of the way of a job to its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The job.
    pub job: Job,
    /// Its place among the due jobs; `None` if it does not stand there. A
    /// scheduled job whose time has come stands there once it was promoted.
    pub line: Option<Line>,
    /// Its queue.
    pub queue: QueueFacts,
    /// Its tenant.
    pub tenant: TenantFacts,
    /// Its tenant's limit over all queues.
    pub tenant_limit: Option<LimitFacts>,
    /// Its tenant's limit in its queue.
    pub tenant_in_queue: Option<LimitFacts>,
    /// Its tenant's running jobs in its queue, for naming those that hold the queue's limit.
    pub own_in_queue: Vec<JobId>,
    /// Who would run it.
    pub serving: Serving,
}

/// One gate on the way of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateReport {
    /// Which.
    pub gate: Gate,
    /// Whether the job may pass.
    pub open: bool,
    /// What stands there, for people.
    pub detail: String,
    /// Since when it is closed for this job.
    pub since: Option<Timestamp>,
    /// What would open it, for people.
    pub opens_when: Option<String>,
    /// When it opens by itself, if that is known.
    pub opens_at: Option<Timestamp>,
    /// Its limit, where it is a number.
    pub limit: Option<u32>,
    /// How much of the limit is in use.
    pub in_use: Option<u32>,
    /// Jobs of the same tenant that use it, the latest first; not all if there are many.
    pub held_by: Vec<JobId>,
}

/// Why a job does not run, or that it is the next one that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its state.
    pub state: JobState,
    /// Whether nothing stands between it and its start.
    pub runnable: bool,
    /// Every gate that applies, open or not, in the order in which it meets them.
    pub gates: Vec<GateReport>,
}

impl Explanation {
    /// The gates that it cannot pass now.
    pub fn closed(&self) -> impl Iterator<Item = &GateReport> {
        self.gates.iter().filter(|gate| !gate.open)
    }
}
