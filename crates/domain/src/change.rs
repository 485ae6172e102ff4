//! How a job changes: pure functions from a job and a wish to a [`JobChange`].
//!
//! A change says what it found, so that a store can refuse it when the job has
//! moved on in the meantime. One change makes exactly one entry in the job's
//! history; the store gives the entry its number, the next one of that job.
//! Whoever ends an attempt, a worker, the reaper or a cancel, comes through
//! [`settle`], and the fencing token decides who was first.

use crate::attempt::{Attempt, AttemptEnd, AttemptError, Outcome};
use crate::event::{Actor, EventKind};
use crate::id::{JobId, LeaseToken, TenantId};
use crate::job::{CancelRequest, Counters, Delay, Job, Json, Labels, Lease, Priority, Standing};
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
}

/// Where a job goes after an attempt.
struct Next {
    standing: Standing,
    counters: Counters,
    reason: Option<&'static str>,
}

/// Ends the attempt under `lease` as `report` says.
///
/// Where somebody asked for the job's end, an attempt that did not succeed ends
/// the job, and only a success is stronger than the request.
pub fn settle(lease: &Lease, report: Report) -> JobChange {
    let Report { verdict, at, took_us, random } = report;
    let next = next_place(lease, &verdict, at, random);
    let (outcome, error, result) = outcome_of(verdict);
    let next_run_at = match next.standing {
        Standing::Scheduled { due, .. } | Standing::Pending { due } => Some(due),
        _ => None,
    };
    let end = AttemptEnd {
        at,
        outcome,
        error,
        result,
        then: next.standing.state(),
        next_run_at,
        reason: next.reason,
    };
    let unless_cancelled = lease.cancel.is_none() && !next.standing.state().is_terminal();
    JobChange {
        tenant: lease.tenant,
        job: lease.job,
        guard: Guard::Lease { token: lease.token, unless_cancelled },
        decision: Decision::Move(next.standing),
        counters: next.counters,
        edit: None,
        attempt: Some(Attempt {
            number: lease.counters.attempt,
            worker: lease.worker.clone(),
            token: lease.token,
            started_at: lease.started_at,
            end: Some(end),
        }),
        settle_us: crate::fair::correction_us(lease.charged_us, took_us),
        event: None,
        at,
    }
}

fn next_place(lease: &Lease, verdict: &Verdict, at: Timestamp, random: f64) -> Next {
    let mut counters = lease.counters;
    if !matches!(verdict, Verdict::Lost) {
        counters.lost = 0;
    }
    let ended = |counters, state, reason: Option<&'static str>| Next {
        standing: Standing::Ended { state, reason: reason.map(Into::into), at },
        counters,
        reason,
    };
    let again = |counters, after_ms: u64, delay| {
        let due = at.plus_millis(i64::try_from(after_ms).unwrap_or(i64::MAX));
        Next { standing: Standing::due_at(due, delay, at), counters, reason: None }
    };
    let cancelled = lease.cancel.is_some();
    match verdict {
        Verdict::Succeeded { .. } => ended(counters, JobState::Succeeded, None),
        Verdict::Cancelled => ended(counters, JobState::Cancelled, Some("cancelled")),
        _ if cancelled => ended(counters, JobState::Cancelled, Some("cancelled")),
        Verdict::Failed { permanent: true, .. } => {
            ended(counters, JobState::Failed, Some("permanent_failure"))
        }
        Verdict::Interrupted if counters.interrupted < FREE_INTERRUPTIONS => {
            counters.interrupted += 1;
            counters.spent = counters.spent.saturating_sub(1);
            again(counters, 0, Delay::Retry)
        }
        Verdict::Snoozed { for_ms } if counters.snoozed < FREE_SNOOZES => {
            counters.snoozed += 1;
            counters.spent = counters.spent.saturating_sub(1);
            again(counters, *for_ms, Delay::Snooze)
        }
        Verdict::Lost => {
            counters.lost += 1;
            if counters.lost >= POISON_AT {
                ended(counters, JobState::Dead, Some("poison"))
            } else if counters.spent >= lease.retry_policy.max_attempts {
                ended(counters, JobState::Dead, Some("attempts_exhausted"))
            } else {
                again(counters, 0, Delay::Retry)
            }
        }
        _ if counters.spent >= lease.retry_policy.max_attempts => {
            ended(counters, JobState::Dead, Some("attempts_exhausted"))
        }
        Verdict::Failed { retry_after_ms: Some(ms), .. } => {
            again(counters, (*ms).min(crate::retry::RetryPolicy::LONGEST_DELAY_MS), Delay::Retry)
        }
        _ => again(counters, lease.retry_policy.delay_ms(counters.spent, random), Delay::Retry),
    }
}

fn outcome_of(verdict: Verdict) -> (Outcome, Option<AttemptError>, Option<Json>) {
    let error = |kind: &str, message: String| Some(AttemptError { kind: kind.into(), message });
    match verdict {
        Verdict::Succeeded { result } => (Outcome::Succeeded, None, result),
        Verdict::Failed { error, result, .. } => (Outcome::Failed, Some(error), result),
        Verdict::TimedOut { after_ms } => {
            (Outcome::Timeout, error("timeout", format!("the attempt took longer than {after_ms} ms")), None)
        }
        Verdict::Interrupted => {
            (Outcome::Interrupted, error("interrupted", "the worker was shut down".into()), None)
        }
        Verdict::Snoozed { .. } => (Outcome::Snoozed, None, None),
        Verdict::Cancelled => (Outcome::Cancelled, None, None),
        Verdict::Lost => (
            Outcome::LeaseExpired,
            error("lease_expired", "the worker stopped extending its lease".into()),
            None,
        ),
    }
}

