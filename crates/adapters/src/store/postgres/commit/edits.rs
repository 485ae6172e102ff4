//! What an operator changed of what was asked for.

use sqlx::PgConnection;
use taskflow_domain::{JobChange, Priority, Timestamp};
use uuid::Uuid;

use crate::store::error::Fault;
use crate::store::row::labels_to_text;

/// The index of labels serves look-ups by label, so the old ones are found by
/// what the job says of them.
const UNLABEL: &str = "
delete from job_label l using (
    select j.tenant_id, j.id, o.key, o.value
    from unnest($1::int4[], $2::uuid[]) k(tenant_id, id)
    cross join lateral (
        select * from job j where j.tenant_id = k.tenant_id and j.id = k.id and j.labels is not null limit 1) j
    cross join lateral json_each_text(j.labels::json) o) o
where l.tenant_id = any(array[o.tenant_id]) and l.key = o.key and l.value = o.value and l.job_id = o.id";

const EDIT: &str = "
with labelled as (
    insert into job_label (tenant_id, key, value, job_id)
    select * from unnest($7::int4[], $8::text[], $9::text[], $10::uuid[]))
update job j set priority = coalesce(e.priority, j.priority), run_at = coalesce(e.run_at, j.run_at),
    labels = case when e.relabelled then e.labels else j.labels end
from unnest($1::int4[], $2::uuid[], $3::int2[], $4::int8[], $5::bool[], $6::text[])
    e(tenant_id, id, priority, run_at, relabelled, labels)
where j.tenant_id = any(array[e.tenant_id]) and j.id = e.id";

/// Writes the edits among the changes at `done`.
pub(super) async fn commit(
    connection: &mut PgConnection,
    changes: &[JobChange],
    done: impl Iterator<Item = usize>,
) -> Result<(), Fault> {
    let edited: Vec<_> =
        done.filter_map(|at| changes[at].edit.as_ref().map(|edit| (&changes[at], edit))).collect();
    if edited.is_empty() {
        return Ok(());
    }
    let relabelled = || edited.iter().filter_map(|(change, edit)| Some((change, edit.labels.as_ref()?)));
    if relabelled().next().is_some() {
        let (tenants, jobs): (Vec<i32>, Vec<Uuid>) =
            relabelled().map(|(change, _)| (change.tenant.0, change.job.0)).unzip();
        sqlx::query(UNLABEL).bind(tenants).bind(jobs).execute(&mut *connection).await?;
    }
    let labels: Vec<(i32, &str, &str, Uuid)> = relabelled()
        .flat_map(|(change, labels)| {
            labels.iter().map(|(key, value)| (change.tenant.0, key.as_str(), value.as_str(), change.job.0))
        })
        .collect();
    let texts = edited
        .iter()
        .map(|(_, edit)| edit.labels.as_ref().map_or(Ok(None), labels_to_text))
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(EDIT)
        .bind(edited.iter().map(|(change, _)| change.tenant.0).collect::<Vec<_>>())
        .bind(edited.iter().map(|(change, _)| change.job.0).collect::<Vec<_>>())
        .bind(edited.iter().map(|(_, edit)| edit.priority.map(Priority::code)).collect::<Vec<_>>())
        .bind(edited.iter().map(|(_, edit)| edit.run_at.map(Timestamp::micros)).collect::<Vec<_>>())
        .bind(edited.iter().map(|(_, edit)| edit.labels.is_some()).collect::<Vec<_>>())
        .bind(texts)
        .bind(labels.iter().map(|label| label.0).collect::<Vec<_>>())
        .bind(labels.iter().map(|label| label.1).collect::<Vec<_>>())
        .bind(labels.iter().map(|label| label.2).collect::<Vec<_>>())
        .bind(labels.iter().map(|label| label.3).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
