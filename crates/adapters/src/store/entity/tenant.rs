//! `tenant`: who owns jobs.

use sea_orm::entity::prelude::*;
use taskflow_application::ports::StoreError;
use taskflow_domain::queue::Rate;
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{Json, TenantId, TenantSlug, Timestamp};

/// A row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tenant")]
pub struct Model {
    /// Inside the engine.
    #[sea_orm(primary_key)]
    pub id: i32,
    /// Outside of it.
    #[sea_orm(unique)]
    pub slug: String,
    /// A JSON object.
    pub attributes: String,
    /// 1 to 1000.
    pub weight: i32,
    /// Over all queues.
    pub max_running: Option<i32>,
    /// Jobs that may wait at once.
    pub max_backlog: Option<i32>,
    /// Requests of its keys, in a period.
    pub request_limit: Option<i32>,
    /// The period, in milliseconds.
    pub request_period_ms: Option<i32>,
    /// Whether none of its jobs may start.
    pub paused: bool,
    /// Whether it may only look.
    pub suspended: bool,
    /// Microseconds since the epoch.
    pub created_at: i64,
    /// Microseconds since the epoch.
    pub updated_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Tenant {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let corrupt = |column, detail: String| super::corrupt("tenant", column, row.id, detail);
        let number = |column, value: i32| u32::try_from(value).map_err(|e| corrupt(column, e.to_string()));
        let optional = |column, value: Option<i32>| value.map(|value| number(column, value)).transpose();
        Ok(Self {
            id: TenantId(row.id),
            slug: TenantSlug::new(&row.slug).map_err(|e| corrupt("slug", e.to_string()))?,
            settings: TenantSettings {
                attributes: Json::from_valid(&row.attributes),
                weight: number("weight", row.weight)?,
                max_running: optional("max_running", row.max_running)?,
                max_backlog: optional("max_backlog", row.max_backlog)?,
                request_rate: optional("request_limit", row.request_limit)?
                    .zip(optional("request_period_ms", row.request_period_ms)?)
                    .map(|(limit, period_ms)| Rate { limit, period_ms }),
                paused: row.paused,
                suspended: row.suspended,
            },
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}
