//! Limits on running jobs of tenants: the counters, and the lanes they hold back.
//!
//! The rows of `running` are the truth. A counter exists only where a limit is
//! set, and changes in the unit of work that starts or ends a job. A lane is
//! blocked while one of its limits is full, so that no claim looks at it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::super::error::Fault;
use super::record::batch;

/// The statement that holds back, or lets go, the lanes of one tenant or queue.
/// A lane that is let go has saved nothing up, like one that was idle.
macro_rules! hold {
    ($of:literal) => {
        concat!(
            "update lane set blocked = ",
            hold!(),
            ", virtual_us = case when blocked = 1 and not ",
            hold!(),
            " then max(virtual_us, coalesce(( \
               select o.virtual_us from lane o \
               where o.route = lane.route and o.queue_id = lane.queue_id \
                 and o.active = 1 and o.blocked = 0 and o.paused = 0 \
               order by o.virtual_us, o.id limit 1), virtual_us)) else virtual_us end \
             where ",
            $of,
            " = ?1"
        )
    };
    () => {
        "exists (select 1 from limit_slot s \
           where s.id in (lane.tenant_slot, lane.queue_slot) and s.running >= s.max_running)"
    };
}

/// Adds to the running jobs of limits, by slot.
pub(super) async fn count(tx: &mut SqliteConnection, by: &BTreeMap<i32, i64>) -> Result<(), Fault> {
    let by: Vec<(i32, i64)> = by.iter().filter(|(_, by)| **by != 0).map(|(slot, by)| (*slot, *by)).collect();
    if !by.is_empty() {
        sqlx::query(COUNT).bind(batch(&by)?).execute(tx).await?;
    }
    Ok(())
}

/// Blocks the lanes of those of these limits that are full.
pub(super) async fn block(tx: &mut SqliteConnection, slots: &BTreeSet<i32>) -> Result<(), Fault> {
    let slots: Vec<_> = slots.iter().collect();
    sqlx::query(BLOCK).bind(batch(&slots)?).execute(tx).await?;
    Ok(())
}

/// Lets lanes of these limits go that no limit holds back any more.
pub(super) async fn unblock(tx: &mut SqliteConnection, slots: &BTreeSet<i32>) -> Result<(), Fault> {
    let slots: Vec<_> = slots.iter().collect();
    sqlx::query(UNBLOCK).bind(batch(&slots)?).execute(tx).await?;
    Ok(())
}

const COUNT: &str = "update limit_slot set running = running + (e.value->>'$[1]') \
    from jsonb_each(?1) e where limit_slot.id = e.value->>'$[0]'";

const BLOCK: &str = "with full(id) as materialized ( \
      select s.id from jsonb_each(?1) e cross join limit_slot s on s.id = e.value \
      where s.running >= s.max_running) \
    update lane set blocked = 1 where blocked = 0 and id in ( \
      select l.id from full cross join lane l on l.tenant_slot = full.id \
      union all \
      select l.id from full cross join lane l on l.queue_slot = full.id)";

const UNBLOCK: &str = "with open(id) as materialized ( \
      select s.id from jsonb_each(?1) e cross join limit_slot s on s.id = e.value \
      where s.running < s.max_running) \
    update lane set blocked = 0 where blocked = 1 and id in ( \
      select l.id from open cross join lane l on l.tenant_slot = open.id \
      union all \
      select l.id from open cross join lane l on l.queue_slot = open.id) \
    and not exists (select 1 from limit_slot s where s.id in (lane.tenant_slot, lane.queue_slot) \
      and s.running >= s.max_running)";

/// Sets or lifts the limit on the running jobs of a tenant.
pub(super) async fn set_tenant(
    tx: &mut SqliteConnection,
    tenant: i32,
    most: Option<u32>,
) -> Result<(), Fault> {
    let statements: &[&'static str] = match most {
        Some(_) => &[LIMIT_TENANT, COUNT_TENANT, TIE_TENANT, HOLD_TENANT],
        None => &[UNTIE_TENANT, FREE_TENANT, HOLD_TENANT],
    };
    set(tx, statements, tenant, most).await
}

/// Sets or lifts the limit on the running jobs of each tenant in a queue.
pub(super) async fn set_queue(tx: &mut SqliteConnection, queue: i32, most: Option<u32>) -> Result<(), Fault> {
    let statements: &[&'static str] = match most {
        Some(_) => &[LIMIT_QUEUE, COUNT_QUEUE, TIE_QUEUE, HOLD_QUEUE],
        None => &[UNTIE_QUEUE, FREE_QUEUE, HOLD_QUEUE],
    };
    set(tx, statements, queue, most).await
}

async fn set(
    tx: &mut SqliteConnection,
    statements: &[&'static str],
    of: i32,
    most: Option<u32>,
) -> Result<(), Fault> {
    for sql in statements {
        sqlx::query(*sql).bind(of).bind(most).execute(&mut *tx).await?;
    }
    Ok(())
}

const LIMIT_TENANT: &str = "insert into limit_slot (tenant_id, queue_id, max_running) values (?1, null, ?2) \
    on conflict (tenant_id, coalesce(queue_id, 0)) do update set max_running = excluded.max_running";
const COUNT_TENANT: &str = "update limit_slot set running = ( \
      select count(*) from running r where r.tenant_id = limit_slot.tenant_id) \
    where tenant_id = ?1 and coalesce(queue_id, 0) = 0";
const TIE_TENANT: &str = "update lane set tenant_slot = ( \
      select s.id from limit_slot s where s.tenant_id = ?1 and coalesce(s.queue_id, 0) = 0) \
    where tenant_id = ?1";
const UNTIE_TENANT: &str =
    "update lane set tenant_slot = null where tenant_id = ?1 and tenant_slot is not null";
const FREE_TENANT: &str = "delete from limit_slot where tenant_id = ?1 and coalesce(queue_id, 0) = 0";
const HOLD_TENANT: &str = hold!("tenant_id");

const LIMIT_QUEUE: &str = "insert into limit_slot (tenant_id, queue_id, max_running) \
    select distinct l.tenant_id, l.queue_id, ?2 from lane l where l.queue_id = ?1 \
    on conflict (tenant_id, coalesce(queue_id, 0)) do update set max_running = excluded.max_running";
const COUNT_QUEUE: &str = "with n(tenant_id, running) as materialized ( \
      select r.tenant_id, count(*) from running r cross join lane l on l.id = r.lane_id \
      where l.queue_id = ?1 group by r.tenant_id) \
    update limit_slot set running = coalesce( \
      (select n.running from n where n.tenant_id = limit_slot.tenant_id), 0) \
    where queue_id = ?1";
const TIE_QUEUE: &str = "update lane set queue_slot = ( \
      select s.id from limit_slot s where s.tenant_id = lane.tenant_id and coalesce(s.queue_id, 0) = ?1) \
    where queue_id = ?1";
const UNTIE_QUEUE: &str = "update lane set queue_slot = null where queue_id = ?1 and queue_slot is not null";
const FREE_QUEUE: &str = "delete from limit_slot where queue_id = ?1";
const HOLD_QUEUE: &str = hold!("queue_id");
