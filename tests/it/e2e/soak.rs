//! Eight workers under caps, killed and started again at random.
//!
//! Caps must hold at every committed instant, no job may be lost or succeed
//! twice, and in the end the counters must say what is true. The short run is
//! part of the tests; `TASKFLOW_SOAK_SECONDS=300 scripts/test e2e::soak` is the
//! long one.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, Row as _};
use taskflow_tests::process::{Process, Signal, client, variable};
use tokio::time::{Instant, interval};

use super::api::Store;

const WORKERS: usize = 8;
const TENANTS: usize = 6;
/// Jobs of the queue, and of one tenant in it, that may run at once.
const CAPS: (i64, i64) = (12, 3);
const KILL_EVERY: Duration = Duration::from_millis(700);
const SUBMIT_EVERY: Duration = Duration::from_millis(400);
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// One look is one snapshot: what it sees was committed at one instant.
const RUNNING: &str = "
select coalesce(sum(n), 0)::int8, coalesce(max(n), 0)::int8
from (select count(*) n from running group by tenant_id) x";

const TWICE: &str = "
select count(*) from (
    select 1 from (
        select tenant_id, job_id from attempt where outcome = 0
        union all select tenant_id, job_id from finished where outcome = 0) a
    group by tenant_id, job_id having count(*) > 1) x";

const LOST: &str = "
select (select count(*) from attempt where outcome <> 0) + (select count(*) from finished where outcome <> 0)";

const LEFT: &str = "
select (select count(*) from ready) + (select count(*) from parked) + (select count(*) from running)";

const COUNTED: &str = "
select (select coalesce(sum(running), 0) from queue) + (select coalesce(sum(running), 0) from limit_slot)";

async fn number(db: &mut PgConnection, sql: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(sql).fetch_one(db).await?)
}

fn worker(store: &Store) -> Result<Process> {
    let worker = store.launch("worker").env("TASKFLOW_LEASE_MS", "1000");
    worker.env("TASKFLOW_WORKER_CONCURRENCY", "8").spawn()
}

/// Chance that is the same in every run, as a failure has to be found again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit
    }
}

/// Looks at what runs until the end; answers how often, and how full it was at most.
async fn watch(url: String, until: Instant) -> Result<(u32, i64, i64)> {
    let mut db = PgConnection::connect(&url).await?;
    let (mut looks, mut most, mut most_of_one) = (0, 0, 0);
    let mut clock = interval(LOOK_EVERY);
    while Instant::now() < until {
        clock.tick().await;
        let row = sqlx::query(RUNNING).fetch_one(&mut db).await?;
        let (all, of_one): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(all <= CAPS.0, "{all} jobs of the queue run");
        ensure!(of_one <= CAPS.1, "{of_one} jobs of one tenant run");
        looks += 1;
        most = most.max(all);
        most_of_one = most_of_one.max(of_one);
    }
    Ok((looks, most, most_of_one))
}

/// Submits batches of each tenant until the end; answers how many jobs.
async fn submit(api: String, until: Instant) -> Result<i64> {
    let client = client()?;
    let mut clock = interval(SUBMIT_EVERY);
    let mut submitted = 0;
    while Instant::now() < until {
        clock.tick().await;
        for tenant in 0..TENANTS {
            let job = json!({
                "kind": "nap", "queue": "capped",
                "target": {"type": "builtin", "name": "sleep", "ms": 40 + 30 * tenant},
                "retry_policy": {"max_attempts": 20, "strategy": "fixed", "base_delay_ms": 10, "jitter": "none"},
            });
            let jobs = vec![job; 4];
            let request = client.post(format!("{api}/v1/jobs/batch")).json(&json!({"jobs": jobs}));
            let answer = request.header("taskflow-tenant", format!("tenant-{tenant}")).send().await?;
            ensure!(answer.status().is_success(), "{}", answer.text().await?);
            submitted += 4;
        }
    }
    Ok(submitted)
}

/// Kills one worker after the other until the end; answers how often.
async fn kill(store: &Store, workers: &mut [Process], until: Instant) -> Result<u32> {
    let mut chance = Chance(7);
    let mut kills = 0;
    let mut clock = interval(KILL_EVERY);
    while Instant::now() < until {
        clock.tick().await;
        let victim = &mut workers[chance.below(WORKERS)];
        victim.kill()?;
        *victim = worker(store)?;
        kills += 1;
    }
    Ok(kills)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caps_hold_while_workers_die() -> Result<()> {
    let seconds = variable("TASKFLOW_SOAK_SECONDS").map_or(Ok(8), |text| text.parse())?;
    let store = Store::postgres().await?;
    let api = store.launch("api").start().await?;
    let limits = json!({"max_running": CAPS.0, "max_running_per_tenant": CAPS.1});
    let answer = client()?.put(format!("{}/v1/admin/queues/capped", api.url)).json(&limits).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    let mut workers = (0..WORKERS).map(|_| worker(&store)).collect::<Result<Vec<_>>>()?;
    for worker in &mut workers {
        worker.ready().await?;
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let watching = tokio::spawn(watch(store.url(), until));
    let submitting = tokio::spawn(submit(api.url.clone(), until));
    let kills = kill(&store, &mut workers, until).await?;
    let submitted = submitting.await??;
    let (looks, most, most_of_one) = watching.await??;
    ensure!(looks > 50 && most > 1, "{looks} looks at {most} jobs show nothing");

    let mut db = PgConnection::connect(&store.url()).await?;
    let patience = Instant::now() + Duration::from_secs(60 + 2 * seconds);
    let mut clock = interval(SUBMIT_EVERY);
    while number(&mut db, LEFT).await? > 0 {
        ensure!(Instant::now() < patience, "{} jobs do not end", number(&mut db, LEFT).await?);
        clock.tick().await;
    }
    let finished = number(&mut db, "select count(*) from finished").await?;
    assert_eq!(finished, submitted, "each job ends once");
    assert_eq!(number(&mut db, TWICE).await?, 0, "no job succeeds twice");
    assert_eq!(number(&mut db, COUNTED).await?, 0, "nothing runs, and the counters know it");
    let lost = number(&mut db, LOST).await?;
    println!(
        "{submitted} jobs, {kills} kills, {lost} attempts lost; at most {most} of {} ran, {most_of_one} of {} \
         of one tenant, in {looks} looks",
        CAPS.0, CAPS.1
    );
    drop(workers);
    api.signal(Signal::Term)?;
    Ok(())
}
