//! What a process shows of itself: health, metrics, how it fails.

use anyhow::Result;
use taskflow_adapters::telemetry::CATALOGUE;
use taskflow_tests::process::{Launch, client};

use super::api::{Store, call, until};
use super::target::Target;

#[tokio::test]
async fn metrics_follow_a_job_and_have_no_unknown_names() -> Result<()> {
    let target = Target::start().await?;
    let store = Store::sqlite()?;
    let (process, api) = store.up().await?;
    let id = api.submit(&call(&target.url("flaky"))).await?;
    api.in_state(&id, "SUCCEEDED").await?;
    let url = format!("{}/metrics", process.url);
    let text = client()?.get(url).send().await?.text().await?;
    for line in [
        "taskflow_jobs_created_total{queue=\"default\"} 1",
        "taskflow_attempts_started_total{queue=\"default\"} 3",
        "taskflow_attempts_finished_total{queue=\"default\",outcome=\"FAILED\"} 2",
        "taskflow_jobs_finished_total{queue=\"default\",state=\"SUCCEEDED\"} 1",
        "taskflow_retries_total{queue=\"default\"} 2",
        "taskflow_http_requests_total{method=\"POST\",route=\"/v1/jobs\",status=\"201\"} 1",
        "taskflow_database_up 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let known = |entry: &taskflow_adapters::telemetry::Entry| {
            let rest = name.strip_prefix(entry.name);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        };
        assert!(CATALOGUE.iter().any(known), "{name} is not in the catalogue");
        assert!(!line.contains(&id), "no job in a label: {line}");
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_answers_for_its_health_alone() -> Result<()> {
    let store = Store::postgres().await?;
    let worker = store.launch("worker").start().await?;
    let ask =
        async |path: &str| anyhow::Ok(client()?.get(format!("{}{path}", worker.url)).send().await?.status());
    assert_eq!(ask("/health/live").await?, 200);
    assert_eq!(ask("/metrics").await?, 200);
    assert_eq!(ask("/v1/jobs").await?, 404);
    Ok(())
}

#[tokio::test]
async fn a_taken_address_is_said() -> Result<()> {
    let store = Store::sqlite()?;
    let (first, _api) = store.up().await?;
    let address = first.url.trim_start_matches("http://").to_owned();
    let other = Store::sqlite()?;
    let launch = Launch::new(["up", "--listen", &address]).env("DATABASE_URL", &other.url());
    let (status, _, log) = launch.output()?;
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("cannot listen on") && log.contains(&address), "{log}");
    Ok(())
}

/// Every line of the log is a JSON object, whatever callers send.
#[tokio::test]
async fn the_log_is_one_json_object_a_line() -> Result<()> {
    let store = Store::sqlite()?;
    let (process, api) = store.up().await?;
    let hostile = "a\r\n{\"level\":\"ERROR\"}\u{1b}[2J\u{202e}";
    let client = client()?;
    client.get(format!("{}/v1/jobs?state=%0d%0a%1b%5b2J", process.url)).send().await?;
    client.get(format!("{}/v1/{}", process.url, "%0a%1b%5b2J")).send().await?;
    api.post("/v1/jobs", &serde_json::json!({"kind": hostile})).await?;
    until("the requests are logged", async || process.log().matches("request answered").count() >= 3).await?;
    for line in process.log().lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    Ok(())
}
