//! [`EventStore`]: what came from outside, and the outbox.

use std::sync::LazyLock;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, sqlite::SqliteRow};
use taskflow_application::ports::{Appended, EventFilter, EventStore, Pending, StoreResult, TURN};
use taskflow_domain::{CorrelationId, EventId, InboundEvent, TenantId, Timestamp};

use super::super::error::Fault;
use super::super::row::{InboundRow, PendingRow};
use super::SqliteStore;

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, events: Vec<InboundEvent>, dispatch: bool) -> StoreResult<Vec<Appended>> {
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let mut answers = Vec::with_capacity(events.len());
                    for event in &events {
                        answers.push(append(tx, event, dispatch).await?);
                    }
                    Ok(answers)
                })
            })
            .await
    }

    async fn pending(
        &self,
        now: Timestamp,
        until: Timestamp,
        after: TenantId,
        limit: u32,
    ) -> StoreResult<Vec<Pending>> {
        // Most of the time there is none, and then the writer is left in peace.
        if self.look(sqlx::query(ANY).bind(now.micros())).await?.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self
            .shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let query = sqlx::query(AssertSqlSafe(TAKE.as_str()));
                    let query = query.bind(now.micros()).bind(until.micros()).bind(limit).bind(after.0);
                    Ok(query.fetch_all(tx).await?)
                })
            })
            .await?;
        rows.iter().map(|row| PendingRow::read(row, 0).map_err(Fault::from)?.pending()).collect()
    }

    async fn known(&self, tenant: TenantId, source: &str, external_id: &str) -> StoreResult<Option<EventId>> {
        let query = sqlx::query(KNOWN).bind(tenant.0).bind(source.to_owned()).bind(external_id.to_owned());
        let rows = self.look(query).await?;
        let id = |row: &SqliteRow| row.try_get(0).map(EventId).map_err(Fault::from);
        Ok(rows.first().map(id).transpose()?)
    }

    async fn get(&self, tenant: TenantId, event: EventId) -> StoreResult<Option<InboundEvent>> {
        let query = sqlx::query(AssertSqlSafe(GET.as_str())).bind(tenant.0).bind(event.0);
        Ok(read(&self.look(query).await?)?.pop())
    }

    async fn recent(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        let query = sqlx::query(AssertSqlSafe(RECENT.as_str()))
            .bind(tenant.0)
            .bind(filter.source.clone())
            .bind(filter.webhook)
            .bind(filter.rejected)
            .bind(filter.since.map(Timestamp::micros))
            .bind(filter.before.map(|before| before.0))
            .bind(limit);
        read(&self.look(query).await?)
    }

    async fn by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        let query = sqlx::query(AssertSqlSafe(BY_CAUSE.as_str())).bind(tenant.0).bind(cause.0).bind(limit);
        read(&self.look(query).await?)
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let gone = sqlx::query(PRUNE).bind(before.micros()).bind(limit).execute(tx).await?;
                    Ok(u32::try_from(gone.rows_affected()).unwrap_or(u32::MAX))
                })
            })
            .await
    }
}

fn read(rows: &[SqliteRow]) -> StoreResult<Vec<InboundEvent>> {
    rows.iter().map(|row| Ok(InboundRow::read(row, 0).map_err(Fault::from)?.event())).collect()
}

async fn append(tx: &mut SqliteConnection, event: &InboundEvent, dispatch: bool) -> Result<Appended, Fault> {
    if !insert(tx, event).await? {
        let query = sqlx::query(KNOWN)
            .bind(event.tenant.0)
            .bind(event.source.clone())
            .bind(event.external_id.clone());
        return Ok(Appended::Duplicate(EventId(query.fetch_one(tx).await?.try_get(0)?)));
    }
    if dispatch && event.rejected.is_none() {
        let query = sqlx::query(TELL).bind(event.tenant.0).bind(event.id.0).bind(event.received_at.micros());
        query.execute(tx).await?;
    }
    Ok(Appended::New)
}

