//! Comparing counters and flags with the running and due jobs, and mending them.
//!
//! The look happens on a reading connection, because in a healthy database it
//! finds nothing; only what is wrong is mended, in a unit of work.

use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{Discrepancies, StoreResult};
use taskflow_domain::Timestamp;

use super::super::error::Fault;
use super::Shared;
use super::record::batch;
use super::writes::AWAKE;

pub(super) async fn sweep(shared: &Shared, _now: Timestamp) -> StoreResult<Discrepancies> {
    if healthy(shared).await? {
        return Ok(Discrepancies::default());
    }
    shared.writer.run(|tx| Box::pin(mend(tx))).await
}

async fn healthy(shared: &Shared) -> Result<bool, Fault> {
    let mut reader = shared.readers.acquire().await?;
    for sql in [WRONG_QUEUES, WRONG_SLOTS, SLEEPING, BLOCKED] {
        if sqlx::query(sql).fetch_optional(&mut *reader).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn mend(tx: &mut SqliteConnection) -> Result<Discrepancies, Fault> {
    let mut found = Discrepancies::default();
    for (look, mend) in [(WRONG_QUEUES, MEND_QUEUE), (WRONG_SLOTS, MEND_SLOT)] {
        for row in sqlx::query(look).fetch_all(&mut *tx).await? {
            let (id, running): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
            sqlx::query(mend).bind(id).bind(running).execute(&mut *tx).await?;
            found.counters += 1;
        }
    }
    // After the counters, because they decide which lanes are held back.
    for (look, mend, count) in
        [(SLEEPING, AWAKE, &mut found.sleeping_lanes), (BLOCKED, UNBLOCK, &mut found.blocked_lanes)]
    {
        for row in sqlx::query(look).fetch_all(&mut *tx).await? {
            sqlx::query(mend).bind(batch(&[row.try_get::<i32, _>(0)?])?).execute(&mut *tx).await?;
            *count += 1;
        }
    }
    Ok(found)
}

const WRONG_QUEUES: &str = "with n(id, running) as materialized ( \
      select l.queue_id, count(*) from running r cross join lane l on l.id = r.lane_id group by l.queue_id) \
    select q.id, coalesce(n.running, 0) from queue q left join n on n.id = q.id \
    where q.max_running is not null and q.running <> coalesce(n.running, 0)";
const MEND_QUEUE: &str = "update queue set running = ?2 where id = ?1";

const WRONG_SLOTS: &str = "with n(id, running) as materialized ( \
      select slot, count(*) from ( \
        select l.tenant_slot as slot from running r cross join lane l on l.id = r.lane_id \
        union all \
        select l.queue_slot from running r cross join lane l on l.id = r.lane_id) \
      where slot is not null group by slot) \
    select s.id, coalesce(n.running, 0) from limit_slot s left join n on n.id = s.id \
    where s.running <> coalesce(n.running, 0)";
const MEND_SLOT: &str = "update limit_slot set running = ?2 where id = ?1";

/// Walks from lane to lane through the due jobs, however many each lane has.
pub(super) const SLEEPING: &str = "with recursive due(lane_id) as ( \
      select min(lane_id) from ready \
      union all \
      select (select min(r.lane_id) from ready r where r.lane_id > due.lane_id) from due \
      where due.lane_id is not null) \
    select l.id from due cross join lane l on l.id = due.lane_id where l.active = 0";

pub(super) const BLOCKED: &str = "select l.id from lane l where l.blocked = 1 \
    and not exists (select 1 from limit_slot s where s.id in (l.tenant_slot, l.queue_slot) \
      and s.running >= s.max_running)";
const UNBLOCK: &str = "update lane set blocked = 0 where id in (select value from jsonb_each(?1))";
