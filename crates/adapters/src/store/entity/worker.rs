//! `worker`: who runs jobs. A worker that left stays as a name, because its
//! attempts refer to it.

use sea_orm::entity::prelude::*;
use taskflow_application::ports::{StoreError, Worker};
use taskflow_domain::{Kind, NameError, QueueName, TenantId, Timestamp, WorkerName};

/// A row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "worker")]
pub struct Model {
    /// Inside the engine.
    #[sea_orm(primary_key)]
    pub id: i32,
    /// Outside of it: unique among the workers of its tenant, or of the engine.
    pub name: String,
    /// The tenant that it serves; `None` for all.
    pub tenant_id: Option<i32>,
    /// A JSON array of names.
    pub queues: String,
    /// A JSON array of names.
    pub kinds: String,
    /// How many jobs it runs at once.
    pub slots: i32,
    /// Whether it is there; otherwise only its name is kept.
    pub known: bool,
    /// Whether it was ever handed a job, so that its attempts refer to it.
    pub used: bool,
    /// Microseconds since the epoch.
    pub started_at: i64,
    /// Microseconds since the epoch.
    pub beat_at: i64,
    /// Microseconds since the epoch.
    pub lease_until: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// Names as a JSON array, the form of `queues` and `kinds`.
pub(crate) fn names_to_text<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    serde_json::Value::from(names).to_string()
}

fn names_from_text<T>(text: &str, parse: fn(&str) -> Result<T, NameError>) -> Result<Vec<T>, String> {
    let names: Vec<String> = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
    names.iter().map(|name| parse(name).map_err(|fault| fault.to_string())).collect()
}

impl TryFrom<Model> for Worker {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let corrupt = |column, detail: String| super::corrupt("worker", column, row.id, detail);
        Ok(Self {
            name: WorkerName::new(&row.name).map_err(|fault| corrupt("name", fault.to_string()))?,
            tenant: row.tenant_id.map(TenantId),
            queues: names_from_text(&row.queues, QueueName::new)
                .map_err(|detail| corrupt("queues", detail))?,
            kinds: names_from_text(&row.kinds, Kind::new).map_err(|detail| corrupt("kinds", detail))?,
            slots: u32::try_from(row.slots).map_err(|fault| corrupt("slots", fault.to_string()))?,
            started_at: Timestamp::from_micros(row.started_at),
            beat_at: Timestamp::from_micros(row.beat_at),
            lease_until: Timestamp::from_micros(row.lease_until),
        })
    }
}
