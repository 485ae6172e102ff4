//! Fencing: who lost a lease can no longer end the job.

use anyhow::Result;
use serde_json::{Value, json};

use super::api::{Store, until};
use super::on_both_databases;

on_both_databases! {
    a_stale_completion_is_refused
    a_worker_that_goes_on_for_ever_is_timed_out
    a_worker_tells_how_its_attempts_ended
}

async fn a_stale_completion_is_refused(store: Store) -> Result<()> {
    let process = store.launch("up").env("TASKFLOW_LEASE_MS", "1000").start().await?;
    let api = super::api::Api::new(&process.url)?;
    let id = api.submit(&json!({"kind": "remote"})).await?;
    let claim = |worker: &str| {
        json!({"worker_id": worker, "queues": ["default"], "kinds": ["remote"], "max": 1,
               "wait_ms": 0, "lease_ms": 1000})
    };
    let (status, first) = api.post("/v1/worker/claim", &claim("slow")).await?;
    assert_eq!((status.as_u16(), &first["items"][0]["id"]), (200, &json!(id)), "{first}");
    // The slow worker sends no heartbeat, so another one gets the job.
    let mut second = Value::Null;
    until("another worker gets the job", async || {
        second =
            api.post("/v1/worker/claim", &claim("quick")).await.map(|(_, body)| body).unwrap_or_default();
        second["items"][0]["id"] == json!(id)
    })
    .await?;
    let complete = |claimed: &Value| {
        json!({"items": [{"job_id": id, "lease_token": claimed["items"][0]["lease_token"],
                          "result": {"by": claimed["items"][0]["attempt"]}}]})
    };
    let (_, stale) = api.post("/v1/worker/complete", &complete(&first)).await?;
    assert!(stale.to_string().contains("stale_lease"), "{stale}");
    assert_eq!(api.job(&id).await?["state"], "RUNNING");
    let (_, done) = api.post("/v1/worker/complete", &complete(&second)).await?;
    assert!(!done.to_string().contains("stale_lease"), "{done}");
    let job = api.job(&id).await?;
    assert_eq!((&job["state"], &job["result"]["by"]), (&json!("SUCCEEDED"), &json!(2)), "{job}");
    assert_eq!(api.outcomes(&id).await?, ["LEASE_EXPIRED", "SUCCEEDED"]);
    let (_, again) = api.post("/v1/worker/complete", &complete(&second)).await?;
    assert!(again.to_string().contains("stale_lease"), "the end is final: {again}");
    Ok(())
}

/// A pulling worker that extends its lease for ever holds its job no longer than
/// the timeout and the grace; it is told on the way.
async fn a_worker_that_goes_on_for_ever_is_timed_out(store: Store) -> Result<()> {
    let process = store.launch("up").env("TASKFLOW_LEASE_MS", "1000").start().await?;
    let api = super::api::Api::new(&process.url)?;
    let policy = json!({"max_attempts": 2, "base_delay_ms": 3_600_000, "jitter": "none"});
    let job = json!({"kind": "remote", "timeout_ms": 100, "retry_policy": policy});
    let id = api.submit(&job).await?;
    // The lease is asked to last for an hour.
    let claim = json!({"worker_id": "eager", "kinds": ["remote"], "lease_ms": 3_600_000});
    let (_, claimed) = api.post("/v1/worker/claim", &claim).await?;
    let token = claimed["items"][0]["lease_token"].clone();
    let beat = json!({"items": [{"job_id": id, "lease_token": token}], "lease_ms": 3_600_000});
    until("the worker is told to stop", async || {
        let told = api.post("/v1/worker/heartbeat", &beat).await.map(|(_, body)| body).unwrap_or_default();
        told["items"][0]["cancel_requested"] == true
    })
    .await?;
    until("the lease is taken back", async || {
        let told = api.post("/v1/worker/heartbeat", &beat).await.map(|(_, body)| body).unwrap_or_default();
        told["items"][0]["code"] == "stale_lease"
    })
    .await?;
    let job = api.job(&id).await?;
    assert_eq!(
        (&job["state"], &job["state_reason"]),
        (&json!("SCHEDULED"), &json!("retry_backoff")),
        "{job}"
    );
    assert_eq!(job["last_error"]["type"], "timeout", "{job}");
    assert_eq!(api.outcomes(&id).await?, ["TIMEOUT"]);
    Ok(())
}

/// A pulling worker hands a job back, asks for it later, and stops on request.
async fn a_worker_tells_how_its_attempts_ended(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    let id = api.submit(&json!({"kind": "remote", "retry_policy": {"max_attempts": 1}})).await?;
    let claim = json!({"worker_id": "w", "kinds": ["remote"], "wait_ms": 10_000});
    let tell = async |mut item: Value| {
        let (_, claimed) = api.post("/v1/worker/claim", &claim).await?;
        item["job_id"] = json!(id);
        item["lease_token"] = claimed["items"][0]["lease_token"].clone();
        let (_, told) = api.post("/v1/worker/fail", &json!({"items": [item]})).await?;
        anyhow::Ok(told["items"][0]["state"].clone())
    };
    assert_eq!(tell(json!({"outcome": "INTERRUPTED"})).await?, "PENDING");
    assert_eq!(tell(json!({"outcome": "SNOOZED", "retry_after_ms": 50})).await?, "SCHEDULED");
    let (_, claimed) = api.post("/v1/worker/claim", &claim).await?;
    api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?;
    // A worker that only knows errors has stopped because it was told to.
    let item = json!({"job_id": id, "lease_token": claimed["items"][0]["lease_token"],
                      "error": {"type": "stopped", "message": "told to"}});
    let (_, told) = api.post("/v1/worker/fail", &json!({"items": [item]})).await?;
    assert_eq!(told["items"][0]["state"], "CANCELLED", "{told}");
    assert_eq!(api.outcomes(&id).await?, ["INTERRUPTED", "SNOOZED", "CANCELLED"]);
    let job = api.job(&id).await?;
    assert_eq!(job["attempts_made"], 3, "{job}");
    Ok(())
}
