//! The accepted changes of a commit, turned into rows.

use sqlx::SqliteConnection;
use taskflow_application::ports::StoreError;
use taskflow_domain::{Attempt, Decision, Edit, JobChange, JobState};
use uuid::Uuid;

use super::super::super::error::Fault;
use super::super::super::row::labels_to_text;
use super::super::record::{AttemptRecord, EventRecord, LabelRecord, batch};
use super::super::writes::{Spot, Table, Writes};
use super::found::{Held, Place};
use super::lanes::Lanes;

/// What the accepted changes write.
#[derive(Debug, Default)]
pub(super) struct Moves {
    writes: Writes,
    lanes: Lanes,
    kept: Vec<Kept>,
    edits: Vec<JobEdit>,
}

/// A running job that goes on: tenant, job, seq, priority, cancelled at and by whom.
type Kept = (i32, Uuid, i32, i16, Option<i64>, Option<String>);

/// Tenant, job, priority, time, whether the labels change, labels.
type JobEdit = (i32, Uuid, Option<i16>, Option<i64>, bool, Option<String>);

impl Moves {
    /// Accepts a change of a job that stands in `place`.
    pub(super) fn add(&mut self, change: &JobChange, place: &Place) -> Result<(), Fault> {
        let job = (change.tenant.0, change.job.0);
        let seq = place.seq + 1;
        let edited = change.edit.as_ref().and_then(|edit| edit.priority);
        let priority = edited.unwrap_or(place.priority);
        match &change.decision {
            Decision::Move(standing) => {
                self.writes.leave(place.table, place.state, place.queue_id, job);
                let spot = Spot {
                    job,
                    lane_id: place.lane_id,
                    queue_id: place.queue_id,
                    kind_id: place.kind_id,
                    priority,
                    since: change.at,
                    counters: change.counters,
                    seq,
                };
                self.writes.place(&spot, standing)?;
                if place.table == Table::Running {
                    self.lanes.ended(change, place);
                }
            }
            Decision::RequestCancel(request) => {
                let (at, actor) = (request.at.micros(), request.actor.as_str().to_owned());
                self.kept.push((job.0, job.1, seq, priority.code(), Some(at), Some(actor)));
            }
            Decision::Keep => self.kept.push((job.0, job.1, seq, priority.code(), None, None)),
        }
        if matches!(change.decision, Decision::RequestCancel(_) | Decision::Keep)
            && place.table != Table::Running
        {
            return Err(StoreError::Rejected("only a running job keeps running".into()).into());
        }
        if let (Some(attempt), Some(held)) = (&change.attempt, &place.lease)
            && let Some(record) = attempt_record(job, attempt, held, seq)
        {
            self.writes.tried(record);
        }
        if let Some((kind, actor, data)) = &change.event {
            self.writes.events.push(EventRecord {
                tenant_id: job.0,
                job_id: job.1,
                seq,
                kind: kind.code(),
                at: change.at.micros(),
                actor: actor.as_str().to_owned(),
                data: data.to_string(),
            });
        }
        if let Some(edit) = &change.edit {
            self.edit(job.0, job.1, edit)?;
        }
        Ok(())
    }

    fn edit(&mut self, tenant_id: i32, job_id: Uuid, edit: &Edit) -> Result<(), Fault> {
        let labels = edit.labels.as_ref().map(labels_to_text).transpose()?.flatten();
        let priority = edit.priority.map(taskflow_domain::Priority::code);
        let run_at = edit.run_at.map(taskflow_domain::Timestamp::micros);
        self.edits.push((tenant_id, job_id, priority, run_at, edit.labels.is_some(), labels));
        for (key, value) in edit.labels.iter().flatten() {
            let (key, value) = (key.clone(), value.clone());
            self.writes.labels.push(LabelRecord { tenant_id, key, value, job_id });
        }
        Ok(())
    }

    pub(super) async fn flush(self, tx: &mut SqliteConnection) -> Result<(), Fault> {
        if !self.edits.is_empty() {
            let edits = batch(&self.edits)?;
            sqlx::query(FORGET_LABELS).bind(edits.clone()).execute(&mut *tx).await?;
            sqlx::query(EDIT).bind(edits).execute(&mut *tx).await?;
        }
        if !self.kept.is_empty() {
            sqlx::query(KEEP).bind(batch(&self.kept)?).execute(&mut *tx).await?;
        }
        self.writes.flush(&mut *tx).await?;
        self.lanes.flush(tx).await
    }
}

fn attempt_record(job: (i32, Uuid), attempt: &Attempt, held: &Held, seq: i32) -> Option<AttemptRecord> {
    let end = attempt.end.as_ref()?;
    Some(AttemptRecord {
        tenant_id: job.0,
        job_id: job.1,
        number: i16::try_from(attempt.number).unwrap_or(i16::MAX),
        worker_id: held.worker_id,
        token: attempt.token.0,
        started_at: attempt.started_at.micros(),
        finished_at: end.at.micros(),
        outcome: end.outcome.code(),
        error_kind: end.error.as_ref().map(|error| error.kind.clone()),
        error_message: end.error.as_ref().map(|error| error.message.clone()),
        result: end.result.as_ref().map(|result| result.as_str().to_owned()),
        then_state: JobState::code(end.then),
        next_run_at: end.next_run_at.map(taskflow_domain::Timestamp::micros),
        reason: end.reason.map(Into::into),
        started_seq: held.started_seq,
        ended_seq: seq,
    })
}

const KEEP: &str = "update running set \
      seq = e.value->>'$[2]', \
      priority = e.value->>'$[3]', \
      cancel_at = coalesce(e.value->>'$[4]', cancel_at), \
      cancel_actor = coalesce(e.value->>'$[5]', cancel_actor) \
    from jsonb_each(?1) e \
    where running.tenant_id = e.value->>'$[0]' and running.job_id = unhex(e.value->>'$[1]', '-')";

const EDIT: &str = "update job set \
      priority = coalesce(e.value->>'$[2]', priority), \
      run_at = coalesce(e.value->>'$[3]', run_at), \
      labels = case when e.value->>'$[4]' then e.value->>'$[5]' else labels end \
    from jsonb_each(?1) e \
    where job.tenant_id = e.value->>'$[0]' and job.id = unhex(e.value->>'$[1]', '-')";

/// The old labels say which rows to delete, so this comes before [`EDIT`].
const FORGET_LABELS: &str = "delete from job_label where (tenant_id, key, value, job_id) in ( \
    select j.tenant_id, l.key, l.value, j.id \
    from jsonb_each(?1) e \
    cross join job j on j.tenant_id = e.value->>'$[0]' and j.id = unhex(e.value->>'$[1]', '-') \
    cross join jsonb_each(j.labels) l \
    where e.value->>'$[4]')";
