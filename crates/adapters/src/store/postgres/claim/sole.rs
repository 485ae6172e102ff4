//! The first look of the engine's own claims, which mostly is all of them in an idle engine:
//! one lane has due jobs, and no limit stands over it.
//!
//! There is nothing to divide then, so the statement that looks also locks the lane,
//! takes, charges, and commits by itself: one round trip instead of five between a submit
//! and its handler. Where it sees more than one lane, or a limit, it takes nothing and
//! says which queues have work, and the claim goes on from there.
//!
//! It holds no settings lock. Instead it names `limit_slot` as if it would write to it:
//! whoever changes settings keeps writers from that table until its commit (see
//! [`STOP_COMMITS`](super::super::sweep::STOP_COMMITS)), and a statement gets its locks on
//! tables before it looks at the data, so it sees the settings as they are while it runs.

use std::sync::LazyLock;

use sqlx::Row;
use sqlx::postgres::PgRow;
use taskflow_application::ports::StoreResult;
use taskflow_domain::Timestamp;
use taskflow_domain::fair::UNKNOWN_COST_US;

use super::look::QUEUES;
use super::take::{CLOSED, taken, taking};
use super::{Claiming, Taken};
use crate::store::error::from_sqlx;
use crate::store::postgres::unit::alone;
use crate::store::postgres::{Inner, int};

/// The lane is looked at again when it is locked: another claim may have had it meanwhile.
static SOLE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "
with work as materialized ({QUEUES}),
found as materialized (
    select l.id, w.limited
    from work w cross join unnest($3::int4[]) r(route) cross join lateral (
        select l.id from lane l
        where l.queue_id = w.id and l.route = r.route and l.active and not l.blocked and not l.paused
        order by l.virtual_us, l.id limit 2) l
    limit 2),
sole as materialized (
    select l.id, l.queue_id from lane l
    where l.id = any(array(select id from found))
        and (select count(*) = 1 and not bool_or(limited) from found)
        and l.active::int4 = 1 and l.blocked::int4 = 0 and l.paused::int4 = 0
        and l.tenant_slot is null and l.queue_slot is null
    for no key update skip locked),
settled as (update limit_slot set running = running where id = any($10::int4[])),
{}
select p.*, w.*
from (select (select id from sole), array(select id from work), array(select limited from work)) w
left join lateral ({}) p on true",
        taking("(select id, queue_id, $4::int4, false from sole)"),
        taken(),
    )
});

/// What the look found, or took.
pub(super) enum Look {
    /// All of an only lane, or nothing because nothing was there.
    Taken(Taken),
    /// Queues that have lanes to look at, and whether they are limited as a whole.
    Queues(Vec<(i32, bool)>),
}

/// Takes the jobs of the only lane with due ones, if there is one and no limit is over it.
pub(super) async fn look(inner: &Inner, claiming: &Claiming, only: Option<&[i32]>) -> StoreResult<Look> {
    let rows = alone(&inner.warm, |mut connection| async move {
        let rows = sqlx::query(SOLE.as_str())
            .bind(only)
            .bind(claiming.now.micros())
            .bind(&claiming.routes)
            .bind(int(claiming.max))
            .bind(claiming.now.micros())
            .bind(claiming.worker)
            .bind(claiming.nonce)
            .bind(claiming.lease_until.map(Timestamp::micros))
            .bind(UNKNOWN_COST_US)
            .bind(Vec::<i32>::new())
            .fetch_all(&mut *connection)
            .await?;
        Ok((rows, connection))
    })
    .await?;
    read(rows).map_err(|fault| from_sqlx(&fault))
}

/// Each row ends with the lane that was locked, and the queues; without jobs there is one
/// row that says nothing else.
fn read(rows: Vec<PgRow>) -> sqlx::Result<Look> {
    let Some(first) = rows.first() else { return Ok(Look::Taken(Taken::default())) };
    let [lane, queues, limited] = [3, 2, 1].map(|back| first.len() - back);
    let Some(lane) = first.try_get::<Option<i32>, _>(lane)? else {
        let (queues, limited): (Vec<i32>, Vec<bool>) = (first.try_get(queues)?, first.try_get(limited)?);
        let mut queues: Vec<_> = queues.into_iter().zip(limited).collect();
        queues.sort_unstable();
        return Ok(Look::Queues(queues));
    };
    // Whether the lane sleeps now; where it had no job it does.
    let sleeps = first.try_get::<Option<bool>, _>(CLOSED)?;
    let rows = if sleeps.is_some() { rows } else { Vec::new() };
    let more = sleeps == Some(false);
    let closed = if more { Vec::new() } else { vec![lane] };
    Ok(Look::Taken(Taken { rows, closed, changed: true, more }))
}
