//! Where the jobs of a commit stand, and whether a guard allows a change.

use std::collections::HashMap;

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use taskflow_application::ports::StoreError;
use taskflow_domain::{Guard, JobChange, JobState, Priority};
use uuid::Uuid;

use super::super::super::error::Fault;
use super::super::record::batch;
use super::super::writes::{JobKey, Table};

/// A job as a commit found it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) table: Table,
    pub(super) state: JobState,
    pub(super) seq: i32,
    pub(super) lane_id: i32,
    pub(super) queue_id: i32,
    pub(super) kind_id: i32,
    pub(super) priority: Priority,
    pub(super) lease: Option<Held>,
}

/// What only a running job has.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) worker_id: i32,
    pub(super) started_seq: i32,
    pub(super) charged_us: i64,
    pub(super) weight: u32,
    pub(super) slots: [Option<i32>; 2],
    /// Whether the queue counts its running jobs.
    pub(super) counted: bool,
    /// What its kind has cost so far, if it ever ran.
    pub(super) cost_us: Option<i64>,
    token: i64,
    cancelled: bool,
    lease_until: i64,
}

impl Place {
    /// Whether the job still is as the change had found it. The number of its
    /// last entry says so: only a claim, a commit and a report of progress make
    /// one, and promotion is no change.
    pub(super) fn allows(&self, guard: &Guard) -> bool {
        match (*guard, guard.of_running(), &self.lease) {
            (_, Some((token, unless_cancelled, lapsed_by)), Some(held)) => {
                held.token == token.0
                    && !(unless_cancelled && held.cancelled)
                    && lapsed_by.is_none_or(|by| held.lease_until <= by.micros())
            }
            (Guard::Version { state, seq }, _, None) => {
                let due_soon = |state| matches!(state, JobState::Scheduled | JobState::Pending);
                i64::from(self.seq) == i64::from(seq)
                    && (self.state == state || (due_soon(self.state) && due_soon(state)))
            }
            _ => false,
        }
    }
}

/// The places of the jobs that the changes name, as far as their guards can hold there.
pub(super) async fn find(
    tx: &mut SqliteConnection,
    changes: &[JobChange],
) -> Result<HashMap<JobKey, Place>, Fault> {
    let (mut leased, mut standing) = (Vec::new(), Vec::new());
    for change in changes {
        let key = (change.tenant.0, change.job.0);
        match change.guard {
            Guard::Lease { .. } | Guard::Lapsed { .. } => leased.push(key),
            Guard::Version { .. } => standing.push(key),
        }
    }
    let mut found = HashMap::with_capacity(changes.len());
    if !leased.is_empty() {
        for row in sqlx::query(LEASED).bind(batch(&leased)?).fetch_all(&mut *tx).await? {
            let (key, place) = read(&row, Table::Running)?;
            found.insert(key, Place { lease: Some(held(&row)?), ..place });
        }
    }
    if !standing.is_empty() {
        for row in sqlx::query(STANDING).bind(batch(&standing)?).fetch_all(&mut *tx).await? {
            let (key, place) = read(&row, Table::Ready)?;
            let table = match place.state {
                JobState::Pending => Table::Ready,
                state if state.is_terminal() => Table::Finished,
                _ => Table::Parked,
            };
            found.entry(key).or_insert(Place { table, ..place });
        }
    }
    Ok(found)
}

fn read(row: &SqliteRow, table: Table) -> Result<(JobKey, Place), Fault> {
    let key: JobKey = (row.try_get(0)?, row.try_get::<Uuid, _>(1)?);
    let corrupt = |column, code: i16| StoreError::Corrupt {
        table: "place",
        column,
        id: key.1.to_string(),
        detail: format!("{code} is no such code"),
    };
    let (state, priority): (i16, i16) = (row.try_get(2)?, row.try_get(7)?);
    let place = Place {
        table,
        state: JobState::from_code(state).ok_or_else(|| corrupt("state", state))?,
        seq: row.try_get(3)?,
        lane_id: row.try_get(4)?,
        queue_id: row.try_get(5)?,
        kind_id: row.try_get(6)?,
        priority: Priority::from_code(priority).ok_or_else(|| corrupt("priority", priority))?,
        lease: None,
    };
    Ok((key, place))
}

fn held(row: &SqliteRow) -> Result<Held, Fault> {
    Ok(Held {
        worker_id: row.try_get(8)?,
        started_seq: row.try_get(9)?,
        charged_us: row.try_get(10)?,
        weight: row.try_get(11)?,
        slots: [row.try_get(12)?, row.try_get(13)?],
        counted: row.try_get(14)?,
        cost_us: row.try_get(15)?,
        token: row.try_get(16)?,
        cancelled: row.try_get(17)?,
        lease_until: row.try_get(18)?,
    })
}

const LEASED: &str = "select r.tenant_id, r.job_id, 3, r.seq, r.lane_id, l.queue_id, r.kind_id, r.priority, \
      r.worker_id, r.started_seq, r.charged_us, l.weight, l.tenant_slot, l.queue_slot, \
      q.max_running is not null, c.cost_us, r.token, r.cancel_at is not null, \
      coalesce(r.lease_until, (select w.lease_until from worker w where w.id = r.worker_id), 0) \
    from jsonb_each(?1) e \
    cross join running r on r.tenant_id = e.value->>'$[0]' and r.job_id = unhex(e.value->>'$[1]', '-') \
    cross join lane l on l.id = r.lane_id \
    cross join queue q on q.id = l.queue_id \
    left join kind_cost c on c.tenant_id = r.tenant_id and c.kind_id = r.kind_id";

const STANDING: &str = "with wanted(tenant_id, job_id) as materialized ( \
      select distinct e.value->>'$[0]', unhex(e.value->>'$[1]', '-') from jsonb_each(?1) e) \
    select r.tenant_id, r.job_id, 2, r.seq, r.lane_id, l.queue_id, r.kind_id, r.priority \
      from wanted w cross join ready r on r.tenant_id = w.tenant_id and r.job_id = w.job_id \
      cross join lane l on l.id = r.lane_id \
    union all \
    select p.tenant_id, p.job_id, p.state, p.seq, p.lane_id, l.queue_id, p.kind_id, p.priority \
      from wanted w cross join parked p on p.tenant_id = w.tenant_id and p.job_id = w.job_id \
      cross join lane l on l.id = p.lane_id \
    union all \
    select f.tenant_id, f.job_id, f.state, f.seq, f.lane_id, j.queue_id, f.kind_id, j.priority \
      from wanted w cross join finished f on f.tenant_id = w.tenant_id and f.job_id = w.job_id \
      cross join job j on j.tenant_id = f.tenant_id and j.id = f.job_id";
