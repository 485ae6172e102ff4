//! One execution of a job. Immutable once it has ended.

use std::fmt;

use crate::id::LeaseToken;
use crate::job::Json;
use crate::name::WorkerName;
use crate::state::JobState;
use crate::time::Timestamp;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Outcome {
    /// It did its work.
    Succeeded = 0,
    /// It failed.
    Failed = 1,
    /// It took longer than the job's timeout.
    Timeout = 2,
    /// Its worker was lost, or lost touch.
    LeaseExpired = 3,
    /// Its worker was taken away in good order, as in a deployment.
    Interrupted = 4,
    /// It asked to be run later.
    Snoozed = 5,
    /// It was cancelled while it ran.
    Cancelled = 6,
}

impl Outcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Failed,
        Self::Timeout,
        Self::LeaseExpired,
        Self::Interrupted,
        Self::Snoozed,
        Self::Cancelled,
    ];

    /// The name that the API, the logs and the metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
            Self::LeaseExpired => "LEASE_EXPIRED",
            Self::Interrupted => "INTERRUPTED",
            Self::Snoozed => "SNOOZED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The number under which the databases keep it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The outcome of that number.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code).copied())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptError {
    /// A short, stable word: `http_status`, `timeout`, `connect`, or the handler's own.
    pub kind: String,
    /// For people. No secrets, no payload.
    pub message: String,
}

/// One execution of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first execution of the job.
    pub number: u16,
    /// Who ran it.
    pub worker: WorkerName,
    /// The fence of its lease.
    pub token: LeaseToken,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// How it ended; `None` while it runs.
    pub end: Option<AttemptEnd>,
}

/// How and when an attempt ended, and what became of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not succeed.
    pub error: Option<AttemptError>,
    /// What it brought back.
    pub result: Option<Json>,
    /// The job's state afterwards.
    pub then: JobState,
    /// When the job runs again, if it does.
    pub next_run_at: Option<Timestamp>,
    /// The job's `state_reason` afterwards.
    pub reason: Option<&'static str>,
}
