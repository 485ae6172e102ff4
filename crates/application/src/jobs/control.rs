//! Acting on one job: cancel, retry, pause, resume, edit.

use serde_json::{Value, json};
use taskflow_domain::change::{self, Edit};
use taskflow_domain::{Decision, Job, JobChange, JobId, JobState, Refusal, Standing, Timestamp};

use super::{Jobs, JobsError};
use crate::caller::Caller;
use crate::meter;
use crate::ports::{AuditNote, Committed, Topic};

/// How often a change is tried again when the job moved on in the meantime.
const TRIES: usize = 8;

impl Jobs {
    /// Ends a job. A running one is told to stop, and is CANCELLED once it has.
    pub async fn cancel(&self, caller: &Caller, id: JobId, reason: Option<&str>) -> Result<Job, JobsError> {
        let caller = &caller.because(reason);
        self.act(caller, "job.cancel", id, |job, now| change::cancel(job, caller.actor.clone(), reason, now))
            .await
    }

    /// Sends an ended job through again, if the tenant may have one more waiting.
    pub async fn retry(&self, caller: &Caller, id: JobId) -> Result<Job, JobsError> {
        self.act(caller, "job.retry", id, |job, now| {
            change::redrive(job, caller.actor.clone(), now).map(Some)
        })
        .await
    }

    /// Holds a job that has not begun.
    pub async fn pause(&self, caller: &Caller, id: JobId) -> Result<Job, JobsError> {
        self.act(caller, "job.pause", id, |job, now| change::pause(job, caller.actor.clone(), now).map(Some))
            .await
    }

    /// Ends a hold.
    pub async fn resume(&self, caller: &Caller, id: JobId) -> Result<Job, JobsError> {
        self.act(caller, "job.resume", id, |job, now| {
            change::resume(job, caller.actor.clone(), now).map(Some)
        })
        .await
    }

    /// Changes time, priority or labels.
    pub async fn edit(&self, caller: &Caller, id: JobId, edit: Edit) -> Result<Job, JobsError> {
        self.act(caller, "job.edit", id, |job, now| {
            change::edit(job, edit.clone(), caller.actor.clone(), now).map(Some)
        })
        .await
    }

    /// Reads, decides, commits; again if the job moved on in between.
    async fn act(
        &self,
        caller: &Caller,
        action: &str,
        id: JobId,
        decide: impl Fn(&Job, Timestamp) -> Result<Option<JobChange>, Refusal>,
    ) -> Result<Job, JobsError> {
        let tenant = self.tenant(caller).await?;
        let reader = &self.world.stores.reader;
        for _ in 0..TRIES {
            let now = self.world.clock.now();
            let job = reader.get(tenant, id, now).await?.ok_or(JobsError::NotFound)?;
            let Some(change) = decide(&job, now)? else { return Ok(job) };
            let told = (Some(told(&job, None)), Some(told(&job, Some(&change))));
            let note = AuditNote::of(caller, now, Some(&caller.slug), action, format!("job:{id}"), told);
            let committed = self.world.stores.jobs.commit_noted(&change, note).await?;
            meter::cancelled(&self.world.tally, &[&job], std::slice::from_ref(&change), &[committed]);
            match committed {
                Committed::Done => {
                    self.announce_changes(std::slice::from_ref(&change));
                    return reader.get(tenant, id, now).await?.ok_or(JobsError::NotFound);
                }
                Committed::BacklogFull(limit) => return Err(self.no_room(caller, limit).await?),
                Committed::Refused => {}
            }
        }
        Err(JobsError::Contended)
    }

    pub(super) fn announce_changes(&self, changes: &[JobChange]) {
        let topic_of = |change: &JobChange| match &change.decision {
            Decision::Keep => None,
            Decision::RequestCancel(_) => Some(Topic::Cancel),
            Decision::Move(standing) => match standing.state() {
                JobState::Pending => Some(Topic::Work),
                JobState::Scheduled => Some(Topic::Schedule),
                _ => None,
            },
        };
        for topic in [Topic::Work, Topic::Schedule, Topic::Cancel] {
            if changes.iter().any(|change| topic_of(change) == Some(topic)) {
                self.world.wakeups.nudge(topic);
            }
        }
    }
}

/// What the audit tells of a job, as it was or as `change` makes it: what an act
/// on it can change.
fn told(job: &Job, change: Option<&JobChange>) -> Value {
    let state = match change.map(|change| &change.decision) {
        Some(Decision::Move(standing)) => standing.state(),
        _ => job.standing.state(),
    };
    let asked = matches!(change.map(|change| &change.decision), Some(Decision::RequestCancel(_)))
        || matches!(&job.standing, Standing::Running { cancel: Some(_), .. });
    let edit = change.and_then(|change| change.edit.as_ref());
    json!({
        "state": state.as_str(),
        "cancel_requested": asked,
        "priority": edit.and_then(|edit| edit.priority).unwrap_or(job.spec.priority).as_str(),
        "run_at": edit.and_then(|edit| edit.run_at).unwrap_or(job.spec.run_at).to_string(),
        "labels": edit.and_then(|edit| edit.labels.as_ref()).unwrap_or(&job.spec.labels),
        "seq": job.seq + u32::from(change.is_some()),
    })
}