/// Keeps an event; `false` if its source has used its id before.
pub(super) async fn insert(tx: &mut SqliteConnection, event: &InboundEvent) -> Result<bool, Fault> {
    let written = sqlx::query(AssertSqlSafe(INSERT.as_str()))
        .bind(event.tenant.0)
        .bind(event.id.0)
        .bind(event.source.clone())
        .bind(event.kind.clone())
        .bind(event.external_id.clone())
        .bind(event.subject.clone())
        .bind(event.at.micros())
        .bind(event.received_at.micros())
        .bind(event.headers.as_str().to_owned())
        .bind(event.data.as_str().to_owned())
        .bind(event.correlation_id.0)
        .bind(event.traceparent.clone())
        .bind(event.rejected.clone())
        .execute(tx)
        .await?;
    Ok(written.rows_affected() == 1)
}

fn select(rest: &str) -> String {
    format!("select {} {rest}", InboundRow::columns("e"))
}

static GET: LazyLock<String> = LazyLock::new(|| select("from event e where e.tenant_id = ?1 and e.id = ?2"));

static RECENT: LazyLock<String> = LazyLock::new(|| {
    select(
        "from event e where e.tenant_id = ?1 and (?2 is null or e.source = ?2) \
         and (?3 is null or ?3 = (e.source >= 'webhook:' and e.source < 'webhook;')) \
         and (?4 or e.rejected is null) and (?5 is null or e.received_at >= ?5) \
         and (?6 is null or e.id < ?6) order by e.id desc limit ?7",
    )
});

static BY_CAUSE: LazyLock<String> = LazyLock::new(|| {
    select("from event e where e.tenant_id = ?1 and e.correlation_id = ?2 order by e.id limit ?3")
});

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places: Vec<String> = (1..=InboundRow::COLUMNS.len()).map(|n| format!("?{n}")).collect();
    let columns = InboundRow::COLUMNS.join(", ");
    format!("insert into event ({columns}) values ({}) on conflict do nothing", places.join(", "))
});

/// The tenants whose turn it is are found one by one along the index, each with a
/// look of its own, so that a flood of one costs the others nothing: `place` counts
/// them, first those after ?4, then, once around, the others; none is left where
/// `tenant` is null. Of each, the oldest entries are taken, the first of each before
/// the second of any.
static TAKE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with recursive ahead(place, tenant) as ( \
           select 0, ?4 union all \
           select a.place + 1, (select p.tenant_id from event_pending p where p.tenant_id > a.tenant \
               and p.held_until <= ?1 order by p.tenant_id limit 1) \
           from ahead a where a.tenant is not null and a.place < {TURN}), \
         around(place, tenant) as ( \
           select {TURN}, -1 union all \
           select a.place + 1, (select p.tenant_id from event_pending p where p.tenant_id > a.tenant \
               and p.tenant_id <= ?4 and p.held_until <= ?1 order by p.tenant_id limit 1) \
           from around a where a.tenant is not null and a.place < 2 * {TURN}), \
         turn(place, tenant) as ( \
           select place, tenant from ahead where place > 0 and tenant is not null union all \
           select place, tenant from around where place > {TURN} and tenant is not null \
           order by 1 limit {TURN}) \
         update event_pending set held_until = ?2 where id in ( \
           select id from ( \
             select p.id, t.place, row_number() over (partition by p.tenant_id order by p.id) as rank \
             from turn t cross join event_pending p on p.id in ( \
               select q.id from event_pending q where q.tenant_id = t.tenant and q.held_until <= ?1 \
               order by q.id limit ?3)) \
           order by rank, place limit ?3) returning {}",
        PendingRow::COLUMNS.join(", ")
    )
});

const ANY: &str = "select 1 from event_pending where held_until <= ?1 limit 1";

const KNOWN: &str = "select id from event where tenant_id = ?1 and source = ?2 and external_id = ?3 \
    and rejected is null";

const TELL: &str = "insert into event_pending (tenant_id, event_id, at, held_until) values (?1, ?2, ?3, 0)";

const PRUNE: &str = "delete from event where (tenant_id, id) in ( \
    select e.tenant_id, e.id from event e where e.received_at < ?1 \
      and not exists (select 1 from event_pending p where p.event_id = e.id) \
    order by e.received_at limit ?2)";
