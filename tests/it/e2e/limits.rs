//! Limits and settings over processes: what one process sets, the others keep from
//! its answer on, and show within a second.
//!
//! How long it took is printed and not asserted, because a busy machine may stand
//! still for longer; that nothing starts against a setting has no time in it.

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use taskflow_tests::process::{Process, eventually};
use tokio::time::Instant;

use super::api::{Api, Store};
use super::on_both_databases;

on_both_databases! {
    retries_at_once_keep_to_the_backlog
}

/// The API, a worker, and the API again: three processes on one PostgreSQL.
async fn cluster(store: &Store) -> Result<([Process; 3], [Api; 2])> {
    let start = |command| store.launch(command).start();
    let (one, worker, other) = tokio::try_join!(start("api"), start("worker"), start("api"))?;
    let apis = [Api::new(&one.url)?, Api::new(&other.url)?];
    Ok(([one, worker, other], apis))
}

fn noop(queue: &str) -> Value {
    json!({"kind": "noop", "queue": queue, "target": {"type": "builtin", "name": "noop"}})
}

/// What the other process shows of what was set here, when it does.
async fn shows(api: &Api, path: &str, set: &Value) -> Result<()> {
    let all = set.as_object().context("settings")?;
    let what = format!("{path} shows {set}");
    eventually(&what, async || {
        let shown = api.get(path).await?;
        Ok(all.iter().all(|(name, value)| shown[name] == *value).then_some(()))
    })
    .await
}

/// Nothing of the queue starts against a setting that was answered; what lets it
/// start again is noticed by a worker that nobody told.
#[tokio::test]
async fn what_is_held_in_one_process_stands_still_in_all() -> Result<()> {
    let store = Store::postgres().await?;
    let (_processes, [api, other]) = cluster(&store).await?;
    // One job runs all the time, so that a limit of one is full.
    let long = json!({"type": "builtin", "name": "sleep", "ms": 600_000});
    let long = api.submit(&json!({"kind": "long", "queue": "q", "target": long})).await?;
    api.in_state(&long, "RUNNING").await?;
    let (queue, tenant) = ("/v1/admin/queues/q", "/v1/admin/tenants/default");
    let held = [
        (queue, json!({"paused": true}), json!({"paused": false})),
        (queue, json!({"max_running": 1}), json!({"max_running": 5})),
        (queue, json!({"max_running_per_tenant": 1}), json!({"max_running_per_tenant": 2})),
        (tenant, json!({"paused": true}), json!({"paused": false})),
        (tenant, json!({"suspended": true}), json!({"suspended": false})),
        (tenant, json!({"max_running": 1}), json!({"max_running": 3})),
    ];
    for (path, hold, release) in held {
        api.put(path, &hold).await?;
        shows(&other, path, &hold).await?;
        let mut ids = Vec::new();
        if hold["suspended"] != true {
            for _ in 0..3 {
                ids.push(other.submit(&noop("q")).await?);
            }
        }
        // Somebody else's job behind them shows that the worker has looked.
        let (status, job) = other.post_as("witness", "/v1/jobs", &noop("elsewhere")).await?;
        ensure!(status == StatusCode::CREATED, "{job}");
        eventually("the witness has run", async || {
            let queue = api.get("/v1/admin/queues/elsewhere").await?;
            let open = ["SCHEDULED", "PENDING", "RUNNING"].map(|state| queue["depth"][state] == 0);
            Ok((open == [true; 3]).then_some(()))
        })
        .await?;
        for id in &ids {
            assert_eq!(api.job(id).await?["state"], "PENDING", "{path} {hold}");
        }
        let released = Instant::now();
        other.put(path, &release).await?;
        if ids.is_empty() {
            ids.push(api.submit(&noop("q")).await?);
        }
        for id in &ids {
            api.in_state(id, "SUCCEEDED").await?;
        }
        println!("{path} {release}: all had run after {:?}", released.elapsed());
    }
    Ok(())
}

