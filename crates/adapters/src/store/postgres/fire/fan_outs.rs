//! Rules that act for many tenants: their fan-outs begin, and are taken further.

use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, PgConnection};
use taskflow_application::ports::{FanOut, StoreResult};
use taskflow_domain::Timestamp;
use uuid::Uuid;

use super::super::unit::{detached, repeat};
use super::super::{Inner, int};
use crate::store::error::{Fault, from_sqlx};
use crate::store::row::{Bind as _, FanOutRow};

static BEGIN_FAN_OUT: LazyLock<String> = LazyLock::new(|| {
    let columns = FanOutRow::COLUMNS.join(", ");
    let places: Vec<String> = (1..=FanOutRow::COLUMNS.len()).map(|n| format!("${n}")).collect();
    format!(
        "insert into fan_out ({columns}, held_until) values ({}, 0) on conflict do nothing",
        places.join(", ")
    )
});

static TAKE_FAN_OUTS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "update fan_out f set held_until = $2 where f.id = any(array(
            select o.id from fan_out o where not o.done and o.held_until <= $1
                and (o.scheduled_at is null or not exists (select 1 from fan_out e
                    where e.rule_id = o.rule_id and not e.done and e.scheduled_at is not null and e.id < o.id))
            order by o.id limit $3::int4 for update of o skip locked))
         returning {}",
        FanOutRow::columns("f")
    )
});

const ANY_FAN_OUT: &str = "select id from fan_out where not done limit 1";

pub(super) async fn begin_fan_out(connection: &mut PgConnection, fan_out: &FanOut) -> Result<(), Fault> {
    let query = sqlx::query(AssertSqlSafe(BEGIN_FAN_OUT.as_str()));
    FanOutRow::of(fan_out).bind_to(query).execute(connection).await?;
    Ok(())
}

/// Takes fan-outs: see the port.
pub(in super::super) async fn take_fan_outs(
    inner: &Arc<Inner>,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> StoreResult<Vec<FanOut>> {
    let inner = Arc::clone(inner);
    detached(async move {
        // An idle engine asks often, and mostly there is none.
        let any = repeat(|| sqlx::query_scalar::<_, Uuid>(ANY_FAN_OUT).fetch_optional(&inner.pool)).await?;
        if any.is_none() {
            return Ok(Vec::new());
        }
        let rows = repeat(|| {
            sqlx::query(AssertSqlSafe(TAKE_FAN_OUTS.as_str()))
                .bind(now.micros())
                .bind(until.micros())
                .bind(int(limit))
                .fetch_all(&inner.pool)
        })
        .await?;
        rows.iter().map(|row| FanOutRow::read(row, 0).map_err(|fault| from_sqlx(&fault))?.fan_out()).collect()
    })
    .await
}
