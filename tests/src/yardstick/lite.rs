//! The yardstick for SQLite: the same work in plain SQL, set by set, on one
//! connection that keeps every commit through a loss of power.
//!
//! A job has a description, a due row, three history rows and one attempt row; a
//! claim takes lanes in the order of their virtual time, ten jobs of each.

use std::path::Path;

use anyhow::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tokio::time::Instant;

const SCHEMA: &str = "
    create table lane(id integer primary key, active int not null, vt int not null default 0);
    create index lane_vt on lane(vt, id) where active = 1;
    create table job(id integer primary key, lane_id int not null, kind text not null, created_at int not null,
        payload text not null);
    create table ready(lane_id int not null, ord int not null, job_id int not null,
        primary key (lane_id, ord, job_id)) without rowid;
    create table running(job_id integer primary key, lane_id int not null, attempt int not null, worker int not null,
        started_at int not null, lease_until int not null);
    create table attempt(job_id int not null, n int not null, worker int not null, started_at int not null,
        finished_at int not null, outcome int not null, primary key (job_id, n)) without rowid;
    create table event(job_id int not null, seq int not null, at int not null, state int not null,
        primary key (job_id, seq)) without rowid;";

const ENQUEUE: [&str; 3] = [
    "insert into job select value ->> 0, value ->> 1, 'noop', 1, '{\"text\":\"xxxxxxxxxxxxxxxx\"}' from json_each(?1)",
    "insert into event select value ->> 0, 1, 1, 0 from json_each(?1)",
    "insert into ready select value ->> 1, value ->> 0, value ->> 0 from json_each(?1)",
];

const PICK: &str = "
    select r.lane_id, r.job_id, j.payload
    from (select id from lane where active = 1 order by vt, id limit ?1) l
    join ready r on r.lane_id = l.id and r.ord in (
        select ord from ready where lane_id = l.id order by ord, job_id limit 10)
    join job j on j.id = r.job_id";

const CLAIM: [&str; 3] = [
    "insert into running select value ->> 0, value ->> 1, 1, 1, 2, 3 from json_each(?1)",
    "delete from ready where (lane_id, ord, job_id) in (
        select value ->> 1, value ->> 0, value ->> 0 from json_each(?1))",
    "update lane set vt = vt + 10, active = exists (select 1 from ready where lane_id = lane.id)
        where id in (select value ->> 1 from json_each(?1))",
];

const COMPLETE: [&str; 3] = [
    "insert into attempt select job_id, attempt, worker, started_at, 4, 1 from running
        where job_id in (select value ->> 0 from json_each(?1))",
    "insert into event select r.job_id, e.seq, 4, e.seq from running r, (select 2 seq union all select 3) e
        where r.job_id in (select value ->> 0 from json_each(?1))",
    "delete from running where job_id in (select value ->> 0 from json_each(?1))",
];

/// Jobs per second of the whole life of `jobs` jobs over `lanes` lanes, each
/// step in transactions of `batch` jobs.
pub async fn lifecycle(file: &Path, jobs: u32, lanes: u32, batch: u32) -> Result<f64> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut db = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql(SCHEMA).execute(&mut db).await?;
    let make = "with recursive n(n) as (select 1 union all select n + 1 from n where n < ?1)
        insert into lane select n, 1, 0 from n";
    sqlx::query(make).bind(lanes).execute(&mut db).await?;
    let begun = Instant::now();
    let mut next = 0;
    while next < jobs {
        let count = batch.min(jobs - next);
        // A batch is one tenant's, as in the engine.
        let pairs = pairs((next..next + count).map(|id| (id, (id / batch) % lanes + 1)));
        write(&mut db, &ENQUEUE, &pairs).await?;
        next += count;
    }
    let mut left = jobs;
    while left > 0 {
        let mut unit = db.begin_with("begin immediate").await?;
        let rows = sqlx::query(PICK).bind(batch / 10).fetch_all(&mut *unit).await?;
        let claimed: Vec<(u32, u32)> =
            rows.iter().map(|row| Ok((row.try_get(1)?, row.try_get(0)?))).collect::<sqlx::Result<_>>()?;
        let pairs = pairs(claimed.into_iter());
        for statement in CLAIM {
            sqlx::query(statement).bind(&pairs).execute(&mut *unit).await?;
        }
        unit.commit().await?;
        write(&mut db, &COMPLETE, &pairs).await?;
        left -= u32::try_from(rows.len())?;
    }
    let rate = f64::from(jobs) / begun.elapsed().as_secs_f64();
    db.close().await?;
    Ok(rate)
}

/// Jobs with their lanes, as JSON.
fn pairs(jobs: impl Iterator<Item = (u32, u32)>) -> String {
    let pairs: Vec<String> = jobs.map(|(job, lane)| format!("[{job},{lane}]")).collect();
    format!("[{}]", pairs.join(","))
}

async fn write(db: &mut SqliteConnection, statements: &[&'static str], pairs: &str) -> Result<()> {
    let mut unit = db.begin_with("begin immediate").await?;
    for &statement in statements {
        sqlx::query(statement).bind(pairs).execute(&mut *unit).await?;
    }
    unit.commit().await?;
    Ok(())
}
