//! How a job changes: pure functions from a job and a wish to a [`JobChange`].
//!
//! A change says what it found, so that a store can refuse it when the job has
//! moved on in the meantime. One change makes exactly one entry in the job's
//! history; the store gives the entry its number, the next one of that job.
//! Whoever ends an attempt, a worker, the reaper or a cancel, comes through
//! [`settle`], and the fencing token decides who was first.

mod act;
mod settle;
mod stop;
#[cfg(test)]
mod tests;

pub use act::{cancel, edit, pause, redrive, resume};
pub use settle::settle;
pub use stop::Stop;

use crate::attempt::{Attempt, AttemptError};
use crate::event::{Actor, EventKind};
use crate::id::{JobId, LeaseToken, TenantId};
use crate::job::{CancelRequest, Counters, Json, Labels, Priority, Standing};
use crate::state::JobState;
use crate::time::Timestamp;

/// Workers lost in a row that end a job as poison.
pub const POISON_AT: u16 = 3;
/// Interruptions that cost nothing; later ones spend an attempt each.
pub const FREE_INTERRUPTIONS: u16 = 20;
/// Snoozes that cost nothing; later ones spend an attempt each.
pub const FREE_SNOOZES: u16 = 100;

/// What a change found, and what must still be so when it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The job is not running, and its history ends at this number.
    Version {
        /// The state it was seen in, so that a store knows where to look first.
        /// A SCHEDULED job becomes PENDING without a change, and shows as PENDING
        /// before a store has moved it: either of the two names both.
        state: JobState,
        /// The last entry of its history.
        seq: u32,
    },
    /// The job runs under this token.
    Lease {
        /// The fence.
        token: LeaseToken,
        /// Whether the change must be refused if a cancel was requested.
        unless_cancelled: bool,
    },
    /// The job runs under this token, and its lease ended: whoever looked for
    /// ended leases may come late, and a worker that extended its lease since
    /// then keeps it.
    Lapsed {
        /// The fence.
        token: LeaseToken,
        /// Whether the change must be refused if a cancel was requested.
        unless_cancelled: bool,
        /// When the lease must have ended at the latest.
        by: Timestamp,
    },
}

impl Guard {
    /// The fence or the version that it names, as one number. Of two guards of one
    /// job that name different numbers at most one holds: a fence holds only
    /// while the job runs and a version only while it does not, and every fence is
    /// a greater number than any version.
    pub const fn name(self) -> i64 {
        match self {
            Self::Version { seq, .. } => seq as i64,
            Self::Lease { token, .. } | Self::Lapsed { token, .. } => token.0,
        }
    }

    /// The same, where it is a lease, only if that lease ended `by` then.
    #[must_use]
    pub const fn once_lapsed(self, by: Timestamp) -> Self {
        match self {
            Self::Lease { token, unless_cancelled } => Self::Lapsed { token, unless_cancelled, by },
            other => other,
        }
    }

    /// What it asks of a running job: its token, whether a request to cancel
    /// forbids the change, and when its lease must have ended, if it must.
    pub const fn of_running(self) -> Option<(LeaseToken, bool, Option<Timestamp>)> {
        match self {
            Self::Version { .. } => None,
            Self::Lease { token, unless_cancelled } => Some((token, unless_cancelled, None)),
            Self::Lapsed { token, unless_cancelled, by } => Some((token, unless_cancelled, Some(by))),
        }
    }
}

/// What an operator changed of what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// The new priority.
    pub priority: Option<Priority>,
    /// The new labels, all of them.
    pub labels: Option<Labels>,
    /// The new time.
    pub run_at: Option<Timestamp>,
}

/// What becomes of the job's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It stands there now.
    Move(Standing),
    /// It keeps running, and its worker is to be told.
    RequestCancel(CancelRequest),
    /// It keeps running, and only what was asked for changes.
    Keep,
}

/// One change of one job, ready to be committed.
#[derive(Clone, Debug, PartialEq)]
pub struct JobChange {
    /// The job's owner.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// What must still be so.
    pub guard: Guard,
    /// What becomes of its place.
    pub decision: Decision,
    /// What is counted of it afterwards.
    pub counters: Counters,
    /// What changes of what was asked for.
    pub edit: Option<Edit>,
    /// The attempt that this change ends. Its end is the entry in the history.
    pub attempt: Option<Attempt>,
    /// Slot time to add to what the fair share was charged; negative gives back.
    pub settle_us: i64,
    /// The entry in the history, where no attempt ends.
    pub event: Option<(EventKind, Actor, serde_json::Value)>,
    /// When it happens.
    pub at: Timestamp,
}

impl JobChange {
    /// Whether a job that has ended waits again by it, so that it counts in its tenant's
    /// backlog anew.
    pub fn revives(&self) -> bool {
        matches!(self.guard, Guard::Version { state, .. } if state.is_terminal())
            && matches!(&self.decision, Decision::Move(to) if !to.state().is_terminal())
    }
}

/// A wish that the job's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {state} cannot be {action}; this is possible for {possible}")]
pub struct Refusal {
    /// The state it is in.
    pub state: JobState,
    /// What was wanted, as a participle.
    pub action: &'static str,
    /// The states that allow it.
    pub possible: &'static str,
}

/// How an attempt ended, as its worker tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It did its work.
    Succeeded {
        /// What it brought back.
        result: Option<Json>,
    },
    /// It failed.
    Failed {
        /// Why.
        error: AttemptError,
        /// What it brought back all the same.
        result: Option<Json>,
        /// Whether a retry is pointless.
        permanent: bool,
        /// When it wants to be tried again, in milliseconds from now.
        retry_after_ms: Option<u64>,
    },
    /// It took longer than the job's timeout.
    TimedOut {
        /// The timeout, in milliseconds.
        after_ms: u64,
    },
    /// Its worker had to go.
    Interrupted,
    /// It asked to be run later.
    Snoozed {
        /// How much later, in milliseconds.
        for_ms: u64,
    },
    /// It was told to stop, and did.
    Cancelled,
    /// Its worker was lost: the lease expired.
    Lost,
}

/// A verdict with what the decision needs besides.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How the attempt ended.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
    /// Slot time that it took, in microseconds.
    pub took_us: i64,
    /// Uniform in 0.0..1.0, for the jitter of the next delay.
    pub random: f64,
    /// Which of the jobs it is that were lost with it, and not for the first time.
    pub place: u32,
}
