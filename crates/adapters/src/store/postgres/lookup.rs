//! Ids of names and names of ids, and their coming into being.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use taskflow_application::ports::{StoreError, StoreResult};
use taskflow_domain::{Kind, NameError, QueueName, TenantSlug, Timestamp, WorkerName};

use super::unit::{detached, repeat};
use super::{Inner, rejected};
use crate::store::names::Remembered;

/// Where names of one sort are kept, and how they are looked up.
struct Dictionary<T: 'static> {
    table: &'static str,
    by_name: &'static str,
    by_id: &'static str,
    /// Adds the names of an array that do not exist.
    add: &'static str,
    parse: fn(&str) -> Result<T, NameError>,
}

const QUEUES: Dictionary<QueueName> = Dictionary {
    table: "queue",
    by_name: "select id, name from queue where name = any($1::text[])",
    by_id: "select id, name from queue where id = any($1::int4[])",
    add: "insert into queue (name) select n from unnest($1::text[]) n order by n on conflict do nothing",
    parse: QueueName::new,
};

const KINDS: Dictionary<Kind> = Dictionary {
    table: "kind",
    by_name: "select id, name from kind where name = any($1::text[])",
    by_id: "select id, name from kind where id = any($1::int4[])",
    add: "insert into kind (name) select n from unnest($1::text[]) n order by n on conflict do nothing",
    parse: Kind::new,
};

const TENANTS: Dictionary<TenantSlug> = Dictionary {
    table: "tenant",
    by_name: "select id, slug from tenant where slug = any($1::text[])",
    by_id: "select id, slug from tenant where id = any($1::int4[])",
    add: "",
    parse: TenantSlug::new,
};

impl<T: Clone + Eq + Hash + AsRef<str>> Dictionary<T> {
    fn keep(&self, remembered: &Remembered<T>, rows: &[PgRow]) -> StoreResult<()> {
        for row in rows {
            let read = || Ok((row.try_get::<i32, _>(0)?, row.try_get::<&str, _>(1)?));
            let (id, name) = read().map_err(|fault: sqlx::Error| rejected(fault.to_string()))?;
            let name = (self.parse)(name).map_err(|fault| StoreError::Corrupt {
                table: self.table,
                column: "name",
                id: id.to_string(),
                detail: fault.to_string(),
            })?;
            remembered.remember(id, name);
        }
        Ok(())
    }

    /// Learns the ids of these names, as far as they exist.
    async fn find(&self, pool: &PgPool, remembered: &Remembered<T>, names: &[String]) -> StoreResult<()> {
        if names.is_empty() {
            return Ok(());
        }
        let rows = repeat(|| sqlx::query(self.by_name).bind(names).fetch_all(pool)).await?;
        self.keep(remembered, &rows)
    }

    /// Learns the names of these ids.
    async fn learn(&self, pool: &PgPool, remembered: &Remembered<T>, ids: Vec<i32>) -> StoreResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let rows = repeat(|| sqlx::query(self.by_id).bind(&ids).fetch_all(pool)).await?;
        self.keep(remembered, &rows)
    }

    /// Learns the ids of these names; makes those that do not exist.
    async fn ensure(&self, pool: &PgPool, remembered: &Remembered<T>, names: &[T]) -> StoreResult<()> {
        let missing = unknown(remembered, names);
        self.find(pool, remembered, &missing).await?;
        let missing = unknown(remembered, names);
        if missing.is_empty() {
            return Ok(());
        }
        repeat(|| sqlx::query(self.add).bind(&missing).execute(pool)).await?;
        self.find(pool, remembered, &missing).await
    }
}

fn unknown<T: Clone + Eq + Hash + AsRef<str>>(remembered: &Remembered<T>, names: &[T]) -> Vec<String> {
    let unknown: HashSet<&T> = names.iter().filter(|name| remembered.id(name).is_none()).collect();
    unknown.into_iter().map(|name| name.as_ref().to_owned()).collect()
}

impl Inner {
    /// Makes sure that these queues exist and their ids are known.
    pub(super) async fn ensure_queues(self: &Arc<Self>, names: &[QueueName]) -> StoreResult<()> {
        if names.iter().all(|name| self.catalog.queues.id(name).is_some()) {
            return Ok(());
        }
        let (inner, names) = (Arc::clone(self), names.to_vec());
        detached(async move { QUEUES.ensure(&inner.pool, &inner.catalog.queues, &names).await }).await
    }

