//! [`StatStore`]: sums by minute and hour, and what runners tell.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use async_trait::async_trait;
use sqlx::Row as _;
use taskflow_application::ports::{
    Bucket, Recent, RunnerStatus, SeriesWish, StatStore, StoreError, StoreResult,
};
use taskflow_application::tally::Batch;
use taskflow_domain::{Kind, NameError, QueueName, TenantSlug, Timestamp};

use super::super::error::Fault;
use super::super::row::{
    COUNTS, RunnerRow, loops_to_text, read_counts, runner, spread_documents, stat_documents,
};
use super::{Shared, SqliteStore};

#[async_trait]
impl StatStore for SqliteStore {
    async fn add(&self, batch: &Batch) -> StoreResult<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (stats, spreads) = (stat_documents(batch)?, spread_documents(batch)?);
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    sqlx::query(ADD).bind(stats).execute(&mut *tx).await?;
                    sqlx::query(ADD_SPREADS).bind(spreads).execute(tx).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn recent(&self, since: Timestamp) -> StoreResult<Vec<(QueueName, Recent)>> {
        Ok(recent(&self.shared, since).await?)
    }

    async fn series(&self, wish: &SeriesWish) -> StoreResult<Vec<Bucket>> {
        Ok(series(&self.shared, wish).await?)
    }

    async fn forget(&self, minutes: Timestamp, hours: Timestamp, runners: Timestamp) -> StoreResult<u64> {
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let query = sqlx::query(FORGET).bind(minutes.micros()).bind(hours.micros());
                    let gone = query.execute(&mut *tx).await?.rows_affected();
                    sqlx::query(FORGET_SPREADS).bind(minutes.micros()).execute(&mut *tx).await?;
                    sqlx::query(FORGET_RUNNERS).bind(runners.micros()).execute(tx).await?;
                    Ok(gone)
                })
            })
            .await
    }

    async fn tell(&self, runner: &RunnerStatus) -> StoreResult<()> {
        let (runner, loops) = (runner.clone(), loops_to_text(&runner.loops)?);
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let query = sqlx::query(TELL).bind(runner.name).bind(runner.started_at.micros());
                    query.bind(runner.seen_at.micros()).bind(loops).execute(tx).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn leave(&self, runner: &str) -> StoreResult<()> {
        let name = runner.to_owned();
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    sqlx::query(LEAVE).bind(name).execute(tx).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn runners(&self) -> StoreResult<Vec<RunnerStatus>> {
        let rows: Result<Vec<RunnerRow>, sqlx::Error> =
            sqlx::query_as(RUNNERS).fetch_all(&self.shared.readers).await;
        rows.map_err(Fault::from)?.into_iter().map(runner).collect()
    }
}

/// A name that was read.
fn name<T>(text: &str, make: fn(&str) -> Result<T, NameError>) -> Result<T, Fault> {
    let wrong = |fault| StoreError::Rejected(format!("the stored name {text:?} {fault}"));
    Ok(make(text).map_err(wrong)?)
}

async fn recent(shared: &Shared, since: Timestamp) -> Result<Vec<(QueueName, Recent)>, Fault> {
    let mut recent: BTreeMap<QueueName, Recent> = BTreeMap::new();
    for row in sqlx::query(RECENT.as_str()).bind(since.micros()).fetch_all(&shared.readers).await? {
        let queue: String = row.try_get(0)?;
        recent.entry(name(&queue, QueueName::new)?).or_default().counts = read_counts(&row, 1)?;
    }
    for row in sqlx::query(RECENT_SPREADS).bind(since.micros()).fetch_all(&shared.readers).await? {
        let (queue, measure): (String, i16) = (row.try_get(0)?, row.try_get(1)?);
        let durations = &mut recent.entry(name(&queue, QueueName::new)?).or_default().durations;
        let spread = if measure == 0 { &mut durations.wait } else { &mut durations.run };
        let n: i64 = row.try_get(3)?;
        spread.add(row.try_get(2)?, u64::try_from(n).unwrap_or_default());
    }
    Ok(recent.into_iter().collect())
}

async fn series(shared: &Shared, wish: &SeriesWish) -> Result<Vec<Bucket>, Fault> {
    let rows = sqlx::query(SERIES.as_str())
        .bind(wish.span.seconds())
        .bind(wish.since.micros())
        .bind(wish.until.micros())
        .bind(wish.tenant.map(|tenant| tenant.0))
        .bind(wish.queue.as_ref().map(|queue| queue.as_str().to_owned()))
        .bind(wish.kind.as_ref().map(|kind| kind.as_str().to_owned()))
        .bind(wish.by_tenant)
        .bind(wish.by_queue)
        .bind(wish.by_kind)
        .bind(wish.limit)
        .fetch_all(&shared.readers)
        .await?;
    rows.iter()
        .map(|row| {
            let (queue, kind): (Option<String>, Option<String>) = (row.try_get(2)?, row.try_get(3)?);
            let tenant: Option<String> = row.try_get(1)?;
            Ok(Bucket {
                at: Timestamp::from_micros(row.try_get(0)?),
                tenant: tenant.map(|tenant| name(&tenant, TenantSlug::new)).transpose()?,
                queue: queue.map(|queue| name(&queue, QueueName::new)).transpose()?,
                kind: kind.map(|kind| name(&kind, Kind::new)).transpose()?,
                counts: read_counts(row, 4)?,
            })
        })
        .collect()
}

macro_rules! add {
    ($($column:literal)+) => {
        concat!(
            "insert into stat (span, at, queue_id, tenant_id, kind_id", $(", ", $column,)+ ") \
             select e.value->>'span', e.value->>'at', q.id, e.value->>'tenant', k.id",
            $(", e.value->>'", $column, "'",)+
            " from json_each(?1) e cross join queue q on q.name = e.value->>'queue' \
             cross join kind k on k.name = e.value->>'kind' where true \
             on conflict (span, at, queue_id, tenant_id, kind_id) do update set span = span",
            $(", ", $column, " = ", $column, " + excluded.", $column,)+
        )
    };
}

const ADD: &str =
    add!("created" "started" "succeeded" "failed" "dead" "cancelled" "retried" "wait_us" "run_us");

const ADD_SPREADS: &str = "insert into stat_spread (at, queue_id, measure, bin, n) \
    select e.value->>'at', q.id, e.value->>'measure', e.value->>'bin', e.value->>'n' \
    from json_each(?1) e cross join queue q on q.name = e.value->>'queue' where true \
    on conflict (at, queue_id, measure, bin) do update set n = n + excluded.n";

/// The minutes since `?1`, through the primary key.
static RECENT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select (select q.name from queue q where q.id = s.queue_id), {COUNTS} \
         from stat s where s.span = 60 and s.at >= ?1 group by s.queue_id"
    )
});

