//! `queue`: where jobs wait, its limits, and what counts against them.

use sea_orm::entity::prelude::*;
use sea_orm::{FromQueryResult as _, QueryResult};
use taskflow_application::ports::StoreError;
use taskflow_domain::queue::{Bucket, Drain, Pause, Queue, QueueSettings, Rate};
use taskflow_domain::{QueueName, Timestamp};

use crate::store::error::from_orm;

/// A row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "queue")]
pub struct Model {
    /// Inside the engine.
    #[sea_orm(primary_key)]
    pub id: i32,
    /// Outside of it.
    #[sea_orm(unique)]
    pub name: String,
    /// Jobs that may run at once.
    pub max_running: Option<i32>,
    /// Jobs that run; kept only while `max_running` is set.
    pub running: i32,
    /// Jobs of one tenant that may run at once.
    pub max_running_per_tenant: Option<i32>,
    /// When `max_running` last changed. Microseconds since the epoch.
    pub max_running_at: Option<i64>,
    /// When `max_running_per_tenant` last changed. Microseconds since the epoch.
    pub per_tenant_at: Option<i64>,
    /// Starts in each `rate_period_ms`.
    pub rate_limit: Option<i32>,
    /// In milliseconds.
    pub rate_period_ms: Option<i32>,
    /// Saved starts in millionths, as of `bucket_at`.
    pub bucket_micro: i64,
    /// Microseconds since the epoch.
    pub bucket_at: i64,
    /// Whether nothing of it may start.
    pub paused: bool,
    /// Why.
    pub pause_reason: Option<String>,
    /// By whom.
    pub pause_actor: Option<String>,
    /// Microseconds since the epoch.
    pub paused_at: Option<i64>,
    /// Microseconds since the epoch.
    pub paused_until: Option<i64>,
    /// Since when it takes no new jobs. Microseconds since the epoch.
    pub drained_at: Option<i64>,
    /// By whom.
    pub drain_actor: Option<String>,
    /// Why.
    pub drain_reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The rate limit, if one is set.
    pub fn rate(&self) -> Result<Option<Rate>, StoreError> {
        let (Some(limit), Some(period_ms)) = (self.rate_limit, self.rate_period_ms) else {
            return Ok(None);
        };
        Ok(Some(Rate {
            limit: self.number("rate_limit", limit)?,
            period_ms: self.number("rate_period_ms", period_ms)?,
        }))
    }

    /// The state of the rate limit.
    pub fn bucket(&self) -> Bucket {
        Bucket { micro_tokens: self.bucket_micro, at: Timestamp::from_micros(self.bucket_at) }
    }

    fn number(&self, column: &'static str, value: i32) -> Result<u32, StoreError> {
        u32::try_from(value).map_err(|fault| super::corrupt("queue", column, self.id, fault))
    }

    fn drain(&self) -> Option<Drain> {
        self.drained_at.map(|since| Drain {
            reason: self.drain_reason.clone(),
            actor: self.drain_actor.clone().unwrap_or_default(),
            since: Timestamp::from_micros(since),
        })
    }

    fn pause(&self) -> Option<Pause> {
        self.paused.then(|| Pause {
            reason: self.pause_reason.clone(),
            actor: self.pause_actor.clone().unwrap_or_default(),
            since: Timestamp::from_micros(self.paused_at.unwrap_or_default()),
            until: self.paused_until.map(Timestamp::from_micros),
        })
    }
}

/// The row of a queue, by its name, within a transaction of the driver's.
pub(crate) const FIND: &str = "select * from queue where name = $1";

/// The settings in what [`FIND`] found.
pub(crate) fn settings(found: Option<impl Into<QueryResult>>) -> Result<Option<QueueSettings>, StoreError> {
    let Some(row) = found else { return Ok(None) };
    let row = Model::from_query_result(&row.into(), "").map_err(|fault| from_orm(&fault))?;
    Ok(Some(Queue::try_from(row)?.settings))
}

impl TryFrom<Model> for Queue {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let optional = |column, value: Option<i32>| value.map(|value| row.number(column, value)).transpose();
        Ok(Self {
            name: QueueName::new(&row.name)
                .map_err(|fault| super::corrupt("queue", "name", row.id, fault))?,
            settings: QueueSettings {
                max_running: optional("max_running", row.max_running)?,
                max_running_per_tenant: optional("max_running_per_tenant", row.max_running_per_tenant)?,
                rate: row.rate()?,
                pause: row.pause(),
                drain: row.drain(),
            },
        })
    }
}
