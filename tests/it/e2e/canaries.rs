//! Secrets of every kind go through everything that there is, and then nothing
//! that is kept, said or shown holds one of them.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use taskflow_tests::process::Launch;

use super::access::{Holder, OPERATOR, keyed};
use super::api::{Store, until};
use super::on_both_databases;
use super::target::Target;

on_both_databases! {
    no_secret_is_found_anywhere
    nor_where_no_key_was_given
}

/// "canary-secrets-key-…", in Base64.
const KEY: &str = "Y2FuYXJ5LXNlY3JldHMta2V5LTAwMDAwMDAwMDAwMDA=";
const PASSWORD: &str = "canary-database-password-77b1";
const HEADER: &str = "canary-target-credential-51aa";
const WEBHOOK: &str = "whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTM4YzEtMDAwMA==";

/// Everything that somebody could hear from the process.
async fn answers(holders: &[&Holder], job: &str, rule: &str) -> Result<String> {
    let mut heard = String::new();
    let paths = [
        "/v1/jobs".to_owned(),
        format!("/v1/jobs/{job}"),
        format!("/v1/jobs/{job}/attempts"),
        format!("/v1/jobs/{job}/events"),
        "/v1/admin/api-keys".to_owned(),
        "/v1/admin/audit?limit=500".to_owned(),
        "/v1/admin/tenants".to_owned(),
        "/v1/admin/queues".to_owned(),
        "/v1/admin/workers".to_owned(),
        "/v1/automation-rules".to_owned(),
        format!("/v1/automation-rules/{rule}"),
        format!("/v1/automation-rules/{rule}/firings"),
        "/metrics".to_owned(),
        "/health/ready".to_owned(),
        "/openapi.json".to_owned(),
        "/v1/nothing".to_owned(),
    ];
    for holder in holders {
        for path in &paths {
            heard += &holder.send(Method::GET, path, None).await?.text().await?;
        }
        let bad = json!({ "kind": "", "target": {"type": "http", "url": "no url"} });
        heard += &holder.send(Method::POST, "/v1/jobs", Some(&bad)).await?.text().await?;
    }
    Ok(heard)
}

/// A rule with a secret, and a delivery that lacks its signature.
async fn hook(key: &Holder) -> Result<String> {
    let rule = json!({
        "name": "hook", "actions": [{"kind": "k", "target": {"type": "http", "url": "http://127.0.0.1:1/",
            "headers": {"X-Team-Key": format!("rule {HEADER}")}}}],
        "trigger": {"type": "webhook", "key": "canary-hook", "signature": {"scheme": "standard", "secret": WEBHOOK}},
    });
    let rule = key.did(Method::POST, "/v1/automation-rules", rule).await?;
    key.send(Method::POST, "/v1/events/webhook/canary-hook", Some(&json!({}))).await?;
    Ok(rule["id"].as_str().context("an id")?.to_owned())
}

async fn no_secret_is_found_anywhere(store: Store) -> Result<()> {
    let launch = keyed(store.launch("up")).env("TASKFLOW_SECRETS_KEY", KEY);
    let dump = search(&store, launch, "Y2FuYXJ5LXNlY3JldHMta2V5").await?;
    assert!(!dump.contains("Y2FuYXJ5LXNlY3JldHMta2V5"), "the key of secrets is in the database");
    Ok(())
}

/// Somebody who sets nothing but the address of the database has no secret in clear
/// either, and hears at the start where the key lies.
async fn nor_where_no_key_was_given(store: Store) -> Result<()> {
    let mut process = keyed(store.launch("up")).start().await?;
    let key = store.own_key().await?;
    process.kill()?;
    let log = process.log();
    let told = log.contains("secrets are sealed with a key that lies in the database itself");
    assert_eq!(told, matches!(store, Store::Postgres(_)), "{log}");
    search(&store, keyed(store.launch("up")), &key).await?;
    assert_eq!(store.own_key().await?, key, "it is made once");
    Ok(())
}