const RECENT_SPREADS: &str = "select (select q.name from queue q where q.id = s.queue_id), \
      s.measure, s.bin, sum(s.n) \
    from stat_spread s where s.at >= ?1 group by s.queue_id, s.measure, s.bin";

static SERIES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select g.* from ( \
           select s.at, (select t.slug from tenant t where t.id = case when ?7 then s.tenant_id end) as tenant, \
             (select q.name from queue q where q.id = case when ?8 then s.queue_id end) as queue, \
             (select k.name from kind k where k.id = case when ?9 then s.kind_id end) as kind, {COUNTS} \
           from stat s \
           where s.span = ?1 and s.at >= ?2 and s.at < ?3 and (?4 is null or s.tenant_id = ?4) \
             and (?5 is null or s.queue_id = (select id from queue where name = ?5)) \
             and (?6 is null or s.kind_id = (select id from kind where name = ?6)) \
           group by 1, 2, 3, 4) g \
         order by g.at desc, g.tenant, g.queue, g.kind limit ?10"
    )
});

const FORGET: &str = "delete from stat where (span = 60 and at < ?1) or (span = 3600 and at < ?2)";
const FORGET_SPREADS: &str = "delete from stat_spread where at < ?1";
const FORGET_RUNNERS: &str = "delete from runner where seen_at < ?1";

const TELL: &str = "insert into runner (name, started_at, seen_at, loops) values (?1, ?2, ?3, ?4) \
    on conflict (name) do update set started_at = excluded.started_at, seen_at = excluded.seen_at, \
      loops = excluded.loops";

const LEAVE: &str = "delete from runner where name = ?1";

const RUNNERS: &str = "select name, started_at, seen_at, loops from runner order by name";
