//! Keys of webhooks that two tenants choose, and names of deliveries.

use anyhow::{Context as _, Result};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use taskflow_tests::process::client;

use super::access::{Holder, OPERATOR, keyed};
use super::api::Store;
use super::on_both_databases;

on_both_databases! {
    nobody_hears_that_a_key_is_taken
    an_open_delivery_counts_once_by_its_id
    a_delivery_hears_of_the_request_rate
}

fn key(rule: &Value) -> Result<String> {
    Ok(rule["trigger"]["key"].as_str().context("a key")?.to_owned())
}

async fn nobody_hears_that_a_key_is_taken(store: Store) -> Result<()> {
    let process = keyed(store.launch("up")).start().await?;
    let operator = Holder::new(&process.url, OPERATOR)?;
    let scopes = ["rules:read", "rules:write", "jobs:read"];
    let mut rules = Vec::new();
    let wish = json!({
        "name": "deploys", "trigger": {"type": "webhook", "key": "deploys-1", "signature": {"scheme": "none"}},
        "actions": [{"kind": "k"}],
    });
    for tenant in ["acme", "globex"] {
        operator.tenant(tenant, json!({})).await?;
        let (_, holder) = operator.give(tenant, &scopes).await?;
        let answer = holder.send(Method::POST, "/v1/automation-rules", Some(&wish)).await?;
        assert_eq!(answer.status().as_u16(), 201, "{tenant}");
        let rule: Value = answer.json().await?;
        rules.push((holder, rule));
    }
    let keys = [key(&rules[0].1)?, key(&rules[1].1)?];
    assert_eq!(keys[0], "deploys-1", "whoever comes first has the key that it chose");
    assert!(keys[1].starts_with("deploys-1-") && keys[1].len() > 40, "{}", keys[1]);
    for ((holder, rule), key) in rules.iter().zip(&keys) {
        let request = client()?.post(format!("{}/v1/events/webhook/{key}", process.url)).json(&json!({}));
        let answer: Value = request.send().await?.json().await?;
        assert_eq!(answer["firings"][0]["rule_id"], rule["id"], "{answer}");
        // What is put as it was first written is the same rule, under the key it has.
        let path = format!("/v1/automation-rules/{}", rule["id"].as_str().context("an id")?);
        let put = holder.did(Method::PUT, &path, wish.clone()).await?;
        assert_eq!((&put["revision"], &put["trigger"]["key"]), (&json!(1), &json!(key)));
        // To a rule of one's own it is told.
        let mut again = wish.clone();
        again["trigger"]["key"] = json!(key);
        assert_eq!(holder.status(Method::POST, "/v1/automation-rules", Some(&again)).await?, 409);
    }
    Ok(())
}

async fn deliver(address: &str, id: &[u8]) -> Result<(u16, Value)> {
    let id = HeaderValue::from_bytes(id)?;
    let answer = client()?.post(address).header("webhook-id", id).body("{}").send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

async fn an_open_delivery_counts_once_by_its_id(store: Store) -> Result<()> {
    let process = keyed(store.launch("up")).start().await?;
    let operator = Holder::new(&process.url, OPERATOR)?;
    operator.tenant("acme", json!({})).await?;
    let (_, holder) = operator.give("acme", &["rules:read", "rules:write"]).await?;
    let wish = json!({
        "name": "open", "trigger": {"type": "webhook", "signature": {"scheme": "none"}},
        "actions": [{"kind": "k"}],
    });
    let rule = holder.did(Method::POST, "/v1/automation-rules", wish).await?;
    let address = format!("{}/v1/events/webhook/{}", process.url, key(&rule)?);
    let (status, first) = deliver(&address, b"w1").await?;
    assert_eq!((status, &first["delivery_id"]), (202, &json!("w1")), "{first}");
    assert_eq!(deliver(&address, b"w1").await?, (200, first));
    assert_eq!(deliver(&address, b"w2").await?.0, 202);
    // An id that cannot be kept would let each repeat count.
    for id in ["w".repeat(256), "é".to_owned(), "a b".to_owned(), String::new()] {
        let (status, problem) = deliver(&address, id.as_bytes()).await?;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid")), "{problem}");
    }
    let path = format!("/v1/automation-rules/{}/deliveries", rule["id"].as_str().context("an id")?);
    let listed = holder.did(Method::GET, &path, Value::Null).await?;
    let items = listed["items"].as_array().context("items")?;
    let causes = items.iter().filter_map(|one| one["rejected"].as_str());
    let bad = "an id has 1 to 255 visible ASCII characters";
    let causes: Vec<_> = causes.collect();
    assert_eq!(causes, ["the header webhook-id is missing or empty", bad, bad, bad], "{listed}");
    Ok(())
}

async fn a_delivery_hears_of_the_request_rate(store: Store) -> Result<()> {
    let process = keyed(store.launch("up")).start().await?;
    let operator = Holder::new(&process.url, OPERATOR)?;
    operator.tenant("acme", json!({"request_rate": {"limit": 3, "period_ms": 60_000}})).await?;
    let (_, holder) = operator.give("acme", &["rules:write"]).await?;
    let wish = json!({
        "name": "open", "trigger": {"type": "webhook", "signature": {"scheme": "none"}},
        "actions": [{"kind": "k"}],
    });
    let rule = holder.did(Method::POST, "/v1/automation-rules", wish).await?;
    let address = format!("{}/v1/events/webhook/{}", process.url, key(&rule)?);
    let mut told = Vec::new();
    for _ in 0..3 {
        let answer = client()?.post(&address).body("{}").send().await?;
        let field = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(field("ratelimit-policy"), Some("\"tenant\";q=3;w=60;qu=\"requests\""));
        let left = field("ratelimit").and_then(|left| left.split(';').nth(1)).map(str::to_owned);
        told.push((answer.status().as_u16(), left, field("retry-after").is_some()));
    }
    let left = |n: u32| Some(format!("r={n}"));
    assert_eq!(told, [(202, left(1), false), (202, left(0), false), (429, left(0), true)]);
    Ok(())
}
