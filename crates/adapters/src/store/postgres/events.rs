//! What came from outside, and the outbox.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use taskflow_application::ports::{Appended, EventFilter, EventStore, Pending, StoreResult, TURN};
use taskflow_domain::{CorrelationId, EventId, InboundEvent, TenantId, Timestamp};
use uuid::Uuid;

use super::reader::read;
use super::unit::{End, Unit, detached, repeat, transact_detached};
use super::{Inner, count, int};
use crate::store::error::{Fault, from_sqlx};
use crate::store::row::{InboundRow, PendingRow};

/// The port over PostgreSQL.
pub(super) struct PgEvents(pub(super) Arc<Inner>);

fn select(rest: &str) -> String {
    format!("select {} {rest}", InboundRow::columns("e"))
}

static GET: LazyLock<String> = LazyLock::new(|| select("from event e where e.tenant_id = $1 and e.id = $2"));

static RECENT: LazyLock<String> = LazyLock::new(|| {
    select(
        "from event e where e.tenant_id = $1 and ($2::text is null or e.source = $2)
         and ($3::bool is null or $3 = starts_with(e.source, 'webhook:'))
         and ($4 or e.rejected is null) and ($5::int8 is null or e.received_at >= $5)
         and ($6::uuid is null or e.id < $6) order by e.id desc limit $7::int4",
    )
});

static BY_CAUSE: LazyLock<String> = LazyLock::new(|| {
    select("from event e where e.tenant_id = $1 and e.correlation_id = $2 order by e.id limit $3::int4")
});

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places: Vec<String> = (1..=InboundRow::COLUMNS.len()).map(|n| format!("${n}")).collect();
    let columns = InboundRow::COLUMNS.join(", ");
    format!("insert into event ({columns}) values ({}) on conflict do nothing", places.join(", "))
});

/// The tenants whose turn it is are found one by one along the index, each with a
/// look of its own, so that a flood of one costs the others nothing: `place` counts
/// them, first those after $4, then, once around, the others. Of each, the oldest
/// entries are taken, the first of each before the second of any.
static TAKE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with recursive turn(place, around, tenant) as (
            select 0, false, $4::int4
            union all
            select n.place, n.around, n.tenant from turn t cross join lateral (
                select t.place + 1, f.around, f.tenant from (
                    (select t.around, p.tenant_id from event_pending p where p.tenant_id > t.tenant
                        and p.held_until <= $1 and (not t.around or p.tenant_id <= $4)
                        order by p.tenant_id limit 1)
                    union all
                    (select true, p.tenant_id from event_pending p where not t.around
                        and p.held_until <= $1 and p.tenant_id <= $4
                        order by p.tenant_id limit 1)) f(around, tenant)
                order by f.around limit 1) n(place, around, tenant)
            where t.place < {TURN}),
         ranked as (
            select e.id, e.rank, t.place from turn t cross join lateral (
                select p.id, row_number() over (order by p.id) as rank from event_pending p
                where p.tenant_id = t.tenant and p.held_until <= $1 order by p.id limit $3::int4) e
            where t.place > 0)
         update event_pending p set held_until = $2 where p.id = any(array(
            select e.id from ranked r join event_pending e on e.id = r.id
            where e.held_until <= $1 order by r.rank, r.place limit $3::int4 for update of e skip locked))
         returning {}",
        PendingRow::columns("p")
    )
});

const ANY: &str = "select id from event_pending where held_until <= $1 limit 1";

const KNOWN: &str =
    "select id from event where tenant_id = $1 and source = $2 and external_id = $3 and rejected is null";

const TELL: &str = "insert into event_pending (tenant_id, event_id, at, held_until) values ($1, $2, $3, 0)";

const PRUNE: &str = "
delete from event e using (
    select e.tenant_id, e.id from event e where e.received_at < $1
        and not exists (select 1 from event_pending p where p.event_id = e.id)
    order by e.received_at limit $2::int4) old
where e.tenant_id = old.tenant_id and e.id = old.id";

/// Keeps an event; `false` if its source has used its id before.
pub(super) async fn insert(connection: &mut PgConnection, event: &InboundEvent) -> Result<bool, Fault> {
    let written = sqlx::query(AssertSqlSafe(INSERT.as_str()))
        .bind(event.tenant.0)
        .bind(event.id.0)
        .bind(&event.source)
        .bind(&event.kind)
        .bind(&event.external_id)
        .bind(&event.subject)
        .bind(event.at.micros())
        .bind(event.received_at.micros())
        .bind(event.headers.as_str())
        .bind(event.data.as_str())
        .bind(event.correlation_id.0)
        .bind(&event.traceparent)
        .bind(&event.rejected)
        .execute(connection)
        .await?;
    Ok(written.rows_affected() == 1)
}

