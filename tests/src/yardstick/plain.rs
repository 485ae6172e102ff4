//! The yardstick: what plain SQL reaches on the same server in the same run.
//!
//! The same work that the engine does, with nothing around it: narrow integer
//! keys, two statements for each batch, no checks, no retries, no decisions. A
//! job has a description, a due row, three history rows and one attempt row; a
//! claim takes lanes in the order of their virtual time, ten jobs of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

const SCHEMA: &str = "
    create table queue(id int primary key, cap int, running int not null default 0, paused bool not null default false)
        with (fillfactor = 50);
    create table lane(id int primary key, queue_id int not null, tenant_id int not null, weight int not null default 1,
        cap int, running int not null default 0, active bool not null, paused bool not null default false,
        is_full bool not null default false, vt bigint not null default 0) with (fillfactor = 50);
    create index lane_vt on lane(queue_id, vt, id) where active and not paused and not is_full;
    create table job(id bigint generated always as identity primary key, tenant_id int not null, lane_id int not null,
        prio smallint not null default 0, run_at timestamptz not null default now(), max_attempts int not null default 3,
        kind text not null default 'noop', created_at timestamptz not null default now(), payload text not null);
    create index job_tenant on job(tenant_id, id);
    create table ready(lane_id int not null, prio smallint not null, run_at timestamptz not null, job_id bigint not null,
        attempt int not null default 0, primary key (lane_id, prio, run_at, job_id));
    create table running(job_id bigint primary key, lane_id int not null, attempt int not null, worker int not null,
        prio smallint not null, run_at timestamptz not null, started_at timestamptz not null,
        lease_until timestamptz not null);
    create index running_lease on running(lease_until);
    create table attempt(job_id bigint not null, n int not null, lane_id int not null, worker int not null,
        queued_at timestamptz not null, started_at timestamptz not null, finished_at timestamptz not null,
        outcome int not null, error text, primary key (job_id, n));
    create table event(job_id bigint not null, at timestamptz not null, from_state int, to_state int not null,
        attempt int, actor int);
    create index event_job on event(job_id);
    insert into queue(id) values (1);";

const ENQUEUE: &str = "
    with j as (insert into job(tenant_id, lane_id, payload)
               select u.lane, u.lane, u.payload from unnest($1::int4[], $2::text[]) u(lane, payload)
               returning id, lane_id, prio, run_at),
    e as (insert into event(job_id, at, to_state) select id, now(), 0 from j)
    insert into ready(lane_id, prio, run_at, job_id) select lane_id, prio, run_at, id from j";

const CLAIM: &str = "
    with budget as materialized (
        select b from (select least($1::int4, cap - running) b from queue
                       where id = 1 and cap is not null and running < cap and not paused for no key update) capped
        union all select $1::int4 from queue where id = 1 and cap is null and not paused),
    candidate as materialized (
        select l.id, l.weight, coalesce(l.cap - l.running, 2147483647) room from lane l
        where l.queue_id = 1 and l.active and not l.paused and not l.is_full and (select b from budget) > 0
        order by l.vt, l.id limit greatest(1, (select b from budget) / 10) for no key update skip locked),
    share as materialized (
        select greatest(1, (select b from budget) / greatest(1, count(*)))::int each from candidate),
    pick as materialized (
        select r.place, c.id lane from share s cross join candidate c cross join lateral
            (select ctid place from ready r where r.lane_id = c.id order by prio, run_at, job_id
             limit least(s.each, c.room) for update skip locked) r limit (select b from budget)),
    taken as (delete from ready where ctid = any(array(select place from pick))
              returning job_id, lane_id, attempt, prio, run_at),
    begun as (insert into running select job_id, lane_id, attempt + 1, $2::int4, prio, run_at, clock_timestamp(),
                  now() + interval '60s' from taken returning job_id, lane_id, attempt),
    yield as materialized (
        select c.id, least(s.each, c.room) asked, coalesce(p.got, 0)::int got from share s cross join candidate c
        left join (select lane, count(*) got from pick group by 1) p on p.lane = c.id),
    charged as (update lane l set vt = l.vt + y.got * 1000 / l.weight,
            active = (y.got >= y.asked and exists (select 1 from ready r where r.lane_id = l.id
                      order by prio, run_at, job_id offset y.got limit 1)),
            running = case when l.cap is null then 0 else l.running + y.got end,
            is_full = coalesce(l.running + y.got >= l.cap, false)
        from yield y where l.id = y.id and l.id = any(array(select id from candidate))),
    counted as (update queue q set running = running + t.n from (select sum(got)::int n from yield) t
                where q.id = 1 and q.cap is not null and t.n > 0)
    select b.job_id, b.lane_id, b.attempt, (select payload from job j where j.id = b.job_id) from begun b";

const COMPLETE: &str = "
    with ended as (delete from running where job_id = any($1::int8[]) and worker = $2::int4 returning *),
    history as (insert into event(job_id, at, from_state, to_state, attempt, actor)
        select job_id, v.at, v.f, v.t, attempt, $2::int4 from ended
        cross join lateral (values (started_at, 0, 1), (clock_timestamp(), 1, 2)) v(at, f, t)),
    tried as (insert into attempt(job_id, n, lane_id, worker, queued_at, started_at, finished_at, outcome)
        select job_id, attempt, lane_id, $2::int4, run_at, started_at, clock_timestamp(), 1 from ended),
    freed as materialized (select lane_id, count(*)::int n from ended group by 1),
    locked as materialized (select l.id, f.n from lane l join freed f on f.lane_id = l.id
        where l.id = any(array(select lane_id from freed)) and l.cap is not null order by l.id for no key update of l),
    lanes as (update lane l set running = l.running - k.n, is_full = (l.running - k.n >= l.cap)
        from locked k where l.id = k.id and l.id = any(array(select id from locked)))
    update queue q set running = running - t.n from (select sum(n)::int n from freed) t
        where q.id = 1 and q.cap is not null and t.n > 0";

