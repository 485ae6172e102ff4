//! Bounded ticks, on a server without a runner and beside one.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use taskflow_tests::process::{Process, eventually};

use super::api::{Api, Store, bounded, call};
use super::on_both_databases;
use super::target::Target;

on_both_databases! {
    pulses_and_workers_do_each_job_once
}

/// A server without a runner on a database of its own.
async fn server() -> Result<(Store, Process, Api)> {
    let store = Store::postgres().await?;
    let process = store.launch("api").start().await?;
    let api = Api::new(&process.url)?;
    Ok((store, process, api))
}

async fn pulse(api: &Api, bounds: Value) -> Result<Value> {
    let (status, body) = api.post("/v1/pulse", &bounds).await?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(body)
}

/// A pulse fires the rules that are due, runs their jobs, and lets what these
/// bring about begin; it takes no more jobs than it was told to.
#[tokio::test]
async fn a_pulse_does_what_is_due() -> Result<()> {
    let (_store, _process, api) = server().await?;
    let noop = |name: &str, trigger| {
        json!({ "name": name, "trigger": trigger,
            "actions": [{ "kind": name, "target": { "type": "builtin", "name": "noop" } }] })
    };
    for rule in [
        noop("ticks", json!({ "type": "cron", "expression": "* * * * * *", "overlap": "allow" })),
        noop("follows", json!({ "type": "event", "event": "job.succeeded" })),
    ] {
        let (status, body) = api.post("/v1/automation-rules", &rule).await?;
        ensure!(status.is_success(), "{status}: {body}");
    }
    let jobs = async |kind: &str| {
        let list = api.get(&format!("/v1/jobs?kind={kind}&state=SUCCEEDED")).await?;
        anyhow::Ok(list["items"].as_array().map_or(0, Vec::len))
    };
    eventually("pulses run what the clock and the jobs make", async || {
        let done = pulse(&api, json!({ "max_jobs": 1 })).await?;
        ensure!(done["jobs"].as_u64() <= Some(1), "{done}");
        Ok((jobs("ticks").await? > 0 && jobs("follows").await? > 0).then_some(()))
    })
    .await?;
    let nothing = pulse(&api, json!({ "max_jobs": 0 })).await?;
    assert_eq!(nothing["jobs"], 0);
    Ok(())
}

/// What does not end in time is handed back, and that costs it nothing. A budget
/// for which nobody could wait is refused.
#[tokio::test]
async fn a_pulse_ends_although_its_jobs_do_not() -> Result<()> {
    let (_store, _process, api) = server().await?;
    let sleeps =
        json!({ "kind": "sleeps", "target": { "type": "builtin", "name": "sleep", "ms": 86_400_000 } });
    let id = api.submit(&sleeps).await?;
    let done = bounded("the pulse", pulse(&api, json!({ "budget_ms": 500 }))).await??;
    assert_eq!((&done["jobs"], &done["more"]), (&json!(1), &json!(true)), "what is handed back is left");
    let job = api.in_state(&id, "PENDING").await?;
    assert_eq!(api.outcomes(&id).await?, ["INTERRUPTED"], "{job}");
    let (status, body) = api.post("/v1/pulse", &json!({ "budget_ms": 30_001 })).await?;
    assert_eq!((status.as_u16(), &body["errors"][0]["pointer"]), (422, &json!("#/budget_ms")));
    Ok(())
}

/// Jobs that are due together are waited for to the end of the budget, and for as
/// long again: one here ends before that end, and one behind it.
#[tokio::test]
async fn a_pulse_waits_for_its_jobs() -> Result<()> {
    let (_store, _process, api) = server().await?;
    let sleeps =
        |ms: u32| json!({ "kind": "sleeps", "target": { "type": "builtin", "name": "sleep", "ms": ms } });
    let within = api.submit(&sleeps(3_500)).await?;
    let behind = api.submit(&sleeps(4_500)).await?;
    let done = bounded("the pulse", pulse(&api, json!({ "budget_ms": 4_000 }))).await??;
    assert_eq!(done["jobs"], 2, "{done}");
    for id in [within, behind] {
        assert_eq!(api.outcomes(&id).await?, ["SUCCEEDED"], "{}", api.job(&id).await?);
    }
    Ok(())
}

