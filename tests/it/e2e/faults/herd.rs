//! F27: the leases of a whole crowd of jobs end in the same moment.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use taskflow_tests::faults::now_us;
use taskflow_tests::process::variable;
use tokio::time::Instant;

use super::trial::Trial;
use crate::e2e::api::{Api, Store, bounded};
use crate::e2e::on_both_databases;

on_both_databases! {
    many_leases_end_at_once
}

/// How many jobs a worker takes with it in the ordinary test command;
/// `TASKFLOW_HERD` makes it a herd.
const JOBS: usize = 1_000;
/// Jobs of one request.
const BATCH: usize = 500;

async fn many_leases_end_at_once(store: Store) -> Result<()> {
    let jobs = variable("TASKFLOW_HERD").map_or(Ok(JOBS), |text| text.parse())?;
    let trial = Trial::new("many leases end at once", store, 3_000);
    let began = now_us();
    let (_process, api) = trial.up().await?;
    let mut submitted = 0;
    while submitted < jobs {
        let count = BATCH.min(jobs - submitted);
        // Their own timeout must not end them before their leases do.
        let job = json!({"kind": "herd", "timeout_ms": 3_600_000});
        trial.submit_many(&api, &job, count).await?;
        submitted += count;
    }
    let taken = take_all(&api, jobs).await?;
    ensure!(taken == jobs, "{taken} of {jobs} jobs were taken");
    // The worker that holds them is heard of no more.
    let expired = Instant::now();
    let mut done = 0;
    let patience = Duration::from_secs(60 + jobs as u64 / 100);
    tokio::time::timeout(patience, async {
        while done < jobs {
            done += work_off(&api).await?;
        }
        anyhow::Ok(())
    })
    .await
    .with_context(|| format!("only {done} of {jobs} jobs came back"))??;
    let (on, took) = (trial.store.name(), expired.elapsed());
    println!("report: until all jobs were done whose {jobs} leases ended at once, {on} | {took:.1?}");
    trial.no_engine_since(began);
    let history = trial.judge(None).await?;
    let lost = history.attempts.iter().filter(|it| it.outcome.as_deref() == Some("LEASE_EXPIRED"));
    let lost = lost.count();
    ensure!(lost == jobs, "{lost} of {jobs} leases were lost");
    Ok(())
}

fn wish(worker: &str) -> Value {
    json!({"worker_id": worker, "queues": ["default"], "kinds": ["herd"], "max": 100, "wait_ms": 500,
           "lease_ms": 30_000})
}

/// Takes everything, and never reports.
async fn take_all(api: &Api, jobs: usize) -> Result<usize> {
    let mut taken = 0;
    while taken < jobs {
        let mut wish = wish("gone");
        wish["lease_ms"] = json!(10_000 + jobs);
        let (status, answer) = bounded("a claim", api.post("/v1/worker/claim", &wish)).await??;
        ensure!(status.is_success(), "{status}: {answer}");
        taken += answer["items"].as_array().map_or(0, Vec::len);
    }
    Ok(taken)
}

/// Takes some, and completes them.
async fn work_off(api: &Api) -> Result<usize> {
    let (status, answer) = api.post("/v1/worker/claim", &wish("quick")).await?;
    ensure!(status.is_success(), "{status}: {answer}");
    let items = answer["items"].as_array().context("a list of jobs")?;
    if items.is_empty() {
        return Ok(0);
    }
    let done: Vec<_> = items
        .iter()
        .map(|job| json!({"job_id": job["id"], "lease_token": job["lease_token"], "result": null}))
        .collect();
    let (status, answer) = api.post("/v1/worker/complete", &json!({"items": done})).await?;
    ensure!(status.is_success(), "{status}: {answer}");
    Ok(items.len())
}
