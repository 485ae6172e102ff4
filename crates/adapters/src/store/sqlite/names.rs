//! Names that a unit of work or a reader needs and the catalog may not know yet.

use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::StoreError;
use taskflow_domain::{Kind, NameError, QueueName, TenantSlug};

use super::super::error::Fault;
use super::super::names::{Catalog, Remembered};
use super::record::batch;

/// The ids of the kinds that exist.
pub(super) async fn kind_ids(
    connection: &mut SqliteConnection,
    catalog: &Catalog,
    kinds: &[Kind],
) -> Result<Vec<i32>, Fault> {
    ids(connection, &catalog.kinds, kinds, KIND_IDS).await
}

/// The ids of the queues that exist.
pub(super) async fn queue_ids(
    connection: &mut SqliteConnection,
    catalog: &Catalog,
    queues: &[QueueName],
) -> Result<Vec<i32>, Fault> {
    ids(connection, &catalog.queues, queues, QUEUE_IDS).await
}

/// Sees to it that the catalog knows these kinds.
pub(super) async fn know_kinds(
    connection: &mut SqliteConnection,
    catalog: &Catalog,
    ids: impl Iterator<Item = i32>,
) -> Result<(), Fault> {
    know(connection, &catalog.kinds, ids, KINDS, Kind::new).await
}

/// Sees to it that the catalog knows these queues.
pub(super) async fn know_queues(
    connection: &mut SqliteConnection,
    catalog: &Catalog,
    ids: impl Iterator<Item = i32>,
) -> Result<(), Fault> {
    know(connection, &catalog.queues, ids, QUEUES, QueueName::new).await
}

/// Sees to it that the catalog knows these tenants.
pub(super) async fn know_tenants(
    connection: &mut SqliteConnection,
    catalog: &Catalog,
    ids: impl Iterator<Item = i32>,
) -> Result<(), Fault> {
    know(connection, &catalog.tenants, ids, TENANTS, TenantSlug::new).await
}

async fn ids<T>(
    connection: &mut SqliteConnection,
    remembered: &Remembered<T>,
    wanted: &[T],
    sql: &'static str,
) -> Result<Vec<i32>, Fault>
where
    T: AsRef<str> + Clone + Eq + std::hash::Hash,
{
    let mut found: Vec<i32> = wanted.iter().filter_map(|name| remembered.id(name)).collect();
    let missing: Vec<_> = wanted.iter().filter(|name| remembered.id(name).is_none()).collect();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.into_iter().map(AsRef::as_ref).collect();
        for row in sqlx::query(sql).bind(batch(&names)?).fetch_all(connection).await? {
            found.push(row.try_get(0)?);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

async fn know<T>(
    connection: &mut SqliteConnection,
    remembered: &Remembered<T>,
    ids: impl Iterator<Item = i32>,
    sql: &'static str,
    parse: fn(&str) -> Result<T, NameError>,
) -> Result<(), Fault>
where
    T: Clone + Eq + std::hash::Hash,
{
    let unknown = remembered.unknown(ids);
    if unknown.is_empty() {
        return Ok(());
    }
    for row in sqlx::query(sql).bind(batch(&unknown)?).fetch_all(connection).await? {
        let (id, name): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        let name = parse(&name)
            .map_err(|fault| StoreError::Rejected(format!("the stored name {name:?} {fault}")))?;
        remembered.remember(id, name);
    }
    Ok(())
}

const KIND_IDS: &str = "select k.id from jsonb_each(?1) e cross join kind k on k.name = e.value";
const QUEUE_IDS: &str = "select q.id from jsonb_each(?1) e cross join queue q on q.name = e.value";
const KINDS: &str = "select k.id, k.name from jsonb_each(?1) e cross join kind k on k.id = e.value";
const QUEUES: &str = "select q.id, q.name from jsonb_each(?1) e cross join queue q on q.id = e.value";
const TENANTS: &str = "select t.id, t.slug from jsonb_each(?1) e cross join tenant t on t.id = e.value";
