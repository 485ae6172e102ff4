//! Statistics: sums by minute and hour, and what runners tell.
//!
//! A batch goes in as one JSON document, in the order of the keys, so that
//! processes that add to the same rows wait for each other and never in a circle.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sqlx::{PgConnection, Row};
use taskflow_application::ports::{
    Bucket, Recent, RunnerStatus, SeriesWish, StatStore, StoreError, StoreResult,
};
use taskflow_application::tally::Batch;
use taskflow_domain::{Kind, NameError, QueueName, TenantSlug, Timestamp};

use super::unit::{End, Unit, repeat, transact_detached};
use super::{Inner, int, rejected};
use crate::store::error::{Fault, from_sqlx};
use crate::store::row::{
    COUNTS, RunnerRow, loops_to_text, read_counts, runner, spread_documents, stat_documents,
};

const ADD: &str = "
insert into stat as s (span, at, queue_id, tenant_id, kind_id,
    created, started, succeeded, failed, dead, cancelled, retried, wait_us, run_us)
select x.span, x.at, q.id, x.tenant, k.id,
    x.created, x.started, x.succeeded, x.failed, x.dead, x.cancelled, x.retried, x.wait_us, x.run_us
from jsonb_to_recordset($1::jsonb) x(span int4, at int8, tenant int4, queue text, kind text,
    created int8, started int8, succeeded int8, failed int8, dead int8, cancelled int8, retried int8,
    wait_us int8, run_us int8)
cross join lateral (select id from queue where name = x.queue limit 1) q
cross join lateral (select id from kind where name = x.kind limit 1) k
order by 1, 2, 3, 4, 5
on conflict (span, at, queue_id, tenant_id, kind_id) do update set
    created = s.created + excluded.created, started = s.started + excluded.started,
    succeeded = s.succeeded + excluded.succeeded, failed = s.failed + excluded.failed,
    dead = s.dead + excluded.dead, cancelled = s.cancelled + excluded.cancelled,
    retried = s.retried + excluded.retried, wait_us = s.wait_us + excluded.wait_us,
    run_us = s.run_us + excluded.run_us";

const ADD_SPREADS: &str = "
insert into stat_spread as s (at, queue_id, measure, bin, n)
select x.at, q.id, x.measure, x.bin, x.n
from jsonb_to_recordset($1::jsonb) x(at int8, queue text, measure int2, bin int2, n int8)
cross join lateral (select id from queue where name = x.queue limit 1) q
order by 1, 2, 3, 4
on conflict (at, queue_id, measure, bin) do update set n = s.n + excluded.n";

/// The minutes since `$1`, through the primary key.
static RECENT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select (select q.name from queue q where q.id = s.queue_id), {COUNTS}
        from stat s where s.span = 60 and s.at >= $1 group by s.queue_id"
    )
});

const RECENT_SPREADS: &str = "
select (select q.name from queue q where q.id = s.queue_id), s.measure, s.bin, sum(s.n)::int8
from stat_spread s where s.at >= $1 group by s.queue_id, s.measure, s.bin";

static SERIES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select g.* from (
            select s.at, (select t.slug from tenant t where t.id = case when $7 then s.tenant_id end) tenant,
                (select q.name from queue q where q.id = case when $8 then s.queue_id end) queue,
                (select k.name from kind k where k.id = case when $9 then s.kind_id end) kind, {COUNTS}
            from stat s
            where s.span = $1 and s.at >= $2 and s.at < $3 and ($4::int4 is null or s.tenant_id = $4)
                and ($5::text is null or s.queue_id = (select id from queue where name = $5))
                and ($6::text is null or s.kind_id = (select id from kind where name = $6))
            group by 1, 2, 3, 4) g
        order by g.at desc, g.tenant collate \"C\", g.queue collate \"C\", g.kind collate \"C\" limit $10"
    )
});

const FORGET: &str = "delete from stat where (span = 60 and at < $1) or (span = 3600 and at < $2)";
const FORGET_SPREADS: &str = "delete from stat_spread where at < $1";
const FORGET_RUNNERS: &str = "delete from runner where seen_at < $1";

const TELL: &str = "
insert into runner as r (name, started_at, seen_at, loops) values ($1, $2, $3, $4)
on conflict (name) do update set started_at = excluded.started_at, seen_at = excluded.seen_at,
    loops = excluded.loops";

const LEAVE: &str = "delete from runner where name = $1";

const RUNNERS: &str = "select name, started_at, seen_at, loops from runner order by name collate \"C\"";

/// The port over PostgreSQL.
pub(super) struct PgStats(pub(super) Arc<Inner>);

struct Add {
    stats: String,
    spreads: String,
}

impl Unit for Add {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<End<()>, Fault> {
        sqlx::query(ADD).bind(&self.stats).execute(&mut *connection).await?;
        sqlx::query(ADD_SPREADS).bind(&self.spreads).execute(connection).await?;
        Ok(End::Commit(()))
    }
}

fn unreadable(fault: &sqlx::Error) -> StoreError {
    from_sqlx(fault)
}