/// A change of a job that is not running, with its one entry in the history.
fn change(
    job: &Job,
    to: Standing,
    kind: EventKind,
    actor: Actor,
    data: serde_json::Value,
    at: Timestamp,
) -> JobChange {
    JobChange {
        tenant: job.spec.tenant,
        job: job.spec.id,
        guard: Guard::Version { state: job.standing.state(), seq: job.seq },
        decision: Decision::Move(to),
        counters: job.counters,
        edit: None,
        attempt: None,
        settle_us: 0,
        event: Some((kind, actor, data)),
        at,
    }
}

fn refuse(job: &Job, action: &'static str, possible: &'static str) -> Refusal {
    Refusal { state: job.standing.state(), action, possible }
}

/// Ends a job that has not ended. A running one keeps running until its worker
/// has heard of it. `Ok(None)` says that the wish is already noted.
pub fn cancel(
    job: &Job,
    actor: Actor,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<Option<JobChange>, Refusal> {
    let data = reason.map_or_else(|| serde_json::json!({}), |reason| serde_json::json!({ "reason": reason }));
    match &job.standing {
        Standing::Ended { .. } => {
            Err(refuse(job, "cancelled", "WAITING, SCHEDULED, PENDING, RUNNING and PAUSED jobs"))
        }
        Standing::Running { cancel: Some(_), .. } => Ok(None),
        Standing::Running { token, .. } => {
            let request = CancelRequest { at: now, actor: actor.clone() };
            let mut change = change(job, job.standing.clone(), EventKind::CancelRequested, actor, data, now);
            change.guard = Guard::Lease { token: *token, unless_cancelled: true };
            change.decision = Decision::RequestCancel(request);
            Ok(Some(change))
        }
        _ => {
            let to =
                Standing::Ended { state: JobState::Cancelled, reason: Some("cancelled".into()), at: now };
            Ok(Some(change(job, to, EventKind::Cancelled, actor, data, now)))
        }
    }
}

/// Holds a job that has not begun.
pub fn pause(job: &Job, actor: Actor, now: Timestamp) -> Result<JobChange, Refusal> {
    let to = match job.standing {
        Standing::Waiting { due } => Standing::Paused { due, waiting: true },
        Standing::Scheduled { due, .. } | Standing::Pending { due } => {
            Standing::Paused { due, waiting: false }
        }
        _ => return Err(refuse(job, "paused", "WAITING, SCHEDULED and PENDING jobs")),
    };
    Ok(change(job, to, EventKind::Paused, actor, serde_json::json!({}), now))
}

/// Ends a hold.
pub fn resume(job: &Job, actor: Actor, now: Timestamp) -> Result<JobChange, Refusal> {
    let to = match job.standing {
        Standing::Paused { due, waiting: true } => Standing::Waiting { due },
        Standing::Paused { due, waiting: false } => Standing::due_at(due, Delay::Requested, now),
        _ => return Err(refuse(job, "resumed", "PAUSED jobs")),
    };
    Ok(change(job, to, EventKind::Resumed, actor, serde_json::json!({}), now))
}

/// Sends an ended job through again, with a new retry budget.
pub fn redrive(job: &Job, actor: Actor, now: Timestamp) -> Result<JobChange, Refusal> {
    match job.standing {
        Standing::Ended { state: JobState::Failed | JobState::Dead | JobState::Cancelled, .. } => {}
        _ => return Err(refuse(job, "retried", "FAILED, DEAD and CANCELLED jobs")),
    }
    let data = serde_json::json!({ "from": job.standing.state().as_str() });
    let mut change = change(job, Standing::Pending { due: now }, EventKind::Redriven, actor, data, now);
    change.counters = Counters { attempt: job.counters.attempt, ..Counters::default() };
    Ok(change)
}

/// Changes time, priority or labels of a job that has not ended. A running job's
/// time has passed; its new priority counts from its next attempt on.
pub fn edit(job: &Job, edit: Edit, actor: Actor, now: Timestamp) -> Result<JobChange, Refusal> {
    let due = |old: Timestamp| edit.run_at.unwrap_or(old);
    let to = match &job.standing {
        Standing::Waiting { due: old } => Standing::Waiting { due: due(*old) },
        Standing::Scheduled { due: old, delay } => {
            let delay = if edit.run_at.is_some() { Delay::Requested } else { *delay };
            Standing::due_at(due(*old), delay, now)
        }
        Standing::Pending { due: old } => Standing::due_at(due(*old), Delay::Requested, now),
        Standing::Paused { due: old, waiting } => Standing::Paused { due: due(*old), waiting: *waiting },
        Standing::Running { .. } if edit.run_at.is_some() => {
            return Err(refuse(job, "rescheduled", "WAITING, SCHEDULED, PENDING and PAUSED jobs"));
        }
        Standing::Running { .. } => job.standing.clone(),
        Standing::Ended { .. } => {
            return Err(refuse(job, "changed", "WAITING, SCHEDULED, PENDING, RUNNING and PAUSED jobs"));
        }
    };
    let mut data = serde_json::json!({});
    if let Some(at) = edit.run_at {
        data["run_at"] = at.to_string().into();
    }
    if let Some(priority) = edit.priority {
        data["priority"] = priority.as_str().into();
    }
    if let Some(labels) = &edit.labels {
        data["labels"] = serde_json::json!(labels);
    }
    let mut change = change(job, to, EventKind::Rescheduled, actor, data, now);
    if let Standing::Running { token, .. } = job.standing {
        change.guard = Guard::Lease { token, unless_cancelled: false };
        change.decision = Decision::Keep;
    }
    change.edit = Some(edit);
    Ok(change)
}
