//! The statement that makes due jobs run, and what is counted with it.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use taskflow_domain::fair::UNKNOWN_COST_US;

use super::Claiming;
use super::look::{LaneSeen, Limits};
use crate::store::error::Fault;
use crate::store::row::{CountersRow, JobRow};

/// What a claim takes of a lane.
pub(super) struct Take {
    pub(super) lane_id: i32,
    pub(super) queue_id: i32,
    /// How many jobs at most.
    pub(super) n: i32,
    /// Whether a limit of it has no room, so that claims shall pass it by.
    pub(super) blocked: bool,
}

/// One more job of each lane is looked at than is taken, to know whether the
/// lane goes on; it is `beyond`. The rows are locked when they are picked, so
/// their places (`ctid`) hold to the delete, and the pick says all about them.
/// The expected cost of the first job's kind is looked up once for a lane: mostly
/// all its jobs are of that kind. `done` puts what was asked and what was got
/// together without a join. `from` gives what to take: lane, queue, how many, blocked.
pub(super) fn taking(from: &str) -> String {
    format!(
        "
take as materialized (
    select t.*, f.kind_id, coalesce((
        select c.cost_us from kind_cost c where c.tenant_id = f.tenant_id and c.kind_id = f.kind_id), $9) cost_us
    from {from} t(lane_id, queue_id, n, blocked)
    left join lateral (
        select r.tenant_id, r.kind_id from ready r where r.lane_id = t.lane_id
        order by r.ord, r.job_id limit 1) f on true),
pick as materialized (
    select r.*, r.nth > take.n beyond,
        case when r.kind_id = take.kind_id then take.cost_us else coalesce((
            select c.cost_us from kind_cost c where c.tenant_id = r.tenant_id and c.kind_id = r.kind_id), $9)
        end charged_us, least(r.tries + 1, 32767)::int2 attempt, least(r.used + 1, 32767)::int2 spent,
        (least(r.tries + 1, 32767)::int8 << 48) | $7::int8 token
    from take cross join lateral (
        select row_number() over () nth, d.* from (
            select ctid ct, tenant_id, job_id, lane_id, kind_id, priority, due_at, attempt tries, spent used, lost,
                interrupted, snoozed, seq + 1 seq
            from ready r where r.lane_id = take.lane_id
            order by r.ord, r.job_id limit take.n + 1 for update skip locked) d) r),
gone as (delete from ready where ctid = any(array(select ct from pick where not beyond))),
begun as (
    insert into running (tenant_id, job_id, lane_id, kind_id, priority, due_at, started_at, worker_id,
        token, lease_until, charged_us,
        attempt, spent, lost, interrupted, snoozed, seq, started_seq)
    select tenant_id, job_id, lane_id, kind_id, priority, due_at, greatest($5, due_at), $6, token,
        case when $8::int8 is not null then $8 when (select known from worker where id = $6) then null else $5 end,
        charged_us, attempt, spent, lost, interrupted, snoozed, seq, seq
    from pick where not beyond),
done as materialized (
    select lane_id, max(queue_id) queue_id, bool_or(blocked) blocked, bool_or(beyond) beyond,
        sum(got)::int4 got, sum(us)::int8 us
    from (select lane_id, queue_id, blocked, false beyond, 0 got, 0 us from take
        union all select lane_id, 0, false, beyond, 1 - beyond::int4, case when beyond then 0 else charged_us end
        from pick) x
    group by lane_id),
moved as (
    update lane l set
        virtual_us = l.virtual_us + case when d.got > 0 then greatest(1, d.us / l.weight) else 0 end,
        cost_us = case when d.got > 0 then d.us / d.got else l.cost_us end,
        blocked = d.blocked,
        active = d.beyond
    from done d where l.id = any(array[d.lane_id])),
counted as (
    insert into depth_delta (queue_id, state, n)
    select x.queue_id, v.state, v.n
    from (select queue_id, sum(got) n from done where got > 0 group by 1) x
    cross join lateral (values (2::int2, -x.n), (3::int2, x.n)) v(state, n))"
    )
}

/// Where [`taken`] says whether the job's lane sleeps now.
pub(super) const CLOSED: usize = 5;

/// What is said of each job that was taken, for [`super::hand`].
pub(super) fn taken() -> String {
    format!(
        "
select b.lane_id, b.due_at, b.token,
    coalesce($8, (select case when known then lease_until else $5 end from worker where id = $6)),
    b.charged_us, b.lane_id in (select lane_id from done where not beyond), {counters}, {job}
from pick b
cross join lateral (select * from job j where j.tenant_id = b.tenant_id and j.id = b.job_id limit 1) j
where not b.beyond",
        counters = CountersRow::columns("b"),
        job = JobRow::columns("j"),
    )
}