/// What the API of one process refuses, that of the other does too.
#[tokio::test]
async fn what_one_process_refuses_the_other_refuses() -> Result<()> {
    let store = Store::postgres().await?;
    let (_processes, [api, other]) = cluster(&store).await?;
    let (queue, tenant) = ("/v1/admin/queues/q", "/v1/admin/tenants/acme");
    // So that the backlog stays.
    api.put(queue, &json!({"paused": true})).await?;
    let refusals = [
        (json!({"max_backlog": 0}), "backlog_full"),
        (json!({"suspended": true}), "tenant_suspended"),
        (json!({"request_rate": {"limit": 1, "period_ms": 600_000}}), "rate_limited"),
    ];
    for (set, code) in refusals {
        // It has heard of the tenant before.
        answers(&other, None).await?;
        let began = Instant::now();
        api.put(tenant, &set).await?;
        answers(&other, Some(code)).await?;
        println!("{set}: refused by the other after {:?}", began.elapsed());
        let began = Instant::now();
        api.put(tenant, &json!({})).await?;
        answers(&other, None).await?;
        println!("{set} was lifted: accepted by the other after {:?}", began.elapsed());
    }
    let began = Instant::now();
    api.post(&format!("{queue}/drain"), &json!({"reason": "it goes"})).await?;
    answers(&other, Some("queue_draining")).await?;
    println!("drain: refused by the other after {:?}", began.elapsed());
    api.post(&format!("{queue}/resume"), &json!({})).await?;
    answers(&other, None).await
}

/// Waits until a submit is refused for that reason, or accepted.
async fn answers(api: &Api, code: Option<&str>) -> Result<()> {
    eventually(&format!("the answer is {code:?}"), async || {
        let (_, told) = api.post_as("acme", "/v1/jobs", &noop("q")).await?;
        Ok((told["code"].as_str() == code).then_some(()))
    })
    .await
}

/// A job that runs elsewhere fills a limit of one. When it ends there, the worker
/// that was turned away starts the next.
#[tokio::test]
async fn room_is_told_to_other_processes() -> Result<()> {
    let store = Store::postgres().await?;
    let (_processes, [api, _]) = cluster(&store).await?;
    api.put("/v1/admin/tenants/default", &json!({"max_running": 1})).await?;
    let mut waits = Vec::new();
    for _ in 0..5 {
        api.submit(&json!({"kind": "remote"})).await?;
        let wish = json!({"worker_id": "w", "queues": ["default"], "kinds": ["remote"], "wait_ms": 5_000});
        let (_, claimed) = api.post("/v1/worker/claim", &wish).await?;
        let item = &claimed["items"][0];
        let next = api.submit(&noop("default")).await?;
        assert_eq!(api.job(&next).await?["state"], "PENDING");
        let ended = Instant::now();
        let done = json!({"items": [{"job_id": item["id"], "lease_token": item["lease_token"]}]});
        api.post("/v1/worker/complete", &done).await?;
        api.in_state(&next, "SUCCEEDED").await?;
        waits.push(ended.elapsed());
    }
    waits.sort_unstable();
    println!("from the end of one to the end of the next: {waits:?}");
    Ok(())
}

/// Retries that come at the same moment, one by one and in bulk, leave no more waiting
/// than may.
async fn retries_at_once_keep_to_the_backlog(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    let jobs: Vec<Value> = (0..20).map(|_| json!({"kind": "pulled"})).collect();
    let (status, made) = api.post("/v1/jobs/batch", &json!({"jobs": jobs})).await?;
    ensure!(status == StatusCode::CREATED, "{made}");
    let (_, cancelled) = api.post("/v1/jobs/cancel", &json!({"filter": {}})).await?;
    ensure!(cancelled["changed"] == 20, "{cancelled}");
    api.put("/v1/admin/tenants/default", &json!({"max_backlog": 5})).await?;
    let retry = async |job: &Value| {
        api.post(&format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap_or_default()), &json!({})).await
    };
    let bulk = json!({"filter": {"state": ["CANCELLED"]}});
    let singles = try_join_all(made["items"].as_array().context("jobs")?.iter().map(retry));
    let (singles, bulk) = tokio::try_join!(singles, api.post("/v1/jobs/retry", &bulk))?;
    let one_by_one = singles.iter().filter(|(status, _)| *status == StatusCode::OK).count() as u64;
    for (status, problem) in singles.iter().filter(|(status, _)| *status != StatusCode::OK) {
        let known = ["backlog_full", "illegal_transition"].map(Value::from);
        ensure!(known.contains(&problem["code"]), "{status} {problem}");
    }
    let came = one_by_one + bulk.1["changed"].as_u64().unwrap_or_default();
    let waiting = api.get("/v1/jobs?state=PENDING").await?["items"].as_array().map(Vec::len);
    ensure!(came == 5 && waiting == Some(5), "{one_by_one} one by one, then {bulk:?}; {waiting:?} wait");
    Ok(())
}
