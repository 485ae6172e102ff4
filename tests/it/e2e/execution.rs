//! From the POST to the end of a job, the good way and the bad ones.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::Instant;

use super::api::{Store, call};
use super::on_both_databases;
use super::target::Target;

on_both_databases! {
    a_job_runs_at_once
    a_flaky_target_recovers
    a_broken_target_ends_dead_and_is_redriven
    a_missing_target_fails_at_once
    a_silent_target_times_out
    a_running_job_is_cancelled
    a_delayed_job_waits_for_its_time
}

/// The time from the POST to the call is printed, for people to look at; a
/// busy machine must not fail a test.
async fn a_job_runs_at_once(store: Store) -> Result<()> {
    let (target, (_process, api)) = (Target::start().await?, store.up().await?);
    let mut took = Vec::new();
    for round in 1..=30 {
        let begun = Instant::now();
        api.submit(&call(&target.url("ok"))).await?;
        target.called(round).await?;
        took.push(begun.elapsed());
    }
    took.sort();
    println!("POST to call: median {:?}, worst {:?}", took[took.len() / 2], took[took.len() - 1]);
    let id = api.submit(&call(&target.url("ok"))).await?;
    let job = api.in_state(&id, "SUCCEEDED").await?;
    assert_eq!((&job["attempts_made"], &job["result"]["status"]), (&json!(1), &json!(200)), "{job}");
    assert_eq!(api.events(&id).await?, ["created", "started", "succeeded"]);
    assert!(target.calls_by_job().values().all(|calls| *calls == 1));
    let last = target.calls().pop().unwrap();
    assert_eq!((last.job, last.attempt), (id, "1".to_owned()));
    assert!(!last.token.is_empty());
    Ok(())
}

async fn a_flaky_target_recovers(store: Store) -> Result<()> {
    let (target, (_process, api)) = (Target::start().await?, store.up().await?);
    let id = api.submit(&call(&target.url("flaky"))).await?;
    let job = api.in_state(&id, "SUCCEEDED").await?;
    assert_eq!(job["attempts_made"], 3);
    assert_eq!(api.outcomes(&id).await?, ["FAILED", "FAILED", "SUCCEEDED"]);
    let events = api.events(&id).await?;
    assert_eq!(events.first().map(String::as_str), Some("created"));
    assert_eq!(events.iter().filter(|kind| *kind == "started").count(), 3, "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("succeeded"));
    Ok(())
}

async fn a_broken_target_ends_dead_and_is_redriven(store: Store) -> Result<()> {
    let (target, (_process, api)) = (Target::start().await?, store.up().await?);
    let id = api.submit(&call(&target.url("broken"))).await?;
    let job = api.in_state(&id, "DEAD").await?;
    assert_eq!(job["attempts_made"], 3);
    assert!(!job["last_error"].is_null(), "{job}");
    assert_eq!(target.calls().len(), 3);
    let (status, _) = api.post(&format!("/v1/jobs/{id}/retry"), &json!({})).await?;
    assert_eq!(status, 200);
    target.called(6).await?;
    api.in_state(&id, "DEAD").await?;
    assert_eq!(api.outcomes(&id).await?, ["FAILED"; 6]);
    assert!(api.events(&id).await?.contains(&"redriven".to_owned()));
    Ok(())
}

async fn a_missing_target_fails_at_once(store: Store) -> Result<()> {
    let (target, (_process, api)) = (Target::start().await?, store.up().await?);
    let id = api.submit(&call(&target.url("missing"))).await?;
    let job = api.in_state(&id, "FAILED").await?;
    assert_eq!(job["attempts_made"], 1, "{job}");
    assert_eq!(target.calls().len(), 1);
    Ok(())
}

async fn a_silent_target_times_out(store: Store) -> Result<()> {
    let (target, (_process, api)) = (Target::start().await?, store.up().await?);
    let mut job = call(&target.url("silent"));
    job["timeout_ms"] = json!(200);
    job["retry_policy"]["max_attempts"] = json!(2);
    let id = api.submit(&job).await?;
    api.in_state(&id, "DEAD").await?;
    assert_eq!(api.outcomes(&id).await?, ["TIMEOUT", "TIMEOUT"]);
    Ok(())
}

async fn a_running_job_is_cancelled(store: Store) -> Result<()> {
    let (target, (_process, api)) = (Target::start().await?, store.up().await?);
    let id = api.submit(&call(&target.url("silent"))).await?;
    target.called(1).await?;
    let (status, _) = api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?;
    assert_eq!(status, 200);
    api.in_state(&id, "CANCELLED").await?;
    assert_eq!(api.outcomes(&id).await?, ["CANCELLED"]);
    assert_eq!(target.calls().len(), 1);
    Ok(())
}

async fn a_delayed_job_waits_for_its_time(store: Store) -> Result<()> {
    let (target, (_process, api)) = (Target::start().await?, store.up().await?);
    let mut job = call(&target.url("ok"));
    let due = chrono::DateTime::from_timestamp_millis(now_ms() + 700).unwrap();
    job["run_at"] = json!(due.to_rfc3339());
    let begun = Instant::now();
    let id = api.submit(&job).await?;
    assert_eq!(api.job(&id).await?["state"], "SCHEDULED");
    target.called(1).await?;
    assert!(begun.elapsed() >= Duration::from_millis(600), "it ran {:?} after its submit", begun.elapsed());
    println!("started {} ms after its time", now_ms() - due.timestamp_millis());
    api.in_state(&id, "SUCCEEDED").await?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the process under test has the real clock too")]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
