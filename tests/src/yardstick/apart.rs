//! Two processes, as an installation has them: one takes jobs over HTTP, the other
//! runs them. What is measured includes the client that asks.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, interval};

use crate::faults::client::Client;
use crate::faults::load::noop;
use crate::faults::now_us;
use crate::process::{Launch, Process, Signal, eventually};

/// How many jobs meet an idle system, one after the other.
const SAMPLES: u32 = 200;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(25);

/// What two processes reach.
#[derive(Clone, Debug)]
pub struct Apart {
    /// Single submits answered in a second.
    pub submits_per_s: f64,
    /// Milliseconds from the moment when the one process accepted a job to the
    /// moment when its handler in the other one had ended: p50, p95, p99.
    pub pickup_ms: [f64; 3],
}

/// Measures on the empty database at `url`: `jobs` single submits of `callers`,
/// then submits to an idle system.
pub async fn apart(url: &str, jobs: u32, callers: u32) -> Result<Apart> {
    let api = start("api", url).await?;
    let client = Client::new(&api.url)?;
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..callers {
        tasks.push(tokio::spawn(submit(client.clone(), jobs / callers)));
    }
    for task in tasks {
        task.await??;
    }
    let submits_per_s = f64::from(jobs / callers * callers) / begun.elapsed().as_secs_f64();
    let worker = start("worker", url).await?;
    let mut database = PgConnection::connect(url).await?;
    all_ended(&mut database).await?;
    let since = now_us();
    let mut clock = interval(PAUSE);
    for _ in 0..SAMPLES {
        clock.tick().await;
        submit(client.clone(), 1).await?;
    }
    all_ended(&mut database).await?;
    let times: Vec<i64> = sqlx::query_scalar(
        "select f.finished_at - j.created_at
        from finished f join job j on j.tenant_id = f.tenant_id and j.id = f.job_id
        where j.created_at >= $1 order by 1",
    )
    .bind(since)
    .fetch_all(&mut database)
    .await?;
    database.close().await?;
    for process in [worker, api] {
        process.signal(Signal::Term)?;
    }
    let last = times.len().checked_sub(1).context("no job ended")?;
    let at = |part: f64| times[(last as f64 * part).round() as usize] as f64 / 1e3;
    Ok(Apart { submits_per_s, pickup_ms: [at(0.5), at(0.95), at(0.99)] })
}

async fn start(command: &str, url: &str) -> Result<Process> {
    let launch = Launch::new([command]).env("DATABASE_URL", url).env("RUST_LOG", "warn");
    launch.start().await
}

async fn submit(client: Client, jobs: u32) -> Result<()> {
    let job = noop();
    for _ in 0..jobs {
        let (status, answer) = client.post("/v1/jobs", None, &job).await?;
        ensure!((200..300).contains(&status), "{status}: {answer}");
    }
    Ok(())
}

async fn all_ended(database: &mut PgConnection) -> Result<()> {
    eventually("all jobs ended", async || {
        let left: i64 =
            sqlx::query_scalar("select (select count(*) from ready) + (select count(*) from running)")
                .fetch_one(&mut *database)
                .await?;
        Ok((left == 0).then_some(()))
    })
    .await
}