/// A name that was read.
fn name<T>(text: &str, make: fn(&str) -> Result<T, NameError>) -> StoreResult<T> {
    make(text).map_err(|fault| rejected(format!("the stored name {text:?} {fault}")))
}

impl PgStats {
    async fn counts(&self, since: Timestamp) -> StoreResult<BTreeMap<QueueName, Recent>> {
        let pool = &self.0.pool;
        let rows = repeat(|| sqlx::query(RECENT.as_str()).bind(since.micros()).fetch_all(pool)).await?;
        let mut recent: BTreeMap<QueueName, Recent> = BTreeMap::new();
        for row in &rows {
            let parts = || Ok((row.try_get::<&str, _>(0)?, read_counts(row, 1)?));
            let (queue, counts) = parts().map_err(|fault| unreadable(&fault))?;
            recent.entry(name(queue, QueueName::new)?).or_default().counts = counts;
        }
        Ok(recent)
    }
}

#[async_trait]
impl StatStore for PgStats {
    async fn add(&self, batch: &Batch) -> StoreResult<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let add = Add { stats: stat_documents(batch)?, spreads: spread_documents(batch)? };
        transact_detached(&self.0.warm, add).await
    }

    async fn recent(&self, since: Timestamp) -> StoreResult<Vec<(QueueName, Recent)>> {
        let mut recent = self.counts(since).await?;
        let pool = &self.0.pool;
        let rows: Vec<(String, i16, i16, i64)> =
            repeat(|| sqlx::query_as(RECENT_SPREADS).bind(since.micros()).fetch_all(pool)).await?;
        for (queue, measure, bin, n) in rows {
            let durations = &mut recent.entry(name(&queue, QueueName::new)?).or_default().durations;
            let spread = if measure == 0 { &mut durations.wait } else { &mut durations.run };
            spread.add(u16::try_from(bin).unwrap_or_default(), u64::try_from(n).unwrap_or_default());
        }
        Ok(recent.into_iter().collect())
    }

    async fn series(&self, wish: &SeriesWish) -> StoreResult<Vec<Bucket>> {
        let rows = repeat(|| {
            sqlx::query(SERIES.as_str())
                .bind(wish.span.seconds())
                .bind(wish.since.micros())
                .bind(wish.until.micros())
                .bind(wish.tenant.map(|tenant| tenant.0))
                .bind(wish.queue.as_ref().map(QueueName::as_str))
                .bind(wish.kind.as_ref().map(Kind::as_str))
                .bind(wish.by_tenant)
                .bind(wish.by_queue)
                .bind(wish.by_kind)
                .bind(i64::from(int(wish.limit)))
                .fetch_all(&self.0.pool)
        })
        .await?;
        let mut buckets = Vec::with_capacity(rows.len());
        for row in &rows {
            let parts = || {
                let names: (Option<String>, Option<String>) = (row.try_get(2)?, row.try_get(3)?);
                Ok((
                    row.try_get::<i64, _>(0)?,
                    row.try_get::<Option<String>, _>(1)?,
                    names,
                    read_counts(row, 4)?,
                ))
            };
            let (at, tenant, (queue, kind), counts) = parts().map_err(|fault| unreadable(&fault))?;
            buckets.push(Bucket {
                at: Timestamp::from_micros(at),
                tenant: tenant.map(|tenant| name(&tenant, TenantSlug::new)).transpose()?,
                queue: queue.map(|queue| name(&queue, QueueName::new)).transpose()?,
                kind: kind.map(|kind| name(&kind, Kind::new)).transpose()?,
                counts,
            });
        }
        Ok(buckets)
    }

    async fn forget(&self, minutes: Timestamp, hours: Timestamp, runners: Timestamp) -> StoreResult<u64> {
        let pool = &self.0.pool;
        let gone =
            repeat(|| sqlx::query(FORGET).bind(minutes.micros()).bind(hours.micros()).execute(pool)).await?;
        repeat(|| sqlx::query(FORGET_SPREADS).bind(minutes.micros()).execute(pool)).await?;
        repeat(|| sqlx::query(FORGET_RUNNERS).bind(runners.micros()).execute(pool)).await?;
        Ok(gone.rows_affected())
    }

    async fn tell(&self, runner: &RunnerStatus) -> StoreResult<()> {
        let loops = loops_to_text(&runner.loops)?;
        repeat(|| {
            sqlx::query(TELL)
                .bind(&runner.name)
                .bind(runner.started_at.micros())
                .bind(runner.seen_at.micros())
                .bind(&loops)
                .execute(&self.0.pool)
        })
        .await?;
        Ok(())
    }

    async fn leave(&self, runner: &str) -> StoreResult<()> {
        repeat(|| sqlx::query(LEAVE).bind(runner).execute(&self.0.pool)).await?;
        Ok(())
    }

    async fn runners(&self) -> StoreResult<Vec<RunnerStatus>> {
        let rows: Vec<RunnerRow> = repeat(|| sqlx::query_as(RUNNERS).fetch_all(&self.0.pool)).await?;
        rows.into_iter().map(runner).collect()
    }
}
