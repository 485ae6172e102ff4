//! What a unit of work is going to write, collected so that each table is
//! touched by one statement, however many jobs take part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use sqlx::SqliteConnection;
use taskflow_application::ports::StoreError;
use taskflow_domain::{Counters, JobState, Priority, Standing, Timestamp};
use uuid::Uuid;

use super::super::error::Fault;
use super::super::row::CountersRow;
use super::record::{
    AttemptRecord, EventRecord, FinishedRecord, JobRecord, KeyRecord, LabelRecord, ParkedRecord, ReadyRecord,
    Record, RunningRecord, batch, delete_sql, insert_sql,
};

/// A job's key in every table.
pub(super) type JobKey = (i32, Uuid);

/// The parts of a place that do not depend on where it is.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) job: JobKey,
    pub(super) lane_id: i32,
    pub(super) queue_id: i32,
    pub(super) kind_id: i32,
    pub(super) priority: Priority,
    pub(super) since: Timestamp,
    pub(super) counters: Counters,
    pub(super) seq: i32,
}

/// The collected writes.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) jobs: Vec<JobRecord>,
    pub(super) keys: Vec<KeyRecord>,
    pub(super) labels: Vec<LabelRecord>,
    pub(super) running: Vec<RunningRecord>,
    pub(super) events: Vec<EventRecord>,
    attempts: Vec<AttemptRecord>,
    ready: Vec<ReadyRecord>,
    parked: Vec<ParkedRecord>,
    finished: Vec<FinishedRecord>,
    gone: BTreeMap<Table, Vec<JobKey>>,
    /// Ends of jobs: tenant, job, seq, state, at.
    ends: Vec<(i32, Uuid, i32, i16, i64)>,
    depth: BTreeMap<(i32, i16), i64>,
    awake: BTreeSet<i32>,
}

/// The tables of which exactly one holds each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Ready,
    Parked,
    Running,
    Finished,
}

impl Writes {
    /// Puts a job into the place where it stands from now on.
    pub(super) fn place(&mut self, spot: &Spot, standing: &Standing) -> Result<(), Fault> {
        match standing {
            Standing::Pending { due } => self.ready(spot, *due),
            Standing::Waiting { due } => self.park(spot, JobState::Waiting, *due, 0, false),
            Standing::Scheduled { due, delay } => {
                self.park(spot, JobState::Scheduled, *due, delay.code(), false);
            }
            Standing::Paused { due, waiting } => self.park(spot, JobState::Paused, *due, 0, *waiting),
            Standing::Ended { state, reason, at } => self.finish(spot, *state, reason.clone(), *at),
            Standing::Running { .. } => {
                return Err(StoreError::Rejected("only a claim makes a job run".into()).into());
            }
        }
        self.count(spot.queue_id, standing.state(), 1);
        Ok(())
    }

    /// Takes a job out of the place where it stood.
    pub(super) fn leave(&mut self, from: Table, state: JobState, queue_id: i32, job: JobKey) {
        self.gone.entry(from).or_default().push(job);
        self.count(queue_id, state, -1);
    }

    /// Counts jobs of a queue that came into a state or left it.
    pub(super) fn count(&mut self, queue_id: i32, state: JobState, by: i64) {
        *self.depth.entry((queue_id, state.code())).or_default() += by;
    }

    fn ready(&mut self, spot: &Spot, due: Timestamp) {
        let counters = CountersRow::from(spot.counters);
        self.awake.insert(spot.lane_id);
        self.ready.push(ReadyRecord {
            tenant_id: spot.job.0,
            job_id: spot.job.1,
            lane_id: spot.lane_id,
            ord: spot.priority.order_key(due),
            kind_id: spot.kind_id,
            priority: spot.priority.code(),
            due_at: due.micros(),
            since: spot.since.micros(),
            attempt: counters.attempt,
            spent: counters.spent,
            lost: counters.lost,
            interrupted: counters.interrupted,
            snoozed: counters.snoozed,
            seq: spot.seq,
        });
    }

    fn park(&mut self, spot: &Spot, state: JobState, due: Timestamp, delay: i16, waiting: bool) {
        let counters = CountersRow::from(spot.counters);
        self.parked.push(ParkedRecord {
            tenant_id: spot.job.0,
            job_id: spot.job.1,
            lane_id: spot.lane_id,
            kind_id: spot.kind_id,
            priority: spot.priority.code(),
            due_at: due.micros(),
            since: spot.since.micros(),
            attempt: counters.attempt,
            spent: counters.spent,
            lost: counters.lost,
            interrupted: counters.interrupted,
            snoozed: counters.snoozed,
            seq: spot.seq,
            state: state.code(),
            delay,
            waiting: i16::from(waiting),
        });
    }

    fn finish(&mut self, spot: &Spot, state: JobState, reason: Option<String>, at: Timestamp) {
        let counters = CountersRow::from(spot.counters);
        self.ends.push((spot.job.0, spot.job.1, spot.seq, state.code(), at.micros()));
        self.finished.push(FinishedRecord {
            tenant_id: spot.job.0,
            job_id: spot.job.1,
            lane_id: spot.lane_id,
            kind_id: spot.kind_id,
            state: state.code(),
            reason,
            finished_at: at.micros(),
            attempt: counters.attempt,
            spent: counters.spent,
            lost: counters.lost,
            interrupted: counters.interrupted,
            snoozed: counters.snoozed,
            seq: spot.seq,
            started_at: None,
            token: None,
            worker_id: None,
            started_seq: None,
            outcome: None,
            error_kind: None,
            error_message: None,
            result: None,
        });
    }

