//! Several processes on one PostgreSQL.

use std::collections::BTreeSet;

use anyhow::Result;
use taskflow_tests::process::Process;

use super::api::{Api, Store, bounded, call};
use super::target::Target;

/// Jobs over all processes.
const JOBS: usize = 300;

#[tokio::test]
async fn two_apis_and_three_workers_run_each_job_once() -> Result<()> {
    let target = Target::start().await?;
    let store = Store::postgres().await?;
    // All at once: the schema is made by whichever comes first.
    let api = || store.launch("api").start();
    let worker = || worker(&store);
    let (one, other, first, second, third) = tokio::try_join!(api(), api(), worker(), worker(), worker())?;
    let apis = [Api::new(&one.url)?, Api::new(&other.url)?];
    let submits = (0..JOBS).map(|number| {
        let api = apis[number % 2].clone();
        let job = call(&target.url("ok"));
        async move { api.submit(&job).await }
    });
    let ids = bounded("submitting", futures_util::future::try_join_all(submits)).await??;
    let mut workers = BTreeSet::new();
    for (number, id) in ids.iter().enumerate() {
        // Each is seen through the API that did not take it.
        let job = apis[(number + 1) % 2].in_state(id, "SUCCEEDED").await?;
        assert_eq!(job["attempts_made"], 1, "{job}");
        let attempts = apis[number % 2].get(&format!("/v1/jobs/{id}/attempts")).await?;
        workers.insert(attempts["items"][0]["worker_id"].to_string());
    }
    assert_eq!(target.calls().len(), JOBS);
    assert_eq!(target.calls_by_job().len(), JOBS);
    println!("{JOBS} jobs on {} workers", workers.len());
    let known = apis[0].get("/v1/admin/workers").await?;
    assert_eq!(known["items"].as_array().map(Vec::len), Some(3), "{known}");
    drop((first, second, third));
    Ok(())
}

/// A cancel reaches the worker of another process.
#[tokio::test]
async fn a_cancel_crosses_processes() -> Result<()> {
    let target = Target::start().await?;
    let store = Store::postgres().await?;
    let (api, _worker) = tokio::try_join!(store.launch("api").start(), worker(&store))?;
    let api = Api::new(&api.url)?;
    let id = api.submit(&call(&target.url("silent"))).await?;
    target.called(1).await?;
    api.post(&format!("/v1/jobs/{id}/cancel"), &serde_json::json!({})).await?;
    api.in_state(&id, "CANCELLED").await?;
    Ok(())
}

async fn worker(store: &Store) -> Result<Process> {
    store.launch("worker").start().await
}
