//! Who may have no more jobs waiting.
//!
//! A tenant's limit holds only if what adds to its backlog takes turns, so the row of such
//! a tenant is locked for the time of an insert or a redrive. Tenants without a limit are not.

use std::collections::{HashMap, HashSet};

use sqlx::{PgConnection, Row};
use taskflow_application::ports::Inserted;
use taskflow_domain::TenantId;

use super::{Batch, write};
use crate::store::error::Fault;

const LOCK: &str = "
select id, case when suspended then 0 else max_backlog end from tenant
where id = any($1::int4[]) and (max_backlog is not null or suspended)
order by id for no key update";

/// Counts no further than the limit, whatever the backlog.
const COUNT: &str = "
select t.id,
    (select count(*) from (select 1 from ready r where r.tenant_id = t.id limit t.most) x)
    + (select count(*) from (select 1 from parked p where p.tenant_id = t.id limit t.most) y)
from unnest($1::int4[], $2::int4[]) t(id, most)";

/// What a tenant may have waiting.
pub(in super::super) struct Backlog {
    /// In all.
    pub(in super::super) most: u32,
    /// More.
    pub(in super::super) room: u32,
}

/// The jobs of the batch that may be written. The others are answered.
pub(super) async fn admit(
    connection: &mut PgConnection,
    batch: &Batch,
    answers: &mut [Inserted],
) -> Result<Vec<usize>, Fault> {
    let mut backlogs = backlogs(connection, batch.jobs.iter().map(|job| job.spec.tenant)).await?;
    if backlogs.is_empty() {
        return Ok(batch.written.clone());
    }
    let keyed: Vec<usize> = batch
        .written
        .iter()
        .copied()
        .filter(|&at| backlogs.contains_key(&batch.jobs[at].spec.tenant.0) && batch.key(at).is_some())
        .collect();
    let known = write::owners(connection, batch, &keyed).await?;
    let mut admitted = Vec::with_capacity(batch.written.len());
    for &at in &batch.written {
        let known = batch.key(at).is_some_and(|key| known.contains_key(&key));
        match backlogs.get_mut(&batch.jobs[at].spec.tenant.0) {
            Some(backlog) if !known && backlog.room == 0 => {
                answers[at] = Inserted::BacklogFull(backlog.most);
                continue;
            }
            Some(backlog) if !known => backlog.room -= 1,
            _ => {}
        }
        admitted.push(at);
    }
    Ok(admitted)
}

/// The backlogs of these tenants, of those that have a limit. Nobody else adds to them
/// before the end of the transaction.
pub(in super::super) async fn backlogs(
    connection: &mut PgConnection,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<HashMap<i32, Backlog>, Fault> {
    let tenants: HashSet<i32> = tenants.map(|tenant| tenant.0).collect();
    let tenants: Vec<i32> = tenants.into_iter().collect();
    let rows = sqlx::query(LOCK).bind(tenants).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let mut limits: HashMap<i32, i32> = HashMap::new();
    for row in &rows {
        limits.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let (ids, most): (Vec<i32>, Vec<i32>) = limits.iter().unzip();
    let rows = sqlx::query(COUNT).bind(ids).bind(most).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let (id, waiting): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
            let most = u32::try_from(limits[&id]).unwrap_or_default();
            let room = most.saturating_sub(u32::try_from(waiting).unwrap_or(u32::MAX));
            Ok((id, Backlog { most, room }))
        })
        .collect()
}
