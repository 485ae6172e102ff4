//! The proof: a reading transaction sees one snapshot, and no commit leaves a lane
//! to be woken later, so every statement looks once.

use sqlx::{AssertSqlSafe, Connection as _};
use taskflow_application::ports::{Check, Proof, StoreResult};
use taskflow_domain::Timestamp;

use super::super::error::Fault;
use super::super::proof::{statement, takes_time};
use super::Shared;
use super::sweep::{BLOCKED, SLEEPING};

pub(super) async fn proof(shared: &Shared, now: Timestamp) -> StoreResult<Proof> {
    Ok(look(shared, now.plus_millis(-Check::PATIENCE_MS)).await?)
}

async fn look(shared: &Shared, before: Timestamp) -> Result<Proof, Fault> {
    let mut reader = shared.readers.acquire().await?;
    let mut snapshot = reader.begin().await?;
    let mut proof = Proof::default();
    for check in Check::ALL {
        let sql = statement(check, "").unwrap_or_else(|| {
            let lanes = if check == Check::SleepingLanes { SLEEPING } else { BLOCKED };
            format!("select count(*) from ({lanes})")
        });
        let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false);
        if takes_time(check) {
            query = query.bind(before.micros());
        }
        let times: i64 = query.fetch_one(&mut *snapshot).await?;
        proof.note(check, times.unsigned_abs());
    }
    snapshot.commit().await?;
    Ok(proof)
}
