//! What running attempts tell of how far they are.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{PgConnection, Row};
use taskflow_application::ports::StoreResult;
use taskflow_domain::{JobId, LeaseToken, Progress, TenantId, Timestamp, WorkerName, event};
use uuid::Uuid;

use crate::store::error::Fault;
use crate::store::postgres::unit::{End, Unit, transact_detached};
use crate::store::postgres::{Inner, rejected};

type Report = (TenantId, JobId, LeaseToken, Progress);

/// Makes room in the histories for `n` entries each.
const NUMBER: &str = "
update running r set seq = r.seq + k.n
from unnest($1::int4[], $2::uuid[], $3::int8[], $4::int4[]) k(tenant_id, job_id, token, n)
where r.tenant_id = any(array[k.tenant_id]) and r.job_id = k.job_id and r.token = k.token
returning r.tenant_id, r.job_id, r.token, r.seq - k.n, (select name from worker w where w.id = r.worker_id)";

const NOTE: &str = "
with noted as (
    insert into job_event (tenant_id, job_id, seq, kind, at, actor, data)
    select e.tenant_id, e.job_id, e.seq, $1, $2, e.actor, e.data
    from unnest($3::int4[], $4::uuid[], $5::int4[], $6::text[], $7::text[]) e(tenant_id, job_id, seq, actor, data))
insert into progress (tenant_id, job_id, percent, message, succeeded, failed, at)
select p.tenant_id, p.job_id, p.percent, p.message, p.succeeded, p.failed, $2
from unnest($8::int4[], $9::uuid[], $10::int2[], $11::text[], $12::int8[], $13::int8[])
    p(tenant_id, job_id, percent, message, succeeded, failed)
order by 1, 2
on conflict (tenant_id, job_id) do update set percent = excluded.percent, message = excluded.message,
    succeeded = excluded.succeeded, failed = excluded.failed, at = excluded.at";

/// The reports of one call.
struct Reports {
    all: Vec<Report>,
    at: Timestamp,
}

/// Notes progress: see the port.
pub(in crate::store::postgres) async fn progress(
    inner: &Arc<Inner>,
    reports: &[Report],
    at: Timestamp,
) -> StoreResult<Vec<bool>> {
    if reports.is_empty() {
        return Ok(Vec::new());
    }
    transact_detached(&inner.warm, Reports { all: reports.to_vec(), at }).await
}

type LeaseKey = (i32, Uuid, i64);

fn key(report: &Report) -> LeaseKey {
    (report.0.0, report.1.0, report.2.0)
}

impl Unit for Reports {
    type Output = Vec<bool>;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Vec<bool>>, Fault> {
        let mut held = self.number(connection).await?;
        let answers: Vec<bool> = self.all.iter().map(|report| held.contains_key(&key(report))).collect();
        if !held.is_empty() {
            self.note(connection, &mut held).await?;
        }
        Ok(End::Commit(answers))
    }
}

impl Reports {
    /// The leases that are held, each with the number of the last entry before
    /// its reports, and the worker.
    async fn number(
        &self,
        connection: &mut PgConnection,
    ) -> Result<HashMap<LeaseKey, (i32, WorkerName)>, Fault> {
        let mut counts: HashMap<LeaseKey, i32> = HashMap::new();
        for report in &self.all {
            *counts.entry(key(report)).or_default() += 1;
        }
        let mut keys: Vec<LeaseKey> = counts.keys().copied().collect();
        keys.sort_unstable();
        let rows = sqlx::query(NUMBER)
            .bind(keys.iter().map(|key| key.0).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.1).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.2).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| counts[key]).collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
        rows.iter()
            .map(|row| {
                let name: String = row.try_get(4)?;
                let name = WorkerName::new(&name).map_err(|fault| rejected(fault.to_string()))?;
                Ok(((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), (row.try_get(3)?, name)))
            })
            .collect()
    }

    async fn note(
        &self,
        connection: &mut PgConnection,
        held: &mut HashMap<LeaseKey, (i32, WorkerName)>,
    ) -> Result<(), Fault> {
        let mut entries = Vec::new();
        let mut latest: HashMap<(i32, Uuid), &Progress> = HashMap::new();
        for report in &self.all {
            let Some((seq, worker)) = held.get_mut(&key(report)) else { continue };
            *seq += 1;
            let number = u32::try_from(*seq).unwrap_or_default();
            let entry = event::progressed(number, worker, &report.3, self.at);
            entries.push((
                report.0.0,
                report.1.0,
                *seq,
                entry.actor.as_str().to_owned(),
                entry.data.to_string(),
            ));
            latest.insert((report.0.0, report.1.0), &report.3);
        }
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        sqlx::query(NOTE)
            .bind(taskflow_domain::EventKind::Progressed.code())
            .bind(self.at.micros())
            .bind(entries.iter().map(|entry| entry.0).collect::<Vec<_>>())
            .bind(entries.iter().map(|entry| entry.1).collect::<Vec<_>>())
            .bind(entries.iter().map(|entry| entry.2).collect::<Vec<_>>())
            .bind(entries.iter().map(|entry| entry.3.as_str()).collect::<Vec<_>>())
            .bind(entries.iter().map(|entry| entry.4.as_str()).collect::<Vec<_>>())
            .bind(latest.keys().map(|key| key.0).collect::<Vec<_>>())
            .bind(latest.keys().map(|key| key.1).collect::<Vec<_>>())
            .bind(latest.values().map(|progress| i16::from(progress.percent)).collect::<Vec<_>>())
            .bind(latest.values().map(|progress| progress.message.as_deref()).collect::<Vec<_>>())
            .bind(latest.values().map(|progress| count(progress.succeeded)).collect::<Vec<_>>())
            .bind(latest.values().map(|progress| count(progress.failed)).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }
}
