//! Two processes, as an installation has them: one takes jobs over HTTP, the other
//! runs them. What is measured includes the client that asks and the server that
//! the jobs call.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, interval};

use crate::faults::client::Client;
use crate::faults::load::noop;
use crate::faults::now_us;
use crate::faults::target::Target;
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
    /// Milliseconds from the call that submits a job to one process to the call
    /// that the other one makes for it: p50, p95, p99.
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
        tasks.push(tokio::spawn(submit(client.clone(), noop(), jobs / callers)));
    }
    for task in tasks {
        task.await??;
    }
    let submits_per_s = f64::from(jobs / callers * callers) / begun.elapsed().as_secs_f64();
    let worker = start("worker", url).await?;
    all_ended(url).await?;
    let pickup_ms = pickup(&client, url).await?;
    for process in [worker, api] {
        process.signal(Signal::Term)?;
    }
    Ok(Apart { submits_per_s, pickup_ms })
}

/// Submits one job after the other, each to an idle system.
async fn pickup(client: &Client, url: &str) -> Result<[f64; 3]> {
    let target = Target::start(Duration::ZERO).await?;
    let mut begun = HashMap::new();
    let mut clock = interval(PAUSE);
    for _ in 0..SAMPLES {
        clock.tick().await;
        let now = now_us();
        let answer = submit(client.clone(), target.job(), 1).await?;
        begun.insert(answer["id"].as_str().context("a job has an id")?.to_owned(), now);
    }
    all_ended(url).await?;
    let took = |effect: &taskflow_checker::history::Effect| Some(effect.began_at - begun.get(&effect.job)?);
    let mut times: Vec<i64> = target.effects().iter().filter_map(took).collect();
    ensure!(times.len() >= SAMPLES as usize, "{} calls arrived", times.len());
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize] as f64 / 1e3;
    // The first ones meet cold caches, which the p99 of so many includes.
    Ok([at(0.5), at(0.95), at(0.99)])
}

async fn start(command: &str, url: &str) -> Result<Process> {
    let launch = Launch::new([command]).env("DATABASE_URL", url).env("RUST_LOG", "warn");
    launch.env("TASKFLOW_EGRESS_ALLOW", "127.0.0.0/8").start().await
}

/// Submits one after the other; answers the last answer.
async fn submit(client: Client, job: Value, jobs: u32) -> Result<Value> {
    let mut last = Value::Null;
    for _ in 0..jobs {
        let (status, answer) = client.post("/v1/jobs", None, &job).await?;
        ensure!((200..300).contains(&status), "{status}: {answer}");
        last = answer;
    }
    Ok(last)
}

async fn all_ended(url: &str) -> Result<()> {
    let mut database = PgConnection::connect(url).await?;
    eventually("all jobs ended", async || {
        let left: i64 =
            sqlx::query_scalar("select (select count(*) from ready) + (select count(*) from running)")
                .fetch_one(&mut database)
                .await?;
        Ok((left == 0).then_some(()))
    })
    .await
}
