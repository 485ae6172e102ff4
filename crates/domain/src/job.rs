//! The job: what was asked for, where it stands, and what is told of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::attempt::{Attempt, AttemptError};
use crate::event::Actor;
use crate::id::{CorrelationId, FiringId, JobId, LeaseToken, RuleId, TenantId};
use crate::name::{Kind, QueueName, TenantSlug, WorkerName};
use crate::retry::RetryPolicy;
use crate::state::JobState;
use crate::target::Target;
use crate::time::Timestamp;

/// A JSON document kept as its text, exactly as the caller sent it.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// A text that its maker knows to be JSON: taken from a parser or from a store.
    pub fn from_valid(text: &str) -> Self {
        Self(text.into())
    }

    /// `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// `{}`.
    pub fn object() -> Self {
        Self("{}".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The document as a value.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<&serde_json::Value> for Json {
    fn from(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads may hold what a log must not show.
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// A job's labels, by key.
pub type Labels = BTreeMap<String, String>;

/// How urgent a job is among the jobs of its tenant in its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Priority {
    /// Before all others.
    Critical = 0,
    /// Before the usual.
    High = 1,
    /// The usual.
    #[default]
    Medium = 2,
    /// After the usual.
    Low = 3,
    /// When nothing else is due, yet within the hour.
    Background = 4,
}

impl Priority {
    /// All priorities, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Background];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Background => "background",
        }
    }

    /// The priority of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text)
    }

    /// The number under which the databases keep it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The priority of that number.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code).copied())
    }

    /// How far behind a critical job of the same due time this one stands.
    ///
    /// Ageing follows by itself: a background job that has been due for longer
    /// than its offset stands before a critical job that has just become due.
    pub const fn offset_micros(self) -> i64 {
        const MINUTE: i64 = 60_000_000;
        match self {
            Self::Critical => 0,
            Self::High => MINUTE,
            Self::Medium => 5 * MINUTE,
            Self::Low => 15 * MINUTE,
            Self::Background => 60 * MINUTE,
        }
    }

    /// The key by which due jobs of one lane are ordered; the smallest runs first.
    pub const fn order_key(self, due: Timestamp) -> i64 {
        due.micros().saturating_add(self.offset_micros())
    }
}

/// What was asked for. Only `priority`, `labels` and `run_at` may change later.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// The job.
    pub id: JobId,
    /// Its owner.
    pub tenant: TenantId,
    /// Where it waits.
    pub queue: QueueName,
    /// What it does.
    pub kind: Kind,
    /// How urgent it is.
    pub priority: Priority,
    /// What it works on.
    pub payload: Json,
    /// What it can be found by.
    pub labels: Labels,
    /// Where it executes; `None` leaves it to a pulling worker.
    pub target: Option<Target>,
    /// How often it is tried.
    pub retry_policy: RetryPolicy,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// What makes a repeated submit the same submit.
    pub idempotency_key: Option<String>,
    /// What ties it to its cause; the job's own id if it has none.
    pub correlation_id: CorrelationId,
    /// The job that made it.
    pub parent_job_id: Option<JobId>,
    /// The rule that made it.
    pub rule_id: Option<RuleId>,
    /// The firing that made it.
    pub firing_id: Option<FiringId>,
    /// W3C trace context of the submit.
    pub traceparent: Option<String>,
    /// Who submitted it.
    pub created_by: Actor,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was to run.
    pub run_at: Timestamp,
}

/// What is counted of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Executions so far.
    pub attempt: u16,
    /// Attempts spent of the retry budget since the job was made or redriven.
    pub spent: u16,
    /// Workers lost in a row.
    pub lost: u16,
    /// Times that it was handed back by a worker that had to go.
    pub interrupted: u16,
    /// Times that it asked to be run later.
    pub snoozed: u16,
}

/// That somebody asked for the end of a running job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequest {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
}

/// Why a job is not due yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Delay {
    /// It was asked for later.
    Requested = 0,
    /// It backs off after a failure.
    Retry = 1,
    /// It asked for it.
    Snooze = 2,
}

impl Delay {
    /// The number under which the databases keep it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The delay of that number.
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Requested),
            1 => Some(Self::Retry),
            2 => Some(Self::Snooze),
            _ => None,
        }
    }
}

/// Where a job stands: its state with the facts that belong to that state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// WAITING; once free it runs at `due`.
    Waiting {
        /// When it was to run.
        due: Timestamp,
    },
    /// SCHEDULED until `due`; a store shows it as PENDING from then on.
    Scheduled {
        /// When it becomes claimable.
        due: Timestamp,
        /// Why it waits.
        delay: Delay,
    },
    /// PENDING since `due`.
    Pending {
        /// When it became claimable.
        due: Timestamp,
    },
    /// RUNNING.
    Running {
        /// Who runs it.
        worker: WorkerName,
        /// The fence.
        token: LeaseToken,
        /// When the attempt began.
        started_at: Timestamp,
        /// Whether somebody asked for its end.
        cancel: Option<CancelRequest>,
    },
    /// PAUSED; once resumed it runs at `due`, if it is not `waiting`.
    Paused {
        /// When it was to run.
        due: Timestamp,
        /// Whether it was WAITING before.
        waiting: bool,
    },
    /// Any terminal state.
    Ended {
        /// Which.
        state: JobState,
        /// Why, where the state alone does not say it.
        reason: Option<String>,
        /// When.
        at: Timestamp,
    },
}

impl Standing {
    /// SCHEDULED or PENDING, as `due` lies after `now` or not.
    pub fn due_at(due: Timestamp, delay: Delay, now: Timestamp) -> Self {
        if due > now { Self::Scheduled { due, delay } } else { Self::Pending { due } }
    }

    /// The state without its facts.
    pub const fn state(&self) -> JobState {
        match self {
            Self::Waiting { .. } => JobState::Waiting,
            Self::Scheduled { .. } => JobState::Scheduled,
            Self::Pending { .. } => JobState::Pending,
            Self::Running { .. } => JobState::Running,
            Self::Paused { .. } => JobState::Paused,
            Self::Ended { state, .. } => *state,
        }
    }
}

/// How far the running attempt is, as it told last.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// For people.
    pub message: Option<String>,
    /// Items done well.
    pub succeeded: u64,
    /// Items failed.
    pub failed: u64,
}

/// A job as a store shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What was asked for.
    pub spec: JobSpec,
    /// Its owner, as the outside names it.
    pub slug: TenantSlug,
    /// Where it stands.
    pub standing: Standing,
    /// What is counted of it.
    pub counters: Counters,
    /// The number of the last entry of its history: the version of the job.
    pub seq: u32,
    /// Its latest attempt, running or ended.
    pub last_attempt: Option<Attempt>,
    /// Why its latest attempt that has ended did not succeed. It outlasts the start
    /// of the next one.
    pub last_error: Option<AttemptError>,
    /// How far it is.
    pub progress: Progress,
    /// When it last changed: the time of the last entry of its history.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_orders_and_ages() {
        let now = Timestamp::from_micros(1_000_000_000_000);
        let keys: Vec<_> = Priority::ALL.iter().map(|priority| priority.order_key(now)).collect();
        assert!(keys.is_sorted());
        let hour_ago = now.plus_millis(-3_600_001);
        assert!(Priority::Background.order_key(hour_ago) < Priority::Critical.order_key(now));
    }
}
