//! From rows of a claim to the jobs that a worker is handed.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;
use taskflow_application::ports::{StoreError, StoreResult};
use taskflow_domain::{ClaimedJob, Lease, LeaseToken, Timestamp, WorkerName, fair};

use crate::store::error::from_sqlx;
use crate::store::postgres::Inner;
use crate::store::row::{CountersRow, JobRow};

/// A row of the claim's statement.
struct Handed {
    lane: i32,
    due: i64,
    token: i64,
    expires_at: i64,
    charged_us: i64,
    counters: CountersRow,
    job: JobRow,
}

impl Handed {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        const COUNTERS: usize = 6;
        Ok(Self {
            lane: row.try_get(0)?,
            due: row.try_get(1)?,
            token: row.try_get(2)?,
            expires_at: row.try_get(3)?,
            charged_us: row.try_get(4)?,
            counters: CountersRow::read(row, COUNTERS)?,
            job: JobRow::read(row, COUNTERS + CountersRow::COLUMNS.len())?,
        })
    }

    fn job(
        self,
        inner: &Inner,
        worker: &WorkerName,
        now: Timestamp,
        lease_until: Option<Timestamp>,
    ) -> StoreResult<ClaimedJob> {
        let (queue, kind) = (inner.queue_name(self.job.queue_id)?, inner.kind_name(self.job.kind_id)?);
        let slug = inner.tenant_slug(self.job.tenant_id)?;
        let spec = self.job.spec(queue, kind)?;
        let lease = Lease {
            tenant: spec.tenant,
            job: spec.id,
            queue: spec.queue.clone(),
            kind: spec.kind.clone(),
            token: LeaseToken(self.token),
            worker: worker.clone(),
            counters: self.counters.counters(),
            retry_policy: spec.retry_policy,
            due: Timestamp::from_micros(self.due),
            started_at: now.max(Timestamp::from_micros(self.due)),
            charged_us: self.charged_us,
            cancel: None,
            timeout_ms: spec.timeout_ms,
            until: lease_until,
        };
        Ok(ClaimedJob { lease, spec, slug, expires_at: Timestamp::from_micros(self.expires_at) })
    }
}

/// The claimed jobs, in the order in which they should start. A job that cannot
/// be read must not withhold the others: it is logged, and its lease runs out.
pub(super) async fn claimed_jobs(
    inner: &Inner,
    rows: &[PgRow],
    worker: &WorkerName,
    now: Timestamp,
    lease_until: Option<Timestamp>,
) -> StoreResult<Vec<ClaimedJob>> {
    let handed =
        rows.iter().map(Handed::read).collect::<sqlx::Result<Vec<_>>>().map_err(|e| from_sqlx(&e))?;
    inner
        .learn_names(
            handed.iter().map(|row| row.job.queue_id),
            handed.iter().map(|row| row.job.kind_id),
            handed.iter().map(|row| row.job.tenant_id),
        )
        .await?;
    let order = order(&handed);
    // The rows are wide, so their places are sorted and each row is moved but once.
    let mut handed: Vec<Option<Handed>> = handed.into_iter().map(Some).collect();
    let mut jobs = Vec::with_capacity(handed.len());
    for row in order.into_iter().filter_map(|at| handed[at].take()) {
        let id = row.job.id;
        match row.job(inner, worker, now, lease_until) {
            Ok(job) => jobs.push(job),
            Err(fault @ StoreError::Corrupt { .. }) => {
                tracing::error!(job.id = %id, %fault, "a claimed job cannot be read");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(jobs)
}

/// The places of the rows in the order in which their jobs should start: one
/// quantum of each lane, then the next of each.
fn order(handed: &[Handed]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..handed.len()).collect();
    order.sort_by_cached_key(|&at| (order_key(&handed[at]), handed[at].job.id));
    let mut nth: HashMap<i32, u32> = HashMap::new();
    let mut rounds = vec![0; handed.len()];
    for &at in &order {
        let nth = nth.entry(handed[at].lane).or_default();
        rounds[at] = *nth / fair::QUANTUM;
        *nth += 1;
    }
    // A stable sort keeps the order inside.
    order.sort_by_key(|&at| rounds[at]);
    order
}

fn order_key(row: &Handed) -> i64 {
    let due = Timestamp::from_micros(row.due);
    taskflow_domain::Priority::from_code(row.job.priority).map_or(row.due, |priority| priority.order_key(due))
}
