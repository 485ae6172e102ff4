//! Scheduled jobs whose time has come become claimable.

use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{Promoted, StoreError, StoreResult};
use taskflow_domain::{JobState, Priority, Standing, Timestamp};

use super::super::error::Fault;
use super::super::row::CountersRow;
use super::Shared;
use super::writes::{Spot, Table, Writes};

/// Looks first without the write lock: mostly nothing is due.
pub(super) async fn promote(shared: &Shared, now: Timestamp, limit: u32) -> StoreResult<Promoted> {
    let next_due = next_due(&mut *shared.readers.acquire().await.map_err(Fault::from)?).await?;
    if next_due.is_none_or(|due| due > now) || limit == 0 {
        return Ok(Promoted { jobs: 0, next_due });
    }
    shared.writer.run(move |tx| Box::pin(async move { promote_all(tx, now, limit).await })).await
}

async fn next_due(connection: &mut SqliteConnection) -> Result<Option<Timestamp>, Fault> {
    let due: Option<i64> = sqlx::query(NEXT_DUE).fetch_one(connection).await?.try_get(0)?;
    Ok(due.map(Timestamp::from_micros))
}

async fn promote_all(tx: &mut SqliteConnection, now: Timestamp, limit: u32) -> Result<Promoted, Fault> {
    let rows = sqlx::query(DUE).bind(now.micros()).bind(limit).fetch_all(&mut *tx).await?;
    let mut writes = Writes::default();
    for row in &rows {
        let spot = Spot {
            job: (row.try_get(0)?, row.try_get(1)?),
            lane_id: row.try_get(2)?,
            queue_id: row.try_get(3)?,
            kind_id: row.try_get(4)?,
            priority: Priority::from_code(row.try_get(5)?)
                .ok_or_else(|| StoreError::Rejected("a parked job has no such priority".into()))?,
            since: Timestamp::from_micros(row.try_get(7)?),
            counters: CountersRow::read(row, 9)?.counters(),
            seq: row.try_get(8)?,
        };
        writes.leave(Table::Parked, JobState::Scheduled, spot.queue_id, spot.job);
        writes.place(&spot, &Standing::Pending { due: Timestamp::from_micros(row.try_get(6)?) })?;
    }
    writes.flush(&mut *tx).await?;
    Ok(Promoted { jobs: u32::try_from(rows.len()).unwrap_or(u32::MAX), next_due: next_due(tx).await? })
}

const NEXT_DUE: &str = "select min(due_at) from parked where state = 1";

const DUE: &str = "select p.tenant_id, p.job_id, p.lane_id, l.queue_id, p.kind_id, p.priority, \
      p.due_at, p.since, p.seq, p.attempt, p.spent, p.lost, p.interrupted, p.snoozed \
    from parked p cross join lane l on l.id = p.lane_id \
    where p.state = 1 and p.due_at <= ?1 order by p.due_at limit ?2";
