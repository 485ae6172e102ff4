//! Rules through downtime, a kill, a drained queue, and with a trace from outside.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use taskflow_tests::process;

use super::api::{Api, Store, id_of, until};
use super::on_both_databases;
use super::target::Target;

on_both_databases! {
    two_days_are_missed
    a_fan_out_goes_on_after_a_kill
    a_drained_queue_gets_no_jobs_of_rules
    a_delivery_is_traced_to_the_last_call
}

/// Tenants of the fan-out.
const TENANTS: usize = 3_000;

async fn rule(api: &Api, rule: Value) -> Result<String> {
    let (status, body) = api.post("/v1/automation-rules", &rule).await?;
    ensure!(status == StatusCode::CREATED, "{status}: {body}");
    id_of(&body)
}

/// All firings of a rule, newest first.
async fn firings(api: &Api, rule: &str, filter: &str) -> Result<Vec<Value>> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/automation-rules/{rule}/firings?limit=500{filter}{cursor}");
        let mut page = api.get(&path).await?;
        all.append(page["items"].as_array_mut().context("items")?);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}

/// The scheduler is down for two days: each policy does what it says, and says
/// what it left out.
async fn two_days_are_missed(store: Store) -> Result<()> {
    let (mut process, api) = store.up().await?;
    let hourly = |policy: Value| {
        json!({ "name": "hourly", "trigger": { "type": "cron", "expression": "0 * * * *", "misfire": policy },
            "actions": [{ "kind": "work", "target": { "type": "builtin", "name": "noop" } }] })
    };
    let mut rules = BTreeMap::new();
    for (name, policy) in [
        ("skip", json!({ "policy": "skip" })),
        ("run_once", json!({ "policy": "run_once" })),
        ("run_all", json!({ "policy": "run_all", "max": 5 })),
        ("run_all, late", json!({ "policy": "run_all", "max": 50, "max_lateness_ms": 10_800_000 })),
        ("run_once, on time", json!({ "policy": "run_once", "max_lateness_ms": 1_000 })),
    ] {
        rules.insert(name, rule(&api, hourly(policy)).await?);
    }
    process.kill()?;
    store.execute("update rule set next_at = next_at - 172800000000").await?;
    let (_process, api) = store.up().await?;
    let mut seen = BTreeMap::new();
    for (name, id) in &rules {
        until(&format!("{name} has caught up"), async || {
            firings(&api, id, "&outcome=SKIPPED").await.is_ok_and(|skipped| !skipped.is_empty())
        })
        .await?;
        let all = firings(&api, id, "").await?;
        let missed = all.iter().find(|one| one["reason"] == "misfire").context("what was missed")?;
        let count = missed["detail"].as_str().and_then(|text| text.split(' ').next()).unwrap_or_default();
        let fired = all.iter().filter(|one| one["outcome"] == "FIRED").count();
        seen.insert(*name, (fired, count.parse::<usize>().context("a count")?));
    }
    // An hour may begin, or have begun less than a minute ago, while this runs: that one is no misfire.
    let within = |name: &str, fired: usize, missed: usize| {
        let (met, left) = seen[name];
        (fired..=fired + 1).contains(&met) && (missed - 1..=missed + 1).contains(&left)
    };
    assert!(within("skip", 0, 48), "{seen:?}");
    assert!(within("run_once", 1, 47), "{seen:?}");
    assert!(within("run_all", 5, 43), "{seen:?}");
    assert!(within("run_all, late", 3, 45), "{seen:?}");
    assert!(within("run_once, on time", 0, 48), "{seen:?}");
    Ok(())
}

