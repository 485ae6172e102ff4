//! A worker that pulls, as small as can be, for scenarios in which workers are
//! lost: it holds what it claimed and never says a word unless it is told to.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use taskflow_checker::history::{Call, Known, Op};

use super::client::Client;
use super::now_us;

/// What jobs for it are of.
pub const KIND: &str = "pulled";

/// Claims up to `max` jobs; each as the engine gave it.
pub async fn claim(client: &Client, worker: &str, max: u32, lease_ms: u64) -> Result<Vec<Value>> {
    let body = json!({"worker_id": worker, "queues": ["default"], "kinds": [KIND], "max": max,
                      "wait_ms": 0, "lease_ms": lease_ms});
    let (status, mut answer) = client.post("/v1/worker/claim", None, &body).await?;
    ensure!(status == 200, "a claim was answered {status}: {answer}");
    Ok(std::mem::take(answer["items"].as_array_mut().context("a claim has items")?))
}

/// Reports these jobs as done; how many were accepted.
pub async fn complete(client: &Client, jobs: &[Value]) -> Result<usize> {
    let entry = |job: &Value| json!({"job_id": job["id"], "lease_token": job["lease_token"]});
    let body = json!({"items": jobs.iter().map(entry).collect::<Vec<_>>()});
    let (status, answer) = client.post("/v1/worker/complete", None, &body).await?;
    ensure!(status == 200, "a report was answered {status}: {answer}");
    let items = answer["items"].as_array().context("a report is answered by entry")?;
    Ok(items.iter().filter(|item| item["ok"] == true).count())
}

/// Submits jobs by the batch, and notes that. `marker` names them.
pub async fn submit(
    client: &Client,
    marker: &str,
    count: usize,
    run_at: Option<&str>,
    calls: &mut Vec<Call>,
) -> Result<()> {
    let mut first = 0;
    while first < count {
        let part = (count - first).min(5_000);
        let job = |number: usize| {
            json!({"kind": KIND, "payload": {"marker": format!("{marker}-{}", first + number)}, "run_at": run_at,
                   "retry_policy": {"max_attempts": 10, "strategy": "fixed", "base_delay_ms": 50, "jitter": "none"}})
        };
        let body = json!({"jobs": (0..part).map(job).collect::<Vec<_>>()});
        let invoked_at = now_us();
        let (status, answer) = client.post("/v1/jobs/batch", None, &body).await?;
        ensure!(status == 201, "a batch was answered {status}: {answer}");
        let made =
            answer["items"].as_array().or_else(|| answer["jobs"].as_array()).context("a batch has jobs")?;
        calls.extend(made.iter().map(|job| Call {
            invoked_at,
            returned_at: now_us(),
            known: Known::Ok,
            op: Op::Submit {
                tenant: "default".to_owned(),
                marker: job["payload"]["marker"].as_str().unwrap_or_default().to_owned(),
                key: None,
                run_at: None,
                job: job["id"].as_str().map(str::to_owned),
            },
        }));
        first += part;
    }
    Ok(())
}
