//! [`WorkerStore`]: who runs jobs, and who is still alive.

use async_trait::async_trait;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{HeldLease, LeaseKey, StoreError, StoreResult, Worker, WorkerStore};
use taskflow_domain::{JobId, LeaseToken, TenantId, Timestamp, WorkerName};

use super::super::entity::worker::{Column, Entity, names_to_text};
use super::super::error::{Fault, from_orm};
use super::SqliteStore;
use super::record::batch;

#[async_trait]
impl WorkerStore for SqliteStore {
    async fn beat(&self, worker: &Worker) -> StoreResult<Vec<HeldLease>> {
        let worker = worker.clone();
        self.shared.writer.run(move |tx| Box::pin(async move { beat(tx, &worker).await })).await
    }

    async fn heard_of(&self, leases: &[LeaseKey], now: Timestamp, until: Timestamp) -> StoreResult<()> {
        let keys: Vec<_> = leases.iter().map(|(tenant, job, token)| (tenant.0, job.0, token.0)).collect();
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let query = sqlx::query(HEARD_OF).bind(batch(&keys)?);
                    query.bind(now.micros()).bind(until.micros()).execute(tx).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn leave(&self, name: &WorkerName, now: Timestamp) -> StoreResult<()> {
        let name = name.as_str().to_owned();
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    for sql in [LET_GO, LEAVE] {
                        sqlx::query(sql).bind(name.clone()).bind(now.micros()).execute(&mut *tx).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn forget(&self, before: Timestamp) -> StoreResult<u32> {
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let mut forgotten = 0;
                    for sql in [DELETE, FORGET] {
                        let done = sqlx::query(sql).bind(before.micros()).execute(&mut *tx).await?;
                        forgotten += done.rows_affected();
                    }
                    Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
                })
            })
            .await
    }

    async fn list(&self) -> StoreResult<Vec<Worker>> {
        let query = Entity::find().filter(Column::Known.eq(true)).order_by_asc(Column::Name);
        let found = query.all(&self.shared.orm).await.map_err(|fault| from_orm(&fault))?;
        let mut workers = found.into_iter().map(Worker::try_from).collect::<StoreResult<Vec<_>>>()?;
        workers.sort_by(|a, b| (&a.name, a.tenant).cmp(&(&b.name, b.tenant)));
        Ok(workers)
    }

    async fn busy(&self) -> StoreResult<Vec<(WorkerName, Option<TenantId>, u32)>> {
        let rows: Result<Vec<(String, Option<i32>, u32)>, sqlx::Error> =
            sqlx::query_as(BUSY).fetch_all(&self.shared.readers).await;
        let name = |name: String| {
            WorkerName::new(&name)
                .map_err(|fault| StoreError::Rejected(format!("the worker {name:?} {fault}")))
        };
        let busy =
            |(worker, tenant, n): (String, Option<i32>, u32)| Ok((name(worker)?, tenant.map(TenantId), n));
        rows.map_err(Fault::from)?.into_iter().map(busy).collect()
    }
}

async fn beat(tx: &mut SqliteConnection, worker: &Worker) -> Result<Vec<HeldLease>, Fault> {
    let row = sqlx::query(BEAT)
        .bind(worker.name.as_str().to_owned())
        .bind(worker.tenant.map(|tenant| tenant.0))
        .bind(names_to_text(&worker.queues))
        .bind(names_to_text(&worker.kinds))
        .bind(worker.slots)
        .bind(worker.started_at.micros())
        .bind(worker.beat_at.micros())
        .bind(worker.lease_until.micros())
        .fetch_one(&mut *tx)
        .await?;
    let id: i32 = row.try_get(0)?;
    let rows = sqlx::query(HELD).bind(id).fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            Ok(HeldLease {
                tenant: TenantId(row.try_get(0)?),
                job: JobId(row.try_get(1)?),
                token: LeaseToken(row.try_get(2)?),
                cancel: row.try_get(3)?,
            })
        })
        .collect()
}

const BEAT: &str = "insert into worker \
      (name, tenant_id, queues, kinds, slots, known, started_at, beat_at, lease_until) \
    values (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8) \
    on conflict (coalesce(tenant_id, 0), name) do update set \
      queues = excluded.queues, kinds = excluded.kinds, \
      slots = excluded.slots, known = 1, started_at = excluded.started_at, \
      beat_at = excluded.beat_at, lease_until = excluded.lease_until \
    returning id";

const HELD: &str = "select r.tenant_id, r.job_id, r.token, r.cancel_at is not null \
    from running r where r.worker_id = ?1";

/// Who has no kinds is TaskFlow's own worker, and speaks for itself.
const HEARD_OF: &str = "update worker set beat_at = max(beat_at, ?2), lease_until = max(lease_until, ?3) \
    where known = 1 and kinds <> '[]' and id in ( \
      select r.worker_id from jsonb_each(?1) e cross join running r \
        on r.tenant_id = e.value->>'$[0]' and r.job_id = unhex(e.value->>'$[1]', '-') \
        and r.token = e.value->>'$[2]')";

const LET_GO: &str = "update running set lease_until = min(lease_until, ?2) \
    where lease_until is not null and worker_id = ( \
      select id from worker where name = ?1 and coalesce(tenant_id, 0) = 0)";

const LEAVE: &str = "update worker set known = 0, lease_until = min(lease_until, ?2) \
    where name = ?1 and coalesce(tenant_id, 0) = 0";

/// What nothing refers to is deleted: whoever waits for jobs under ever new names
/// leaves nothing behind.
const DELETE: &str = "delete from worker where tenant_id is not null and used = 0 and beat_at < ?1";

const FORGET: &str = "update worker set known = 0 where known = 1 and beat_at < ?1 \
    and not exists (select 1 from running r where r.worker_id = worker.id)";

const BUSY: &str = "select w.name, w.tenant_id, count(*) \
    from running r cross join worker w on w.id = r.worker_id \
    group by w.id order by w.name, w.tenant_id";
