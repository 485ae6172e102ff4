//! Acting on many jobs by filter.

use taskflow_domain::{Job, JobChange, JobState, Kind, QueueName, Timestamp, change};

use serde_json::{Value, json};

use super::{Jobs, JobsError};
use crate::caller::Caller;
use crate::meter;
use crate::ports::{AuditNote, Committed, JobFilter, Page};

/// Jobs of one transaction: few enough that nobody waits for it.
const STEP: u32 = 500;

/// What is done to each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAction {
    /// End it.
    Cancel,
    /// Send it through again.
    Retry,
}

impl BulkAction {
    /// What the audit calls it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "jobs.cancel",
            Self::Retry => "jobs.retry",
        }
    }

    /// The states from which it is possible.
    const fn possible(self) -> &'static [JobState] {
        match self {
            Self::Cancel => &[
                JobState::Waiting,
                JobState::Scheduled,
                JobState::Pending,
                JobState::Running,
                JobState::Paused,
            ],
            Self::Retry => &[JobState::Failed, JobState::Dead, JobState::Cancelled],
        }
    }

    /// The states that are meant where the filter names none. What somebody
    /// cancelled is sent through again only if it is named.
    const fn meant(self) -> &'static [JobState] {
        match self {
            Self::Cancel => self.possible(),
            Self::Retry => &[JobState::Failed, JobState::Dead],
        }
    }

    /// `filter`, narrowed to the states that this action can do something to;
    /// `None` if none is left.
    fn narrow(self, filter: &JobFilter) -> Option<JobFilter> {
        let mut states = filter.states.clone();
        if states.is_empty() {
            states = self.meant().to_vec();
        }
        states.retain(|state| self.possible().contains(state));
        (!states.is_empty()).then(|| JobFilter { states, ..filter.clone() })
    }

    fn decide(self, job: &Job, caller: &Caller, now: Timestamp) -> Option<JobChange> {
        let actor = caller.actor.clone();
        match self {
            // A job that has moved on since it was found is not meant any more.
            Self::Cancel => change::cancel(job, actor, caller.reason.as_deref(), now).ok().flatten(),
            Self::Retry => change::redrive(job, actor, now).ok(),
        }
    }
}

/// What a bulk action met and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// Jobs that met the filter in a state that allows the action.
    pub matched: u64,
    /// Jobs that were changed.
    pub changed: u64,
    /// Whether it ended early because the tenant's backlog was full.
    pub backlog_full: bool,
}

impl Jobs {
    /// Does `action` to every job that meets the filter, newest first, in many
    /// small transactions. With `dry_run` the jobs are only counted. Where jobs
    /// would wait again, it ends when the tenant's backlog is full.
    pub async fn bulk(
        &self,
        caller: &Caller,
        action: BulkAction,
        filter: &JobFilter,
        dry_run: bool,
    ) -> Result<BulkOutcome, JobsError> {
        let mut outcome = BulkOutcome::default();
        let Some(tenant) = self.directory.find(caller).await? else { return Ok(outcome) };
        let Some(filter) = action.narrow(filter) else { return Ok(outcome) };
        let reader = &self.world.stores.reader;
        if dry_run {
            outcome.matched = reader.count(tenant, &filter, self.world.clock.now()).await?;
            return Ok(outcome);
        }
        // It is many transactions, so what is asked stands in the audit before them.
        self.tell(caller, action.as_str(), json!({ "filter": told(&filter) })).await?;
        let mut page = Page { before: None, limit: STEP };
        loop {
            let now = self.world.clock.now();
            let jobs = reader.list(tenant, &filter, page, now).await?;
            let Some(last) = jobs.last() else {
                self.tell_end(caller, action, outcome).await?;
                return Ok(outcome);
            };
            page.before = Some(last.spec.id);
            outcome.matched += jobs.len() as u64;
            let (met, changes): (Vec<_>, Vec<_>) =
                jobs.iter().filter_map(|job| Some((job, action.decide(job, caller, now)?))).unzip();
            let committed = self.world.stores.jobs.commit(&changes).await?;
            meter::cancelled(&self.world.tally, &met, &changes, &committed);
            outcome.changed += committed.iter().filter(|result| **result == Committed::Done).count() as u64;
            self.announce_changes(&changes);
            let full = committed.iter().find_map(|result| match result {
                Committed::BacklogFull(limit) => Some(*limit),
                Committed::Done | Committed::Refused => None,
            });
            if let Some(limit) = full {
                outcome.backlog_full = true;
                self.tell_end(caller, action, outcome).await?;
                return if outcome.changed > 0 {
                    Ok(outcome)
                } else {
                    Err(self.no_room(caller, limit).await?)
                };
            }
        }
    }

    async fn tell_end(
        &self,
        caller: &Caller,
        action: BulkAction,
        outcome: BulkOutcome,
    ) -> Result<(), JobsError> {
        let BulkOutcome { matched, changed, backlog_full, .. } = outcome;
        let after = json!({ "matched": matched, "changed": changed, "backlog_full": backlog_full });
        self.tell(caller, &format!("{}.done", action.as_str()), after).await
    }

    /// Each job's history tells of it too, with the actor.
    async fn tell(&self, caller: &Caller, action: &str, after: Value) -> Result<(), JobsError> {
        let (now, slug) = (self.world.clock.now(), Some(&caller.slug));
        let note = AuditNote::of(caller, now, slug, action, "jobs".to_owned(), (None, Some(after)));
        Ok(self.audit.note(note).await?)
    }
}

/// What the audit tells of a filter.
fn told(filter: &JobFilter) -> Value {
    let states: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "state": states,
        "queue": filter.queue.as_ref().map(QueueName::as_str),
        "kind": filter.kind.as_ref().map(Kind::as_str),
        "priority": filter.priority.map(taskflow_domain::Priority::as_str),
        "correlation_id": filter.correlation_id.map(|id| id.to_string()),
        "rule_id": filter.rule_id.map(|id| id.to_string()),
        "labels": filter.labels,
        "created_after": time(filter.created_after),
        "created_before": time(filter.created_before),
    })
}