/// A claim that finds nothing ends neither the jobs that run nor the pulse: here the
/// end of one makes room for the other. When all have ended it answers at once, and
/// says that nothing is left, which it cannot say when its time is up.
#[tokio::test]
async fn a_pulse_ends_with_its_jobs() -> Result<()> {
    let (_store, _process, api) = server().await?;
    let target = Target::start().await?;
    api.put("/v1/admin/queues/narrow", &json!({ "max_running": 1 })).await?;
    let mut job = call(&target.url("hold"));
    job["queue"] = json!("narrow");
    let (status, made) = api.post("/v1/jobs/batch", &json!({ "jobs": [job.clone(), job] })).await?;
    ensure!(status.is_success(), "{status}: {made}");
    let opens = async {
        target.called(1).await?;
        target.open();
        anyhow::Ok(())
    };
    let pulses = async { tokio::try_join!(pulse(&api, json!({ "budget_ms": 14_000 })), opens) };
    let (done, ()) = bounded("the pulse", pulses).await??;
    assert_eq!((&done["jobs"], &done["more"]), (&json!(2), &json!(false)), "{done}");
    for job in made["items"].as_array().into_iter().flatten() {
        assert_eq!(api.outcomes(&super::api::id_of(job)?).await?, ["SUCCEEDED"]);
    }
    Ok(())
}

/// However seldom pulses come, one takes back what a worker lost long ago.
#[tokio::test]
async fn a_pulse_takes_back_lost_leases() -> Result<()> {
    let store = Store::postgres().await?;
    let process = store.launch("api").env("TASKFLOW_LEASE_MS", "1000").start().await?;
    let api = Api::new(&process.url)?;
    let id = api.submit(&json!({ "kind": "remote" })).await?;
    let claim = json!({ "worker_id": "gone", "kinds": ["remote"], "lease_ms": 1000 });
    let (_, claimed) = api.post("/v1/worker/claim", &claim).await?;
    assert_eq!(claimed["items"][0]["id"], json!(id), "{claimed}");
    // The server's clock tells when the lease, and the grace of a new process, are over.
    let other = api.submit(&json!({ "kind": "clock" })).await?;
    let begun = api.job(&other).await?["created_at"].as_str().context("a time")?.to_owned();
    let begun = chrono::DateTime::parse_from_rfc3339(&begun)?;
    eventually("the lease is long over", async || {
        let id = api.submit(&json!({ "kind": "clock" })).await?;
        let now = api.job(&id).await?["created_at"].as_str().context("a time")?.to_owned();
        let passed = chrono::DateTime::parse_from_rfc3339(&now)? - begun;
        Ok((passed > chrono::TimeDelta::seconds(3)).then_some(()))
    })
    .await?;
    pulse(&api, json!({ "max_jobs": 0 })).await?;
    assert_eq!(api.outcomes(&id).await?, ["LEASE_EXPIRED"], "{}", api.job(&id).await?);
    Ok(())
}

/// Beside a runner, and beside each other, pulses begin no job twice.
async fn pulses_and_workers_do_each_job_once(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    let every_second = json!({ "name": "ticks",
        "trigger": { "type": "cron", "expression": "* * * * * *", "overlap": "allow" },
        "actions": [{ "kind": "ticks", "target": { "type": "builtin", "name": "noop" } }] });
    let (status, rule) = api.post("/v1/automation-rules", &every_second).await?;
    ensure!(status.is_success(), "{status}: {rule}");
    let job = json!({ "kind": "work", "target": { "type": "builtin", "name": "sleep", "ms": 5 } });
    let (status, made) = api.post("/v1/jobs/batch", &json!({ "jobs": vec![job; 400] })).await?;
    ensure!(status.is_success(), "{status}: {made}");
    let pulses = (0..8).map(|_| pulse(&api, json!({ "max_jobs": 50, "budget_ms": 2_000 })));
    bounded("the pulses", futures_util::future::try_join_all(pulses)).await??;
    for job in made["items"].as_array().into_iter().flatten() {
        let id = super::api::id_of(job)?;
        api.in_state(&id, "SUCCEEDED").await?;
        assert_eq!(api.outcomes(&id).await?, ["SUCCEEDED"]);
    }
    let firings = api.get(&format!("/v1/automation-rules/{}/firings", super::api::id_of(&rule)?)).await?;
    let mut times: Vec<_> = firings["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["scheduled_at"].to_string())
        .collect();
    let all = times.len();
    times.dedup();
    assert_eq!(times.len(), all, "each occurrence once");
    Ok(())
}