static TAKE: LazyLock<String> = LazyLock::new(|| {
    let given = "unnest($1::int4[], $2::int4[], $3::int4[], $4::bool[])";
    format!("with {} {}", taking(given), taken())
});

/// Only rows that this transaction has locked already.
const COUNT: &str = "
with q as (
    update queue q set running = q.running + c.n,
        bucket_micro = coalesce(c.bucket_micro, q.bucket_micro), bucket_at = coalesce(c.bucket_at, q.bucket_at)
    from unnest($1::int4[], $2::int4[], $3::int8[], $4::int8[]) c(id, n, bucket_micro, bucket_at)
    where q.id = any(array[c.id]))
update limit_slot s set running = s.running + c.n
from unnest($5::int4[], $6::int4[]) c(id, n) where s.id = any(array[c.id])";

/// Takes due jobs of the lanes. Each row answers one job: see [`super::hand`].
pub(super) async fn take(
    connection: &mut PgConnection,
    claiming: &Claiming,
    takes: &[Take],
) -> sqlx::Result<Vec<PgRow>> {
    sqlx::query(TAKE.as_str())
        .bind(takes.iter().map(|take| take.lane_id).collect::<Vec<_>>())
        .bind(takes.iter().map(|take| take.queue_id).collect::<Vec<_>>())
        .bind(takes.iter().map(|take| take.n).collect::<Vec<_>>())
        .bind(takes.iter().map(|take| take.blocked).collect::<Vec<_>>())
        .bind(claiming.now.micros())
        .bind(claiming.worker)
        .bind(claiming.nonce)
        .bind(claiming.lease_until.map(taskflow_domain::Timestamp::micros))
        .bind(UNKNOWN_COST_US)
        .fetch_all(connection)
        .await
}

/// How many jobs came from each lane.
pub(super) fn got(rows: &[PgRow]) -> Result<HashMap<i32, u32>, Fault> {
    let mut got = HashMap::new();
    for row in rows {
        *got.entry(row.try_get::<i32, _>(0)?).or_default() += 1;
    }
    Ok(got)
}

/// The lanes that sleep now: those that gave less than was asked, and those
/// whose last due jobs were taken.
pub(super) fn closed(rows: &[PgRow], takes: &[Take], got: &HashMap<i32, u32>) -> Result<Vec<i32>, Fault> {
    let mut closed: HashSet<i32> = takes
        .iter()
        .filter(|take| got.get(&take.lane_id).is_none_or(|&n| i64::from(n) < i64::from(take.n)))
        .map(|take| take.lane_id)
        .collect();
    for row in rows {
        if row.try_get(CLOSED)? {
            closed.insert(row.try_get(0)?);
        }
    }
    Ok(closed.into_iter().collect())
}

/// Counts what began under the limits of queues and tenants.
pub(super) async fn count(
    connection: &mut PgConnection,
    claiming: &Claiming,
    lanes: &[LaneSeen],
    limits: &Limits,
    got: &HashMap<i32, u32>,
) -> Result<(), Fault> {
    if limits.queues.is_empty() && limits.slots.is_empty() {
        return Ok(());
    }
    let (mut queues, mut slots): (HashMap<i32, u32>, HashMap<i32, i32>) = Default::default();
    for lane in lanes {
        let n = got.get(&lane.id).copied().unwrap_or_default();
        *queues.entry(lane.queue_id).or_default() += n;
        for slot in [lane.tenant_slot, lane.queue_slot].into_iter().flatten().filter(|_| n > 0) {
            *slots.entry(slot).or_default() += i32::try_from(n).unwrap_or(i32::MAX);
        }
    }
    let (mut ids, mut running, mut micro, mut at) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for &(queue, _) in &claiming.queues {
        let starts = queues.get(&queue).copied().unwrap_or_default();
        if let Some((n, bucket)) = limits.after(queue, starts).filter(|_| starts > 0) {
            ids.push(queue);
            running.push(n);
            micro.push(bucket.map(|bucket| bucket.micro_tokens));
            at.push(bucket.map(|bucket| bucket.at.micros()));
        }
    }
    let (slot_ids, slot_counts): (Vec<i32>, Vec<i32>) = slots.into_iter().unzip();
    if ids.is_empty() && slot_ids.is_empty() {
        return Ok(());
    }
    sqlx::query(COUNT)
        .bind(ids)
        .bind(running)
        .bind(micro)
        .bind(at)
        .bind(slot_ids)
        .bind(slot_counts)
        .execute(connection)
        .await?;
    Ok(())
}