/// Sends secrets through everything and searches what is kept, said and shown.
/// The dump may hold the key of secrets alone, if the database is where it lies.
async fn search(store: &Store, launch: Launch, sealing_key: &str) -> Result<String> {
    let target = Target::start().await?;
    let launch = launch.env("RUST_LOG", "trace").env("TASKFLOW_EGRESS_ALLOW", "127.0.0.0/8");
    let process = launch.start().await?;
    let operator = Holder::new(&process.url, OPERATOR)?;
    operator.tenant("acme", json!({})).await?;
    let (id, key) = operator.give("acme", &["jobs:read", "jobs:write", "rules:read", "rules:write"]).await?;
    let rotated = operator.did(Method::POST, &format!("/v1/admin/api-keys/{id}/rotate"), json!({})).await?;
    let rotated = rotated["key"].as_str().context("a text")?.to_owned();
    let call = json!({
        "kind": "call", "payload": {},
        "target": {"type": "http", "url": target.url("flaky"),
            "headers": {"Authorization": format!("Bearer {HEADER}")}},
        "retry_policy": {"max_attempts": 3, "strategy": "fixed", "base_delay_ms": 10, "jitter": "none"},
    });
    let job = key.did(Method::POST, "/v1/jobs", call).await?;
    assert_eq!(job["target"]["headers"]["Authorization"], "***");
    let job = job["id"].as_str().context("an id")?.to_owned();
    until("the job has run", async || {
        let shown = key.did(Method::GET, &format!("/v1/jobs/{job}"), Value::Null).await.unwrap_or_default();
        shown["state"] == "SUCCEEDED"
    })
    .await?;
    let rule = hook(&key).await?;
    // Half a key in the wrong place, as people paste them.
    let misplaced = format!("/v1/jobs?cursor={}", key.key);
    key.send(Method::GET, &misplaced, None).await?;
    let heard = answers(&[&operator, &key], &job, &rule).await?;
    operator.did(Method::DELETE, &format!("/v1/admin/api-keys/{id}"), Value::Null).await?;
    let log = process.log();
    let secret = |text: &str| text.split('_').nth(3).map(str::to_owned).context("a key has four parts");
    let canaries = [
        ("the operator's key", OPERATOR.to_owned()),
        ("a key", key.key.to_string()),
        ("a key's secret", secret(&key.key)?),
        ("a rotated key's secret", secret(&rotated)?),
        ("a target's credential", HEADER.to_owned()),
        ("a webhook's secret", WEBHOOK.trim_start_matches("whsec_").to_owned()),
        ("a password", PASSWORD.to_owned()),
    ];
    let dump = store.dump()?;
    assert!(
        dump.contains("call") && log.contains("request") && heard.contains(&job),
        "the search sees something"
    );
    for (what, canary) in &canaries {
        assert!(!dump.contains(canary.as_str()), "{what} is in the database");
        assert!(!log.contains(canary.as_str()), "{what} is in the log");
        assert!(!heard.contains(canary.as_str()), "{what} is in an answer");
    }
    for (what, text) in [("the log", &log), ("an answer", &heard)] {
        assert!(!text.contains(sealing_key), "the key of secrets is in {what}");
    }
    println!("{} canaries, {} bytes searched", canaries.len(), dump.len() + log.len() + heard.len());
    Ok(dump)
}

/// The password of the database's URL is not told, whatever goes wrong with it.
#[test]
fn the_databases_password_is_not_told() -> Result<()> {
    let url = format!("postgres://somebody:{PASSWORD}@127.0.0.1:1/nowhere?sslpassword={PASSWORD}");
    for (arguments, ends) in [(vec!["config"], true), (vec!["config", "--json"], true)] {
        let launch = taskflow_tests::process::Launch::new(arguments).env("DATABASE_URL", &url);
        let (status, output, log) = launch.output()?;
        assert_eq!(status.success(), ends, "{log}");
        assert!(!output.contains(PASSWORD) && !log.contains(PASSWORD), "{output}{log}");
    }
    for wrong in [format!("mysql://u:{PASSWORD}@h/d"), format!("postgres://u:{PASSWORD}@:x/d")] {
        let launch = taskflow_tests::process::Launch::new(["migrate"]).env("DATABASE_URL", &wrong);
        let (status, output, log) = launch.output()?;
        assert!(!status.success());
        assert!(!output.contains(PASSWORD) && !log.contains(PASSWORD), "{output}{log}");
    }
    Ok(())
}
