//! What somebody tries from outside who means harm, against the real binary.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::access::{Holder, OPERATOR, keyed};
use super::api::Store;
use super::on_both_databases;

on_both_databases! {
    a_tenant_cannot_speak_for_the_engines_worker
    a_webhook_nobody_has_is_answered_unread
    a_new_good_key_is_heard_among_false_ones
}

async fn a_tenant_cannot_speak_for_the_engines_worker(store: Store) -> Result<()> {
    let process = keyed(store.launch("up")).start().await?;
    let operator = Holder::new(&process.url, OPERATOR)?;
    operator.tenant("acme", json!({})).await?;
    let (_, key) = operator.give("acme", &["worker", "jobs:write", "jobs:read"]).await?;
    let workers = operator.did(Method::GET, "/v1/admin/workers", json!(null)).await?;
    let engine = workers["items"][0].clone();
    let name = engine["id"].as_str().context("the engine's worker")?;
    let claim = json!({ "worker_id": name, "kinds": ["nothing"], "queues": ["nowhere"], "lease_ms": 1_000 });
    key.did(Method::POST, "/v1/worker/claim", claim).await?;
    let workers = operator.did(Method::GET, "/v1/admin/workers", json!(null)).await?;
    let shown = workers["items"].as_array().context("workers")?;
    assert_eq!(shown.len(), 2, "{workers}");
    assert_eq!((&shown[0]["tenant"], &shown[1]["tenant"]), (&json!(null), &json!("acme")), "{workers}");
    assert_eq!((&shown[0]["queues"], &shown[0]["slots"]), (&engine["queues"], &engine["slots"]));
    Ok(())
}

/// Only the head is sent: an answer shows that the body is not waited for.
async fn a_webhook_nobody_has_is_answered_unread(store: Store) -> Result<()> {
    let process = keyed(store.launch("up")).start().await?;
    let address = process.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await?;
    let head = "POST /v1/events/webhook/nobody-knows HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await?;
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 404");
    Ok(())
}

async fn a_new_good_key_is_heard_among_false_ones(store: Store) -> Result<()> {
    let process = keyed(store.launch("up")).start().await?;
    let operator = Holder::new(&process.url, OPERATOR)?;
    operator.tenant("acme", json!({})).await?;
    let (_, key) = operator.give("acme", &["jobs:read"]).await?;
    let guess = Holder::new(&process.url, "a-guess")?;
    let mut last = 0;
    for _ in 0..100 {
        last = guess.status(Method::GET, "/v1/jobs", None).await?;
    }
    assert_eq!(last, 429);
    assert_eq!(key.status(Method::GET, "/v1/jobs", None).await?, 200, "it was never seen before");
    Ok(())
}

/// One address holds as many connections as was set, and gets others when it lets go.
#[tokio::test]
async fn an_address_holds_so_many_connections() -> Result<()> {
    let store = Store::sqlite()?;
    let process = store.launch("up").env("TASKFLOW_MAX_CONNECTIONS_PER_ADDRESS", "3").start().await?;
    let address = process.url.trim_start_matches("http://");
    let ask = async || {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET /health/live HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let mut answer = [0; 12];
        let asked = stream.write_all(head.as_bytes()).await.is_ok();
        let answered = asked && stream.read_exact(&mut answer).await.is_ok() && answer == *b"HTTP/1.1 200";
        anyhow::Ok(answered.then_some(stream))
    };
    let mut held = Vec::new();
    let mut closed = 0;
    for _ in 0..8 {
        match ask().await? {
            Some(stream) => held.push(stream),
            None => closed += 1,
        }
    }
    assert!(!held.is_empty() && held.len() <= 3 && held.len() + closed == 8, "{} held", held.len());
    drop(held);
    taskflow_tests::process::eventually("there is room again", async || ask().await).await?;
    Ok(())
}
