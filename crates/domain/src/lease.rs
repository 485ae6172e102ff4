//! The claim of a worker on a job, and how long it can last.

use crate::change::Verdict;
use crate::id::{JobId, LeaseToken, TenantId};
use crate::job::{CancelRequest, Counters, JobSpec};
use crate::name::{Kind, QueueName, TenantSlug, WorkerName};
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// The claim of one worker on one job: all that deciding the attempt's end needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The job's owner.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// The queue that it came from.
    pub queue: QueueName,
    /// What it does.
    pub kind: Kind,
    /// The fence.
    pub token: LeaseToken,
    /// Who holds it.
    pub worker: WorkerName,
    /// What is counted of the job, this attempt included.
    pub counters: Counters,
    /// The job's retry policy.
    pub retry_policy: RetryPolicy,
    /// When the job became due.
    pub due: Timestamp,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// What the fair share was charged for it, in microseconds of slot time.
    pub charged_us: i64,
    /// Whether somebody asked for its end.
    pub cancel: Option<CancelRequest>,
    /// How long the attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// When it ends unless it is extended; `None` where the lease of the worker
    /// itself covers it.
    pub until: Option<Timestamp>,
}

impl Lease {
    /// How long the worker has, after the timeout, to stop and say how it ended.
    pub const TIMEOUT_GRACE_MS: u64 = 5_000;

    /// When the attempt has taken too long.
    pub fn timeout_at(&self) -> Timestamp {
        later(self.started_at, self.timeout_ms)
    }

    /// Until when a lease with an end of its own can last at most. A worker that
    /// goes on for ever cannot keep its job for ever.
    pub fn limit(&self) -> Timestamp {
        later(self.started_at, self.timeout_ms.saturating_add(Self::TIMEOUT_GRACE_MS))
    }

    /// What to say of the attempt when the lease has ended without a word of its
    /// worker. If the timeout ended the lease, the attempt took too long. If
    /// silence did, the worker is lost; so it is wherever the worker's own lease
    /// counts, because such a worker watches the timeout itself.
    pub fn unanswered(&self) -> Verdict {
        if self.until.is_some_and(|until| until >= self.limit()) {
            Verdict::TimedOut { after_ms: self.timeout_ms }
        } else {
            Verdict::Lost
        }
    }
}

fn later(at: Timestamp, ms: u64) -> Timestamp {
    at.plus_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// A job handed to a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    /// The claim.
    pub lease: Lease,
    /// What is to be done.
    pub spec: JobSpec,
    /// The job's owner, as the outside names it.
    pub slug: TenantSlug,
    /// When the lease ends unless it is extended.
    pub expires_at: Timestamp,
}