/// `kill -9` amid thousands of tenants: another process goes on, and none of them
/// is left out or comes twice.
async fn a_fan_out_goes_on_after_a_kill(store: Store) -> Result<()> {
    let (mut process, mut api) = store.up().await?;
    let others = "with recursive s(n) as (select 1 union all select n + 1 from s where n < 2999)
        insert into tenant (slug, attributes, weight, paused, created_at, updated_at)
        select 't' || n, '{}', 1, false, 0, 0 from s";
    store.execute(others).await?;
    let id = rule(
        &api,
        json!({ "name": "all", "trigger": { "type": "manual" }, "for_each_tenant": "true",
            "actions": [{ "kind": "pulled", "payload": { "of": "${tenant.slug}" } }] }),
    )
    .await?;
    let path = format!("/v1/automation-rules/{id}/trigger");
    let (status, body) = api.post(&path, &json!({})).await?;
    ensure!(status == StatusCode::ACCEPTED, "{status}: {body}");
    until("the fan-out is under way", async || {
        firings(&api, &id, "&outcome=FIRED").await.is_ok_and(|fired| !fired.is_empty())
    })
    .await?;
    process.kill()?;
    (process, api) = store.up().await?;
    until("every tenant had its turn", async || {
        firings(&api, &id, "").await.is_ok_and(|fired| fired.len() >= TENANTS)
    })
    .await?;
    let all = firings(&api, &id, "").await?;
    let mut tenants: Vec<_> = all.iter().map(|one| one["tenant"].as_str().unwrap_or_default()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    assert_eq!((all.len(), tenants.len()), (TENANTS, TENANTS), "each tenant once");
    assert!(
        all.iter().all(|one| one["outcome"] == "FIRED" && one["job_ids"].as_array().map(Vec::len) == Some(1))
    );
    let of = firings(&api, &id, "&tenant=t77").await?;
    assert_eq!((of.len(), &of[0]["tenant"]), (1, &json!("t77")));
    let stats = api.get(&format!("/v1/automation-rules/{id}/stats")).await?;
    assert_eq!((&stats["fired"], &stats["jobs"]), (&json!(TENANTS), &json!(TENANTS)));
    drop(process);
    Ok(())
}

/// A drained queue takes no new jobs, whoever makes them; the firing says so.
async fn a_drained_queue_gets_no_jobs_of_rules(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    let id = rule(
        &api,
        json!({ "name": "mails", "trigger": { "type": "manual" },
            "actions": [{ "kind": "audit" }, { "kind": "mail", "queue": "${trigger.input.queue}" }] }),
    )
    .await?;
    api.put("/v1/admin/queues/mails", &json!({})).await?;
    let (status, body) = api.post("/v1/admin/queues/mails/drain", &json!({ "reason": "moving" })).await?;
    ensure!(status.is_success(), "{status}: {body}");
    let path = format!("/v1/automation-rules/{id}/trigger");
    let fire = async |queue: &str| {
        let (_, body) = api.post(&path, &json!({ "input": { "queue": queue } })).await?;
        anyhow::Ok(body["items"][0].clone())
    };
    let blocked = fire("mails").await?;
    assert_eq!((&blocked["outcome"], &blocked["reason"]), (&json!("BLOCKED"), &json!("draining")));
    assert!(blocked["detail"].as_str().is_some_and(|detail| detail.contains("mails")), "{blocked}");
    assert_eq!(blocked["job_ids"], json!([]), "never half of the jobs");
    assert_eq!(fire("elsewhere").await?["outcome"], "FIRED");
    let (status, body) = api.post("/v1/admin/queues/mails/resume", &json!({})).await?;
    ensure!(status.is_success(), "{status}: {body}");
    assert_eq!(fire("mails").await?["outcome"], "FIRED");
    Ok(())
}

/// What a delivery brings about is one tree, and its calls go out in the trace
/// of the delivery.
async fn a_delivery_is_traced_to_the_last_call(store: Store) -> Result<()> {
    let (process, api) = store.up().await?;
    let target = Target::start().await?;
    let call = |kind: &str| json!([{ "kind": kind, "target": { "type": "http", "url": target.url("ok") } }]);
    let hook = json!({ "name": "hook", "trigger": { "type": "webhook", "key": "traced-key" }, "actions": call("first") });
    let hook = rule(&api, hook).await?;
    let after = json!({ "name": "after", "trigger": { "type": "event", "event": "job.succeeded" },
        "condition": "job.kind == 'first'", "actions": call("second") });
    let after = rule(&api, after).await?;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let delivery = process::client()?
        .post(format!("{}/v1/events/webhook/traced-key", process.url))
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .body("{}");
    let answer: Value = delivery.send().await?.error_for_status()?.json().await?;
    let first = answer["firings"][0]["job_ids"][0].as_str().context("a job")?.to_owned();
    let path = format!("/v1/jobs/{first}/trace");
    until("the second job has ended", async || {
        let tree = api.get(&path).await.unwrap_or_default();
        tree.pointer("/roots/0/children/0/children/0/children/0/children/0/job/state")
            == Some(&json!("SUCCEEDED"))
    })
    .await?;
    let tree = api.get(&path).await?;
    let mut node = &tree["roots"][0];
    assert_eq!((&node["type"], &node["event"]["source"]), (&json!("event"), &json!("webhook:traced-key")));
    for (rule, job) in [(&hook, "first"), (&after, "second")] {
        node = &node["children"][0];
        assert_eq!(
            (&node["type"], node["firing"]["rule_id"].as_str()),
            (&json!("firing"), Some(rule.as_str()))
        );
        node = &node["children"][0];
        assert_eq!(
            (&node["job"]["kind"], &node["attempts"][0]["outcome"]),
            (&json!(job), &json!("SUCCEEDED"))
        );
        assert_eq!(node["job"]["correlation_id"], tree["correlation_id"]);
    }
    let traces: Vec<_> = target.calls().into_iter().map(|call| call.traceparent).collect();
    assert_eq!(traces.len(), 2);
    assert!(traces.iter().all(|given| given.starts_with(&format!("00-{trace}-"))), "{traces:?}");
    Ok(())
}