/// A connection as the engine's hot path has it.
pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connect")?;
    tokio::spawn(connection);
    client.batch_execute("set jit = off; set plan_cache_mode = force_generic_plan").await?;
    Ok(client)
}

/// Bytes of write-ahead log so far.
pub async fn wal_bytes(client: &Client) -> Result<i64> {
    let row =
        client.query_one("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8", &[]).await?;
    Ok(row.get(0))
}

/// Makes the tables, with `lanes` sleeping lanes.
pub async fn create(url: &str, lanes: u32) -> Result<()> {
    let client = connect(url).await?;
    client.batch_execute(SCHEMA).await?;
    let lanes = i32::try_from(lanes)?;
    let insert = "insert into lane(id, queue_id, tenant_id, active) select n, 1, n, false from generate_series(1, $1) n";
    client.execute(insert, &[&lanes]).await?;
    Ok(())
}

/// Wakes all lanes and brings the planner's figures up to date.
pub async fn settle_down(url: &str) -> Result<()> {
    let client = connect(url).await?;
    client.batch_execute("update lane set active = true").await?;
    for table in ["job", "ready", "lane", "event"] {
        client.batch_execute(&format!("vacuum analyze {table}")).await?;
    }
    client.batch_execute("checkpoint").await?;
    Ok(())
}

/// Inserts `jobs` jobs over `lanes` lanes in batches; answers jobs per second.
pub async fn enqueue(url: &str, jobs: u32, lanes: u32, batch: u32, payload: &str) -> Result<f64> {
    let client = connect(url).await?;
    let statement = client.prepare(ENQUEUE).await?;
    let begun = Instant::now();
    let mut done = 0;
    while done < jobs {
        let count = batch.min(jobs - done);
        let to: Vec<i32> = (done..done + count).map(|n| (n % lanes) as i32 + 1).collect();
        let payloads = vec![payload; count as usize];
        client.execute(&statement, &[&to, &payloads]).await?;
        done += count;
    }
    Ok(f64::from(jobs) / begun.elapsed().as_secs_f64())
}

/// `callers` submit one job after the other; one connection commits whatever
/// waits. Answers jobs per second.
pub async fn enqueue_coalesced(url: &str, jobs: u32, lanes: u32, callers: u32, payload: &str) -> Result<f64> {
    let client = connect(url).await?;
    let statement = client.prepare(ENQUEUE).await?;
    let (send, mut receive) =
        tokio::sync::mpsc::unbounded_channel::<(i32, tokio::sync::oneshot::Sender<()>)>();
    let payload = payload.to_owned();
    let writer = tokio::spawn(async move {
        let mut line = Vec::new();
        while receive.recv_many(&mut line, 1_000).await > 0 {
            let to: Vec<i32> = line.iter().map(|(lane, _)| *lane).collect();
            let payloads = vec![payload.as_str(); line.len()];
            client.execute(&statement, &[&to, &payloads]).await?;
            for (_, answer) in line.drain(..) {
                let _ = answer.send(());
            }
        }
        Ok::<_, anyhow::Error>(())
    });
    let begun = Instant::now();
    let each = jobs / callers;
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let send = send.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..each {
                let (answer, answered) = tokio::sync::oneshot::channel();
                send.send(((caller % lanes) as i32 + 1, answer)).context("the writer is gone")?;
                answered.await.context("no answer")?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let rate = f64::from(each * callers) / begun.elapsed().as_secs_f64();
    drop(send);
    writer.await??;
    Ok(rate)
}

/// Claims and completes on `connections` connections until nothing is due.
/// Answers jobs per second and bytes of write-ahead log a job.
pub async fn drain(url: &str, connections: u32, batch: u32) -> Result<(f64, i64)> {
    let admin = connect(url).await?;
    let wal = wal_bytes(&admin).await?;
    let total = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for worker in 1..=connections {
        tasks.push(tokio::spawn(drain_one(url.to_owned(), worker as i32, batch as i32, total.clone())));
    }
    let mut last = begun;
    for task in tasks {
        last = last.max(task.await??);
    }
    let jobs = total.load(Ordering::Relaxed);
    let wal = wal_bytes(&admin).await? - wal;
    Ok((jobs as f64 / (last - begun).as_secs_f64(), wal / jobs.max(1) as i64))
}

/// One claimer; answers when it settled its last job.
async fn drain_one(url: String, worker: i32, batch: i32, total: Arc<AtomicU64>) -> Result<Instant> {
    let client = connect(&url).await?;
    let claim = client.prepare(CLAIM).await?;
    let complete = client.prepare(COMPLETE).await?;
    let mut last = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(1));
    let mut empty = 0;
    while empty < 40 {
        let rows = client.query(&claim, &[&batch, &worker]).await?;
        if rows.is_empty() {
            empty += 1;
            pause.tick().await;
            continue;
        }
        empty = 0;
        let jobs: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        client.execute(&complete, &[&jobs, &worker]).await?;
        total.fetch_add(jobs.len() as u64, Ordering::Relaxed);
        last = Instant::now();
    }
    Ok(last)
}
