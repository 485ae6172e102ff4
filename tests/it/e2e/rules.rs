//! Rules from outside: each trigger, signatures over the bytes as they come,
//! replays, and repeats that come together.

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use taskflow_tests::hex;
use taskflow_tests::process::{self, Process, eventually};

use super::api::{Api, Store};
use super::on_both_databases;

on_both_databases! {
    every_trigger_makes_its_jobs
    bad_signatures_and_replays_are_refused
    a_hundred_repeats_of_a_delivery_make_one_job
    a_secret_is_changed_without_a_gap
}

/// 32 bytes in Base64. On PostgreSQL there are no secrets without a key.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const SECRET: &str = "It's a Secret to Everybody";

async fn up(store: &Store) -> Result<(Process, Api, Client)> {
    let process = store.launch("up").env("TASKFLOW_SECRETS_KEY", KEY).start().await?;
    let api = Api::new(&process.url)?;
    Ok((process, api, process::client()?))
}

async fn rule(api: &Api, rule: Value) -> Result<Value> {
    let (status, body) = api.post("/v1/automation-rules", &rule).await?;
    ensure!(status == StatusCode::CREATED, "{status}: {body}");
    Ok(body)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The jobs that a rule made, once there are at least `least`.
async fn made(api: &Api, rule: &Value, least: usize) -> Result<Vec<Value>> {
    let path = format!("/v1/jobs?limit=500&rule_id={}", text(&rule["id"]));
    eventually(&format!("rule {} has made {least} jobs", rule["name"]), async || {
        let items = api.get(&path).await?["items"].as_array().cloned().unwrap_or_default();
        Ok((items.len() >= least).then_some(items))
    })
    .await
}

async fn every_trigger_makes_its_jobs(store: Store) -> Result<()> {
    let (process, api, client) = up(&store).await?;
    let noop = json!({"kind": "noop", "target": {"type": "builtin", "name": "noop"}});
    let fails = json!({"kind": "breaks", "target": {"type": "builtin", "name": "fail"},
                       "retry_policy": {"max_attempts": 1}});
    let of = |name: &str, trigger: Value, action: &Value| json!({"name": name, "trigger": trigger, "actions": [action]});
    let cron = rule(&api, of("cron", json!({"type": "cron", "expression": "* * * * * *"}), &noop)).await?;
    let hook = rule(&api, of("hook", json!({"type": "webhook"}), &fails)).await?;
    let event = rule(&api, of("event", json!({"type": "event", "event": "com.acme.*"}), &noop)).await?;
    let after = json!({"kind": "mends", "payload": {"of": "${job.kind}"}});
    let dead = rule(&api, of("dead", json!({"type": "event", "event": "job.dead"}), &after)).await?;
    let hand = rule(&api, of("hand", json!({"type": "manual"}), &noop)).await?;

    let address = format!("{}/v1/events/webhook/{}", process.url, text(&hook["trigger"]["key"]));
    let answer = client.post(&address).body("{}").send().await?;
    ensure!(answer.status() == StatusCode::ACCEPTED, "{}", answer.text().await?);
    let cloud = client.post(format!("{}/v1/events", process.url));
    let cloud = cloud.header("ce-specversion", "1.0").header("ce-id", "1").header("ce-source", "/s");
    let answer = cloud.header("ce-type", "com.acme.paid").send().await?;
    ensure!(answer.status() == StatusCode::ACCEPTED, "{}", answer.text().await?);
    let path = format!("/v1/automation-rules/{}/trigger", text(&hand["id"]));
    let (status, body) = api.post(&path, &json!({})).await?;
    ensure!(status == StatusCode::ACCEPTED, "{body}");

    made(&api, &hook, 1).await?;
    made(&api, &event, 1).await?;
    made(&api, &hand, 1).await?;
    let mends = made(&api, &dead, 1).await?;
    ensure!(mends[0]["payload"] == json!({"of": "breaks"}), "{mends:?}");
    made(&api, &cron, 3).await?;
    // Each occurrence fired once, with the distance of a second.
    let firings = api.get(&format!("/v1/automation-rules/{}/firings", text(&cron["id"]))).await?;
    let mut times: Vec<_> =
        firings["items"].as_array().context("items")?.iter().map(|one| text(&one["scheduled_at"])).collect();
    let all = times.len();
    times.sort();
    times.dedup();
    ensure!(times.len() == all && times.iter().all(|at| at.ends_with(".000000Z")), "{times:?}");
    // From the delivery over the job that broke to the one that mends.
    let trace = api.get(&format!("/v1/jobs/{}/trace", text(&mends[0]["id"]))).await?;
    ensure!(trace["roots"][0]["type"] == "event" && trace.to_string().contains("\"breaks\""), "{trace}");
    Ok(())
}

fn code(secret: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).context("any key is one")?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}

