//! What operators do to jobs: cancel, pause, resume, redrive, edit.

use super::{Decision, Edit, Guard, JobChange, Refusal};
use crate::event::{Actor, EventKind};
use crate::job::{CancelRequest, Counters, Delay, Job, Standing};
use crate::state::JobState;
use crate::time::Timestamp;

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
