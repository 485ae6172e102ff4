//! Scheduled jobs whose time has come.

use std::sync::Arc;

use sqlx::Row;
use taskflow_application::ports::{Promoted, StoreResult};
use taskflow_domain::{Priority, Timestamp};

use super::unit::{detached, repeat};
use super::{Inner, count, int};

/// Rows of `parked` are never updated, so their places hold. `$3` has the offset
/// of each priority, by its number.
const PROMOTE: &str = "
with due as materialized (
    select ctid ct from parked where state = 1 and due_at <= $1
    order by due_at limit $2::int4 for update skip locked),
gone as (delete from parked where ctid = any(array(select ct from due)) returning *),
ready as (
    insert into ready (tenant_id, job_id, lane_id, ord, kind_id, priority, due_at, since,
        attempt, spent, lost, interrupted, snoozed, seq)
    select tenant_id, job_id, lane_id, due_at + ($3::int8[])[priority + 1], kind_id, priority, due_at, since,
        attempt, spent, lost, interrupted, snoozed, seq
    from gone),
share as materialized (
    select g.lane_id, g.n, l.queue_id
    from (select lane_id, count(*) n from gone group by 1) g
    cross join lateral (select queue_id from lane where id = g.lane_id limit 1) l),
counted as (
    insert into depth_delta (queue_id, state, n)
    select x.queue_id, v.state, v.n
    from (select queue_id, sum(n) n from share group by 1) x
    cross join lateral (values (1::int2, -x.n), (2::int2, x.n)) v(state, n))
select lane_id, n from share";

const NEXT: &str = "select due_at from parked where state = 1 order by due_at limit 1";

/// Promotes jobs: see the port.
pub(super) async fn promote(inner: &Arc<Inner>, now: Timestamp, limit: u32) -> StoreResult<Promoted> {
    let inner = Arc::clone(inner);
    let offsets = Priority::ALL.map(Priority::offset_micros);
    detached(async move {
        // An idle engine asks often, and mostly nothing is due.
        let next = || sqlx::query_scalar::<_, i64>(NEXT).fetch_optional(&inner.pool);
        let first = repeat(next).await?;
        if first.is_none_or(|first| first > now.micros()) {
            return Ok(Promoted { jobs: 0, next_due: first.map(Timestamp::from_micros) });
        }
        let rows = repeat(|| {
            sqlx::query(PROMOTE).bind(now.micros()).bind(int(limit)).bind(offsets).fetch_all(&inner.pool)
        })
        .await?;
        let (mut lanes, mut jobs) = (Vec::with_capacity(rows.len()), 0_u64);
        for row in &rows {
            let read = || Ok((row.try_get::<i32, _>(0)?, row.try_get::<i64, _>(1)?));
            let (lane, n) = read().map_err(|fault: sqlx::Error| crate::store::error::from_sqlx(&fault))?;
            lanes.push(lane);
            jobs += u64::try_from(n).unwrap_or_default();
        }
        inner.activate(lanes).await?;
        let next_due = repeat(next).await?.map(Timestamp::from_micros);
        Ok(Promoted { jobs: count(jobs), next_due })
    })
    .await
}
