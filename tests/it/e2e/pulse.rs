//! Bounded ticks, on a server without a runner.

use anyhow::{Result, ensure};
use serde_json::json;
use taskflow_tests::process::eventually;

use super::api::{Api, Store};

/// A pulse fires the rules that are due, runs their jobs, and lets what these
/// bring about begin; it takes no more jobs than it was told to.
#[tokio::test]
async fn a_pulse_does_what_is_due() -> Result<()> {
    let store = Store::postgres().await?;
    let process = store.launch("api").start().await?;
    let api = Api::new(&process.url)?;
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
    let pulse = async |max_jobs: u64| {
        let (status, body) = api.post("/v1/pulse", &json!({ "max_jobs": max_jobs })).await?;
        ensure!(status.is_success(), "{status}: {body}");
        ensure!(body["jobs"].as_u64() <= Some(max_jobs), "{body}");
        anyhow::Ok(body)
    };
    eventually("pulses run what the clock and the jobs make", async || {
        pulse(1).await?;
        Ok((jobs("ticks").await? > 0 && jobs("follows").await? > 0).then_some(()))
    })
    .await?;
    let nothing = pulse(0).await?;
    assert_eq!(nothing["jobs"], 0);
    Ok(())
}
