//! A tenant at its running limit with a great many due jobs, beside tenants that
//! work: what it costs them, and whether each of its jobs says what it waits for.
//! One `taskflow up` over HTTP, as an operator would see it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, FixedOffset};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use crate::process::{Launch, Process, client, eventually};

/// Tenants that work.
const OTHERS: usize = 8;
/// Jobs of theirs that each meet an idle system.
const SAMPLES: usize = 400;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(10);
/// Jobs of each of them that are drained together.
const DRAINED: usize = 1_000;
/// The largest batch.
const BATCH: usize = 10_000;
/// Who asks at once why jobs wait.
const ASKERS: usize = 8;

/// What the others reached.
#[derive(Clone, Debug)]
pub struct Others {
    /// Milliseconds from a job's creation to its start: p50, p95, p99.
    pub start_ms: [f64; 3],
    /// Jobs that end in a second while all of the others have a backlog.
    pub drained_per_s: f64,
}

/// What was seen.
#[derive(Debug)]
pub struct Capped {
    /// The others alone, beside the crowd, and so on in turn.
    pub rounds: Vec<(&'static str, Others)>,
    /// Jobs of the crowd that were asked why they wait, and of these those that
    /// named their tenant's limit with its number.
    pub explained: (usize, usize),
    /// Explanations answered in a second.
    pub explained_per_s: f64,
}

struct Site {
    client: Client,
    url: String,
}

impl Site {
    fn post(&self, tenant: &str, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).header("taskflow-tenant", tenant).json(body)
    }

    async fn get(&self, tenant: &str, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).header("taskflow-tenant", tenant);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    async fn submit(&self, tenant: &str, job: &Value, count: usize) -> Result<Vec<String>> {
        let body = json!({ "jobs": vec![job; count] });
        let answer: Value =
            self.post(tenant, "/v1/jobs/batch", &body).send().await?.error_for_status()?.json().await?;
        let items = answer["items"].as_array().context("the jobs")?;
        Ok(items.iter().filter_map(|job| job["id"].as_str().map(str::to_owned)).collect())
    }

    /// How many jobs of a tenant stand in a state, as far as one page shows.
    async fn standing(&self, tenant: &str, state: &str) -> Result<usize> {
        let page = self.get(tenant, &format!("/v1/jobs?limit=1&state={state}")).await?;
        Ok(page["items"].as_array().map(Vec::len).unwrap_or_default())
    }
}

fn name(other: usize) -> String {
    format!("other-{other}")
}

/// Measures on the empty database at `url`, with `crowd` due jobs.
pub async fn capped(url: &str, crowd: usize) -> Result<Capped> {
    let process = start(url).await?;
    let site = Site { client: client()?, url: process.url.clone() };
    let mut rounds = vec![("alone", others(&site).await?), ("alone", others(&site).await?)];
    let limit = json!({ "max_running": 1 });
    let put = site.client.put(format!("{}/v1/admin/tenants/crowd", site.url)).json(&limit);
    put.send().await?.error_for_status()?;
    let long = json!({"type": "builtin", "name": "sleep", "ms": 3_600_000});
    let job = json!({"kind": "long", "target": long, "timeout_ms": 86_400_000});
    let mut ids = site.submit("crowd", &job, 1).await?;
    eventually("the crowd is at its limit", async || {
        Ok((site.standing("crowd", "RUNNING").await? == 1).then_some(()))
    })
    .await?;
    ids.clear();
    while ids.len() < crowd {
        ids.extend(site.submit("crowd", &job, BATCH.min(crowd - ids.len())).await?);
    }
    for _ in 0..2 {
        rounds.push(("beside the crowd", others(&site).await?));
    }
    let begun = Instant::now();
    let explained = explained(&site, &ids).await?;
    let explained_per_s = explained.0 as f64 / begun.elapsed().as_secs_f64();
    Ok(Capped { rounds, explained, explained_per_s })
}

async fn start(url: &str) -> Result<Process> {
    Launch::new(["up"])
        .env("DATABASE_URL", url)
        .env("RUST_LOG", "error")
        .env("TASKFLOW_SHUTDOWN_MS", "0")
        .start()
        .await
}

fn time(value: &Value) -> Result<DateTime<FixedOffset>> {
    Ok(DateTime::parse_from_rfc3339(value.as_str().context("a time")?)?)
}

/// What the others reach now.
async fn others(site: &Site) -> Result<Others> {
    let job = json!({"kind": "short", "target": {"type": "builtin", "name": "noop"}});
    let mut ids = Vec::new();
    let mut clock = interval(PAUSE);
    for n in 0..SAMPLES {
        clock.tick().await;
        let tenant = name(n % OTHERS);
        let answer = site.post(&tenant, "/v1/jobs", &job).send().await?.error_for_status()?;
        let answer: Value = answer.json().await?;
        ids.push((tenant, answer["id"].as_str().context("an id")?.to_owned()));
    }
    idle(site).await?;
    let mut took = Vec::new();
    for (tenant, id) in &ids {
        let job = site.get(tenant, &format!("/v1/jobs/{id}")).await?;
        let waited = time(&job["started_at"])? - time(&job["created_at"])?;
        took.push(waited.num_microseconds().unwrap_or(i64::MAX));
    }
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part).round() as usize] as f64 / 1e3;
    let begun = Instant::now();
    for other in 0..OTHERS {
        site.submit(&name(other), &job, DRAINED).await?;
    }
    idle(site).await?;
    let drained_per_s = (OTHERS * DRAINED) as f64 / begun.elapsed().as_secs_f64();
    Ok(Others { start_ms: [at(0.5), at(0.95), at(0.99)], drained_per_s })
}

/// Waits until the others have nothing that waits or runs.
async fn idle(site: &Site) -> Result<()> {
    for other in 0..OTHERS {
        let tenant = name(other);
        eventually("the others are idle", async || {
            let left = site.get(&tenant, "/v1/jobs?limit=1&state=PENDING&state=RUNNING").await?;
            Ok(left["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// How many of the jobs were asked why they wait, and how many named the limit.
async fn explained(site: &Site, ids: &[String]) -> Result<(usize, usize)> {
    ensure!(ids.iter().collect::<BTreeSet<_>>().len() == ids.len(), "each job once");
    let part = ids.len().div_ceil(ASKERS).max(1);
    let asks = ids.chunks(part).map(|ids| async move {
        let mut named = 0;
        for id in ids {
            let told = site.get("crowd", &format!("/v1/jobs/{id}/explain")).await?;
            let gates = told["gates"].as_array().context("gates")?;
            let limit = gates.iter().find(|gate| gate["gate"] == "tenant_limit" && gate["open"] == false);
            named += usize::from(limit.is_some_and(|gate| gate["limit"] == 1 && gate["in_use"] == 1));
        }
        Ok::<_, anyhow::Error>(named)
    });
    let named: usize = futures_util::future::try_join_all(asks).await?.into_iter().sum();
    Ok((ids.len(), named))
}
