//! The proof: one snapshot for all statements, and a second look at lanes, which a
//! commit wakes in its next statement.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use taskflow_application::ports::{Check, Proof, StoreResult};
use taskflow_domain::Timestamp;

use super::Inner;
use super::sweep::{BLOCKED, SECOND_LOOK, SLEEPING, STILL_BLOCKED, STILL_SLEEPING};
use super::unit::detached;
use crate::store::error::Fault;
use crate::store::proof::{statement, takes_time};

const DELTAS: &str = "union all select queue_id, state, n from depth_delta";

/// Nothing is written. All that there is must be read, so the planner may read tables
/// whole and join them so; the session's settings are for the hot statements.
const BEGIN: &str = "begin isolation level repeatable read read only;
set local enable_seqscan = on; set local enable_hashjoin = on; set local enable_mergejoin = on;
set local plan_cache_mode = auto";

pub(super) async fn proof(inner: &Arc<Inner>, now: Timestamp) -> StoreResult<Proof> {
    let inner = Arc::clone(inner);
    detached(async move { Ok(look(&inner, now.plus_millis(-Check::PATIENCE_MS)).await?) }).await
}

async fn look(inner: &Inner, before: Timestamp) -> Result<Proof, Fault> {
    let mut connection = inner.pool.acquire().await?;
    let mut proof = Proof::default();
    let mut snapshot = connection.begin_with(BEGIN).await?;
    for check in Check::ALL {
        let Some(sql) = statement(check, DELTAS) else { continue };
        let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false);
        if takes_time(check) {
            query = query.bind(before.micros());
        }
        let times: i64 = query.fetch_one(&mut *snapshot).await?;
        proof.note(check, times.unsigned_abs());
    }
    snapshot.rollback().await?;
    let (sleeping, blocked) =
        (lanes(&mut connection, SLEEPING).await?, lanes(&mut connection, BLOCKED).await?);
    if !sleeping.is_empty() || !blocked.is_empty() {
        tokio::time::sleep(SECOND_LOOK).await;
    }
    proof.note(Check::SleepingLanes, still(&mut connection, STILL_SLEEPING, &sleeping).await?);
    proof.note(Check::BlockedLanes, still(&mut connection, STILL_BLOCKED, &blocked).await?);
    Ok(proof)
}

async fn lanes(connection: &mut PgConnection, sql: &'static str) -> Result<Vec<i32>, Fault> {
    Ok(sqlx::query_scalar(sql).fetch_all(connection).await?)
}

async fn still(connection: &mut PgConnection, sql: &'static str, lanes: &[i32]) -> Result<u64, Fault> {
    if lanes.is_empty() {
        return Ok(0);
    }
    let still: Vec<i32> = sqlx::query_scalar(sql).bind(lanes).fetch_all(connection).await?;
    Ok(still.len() as u64)
}
