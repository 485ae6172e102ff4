//! Tenants: their settings, and what of them the lanes carry.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use sqlx::PgConnection;
use taskflow_application::ports::{AuditNote, StoreResult, TenantStore};
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{TenantId, TenantSlug, Timestamp};

use super::lanes::let_go;
use super::sweep::STOP_COMMITS;
use super::unit::{BEGIN_CHANGING_SETTINGS, End, Unit, asked, repeat, transact_detached};
use super::{Inner, audit, int, rejected};
use crate::store::entity::tenant;
use crate::store::error::Fault;

const ADD: &str = "
insert into tenant (slug, attributes, weight, paused, created_at, updated_at)
values ($1, $2, $3, $4, $5, $5) on conflict do nothing";

const LIST: &str = "
select id from tenant where ($1::text is null or slug collate \"C\" > $1) order by slug collate \"C\" limit $2::int4";

const PUT: &str = "
insert into tenant as t (slug, attributes, weight, max_running, max_backlog, paused, created_at, updated_at,
    request_limit, request_period_ms, suspended, max_running_at, paused_at)
values ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10, case when $4::int4 is not null then $7 end, case when $6 then $7 end)
on conflict (slug) do update set attributes = excluded.attributes, weight = excluded.weight,
    max_running = excluded.max_running, max_backlog = excluded.max_backlog, paused = excluded.paused,
    updated_at = excluded.updated_at, request_limit = excluded.request_limit,
    request_period_ms = excluded.request_period_ms, suspended = excluded.suspended,
    max_running_at = case when t.max_running is distinct from $4 then $7 else t.max_running_at end,
    paused_at = case when t.paused and $6 then t.paused_at when $6 then $7 end
returning id";

/// The slot over all queues, with the jobs that run now.
const SLOT: &str = "
insert into limit_slot (tenant_id, max_running, running)
values ($1, $2, (select count(*)::int4 from running where tenant_id = $1))
on conflict (tenant_id) where queue_id is null do update
set max_running = excluded.max_running, running = excluded.running";

const NO_SLOT: &str = "delete from limit_slot where tenant_id = $1 and queue_id is null";

const LANES: &str = concat!(
    "
update lane l set weight = t.weight, paused = t.paused, blocked = false,
    tenant_slot = (select s.id from limit_slot s where s.tenant_id = t.id and s.queue_id is null),
    virtual_us = case when l.active and not t.paused and (l.paused or l.blocked) then ",
    let_go!(),
    " else l.virtual_us end
from tenant t where t.id = $1 and l.tenant_id = t.id"
);

/// The port over PostgreSQL.
pub(super) struct PgTenants(pub(super) Arc<Inner>);

struct Put {
    slug: TenantSlug,
    settings: TenantSettings,
    now: Timestamp,
    note: Option<AuditNote>,
}

impl Unit for Put {
    type Output = ();
    const BEGIN: &'static str = BEGIN_CHANGING_SETTINGS;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<()>, Fault> {
        let settings = &self.settings;
        sqlx::raw_sql(STOP_COMMITS).execute(&mut *connection).await?;
        let id: i32 = sqlx::query_scalar(PUT)
            .bind(self.slug.as_str())
            .bind(settings.attributes.as_str())
            .bind(int(settings.weight))
            .bind(settings.max_running.map(int))
            .bind(settings.max_backlog.map(int))
            .bind(settings.paused)
            .bind(self.now.micros())
            .bind(settings.request_rate.map(|rate| int(rate.limit)))
            .bind(settings.request_rate.map(|rate| int(rate.period_ms)))
            .bind(settings.suspended)
            .fetch_one(&mut *connection)
            .await?;
        match settings.max_running {
            Some(max) => sqlx::query(SLOT).bind(id).bind(int(max)).execute(&mut *connection).await?,
            None => sqlx::query(NO_SLOT).bind(id).execute(&mut *connection).await?,
        };
        sqlx::query(LANES).bind(id).execute(&mut *connection).await?;
        audit::append(connection, self.note.as_slice()).await?;
        Ok(End::Commit(()))
    }
}

impl PgTenants {
    async fn found(&self, slug: &TenantSlug) -> StoreResult<Tenant> {
        self.get(slug).await?.ok_or_else(|| rejected("a tenant's row vanished"))
    }
}

#[async_trait]
impl TenantStore for PgTenants {
    async fn get(&self, slug: &TenantSlug) -> StoreResult<Option<Tenant>> {
        let row =
            asked(tenant::Entity::find().filter(tenant::Column::Slug.eq(slug.as_str())).one(&self.0.orm))
                .await?;
        let tenant = row.map(Tenant::try_from).transpose()?;
        if let Some(tenant) = &tenant {
            self.0.catalog.tenants.remember(tenant.id.0, slug.clone());
        }
        Ok(tenant)
    }

    async fn get_many(&self, ids: &[TenantId]) -> StoreResult<Vec<Tenant>> {
        let ids: Vec<i32> = ids.iter().map(|id| id.0).collect();
        let found =
            asked(tenant::Entity::find().filter(tenant::Column::Id.is_in(ids)).all(&self.0.orm)).await?;
        found.into_iter().map(Tenant::try_from).collect()
    }

    async fn ensure(&self, slug: &TenantSlug, now: Timestamp) -> StoreResult<Tenant> {
        if let Some(tenant) = self.get(slug).await? {
            return Ok(tenant);
        }
        let settings = TenantSettings::default();
        repeat(|| {
            sqlx::query(ADD)
                .bind(slug.as_str())
                .bind(settings.attributes.as_str())
                .bind(int(settings.weight))
                .bind(settings.paused)
                .bind(now.micros())
                .execute(&self.0.pool)
        })
        .await?;
        self.found(slug).await
    }

    async fn list(&self, after: Option<&TenantSlug>, limit: u32) -> StoreResult<Vec<Tenant>> {
        // Slugs are ordered by their bytes, whatever the locale of the database.
        let ids: Vec<i32> = repeat(|| {
            sqlx::query_scalar(LIST)
                .bind(after.map(TenantSlug::as_str))
                .bind(int(limit))
                .fetch_all(&self.0.pool)
        })
        .await?;
        let rows =
            asked(tenant::Entity::find().filter(tenant::Column::Id.is_in(ids)).all(&self.0.orm)).await?;
        let mut tenants = rows.into_iter().map(Tenant::try_from).collect::<StoreResult<Vec<_>>>()?;
        tenants.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(tenants)
    }

    async fn put(
        &self,
        slug: &TenantSlug,
        settings: &TenantSettings,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<Tenant> {
        let put = Put { slug: slug.clone(), settings: settings.clone(), now, note };
        transact_detached(&self.0.warm, put).await?;
        self.found(slug).await
    }
}