    /// Adds an attempt that ended. If its job ended with it, and was placed just
    /// before, it stands there.
    pub(super) fn tried(&mut self, attempt: AttemptRecord) {
        let left = match self.finished.last_mut() {
            Some(end) => end.ended_by(attempt),
            None => Some(attempt),
        };
        self.attempts.extend(left);
    }

    /// Writes everything, and wakes the lanes that got due jobs.
    pub(super) async fn flush(self, tx: &mut SqliteConnection) -> Result<(), Fault> {
        let sql = &*SQL;
        for (table, jobs) in &self.gone {
            if *table == Table::Finished {
                write(tx, REVIVE, jobs).await?;
            }
            write(tx, &sql.delete[*table as usize], jobs).await?;
        }
        write(tx, &sql.jobs, &self.jobs).await?;
        write(tx, &sql.keys, &self.keys).await?;
        write(tx, &sql.labels, &self.labels).await?;
        write(tx, &sql.ready, &self.ready).await?;
        write(tx, &sql.parked, &self.parked).await?;
        write(tx, &sql.running, &self.running).await?;
        write(tx, &sql.finished, &self.finished).await?;
        write(tx, &sql.attempts, &self.attempts).await?;
        write(tx, &sql.events, &self.events).await?;
        write(tx, TELL, &self.ends).await?;
        let depth: Vec<_> = self
            .depth
            .iter()
            .filter(|(_, by)| **by != 0)
            .map(|(&(queue, state), &by)| (queue, state, by))
            .collect();
        write(tx, DEPTH, &depth).await?;
        let awake: Vec<_> = self.awake.into_iter().collect();
        write(tx, AWAKE, &awake).await
    }
}

async fn write<T: serde::Serialize>(
    tx: &mut SqliteConnection,
    sql: &'static str,
    rows: &[T],
) -> Result<(), Fault> {
    if !rows.is_empty() {
        sqlx::query(sql).bind(batch(rows)?).execute(tx).await?;
    }
    Ok(())
}

struct Sql {
    delete: [String; 4],
    jobs: String,
    keys: String,
    labels: String,
    ready: String,
    parked: String,
    running: String,
    finished: String,
    attempts: String,
    events: String,
}

static SQL: LazyLock<Sql> = LazyLock::new(|| Sql {
    delete: ["ready", "parked", "running", "finished"].map(|table| delete_sql(table, "job_id")),
    jobs: insert::<JobRecord>(),
    keys: insert::<KeyRecord>(),
    labels: insert::<LabelRecord>(),
    ready: insert::<ReadyRecord>(),
    parked: insert::<ParkedRecord>(),
    running: insert::<RunningRecord>(),
    finished: insert::<FinishedRecord>(),
    attempts: insert::<AttemptRecord>(),
    events: insert::<EventRecord>(),
});

fn insert<R: Record>() -> String {
    insert_sql::<R>("insert")
}

/// The attempt that ended a job gets the row of its own that it did without.
const REVIVE: &str = "insert into attempt (tenant_id, job_id, number, worker_id, token, started_at, finished_at, \
      outcome, error_kind, error_message, result, then_state, reason, started_seq, ended_seq) \
    select f.tenant_id, f.job_id, f.attempt, f.worker_id, f.token, f.started_at, f.finished_at, \
      f.outcome, f.error_kind, f.error_message, f.result, f.state, f.reason, f.started_seq, f.seq \
    from jsonb_each(?1) e cross join finished f \
      on f.tenant_id = e.value->>'$[0]' and f.job_id = unhex(e.value->>'$[1]', '-') \
    where f.worker_id is not null";

const DEPTH: &str = "insert into depth (queue_id, state, n) \
    select e.value->>'$[0]', e.value->>'$[1]', e.value->>'$[2]' from jsonb_each(?1) e where true \
    on conflict (queue_id, state) do update set n = n + excluded.n";

/// Ends that a rule listens to enter the outbox with the commit that makes them.
const TELL: &str = "insert into event_pending (tenant_id, job_id, seq, state, at, held_until) \
    select e.value->>'$[0]', unhex(e.value->>'$[1]', '-'), e.value->>'$[2]', e.value->>'$[3]', e.value->>'$[4]', 0 \
    from jsonb_each(?1) e \
    where exists (select 1 from rule_watch w where w.tenant_id = e.value->>'$[0]' and w.state = e.value->>'$[3]')";

/// A lane that was idle begins at the least virtual time of the busy lanes
/// beside it, so that idleness saves nothing up.
pub(super) const AWAKE: &str = "update lane set active = 1, virtual_us = max(virtual_us, coalesce((\
      select o.virtual_us from lane o \
      where o.route = lane.route and o.queue_id = lane.queue_id \
        and o.active = 1 and o.blocked = 0 and o.paused = 0 \
      order by o.virtual_us, o.id limit 1), virtual_us)) \
    where id in (select value from jsonb_each(?1)) and active = 0";
