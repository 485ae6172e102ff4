//! A job's history: one entry for each change, numbered without gaps.
//!
//! Three kinds of entry follow from other records and are not stored twice:
//! `created` from the job itself, and from each attempt its start and its end.
//! [`History`] puts these together with the recorded rest.

use std::fmt;

use crate::attempt::{Attempt, AttemptEnd, Outcome};
use crate::id::KeyId;
use crate::job::Progress;
use crate::name::WorkerName;
use crate::state::JobState;
use crate::time::Timestamp;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum EventKind {
    /// The job was accepted.
    Created = 0,
    /// An attempt began.
    Started = 1,
    /// The running attempt told how far it is.
    Progressed = 2,
    /// The job ended well.
    Succeeded = 3,
    /// The job ended by a permanent failure.
    Failed = 4,
    /// An attempt ended without success, and the job will be tried again.
    RetryScheduled = 5,
    /// The job's retry budget is spent.
    Dead = 6,
    /// Somebody asked for the end of a running job.
    CancelRequested = 7,
    /// The job ended because somebody said so.
    Cancelled = 8,
    /// An operator holds the job.
    Paused = 9,
    /// The hold ended.
    Resumed = 10,
    /// An ended job was sent through again.
    Redriven = 11,
    /// Its time, priority or labels were changed.
    Rescheduled = 12,
    /// An attempt was handed back by a worker that had to go.
    Interrupted = 13,
    /// An attempt asked to be run later.
    Snoozed = 14,
}

impl EventKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Created,
        Self::Started,
        Self::Progressed,
        Self::Succeeded,
        Self::Failed,
        Self::RetryScheduled,
        Self::Dead,
        Self::CancelRequested,
        Self::Cancelled,
        Self::Paused,
        Self::Resumed,
        Self::Redriven,
        Self::Rescheduled,
        Self::Interrupted,
        Self::Snoozed,
    ];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Progressed => "progressed",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RetryScheduled => "retry_scheduled",
            Self::Dead => "dead",
            Self::CancelRequested => "cancel_requested",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Redriven => "redriven",
            Self::Rescheduled => "rescheduled",
            Self::Interrupted => "interrupted",
            Self::Snoozed => "snoozed",
        }
    }

    /// The number under which the databases keep it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The kind of that number.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code).copied())
    }
}

/// Who caused a change: `api`, `engine`, `worker:<name>`, `rule:<id>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Actor(String);

impl Actor {
    /// A caller of the API without a key.
    pub fn api() -> Self {
        Self("api".into())
    }

    /// Whoever holds the operator key of the configuration.
    pub fn operator() -> Self {
        Self("operator".into())
    }

    /// Whoever holds this key.
    pub fn key(id: KeyId) -> Self {
        Self(format!("key:{id}"))
    }

    /// The engine itself, as when it takes back an expired lease.
    pub fn engine() -> Self {
        Self("engine".into())
    }

    /// The worker that ran the attempt.
    pub fn worker(name: &WorkerName) -> Self {
        Self(format!("worker:{name}"))
    }

    /// As a store kept it.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text of the API.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One entry of a job's history.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEvent {
    /// 1 for the first entry of the job; no number is missing.
    pub seq: u32,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// Particulars: an object.
    pub data: serde_json::Value,
}

/// The entry that every history begins with.
pub fn created(at: Timestamp, actor: Actor) -> JobEvent {
    JobEvent { seq: 1, kind: EventKind::Created, at, actor, data: serde_json::json!({}) }
}

/// The entry of an attempt's start.
pub fn started(seq: u32, attempt: &Attempt) -> JobEvent {
    JobEvent {
        seq,
        kind: EventKind::Started,
        at: attempt.started_at,
        actor: Actor::worker(&attempt.worker),
        data: serde_json::json!({ "attempt": attempt.number }),
    }
}

/// The entry of an attempt's end.
pub fn ended(seq: u32, attempt: &Attempt, end: &AttemptEnd) -> JobEvent {
    let kind = match (end.then, end.outcome) {
        (JobState::Succeeded, _) => EventKind::Succeeded,
        (JobState::Failed, _) => EventKind::Failed,
        (JobState::Dead, _) => EventKind::Dead,
        (JobState::Cancelled, _) => EventKind::Cancelled,
        (_, Outcome::Interrupted) => EventKind::Interrupted,
        (_, Outcome::Snoozed) => EventKind::Snoozed,
        _ => EventKind::RetryScheduled,
    };
    let mut data = serde_json::json!({ "attempt": attempt.number, "outcome": end.outcome.as_str() });
    if let Some(error) = &end.error {
        data["error"] = serde_json::json!({ "type": error.kind, "message": error.message });
    }
    if let Some(at) = end.next_run_at {
        data["next_run_at"] = at.to_string().into();
    }
    if let Some(reason) = end.reason {
        data["reason"] = reason.into();
    }
    let actor =
        if end.outcome == Outcome::LeaseExpired { Actor::engine() } else { Actor::worker(&attempt.worker) };
    JobEvent { seq, kind, at: end.at, actor, data }
}

/// The entry of what a running attempt told of its progress.
pub fn progressed(seq: u32, worker: &WorkerName, progress: &Progress, at: Timestamp) -> JobEvent {
    let data = serde_json::json!({
        "percent": progress.percent,
        "message": progress.message,
        "succeeded": progress.succeeded,
        "failed": progress.failed,
    });
    JobEvent { seq, kind: EventKind::Progressed, at, actor: Actor::worker(worker), data }
}

/// An attempt with the numbers of its two entries in the job's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedAttempt {
    /// The attempt.
    pub attempt: Attempt,
    /// The number of the entry of its start.
    pub started_seq: u32,
    /// The number of the entry of its end, if it has ended.
    pub ended_seq: Option<u32>,
}

/// What a job's history is put together from.
#[derive(Clone, Debug)]
pub struct History {
    /// When the job was accepted.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Actor,
    /// Its attempts, the running one included.
    pub attempts: Vec<NumberedAttempt>,
    /// The entries that are kept as such.
    pub recorded: Vec<JobEvent>,
}

impl History {
    /// All entries, in order.
    pub fn events(self) -> Vec<JobEvent> {
        let mut events = self.recorded;
        events.push(created(self.created_at, self.created_by));
        for numbered in &self.attempts {
            events.push(started(numbered.started_seq, &numbered.attempt));
            if let (Some(seq), Some(end)) = (numbered.ended_seq, &numbered.attempt.end) {
                events.push(ended(seq, &numbered.attempt, end));
            }
        }
        events.sort_by_key(|event| event.seq);
        events
    }
}
