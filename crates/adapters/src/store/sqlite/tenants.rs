//! [`TenantStore`]: who owns jobs.

use async_trait::async_trait;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{AuditNote, StoreError, StoreResult, TenantStore};
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{TenantId, TenantSlug, Timestamp};

use super::super::entity::tenant::{Column, Entity};
use super::super::error::{Fault, from_orm};
use super::{SqliteStore, audit, limits};

#[async_trait]
impl TenantStore for SqliteStore {
    async fn get(&self, slug: &TenantSlug) -> StoreResult<Option<Tenant>> {
        let found = Entity::find().filter(Column::Slug.eq(slug.as_str())).one(&self.shared.orm).await;
        found.map_err(|fault| from_orm(&fault))?.map(Tenant::try_from).transpose()
    }

    async fn get_many(&self, ids: &[TenantId]) -> StoreResult<Vec<Tenant>> {
        let ids: Vec<i32> = ids.iter().map(|id| id.0).collect();
        let found = Entity::find().filter(Column::Id.is_in(ids)).all(&self.shared.orm).await;
        found.map_err(|fault| from_orm(&fault))?.into_iter().map(Tenant::try_from).collect()
    }

    async fn ensure(&self, slug: &TenantSlug, now: Timestamp) -> StoreResult<Tenant> {
        if let Some(found) = TenantStore::get(self, slug).await? {
            return Ok(found);
        }
        let unit = slug.clone();
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    write(tx, MAKE, &unit, &TenantSettings::default(), now).await?;
                    Ok(())
                })
            })
            .await?;
        // Read back, because somebody else may have made it with other settings.
        let made = TenantStore::get(self, slug).await?;
        made.ok_or_else(|| StoreError::Rejected(format!("the tenant {slug} could not be made")))
    }

    async fn list(&self, after: Option<&TenantSlug>, limit: u32) -> StoreResult<Vec<Tenant>> {
        let mut query = Entity::find().order_by_asc(Column::Slug).limit(u64::from(limit));
        if let Some(after) = after {
            query = query.filter(Column::Slug.gt(after.as_str()));
        }
        let found = query.all(&self.shared.orm).await;
        found.map_err(|fault| from_orm(&fault))?.into_iter().map(Tenant::try_from).collect()
    }

    async fn put(
        &self,
        slug: &TenantSlug,
        settings: &TenantSettings,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<Tenant> {
        let (slug, settings) = (slug.clone(), settings.clone());
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let id = write(tx, PUT, &slug, &settings, now).await?;
                    let lanes = sqlx::query(LANES).bind(id).bind(settings.weight).bind(settings.paused);
                    lanes.execute(&mut *tx).await?;
                    limits::set_tenant(tx, id, settings.max_running).await?;
                    let created_at: i64 =
                        sqlx::query(CREATED).bind(id).fetch_one(&mut *tx).await?.try_get(0)?;
                    audit::append(tx, note.as_slice()).await?;
                    let created_at = Timestamp::from_micros(created_at);
                    Ok(Tenant { id: TenantId(id), slug, settings, created_at, updated_at: now })
                })
            })
            .await
    }
}

async fn write(
    tx: &mut SqliteConnection,
    sql: &'static str,
    slug: &TenantSlug,
    settings: &TenantSettings,
    now: Timestamp,
) -> Result<i32, Fault> {
    let row = sqlx::query(sql)
        .bind(slug.as_str().to_owned())
        .bind(settings.attributes.as_str().to_owned())
        .bind(settings.weight)
        .bind(settings.max_running)
        .bind(settings.max_backlog)
        .bind(settings.paused)
        .bind(now.micros())
        .bind(settings.request_rate.map(|rate| rate.limit))
        .bind(settings.request_rate.map(|rate| rate.period_ms))
        .bind(settings.suspended)
        .fetch_one(tx)
        .await?;
    Ok(row.try_get(0)?)
}

macro_rules! insert {
    ($conflict:literal) => {
        concat!(
            "insert into tenant \
               (slug, attributes, weight, max_running, max_backlog, paused, created_at, updated_at, \
                request_limit, request_period_ms, suspended, max_running_at, paused_at) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10, \
               case when ?4 is not null then ?7 end, case when ?6 then ?7 end) on conflict (slug) do update set ",
            $conflict,
            " returning id"
        )
    };
}

/// Leaves a tenant alone that exists already.
const MAKE: &str = insert!("slug = slug");

const PUT: &str = insert!(
    "attributes = excluded.attributes, weight = excluded.weight, max_running = excluded.max_running, \
     max_backlog = excluded.max_backlog, paused = excluded.paused, updated_at = excluded.updated_at, \
     request_limit = excluded.request_limit, request_period_ms = excluded.request_period_ms, \
     suspended = excluded.suspended, \
     max_running_at = case when max_running is excluded.max_running then max_running_at else ?7 end, \
     paused_at = case when paused and ?6 then paused_at when ?6 then ?7 end"
);

const CREATED: &str = "select created_at from tenant where id = ?1";

/// A lane whose pause ends has saved nothing up, like one that was idle.
const LANES: &str = "update lane set weight = ?2, paused = ?3, \
      virtual_us = case when paused > ?3 then max(virtual_us, coalesce(( \
        select o.virtual_us from lane o \
        where o.route = lane.route and o.queue_id = lane.queue_id \
          and o.active = 1 and o.blocked = 0 and o.paused = 0 \
        order by o.virtual_us, o.id limit 1), virtual_us)) else virtual_us end \
    where tenant_id = ?1";
