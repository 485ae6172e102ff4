//! What the database itself wrote down of leases, in the order of the commits: read
//! and written with plain statements, without the engine.

use anyhow::Result;
use sqlx::{Connection as _, PgConnection, Row as _, SqliteConnection};
use taskflow_checker::history::LeaseRow;

/// Each row is written by the transaction that gives or ends the lease.
const INSTALL_POSTGRES: &str = "
create table lease_log (job_id uuid not null, token int8 not null, worker_id int4 not null, given bool not null);
create function log_lease() returns trigger language plpgsql as $$ begin
    if tg_op = 'INSERT' then
        insert into lease_log values (new.job_id, new.token, new.worker_id, true);
    else
        insert into lease_log values (old.job_id, old.token, old.worker_id, false);
    end if;
    return null;
end $$;
create trigger log_lease after insert or delete on running for each row execute function log_lease()";

/// Leases that share a limit are ordered by the lock of its row, so the times of
/// their commits tell which came first; ends stand before starts of the same time.
const LEASES_POSTGRES: &str = "
select (extract(epoch from pg_xact_commit_timestamp(l.xmin)) * 1000000)::int8, l.given, l.job_id, l.token, w.name
from lease_log l join worker w on w.id = l.worker_id
order by pg_xact_commit_timestamp(l.xmin), l.given";

/// Its writers stand in one line, so the rows have the order of the commits.
const INSTALL_SQLITE: &str = "
create table lease_log (id integer primary key, at integer, given integer, job_id blob, token integer,
    worker_id integer);
create trigger lease_given after insert on running begin
    insert into lease_log (at, given, job_id, token, worker_id)
    values (cast(unixepoch('subsec') * 1000000 as integer), 1, new.job_id, new.token, new.worker_id);
end;
create trigger lease_ended after delete on running begin
    insert into lease_log (at, given, job_id, token, worker_id)
    values (cast(unixepoch('subsec') * 1000000 as integer), 0, old.job_id, old.token, old.worker_id);
end";

const LEASES_SQLITE: &str = "
select l.at, l.given, l.job_id, l.token, w.name from lease_log l join worker w on w.id = l.worker_id order by l.id";

/// Has every lease written down from now on.
pub(super) async fn install(url: &str) -> Result<()> {
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await?;
        sqlx::raw_sql(INSTALL_SQLITE).execute(&mut connection).await?;
        connection.close().await?;
    } else {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(INSTALL_POSTGRES).execute(&mut connection).await?;
        connection.close().await?;
    }
    Ok(())
}

/// What was written down.
pub(super) async fn leases(url: &str) -> Result<Vec<LeaseRow>> {
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await?;
        let rows = sqlx::query(LEASES_SQLITE).fetch_all(&mut connection).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let id: uuid::Uuid = row.try_get(2)?;
            Ok(lease(row.try_get(0)?, row.try_get(1)?, id, row.try_get(3)?, row.try_get(4)?))
        };
        return rows.iter().map(read).collect();
    }
    let mut connection = PgConnection::connect(url).await?;
    let rows = sqlx::query(LEASES_POSTGRES).fetch_all(&mut connection).await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let id: uuid::Uuid = row.try_get(2)?;
        Ok(lease(row.try_get(0)?, row.try_get(1)?, id, row.try_get(3)?, row.try_get(4)?))
    };
    rows.iter().map(read).collect()
}

fn lease(at: i64, given: bool, job: uuid::Uuid, token: i64, worker: String) -> LeaseRow {
    let (job, token) = (job.to_string(), format!("{token:016x}"));
    if given {
        LeaseRow::Grant { at, job, token, worker, until: None }
    } else {
        LeaseRow::End { at, job, token }
    }
}
