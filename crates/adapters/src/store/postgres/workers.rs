//! Workers: who is there, and until when their leases last.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use sqlx::PgConnection;
use taskflow_application::ports::{HeldLease, LeaseKey, StoreResult, Worker, WorkerStore};
use taskflow_domain::{JobId, LeaseToken, TenantId, Timestamp, WorkerName};
use uuid::Uuid;

use super::unit::{End, Unit, asked, detached, repeat, transact_detached};
use super::{Inner, count, int};
use crate::store::entity::worker::{self, names_to_text};
use crate::store::error::Fault;

/// The one write of a beat, with everything that the worker holds. `kept` makes
/// the read wait for the write, which it does not see.
const BEAT: &str = "
insert into worker as w (name, tenant_id, queues, kinds, slots, known, started_at, beat_at, lease_until)
values ($1, $2, $3, $4, $5, true, $6, $7, $8)
on conflict (coalesce(tenant_id, 0), name) do update set queues = excluded.queues,
    kinds = excluded.kinds, slots = excluded.slots, known = true, started_at = excluded.started_at,
    beat_at = excluded.beat_at, lease_until = excluded.lease_until
returning id";

/// Who has no kinds is TaskFlow's own worker, and speaks for itself.
const HEARD_OF: &str = "
update worker w set beat_at = greatest(w.beat_at, $4), lease_until = greatest(w.lease_until, $5)
where w.known and w.kinds <> '[]' and w.id in (
    select r.worker_id from unnest($1::int4[], $2::uuid[], $3::int8[]) k(tenant_id, job_id, token)
    cross join lateral (
        select worker_id from running r
        where r.tenant_id = k.tenant_id and r.job_id = k.job_id and r.token = k.token limit 1) r)";

const HELD: &str = "select tenant_id, job_id, token, cancel_at is not null from running where worker_id = $1";

/// Leases that the worker's lease governed get an end of their own, because
/// nobody governs them any more.
const LEAVE: &str = "
update running set lease_until = $2 
where worker_id = (select id from worker where name = $1 and coalesce(tenant_id, 0) = 0)";

const FORGET_ONE: &str = "
update worker set known = false, lease_until = $2 where name = $1 and coalesce(tenant_id, 0) = 0";

/// What nothing refers to is deleted: whoever waits for jobs under ever new names
/// leaves nothing behind.
const DELETE: &str = "delete from worker where tenant_id is not null and not used and beat_at < $1";

const FORGET: &str = "
update worker w set known = false
where w.known and w.beat_at < $1 and not exists (select 1 from running r where r.worker_id = w.id)";

const BUSY: &str = "
select w.name, w.tenant_id, n from worker w cross join lateral (
    select count(*) n from running r where r.worker_id = w.id) r
where w.known and n > 0 order by w.name collate \"C\", w.tenant_id nulls first";

/// The port over PostgreSQL.
pub(super) struct PgWorkers(pub(super) Arc<Inner>);

struct Leave {
    name: WorkerName,
    now: Timestamp,
}

impl Unit for Leave {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<End<()>, Fault> {
        for sql in [FORGET_ONE, LEAVE] {
            sqlx::query(sql)
                .bind(self.name.as_str())
                .bind(self.now.micros())
                .execute(&mut *connection)
                .await?;
        }
        Ok(End::Commit(()))
    }
}

#[async_trait]
impl WorkerStore for PgWorkers {
    async fn beat(&self, worker: &Worker) -> StoreResult<Vec<HeldLease>> {
        let (inner, worker) = (Arc::clone(&self.0), worker.clone());
        detached(async move {
            let (queues, kinds) = (names_to_text(&worker.queues), names_to_text(&worker.kinds));
            let id: i32 = repeat(|| {
                sqlx::query_scalar(BEAT)
                    .bind(worker.name.as_str())
                    .bind(worker.tenant.map(|tenant| tenant.0))
                    .bind(&queues)
                    .bind(&kinds)
                    .bind(int(worker.slots))
                    .bind(worker.started_at.micros())
                    .bind(worker.beat_at.micros())
                    .bind(worker.lease_until.micros())
                    .fetch_one(&inner.pool)
            })
            .await?;
            if worker.tenant.is_none() {
                inner.catalog.workers.remember(id, worker.name);
            }
            let held: Vec<(i32, Uuid, i64, bool)> =
                repeat(|| sqlx::query_as(HELD).bind(id).fetch_all(&inner.pool)).await?;
            let lease = |(tenant, job, token, cancel)| HeldLease {
                tenant: TenantId(tenant),
                job: JobId(job),
                token: LeaseToken(token),
                cancel,
            };
            Ok(held.into_iter().map(lease).collect())
        })
        .await
    }

    async fn heard_of(&self, leases: &[LeaseKey], now: Timestamp, until: Timestamp) -> StoreResult<()> {
        let tenants: Vec<i32> = leases.iter().map(|(tenant, ..)| tenant.0).collect();
        let ids: Vec<Uuid> = leases.iter().map(|(_, job, _)| job.0).collect();
        let tokens: Vec<i64> = leases.iter().map(|(.., token)| token.0).collect();
        repeat(|| {
            sqlx::query(HEARD_OF)
                .bind(&tenants)
                .bind(&ids)
                .bind(&tokens)
                .bind(now.micros())
                .bind(until.micros())
                .execute(&self.0.pool)
        })
        .await
        .map(drop)
    }

    async fn leave(&self, name: &WorkerName, now: Timestamp) -> StoreResult<()> {
        transact_detached(&self.0.warm, Leave { name: name.clone(), now }).await
    }

    async fn forget(&self, before: Timestamp) -> StoreResult<u32> {
        let mut forgotten = 0;
        for sql in [DELETE, FORGET] {
            let done = repeat(|| sqlx::query(sql).bind(before.micros()).execute(&self.0.pool)).await?;
            forgotten += done.rows_affected();
        }
        Ok(count(forgotten))
    }

    async fn list(&self) -> StoreResult<Vec<Worker>> {
        let rows = asked(
            worker::Entity::find()
                .filter(worker::Column::Known.eq(true))
                .order_by_asc(worker::Column::Name)
                .all(&self.0.orm),
        )
        .await?;
        let mut workers = rows.into_iter().map(Worker::try_from).collect::<StoreResult<Vec<_>>>()?;
        // The database may order by a locale; names are ordered by their bytes.
        workers.sort_by(|a, b| (&a.name, a.tenant).cmp(&(&b.name, b.tenant)));
        Ok(workers)
    }

    async fn busy(&self) -> StoreResult<Vec<(WorkerName, Option<TenantId>, u32)>> {
        let rows: Vec<(String, Option<i32>, i64)> =
            repeat(|| sqlx::query_as(BUSY).fetch_all(&self.0.pool)).await?;
        let busy = |(name, tenant, n): (String, Option<i32>, i64)| {
            Ok((known(&name)?, tenant.map(TenantId), u32::try_from(n).unwrap_or(u32::MAX)))
        };
        rows.into_iter().map(busy).collect()
    }
}

fn known(name: &str) -> StoreResult<WorkerName> {
    WorkerName::new(name).map_err(|fault| super::rejected(format!("the stored worker {name:?} {fault}")))
}
