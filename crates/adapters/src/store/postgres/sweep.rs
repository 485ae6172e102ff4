//! Comparing caches with the truth, and mending them.
//!
//! Counters are compared while nobody claims or commits, so a difference is a
//! fault. Lanes are compared without a lock: what a commit is about to do in its
//! next statement looks wrong for a moment, so only what is still wrong a
//! while later is mended and told of.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use taskflow_application::ports::{Discrepancies, StoreResult};
use taskflow_domain::Timestamp;

use super::unit::{BEGIN_CHANGING_SETTINGS, End, Unit, detached, repeat, transact};
use super::{Inner, depth};
use crate::store::error::Fault;

pub(super) const SLEEPING: &str = "
select l.id from lane l
where not l.active and (select true from ready r where r.lane_id = l.id limit 1)";

pub(super) const STILL_SLEEPING: &str = "
select l.id from lane l
where l.id = any($1::int4[]) and l.active::int4 = 0
    and (select true from ready r where r.lane_id = l.id limit 1)";

pub(super) const BLOCKED: &str = "
select l.id from lane l
where l.blocked and not exists (
    select 1 from limit_slot s where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running)";

pub(super) const STILL_BLOCKED: &str = "
select l.id from lane l
where l.id = any($1::int4[]) and l.blocked and not exists (
    select 1 from limit_slot s where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running)";

const UNBLOCK: &str = "
update lane l set blocked = false
where l.id = any($1::int4[]) and l.blocked and not exists (
    select 1 from limit_slot s where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running)";

const LIMITED: &str = "
select exists (select 1 from limit_slot) or exists (select 1 from queue where max_running is not null)";

/// Ends of attempts take no settings lock (see `commit::ends`), but they all write to
/// this table, which is small and so never long under a vacuum.
pub(super) const STOP_COMMITS: &str = "lock table limit_slot in share row exclusive mode";

const COUNT_QUEUES: &str = "
update queue q set running = c.n
from (
    select q.id, (
        select count(*)::int4 from running r join lane l on l.id = r.lane_id where l.queue_id = q.id) n
    from queue q where q.max_running is not null) c
where c.id = q.id and q.running <> c.n";

const COUNT_SLOTS: &str = "
update limit_slot s set running = c.n
from (
    select s.id, coalesce(r.n, 0) n
    from limit_slot s left join (
        select slot, count(*)::int4 n from (
            select l.tenant_slot slot from running r join lane l on l.id = r.lane_id
            union all
            select l.queue_slot from running r join lane l on l.id = r.lane_id) x
        where slot is not null group by 1) r on r.slot = s.id) c
where c.id = s.id and s.running <> c.n";

/// How long something must look wrong to be wrong.
pub(super) const SECOND_LOOK: Duration = Duration::from_millis(250);

/// Recounts what counts against limits.
struct Recount;

impl Unit for Recount {
    type Output = u64;
    const BEGIN: &'static str = BEGIN_CHANGING_SETTINGS;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<u64>, Fault> {
        sqlx::raw_sql(STOP_COMMITS).execute(&mut *connection).await?;
        // All running jobs are read once: joining them one by one to their lanes would take longer.
        sqlx::raw_sql("set local enable_hashjoin = on; set local enable_seqscan = on")
            .execute(&mut *connection)
            .await?;
        let queues = sqlx::query(COUNT_QUEUES).persistent(false).execute(&mut *connection).await?;
        let slots = sqlx::query(COUNT_SLOTS).persistent(false).execute(&mut *connection).await?;
        Ok(End::Commit(queues.rows_affected() + slots.rows_affected()))
    }
}

/// Mends caches: see the port.
pub(super) async fn sweep(inner: &Arc<Inner>, _now: Timestamp) -> StoreResult<Discrepancies> {
    let inner = Arc::clone(inner);
    detached(async move {
        depth::fold(&inner.pool).await?;
        let limited: bool = repeat(|| sqlx::query_scalar(LIMITED).fetch_one(&inner.pool)).await?;
        let counters = if limited { transact(&inner.warm, &Recount).await? } else { 0 };
        let (sleeping_lanes, blocked_lanes) = mend_lanes(&inner).await?;
        Ok(Discrepancies { sleeping_lanes, blocked_lanes, counters })
    })
    .await
}

async fn mend_lanes(inner: &Inner) -> StoreResult<(u64, u64)> {
    let find = |sql: &'static str| repeat(move || sqlx::query_scalar::<_, i32>(sql).fetch_all(&inner.pool));
    let (mut sleeping, blocked) = (find(SLEEPING).await?, find(BLOCKED).await?);
    if sleeping.is_empty() && blocked.is_empty() {
        return Ok((0, 0));
    }
    tokio::time::sleep(SECOND_LOOK).await;
    if !sleeping.is_empty() {
        sleeping =
            repeat(|| sqlx::query_scalar(STILL_SLEEPING).bind(&sleeping).fetch_all(&inner.pool)).await?;
    }
    let woken = sleeping.len() as u64;
    inner.activate(sleeping).await?;
    let unblocked = if blocked.is_empty() {
        0
    } else {
        repeat(|| sqlx::query(UNBLOCK).bind(&blocked).execute(&inner.pool)).await?.rows_affected()
    };
    Ok((woken, unblocked))
}
