//! What operators ask of a running TaskFlow: why, how much, and who does it.

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use taskflow_tests::process::{client, eventually};

use super::api::{Api, Store};
use super::on_both_databases;

on_both_databases! {
    a_limit_is_explained
    a_queue_is_drained_and_purged
    figures_follow_the_work
    jobs_of_rules_and_cancelled_jobs_are_counted
    automations_of_all_tenants_are_listed
    a_worker_that_is_silent_is_lost
}

fn sleeps(ms: u64) -> Value {
    json!({"kind": "rest", "queue": "q", "target": {"type": "builtin", "name": "sleep", "ms": ms}})
}

/// The gate of that name, if the job stands before it.
fn gate<'a>(explanation: &'a Value, name: &str) -> Option<&'a Value> {
    explanation["gates"].as_array()?.iter().find(|gate| gate["gate"] == name)
}

async fn a_limit_is_explained(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    api.put("/v1/admin/tenants/default", &json!({"max_running": 1})).await?;
    let first = api.submit(&sleeps(60_000)).await?;
    api.in_state(&first, "RUNNING").await?;
    let second = api.submit(&sleeps(0)).await?;
    let why = api.get(&format!("/v1/jobs/{second}/explain")).await?;
    ensure!(why["state"] == "PENDING" && why["runnable"] == false, "{why}");
    let limit = gate(&why, "tenant_limit").context("the limit is named")?;
    ensure!(limit["open"] == false && limit["limit"] == 1 && limit["in_use"] == 1, "{limit}");
    ensure!(limit["held_by"] == json!([first]), "{limit}");
    let queue = api.get("/v1/admin/queues/q/explain").await?;
    ensure!(queue["gates"] == json!([{"gate": "tenant_limit", "jobs": 1, "at_least": false}]), "{queue}");
    let workers = api.get("/v1/admin/workers").await?;
    ensure!(workers["items"][0]["running"] == 1, "{workers}");
    api.post(&format!("/v1/jobs/{first}/cancel"), &json!({})).await?;
    api.in_state(&second, "SUCCEEDED").await?;
    let why = api.get(&format!("/v1/jobs/{second}/explain")).await?;
    ensure!(why == json!({"state": "SUCCEEDED", "runnable": false, "gates": []}), "{why}");
    Ok(())
}

async fn a_queue_is_drained_and_purged(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    api.put("/v1/admin/queues/q", &json!({"paused": true})).await?;
    let kept = api.submit(&sleeps(0)).await?;
    let (status, queue) = api.post("/v1/admin/queues/q/drain", &json!({"reason": "it goes away"})).await?;
    ensure!(status == StatusCode::OK && queue["draining"] == true, "{queue}");
    ensure!(queue["drain"]["reason"] == "it goes away", "{queue}");
    let (status, refused) = api.post("/v1/jobs", &sleeps(0)).await?;
    ensure!(status == StatusCode::CONFLICT && refused["code"] == "queue_draining", "{refused}");
    let (status, refused) = api.post("/v1/jobs/batch", &json!({"jobs": [sleeps(0)]})).await?;
    ensure!(
        status == StatusCode::CONFLICT && refused["errors"][0]["pointer"] == "#/jobs/0/queue",
        "{refused}"
    );
    let why = api.get(&format!("/v1/jobs/{kept}/explain")).await?;
    ensure!(gate(&why, "draining").is_some_and(|gate| gate["open"] == true), "{why}");
    ensure!(gate(&why, "paused_queue").is_some_and(|gate| gate["open"] == false), "{why}");
    let purge = |dry_run: bool| json!({"states": ["PENDING", "PENDING", "DEAD"], "dry_run": dry_run});
    let (_, counted) = api.post("/v1/admin/queues/q/purge", &purge(true)).await?;
    ensure!(counted == json!({"jobs": 1, "more": false, "dry_run": true}), "{counted}");
    api.job(&kept).await?;
    let (_, purged) = api.post("/v1/admin/queues/q/purge", &purge(false)).await?;
    ensure!(purged == json!({"jobs": 1, "more": false, "dry_run": false}), "{purged}");
    ensure!(api.job(&kept).await.is_err(), "it is gone");
    let (status, wrong) = api.post("/v1/admin/queues/q/purge", &json!({"states": ["RUNNING"]})).await?;
    ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    let (_, queue) = api.post("/v1/admin/queues/q/resume", &json!({})).await?;
    ensure!(queue["draining"] == false && queue["paused"] == false, "{queue}");
    let run = api.submit(&sleeps(0)).await?;
    api.in_state(&run, "SUCCEEDED").await?;
    Ok(())
}