struct Append {
    events: Vec<InboundEvent>,
    dispatch: bool,
}

impl Unit for Append {
    type Output = Vec<Appended>;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Self::Output>, Fault> {
        let mut answers = Vec::with_capacity(self.events.len());
        for event in &self.events {
            if !insert(connection, event).await? {
                let query = sqlx::query_scalar(KNOWN).bind(event.tenant.0).bind(&event.source);
                let known: Uuid = query.bind(&event.external_id).fetch_one(&mut *connection).await?;
                answers.push(Appended::Duplicate(EventId(known)));
                continue;
            }
            if self.dispatch && event.rejected.is_none() {
                let query = sqlx::query(TELL).bind(event.tenant.0).bind(event.id.0);
                query.bind(event.received_at.micros()).execute(&mut *connection).await?;
            }
            answers.push(Appended::New);
        }
        Ok(End::Commit(answers))
    }
}

fn events(rows: &[PgRow]) -> StoreResult<Vec<InboundEvent>> {
    rows.iter().map(|row| Ok(InboundRow::read(row, 0).map_err(|fault| from_sqlx(&fault))?.event())).collect()
}

#[async_trait]
impl EventStore for PgEvents {
    async fn append(&self, events: Vec<InboundEvent>, dispatch: bool) -> StoreResult<Vec<Appended>> {
        transact_detached(&self.0.warm, Append { events, dispatch }).await
    }

    async fn pending(
        &self,
        now: Timestamp,
        until: Timestamp,
        after: TenantId,
        limit: u32,
    ) -> StoreResult<Vec<Pending>> {
        let inner = Arc::clone(&self.0);
        detached(async move {
            // An idle engine asks often, and mostly there is nothing.
            let any = read(&inner.pool, || {
                sqlx::query_scalar::<_, i64>(ANY).bind(now.micros()).fetch_optional(&inner.pool)
            });
            if any.await?.is_none() {
                return Ok(Vec::new());
            }
            let rows = repeat(|| {
                sqlx::query(AssertSqlSafe(TAKE.as_str()))
                    .bind(now.micros())
                    .bind(until.micros())
                    .bind(int(limit))
                    .bind(after.0)
                    .fetch_all(&inner.pool)
            })
            .await?;
            rows.iter()
                .map(|row| PendingRow::read(row, 0).map_err(|fault| from_sqlx(&fault))?.pending())
                .collect()
        })
        .await
    }

    async fn known(&self, tenant: TenantId, source: &str, external_id: &str) -> StoreResult<Option<EventId>> {
        let (source, external_id) = (source.to_owned(), external_id.to_owned());
        let rows = self.0.look(tenant, move |connection| {
            let query = sqlx::query(KNOWN).bind(tenant.0).bind(source.clone()).bind(external_id.clone());
            Box::pin(query.fetch_all(connection))
        });
        let rows = rows.await?;
        let id = |row: &PgRow| row.try_get(0).map(EventId).map_err(|fault| from_sqlx(&fault));
        rows.first().map(id).transpose()
    }

    async fn get(&self, tenant: TenantId, event: EventId) -> StoreResult<Option<InboundEvent>> {
        let rows = self.0.look(tenant, move |connection| {
            let query = sqlx::query(AssertSqlSafe(GET.as_str())).bind(tenant.0).bind(event.0);
            Box::pin(query.fetch_all(connection))
        });
        Ok(events(&rows.await?)?.pop())
    }

    async fn recent(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        let filter = filter.clone();
        let rows = self.0.look(tenant, move |connection| {
            let query = sqlx::query(AssertSqlSafe(RECENT.as_str()))
                .bind(tenant.0)
                .bind(filter.source.clone())
                .bind(filter.webhook)
                .bind(filter.rejected)
                .bind(filter.since.map(Timestamp::micros))
                .bind(filter.before.map(|before| before.0))
                .bind(int(limit));
            Box::pin(query.fetch_all(connection))
        });
        events(&rows.await?)
    }

    async fn by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        let rows = self.0.look(tenant, move |connection| {
            let query = sqlx::query(AssertSqlSafe(BY_CAUSE.as_str())).bind(tenant.0);
            Box::pin(query.bind(cause.0).bind(int(limit)).fetch_all(connection))
        });
        events(&rows.await?)
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        let gone = repeat(|| sqlx::query(PRUNE).bind(before.micros()).bind(int(limit)).execute(&self.0.pool))
            .await?;
        Ok(count(gone.rows_affected()))
    }
}