async fn hook(api: &Api, process: &Process, scheme: &str, secret: &str) -> Result<(Value, String)> {
    let trigger = json!({"type": "webhook", "signature": {"scheme": scheme, "secret": secret}});
    let action = json!({"kind": "noop", "target": {"type": "builtin", "name": "noop"}});
    let rule = rule(api, json!({"name": scheme, "trigger": trigger, "actions": [action]})).await?;
    let address = format!("{}/v1/events/webhook/{}", process.url, text(&rule["trigger"]["key"]));
    Ok((rule, address))
}

/// Delivers, and answers the status.
async fn deliver(client: &Client, address: &str, headers: &[(&str, &str)], body: &str) -> Result<u16> {
    let request = client.post(address).body(body.to_owned());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    Ok(request.send().await?.status().as_u16())
}

async fn bad_signatures_and_replays_are_refused(store: Store) -> Result<()> {
    let (process, api, client) = up(&store).await?;
    let (rule, github) = hook(&api, &process, "github", SECRET).await?;
    let good = format!("sha256={}", hex(&code(SECRET.as_bytes(), &[b"Hello, World!"])?));
    let signed = |signature: &'static str| [("x-hub-signature-256", signature), ("x-github-delivery", "d")];
    ensure!(deliver(&client, &github, &[], "Hello, World!").await? == 401);
    ensure!(deliver(&client, &github, &signed("sha256=00"), "Hello, World!").await? == 401);
    let headers = [("x-hub-signature-256", good.as_str()), ("x-github-delivery", "d")];
    ensure!(deliver(&client, &github, &headers, "Hello, World?").await? == 401);
    ensure!(deliver(&client, &github, &headers, "Hello, World!").await? == 202);
    ensure!(deliver(&client, &github, &headers, "Hello, World!").await? == 200);
    // Good once, in 2021.
    let (_, standard) = hook(&api, &process, "standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").await?;
    let old = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    ensure!(deliver(&client, &standard, &old, r#"{"test": 2432232314}"#).await? == 401);
    let path = format!("/v1/automation-rules/{}/deliveries", text(&rule["id"]));
    let listed = api.get(&path).await?;
    let causes = listed["items"].as_array().context("items")?.iter().filter(|one| !one["rejected"].is_null());
    ensure!(causes.count() == 3, "{listed}");
    ensure!(made(&api, &rule, 1).await?.len() == 1);
    ensure!(!process.log().contains(SECRET), "a secret stands in the log");
    Ok(())
}

async fn a_hundred_repeats_of_a_delivery_make_one_job(store: Store) -> Result<()> {
    let (process, api, client) = up(&store).await?;
    let (rule, address) = hook(&api, &process, "github", SECRET).await?;
    let signature = format!("sha256={}", hex(&code(SECRET.as_bytes(), &[b"{}"])?));
    let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-delivery", "once")];
    let repeats = (0..100).map(|_| deliver(&client, &address, &headers, "{}"));
    let statuses = futures_util::future::try_join_all(repeats).await?;
    let accepted = statuses.iter().filter(|status| **status == 202).count();
    ensure!(accepted == 1 && statuses.iter().all(|status| [200, 202].contains(status)), "{statuses:?}");
    ensure!(made(&api, &rule, 1).await?.len() == 1);
    // A restart forgets neither the delivery nor the secret.
    drop(process);
    let (process, api, client) = up(&store).await?;
    let address = format!("{}/v1/events/webhook/{}", process.url, text(&rule["trigger"]["key"]));
    ensure!(deliver(&client, &address, &headers, "{}").await? == 200);
    ensure!(made(&api, &rule, 1).await?.len() == 1);
    Ok(())
}

async fn a_secret_is_changed_without_a_gap(store: Store) -> Result<()> {
    let (process, api, client) = up(&store).await?;
    let (rule, address) = hook(&api, &process, "github", SECRET).await?;
    let trigger = json!({"type": "webhook", "signature": {"scheme": "github", "secret": "a new secret"}});
    let change = json!({"name": "changed", "trigger": trigger, "actions": rule["actions"]});
    let put = client.put(format!("{}/v1/automation-rules/{}", process.url, text(&rule["id"])));
    let put = put.json(&change).send().await?;
    ensure!(put.status() == StatusCode::OK, "{}", put.text().await?);
    for (secret, id) in [(SECRET, "old"), ("a new secret", "new")] {
        let signature = format!("sha256={}", hex(&code(secret.as_bytes(), &[b"{}"])?));
        let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-delivery", id)];
        ensure!(deliver(&client, &address, &headers, "{}").await? == 202, "{id}");
    }
    Ok(())
}