/// Sums of all buckets of the last hour, by kind.
async fn succeeded(api: &Api, kind: &str) -> Result<u64> {
    let stats = api.get(&format!("/v1/admin/stats?by=kind&kind={kind}")).await?;
    let items = stats["items"].as_array().context("buckets")?;
    Ok(items.iter().filter_map(|bucket| bucket["succeeded"].as_u64()).sum())
}

async fn figures_follow_the_work(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    for _ in 0..5 {
        let id = api.submit(&sleeps(5)).await?;
        api.in_state(&id, "SUCCEEDED").await?;
    }
    eventually("the figures are written", async || Ok((succeeded(&api, "rest").await? == 5).then_some(())))
        .await?;
    let queue = api.get("/v1/admin/queues/q").await?;
    let recent = &queue["recent"];
    ensure!(recent["ended"] == 5 && recent["created"] == 5 && recent["success_rate"] == 1.0, "{queue}");
    ensure!(recent["run_ms"]["p50"].as_f64().is_some_and(|ms| ms >= 4.0), "{queue}");
    ensure!(recent["throughput_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{queue}");
    let listed = api.get("/v1/admin/queues").await?;
    ensure!(listed["items"].as_array().is_some_and(|items| items.iter().any(|item| item["name"] == "q")));
    let stats = api.get("/v1/admin/stats?span=hour&by=tenant&by=queue&by=kind&tenant=default").await?;
    let bucket = &stats["items"][0];
    ensure!(stats["span_seconds"] == 3600 && bucket["tenant"] == "default", "{stats}");
    ensure!(bucket["queue"] == "q" && bucket["kind"] == "rest", "{stats}");
    let nobody = api.get("/v1/admin/stats?tenant=nobody").await?;
    ensure!(nobody["items"] == json!([]), "{nobody}");
    let sweep = eventually("the runner tells of its loops", async || {
        let runners = api.get("/v1/admin/runner").await?;
        let loops = runners["items"][0]["loops"].as_array().cloned().unwrap_or_default();
        Ok(loops.into_iter().find(|status| status["name"] == "sweep" && status["runs"].as_u64() > Some(0)))
    });
    let sweep = sweep.await?;
    ensure!(sweep["error"].is_null() && sweep["last_took_us"].is_number(), "{sweep}");
    Ok(())
}

/// The sum of a figure over all buckets of the last hour.
async fn counted(api: &Api, query: &str, figure: &str) -> Result<u64> {
    let stats = api.get(&format!("/v1/admin/stats?{query}")).await?;
    let items = stats["items"].as_array().context("buckets")?;
    Ok(items.iter().filter_map(|bucket| bucket[figure].as_u64()).sum())
}

/// Jobs that a firing makes and jobs that end without an attempt are jobs like others.
async fn jobs_of_rules_and_cancelled_jobs_are_counted(store: Store) -> Result<()> {
    let (process, api) = store.up().await?;
    let later = json!({"kind": "later", "queue": "r", "run_at": "${now + duration('24h')}"});
    let rule = json!({"name": "by-hand", "trigger": {"type": "manual"}, "actions": [later, later]});
    let (status, rule) = api.post("/v1/automation-rules", &rule).await?;
    ensure!(status == StatusCode::CREATED, "{rule}");
    let trigger = format!("/v1/automation-rules/{}/trigger", rule["id"].as_str().context("an id")?);
    for _ in 0..2 {
        let (status, firing) = api.post(&trigger, &json!({})).await?;
        ensure!(status == StatusCode::OK || status == StatusCode::ACCEPTED, "{firing}");
    }
    let jobs = api.get("/v1/jobs?queue=r").await?;
    let first = jobs["items"][0]["id"].as_str().context("a job")?;
    let (status, _) = api.post(&format!("/v1/jobs/{first}/cancel"), &json!({})).await?;
    ensure!(status == StatusCode::OK);
    let (_, bulk) = api.post("/v1/jobs/cancel", &json!({"filter": {"queue": "r"}})).await?;
    ensure!(bulk["changed"] == 3, "{bulk}");
    eventually("the figures are written", async || {
        let (created, cancelled) =
            (counted(&api, "queue=r", "created").await?, counted(&api, "queue=r", "cancelled").await?);
        Ok(((created, cancelled) == (4, 4)).then_some(()))
    })
    .await?;
    let queue = api.get("/v1/admin/queues/r").await?;
    ensure!(queue["recent"]["created"] == 4 && queue["recent"]["ended"] == 4, "{queue}");
    let metrics = client()?.get(format!("{}/metrics", process.url)).send().await?.text().await?;
    for line in [
        "taskflow_jobs_created_total{queue=\"r\"} 4",
        "taskflow_jobs_finished_total{queue=\"r\",state=\"CANCELLED\"} 4",
    ] {
        ensure!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    Ok(())
}

/// Who names no tenant sees all automations; who names one, by query or by header, sees its.
async fn automations_of_all_tenants_are_listed(store: Store) -> Result<()> {
    let (process, _api) = store.up().await?;
    let http = client()?;
    let url = |path: &str| format!("{}{path}", process.url);
    let mut made = Vec::new();
    for tenant in ["acme", "umbrella", "acme"] {
        let rule = json!({"name": "r", "trigger": {"type": "manual"}, "actions": [{"kind": "k"}]});
        let asked = http.post(url("/v1/automation-rules")).header("Taskflow-Tenant", tenant).json(&rule);
        let rule: Value = asked.send().await?.error_for_status()?.json().await?;
        made.push((tenant, rule["id"].clone()));
    }
    let list = async |query: &str, header: Option<&str>| -> Result<Value> {
        let mut asked = http.get(url(&format!("/v1/admin/automations?{query}")));
        if let Some(tenant) = header {
            asked = asked.header("Taskflow-Tenant", tenant);
        }
        Ok(asked.send().await?.json().await?)
    };
    let shown = |list: &Value| -> Vec<(String, Value)> {
        let items = list["items"].as_array().into_iter().flatten();
        items
            .map(|item| (item["tenant"].as_str().unwrap_or_default().to_owned(), item["id"].clone()))
            .collect()
    };
    let of = |tenant: Option<&str>| -> Vec<(String, Value)> {
        let meant = made.iter().filter(|(owner, _)| tenant.is_none_or(|tenant| *owner == tenant));
        meant.map(|(owner, id)| ((*owner).to_owned(), id.clone())).collect()
    };
    let (mut all, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = list(&query, None).await?;
        all.extend(shown(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={next}");
    }
    assert_eq!(all, of(None));
    assert_eq!(shown(&list("tenant=acme", None).await?), of(Some("acme")));
    assert_eq!(shown(&list("", Some("umbrella")).await?), of(Some("umbrella")));
    assert_eq!(shown(&list("tenant=acme", Some("acme")).await?), of(Some("acme")));
    assert_eq!(shown(&list("tenant=nobody", None).await?), []);
    let two = list("tenant=acme", Some("umbrella")).await?;
    assert_eq!(two["errors"][0]["pointer"], "#/tenant", "{two}");
    let page = list("tenant=acme&limit=1", None).await?;
    let foreign = format!("cursor={}", page["next_cursor"].as_str().context("a cursor")?);
    assert_eq!(list(&foreign, None).await?["code"], "invalid", "a cursor is of its list");
    Ok(())
}

/// A worker that pulls and falls silent is told apart from those that are there.
async fn a_worker_that_is_silent_is_lost(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    let claim = json!({"worker_id": "puller", "kinds": ["k"], "lease_ms": 1_000});
    let (status, _) = api.post("/v1/worker/claim", &claim).await?;
    ensure!(status == StatusCode::OK);
    let states = async || -> Result<Value> {
        let workers = api.get("/v1/admin/workers").await?;
        let items = workers["items"].as_array().context("workers")?;
        let of = |pulls: bool| {
            let one = items.iter().find(|item| (item["id"] == "puller") == pulls);
            one.map(|item| item["state"].clone())
        };
        Ok(json!([of(true), of(false)]))
    };
    eventually("the silent one is lost", async || {
        Ok((states().await? == json!(["LOST", "ALIVE"])).then_some(()))
    })
    .await?;
    let (status, _) = api
        .post("/v1/worker/claim", &json!({"worker_id": "puller", "kinds": ["k"], "lease_ms": 600_000}))
        .await?;
    ensure!(status == StatusCode::OK && states().await? == json!(["ALIVE", "ALIVE"]));
    Ok(())
}