    /// Makes sure that these kinds exist and their ids are known.
    pub(super) async fn ensure_kinds(self: &Arc<Self>, names: &[Kind]) -> StoreResult<()> {
        if names.iter().all(|name| self.catalog.kinds.id(name).is_some()) {
            return Ok(());
        }
        let (inner, names) = (Arc::clone(self), names.to_vec());
        detached(async move { KINDS.ensure(&inner.pool, &inner.catalog.kinds, &names).await }).await
    }

    /// The ids of those of these queues that exist.
    pub(super) async fn find_queues(&self, names: &[QueueName]) -> StoreResult<Vec<i32>> {
        let known = &self.catalog.queues;
        QUEUES.find(&self.pool, known, &unknown(known, names)).await?;
        Ok(names.iter().filter_map(|name| known.id(name)).collect())
    }

    /// The ids of those of these kinds that exist.
    pub(super) async fn find_kinds(&self, names: &[Kind]) -> StoreResult<Vec<i32>> {
        let known = &self.catalog.kinds;
        KINDS.find(&self.pool, known, &unknown(known, names)).await?;
        Ok(names.iter().filter_map(|name| known.id(name)).collect())
    }

    /// Makes the names of these ids known.
    pub(super) async fn learn_names(
        &self,
        queues: impl IntoIterator<Item = i32>,
        kinds: impl IntoIterator<Item = i32>,
        tenants: impl IntoIterator<Item = i32>,
    ) -> StoreResult<()> {
        let catalog = &self.catalog;
        QUEUES.learn(&self.pool, &catalog.queues, catalog.queues.unknown(queues)).await?;
        KINDS.learn(&self.pool, &catalog.kinds, catalog.kinds.unknown(kinds)).await?;
        TENANTS.learn(&self.pool, &catalog.tenants, catalog.tenants.unknown(tenants)).await
    }

    /// The name of a queue whose id was made known.
    pub(super) fn queue_name(&self, id: i32) -> StoreResult<QueueName> {
        self.catalog.queues.name(id).ok_or_else(|| nameless("queue", id))
    }

    /// The name of a kind whose id was made known.
    pub(super) fn kind_name(&self, id: i32) -> StoreResult<Kind> {
        self.catalog.kinds.name(id).ok_or_else(|| nameless("kind", id))
    }

    /// The slug of a tenant whose id was made known.
    pub(super) fn tenant_slug(&self, id: i32) -> StoreResult<TenantSlug> {
        self.catalog.tenants.name(id).ok_or_else(|| nameless("tenant", id))
    }

    /// The id of a worker that is about to be handed jobs. One that was never heard
    /// of becomes known, with a lease that ends `now`. Names are each tenant's own,
    /// so only those of the engine are remembered.
    pub(super) async fn worker_id(
        &self,
        name: &WorkerName,
        tenant: Option<i32>,
        now: Timestamp,
    ) -> StoreResult<i32> {
        if let Some(id) = self.catalog.workers.id(name).filter(|_| tenant.is_none()) {
            return Ok(id);
        }
        let found = || {
            sqlx::query_scalar::<_, i32>(USED_WORKER)
                .bind(name.as_str())
                .bind(tenant)
                .fetch_optional(&self.pool)
        };
        let id = if let Some(id) = repeat(found).await? {
            id
        } else {
            let make = || {
                sqlx::query_scalar::<_, i32>(USE_WORKER)
                    .bind(name.as_str())
                    .bind(tenant)
                    .bind(now.micros())
                    .fetch_one(&self.pool)
            };
            repeat(make).await?
        };
        if tenant.is_none() {
            self.catalog.workers.remember(id, name.clone());
        }
        Ok(id)
    }
}

const USED_WORKER: &str = "
select id from worker where name = $1 and coalesce(tenant_id, 0) = coalesce($2::int4, 0) and used and known";

const USE_WORKER: &str = "
insert into worker (name, tenant_id, queues, kinds, slots, known, used, started_at, beat_at, lease_until)
values ($1, $2, '[]', '[]', 0, true, true, $3, $3, $3)
on conflict (coalesce(tenant_id, 0), name) do update set used = true, known = true,
    lease_until = case when worker.known then worker.lease_until else excluded.lease_until end,
    beat_at = case when worker.known then worker.beat_at else excluded.beat_at end
returning id";

fn nameless(table: &'static str, id: i32) -> StoreError {
    StoreError::Corrupt { table, column: "id", id: id.to_string(), detail: "is nobody's".into() }
}
