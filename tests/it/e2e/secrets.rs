//! The key that seals secrets: made where none was given, the same for all
//! processes, and followed by one that was.

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;
use taskflow_tests::hex;
use taskflow_tests::process::{Launch, Process, client};

use super::api::{Api, Store};
use super::on_both_databases;

on_both_databases! {
    a_secret_moves_to_the_key_that_was_given
}

/// 32 bytes in Base64.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const SECRET: &str = "It's a Secret to Everybody";
/// A credential that the rule's jobs are sent with.
const CREDENTIAL: &str = "a credential of the target";

/// A rule with a secret and a credential, or with what answers show of them.
fn hook(first: bool) -> Value {
    let signature =
        if first { json!({"scheme": "github", "secret": SECRET}) } else { json!({"scheme": "github"}) };
    let credential = if first { CREDENTIAL } else { "***" };
    json!({
        "name": "hook",
        "trigger": {"type": "webhook", "key": "moves-along", "signature": signature},
        "actions": [{"kind": "k", "target":
            {"type": "http", "url": "http://127.0.0.1:1/", "headers": {"X-Api-Key": credential}}}],
    })
}

/// What a signed delivery is answered.
async fn deliver(process: &Process, body: &str) -> Result<StatusCode> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).context("any key is one")?;
    mac.update(body.as_bytes());
    let code = format!("sha256={}", hex(&mac.finalize().into_bytes()));
    let request = client()?.post(format!("{}/v1/events/webhook/moves-along", process.url));
    let request = request.header("content-type", "application/json").header("x-hub-signature-256", code);
    Ok(request.body(body.to_owned()).send().await?.status())
}

/// What the doctor finds with that key.
fn doctor(store: &Store, key: &str) -> Result<Value> {
    let launch = Launch::new(["doctor", "--json"]).env("DATABASE_URL", &store.url());
    let (status, output, log) = launch.env("TASKFLOW_SECRETS_KEY", key).output()?;
    let found: Value = serde_json::from_str(&output).with_context(|| format!("{output}{log}"))?;
    let lost = found["kept_secrets"]["lost"].as_u64().context("a number")?;
    ensure!(status.success() == (lost == 0), "{status}: {output}{log}");
    ensure!(log.contains("not in order: lost_secrets") == (lost > 0), "{log}");
    ensure!(found["holds"] == (lost == 0) && found["kept_secrets"]["all"] == true, "{found}");
    Ok(found)
}

/// Where the key lies, and whether an old one lies in the database or beside it.
fn told(store: &Store, key: &str) -> Result<(Value, Value)> {
    let found = doctor(store, key)?;
    Ok((found["secrets_key"].clone(), found["old_secrets_key"].clone()))
}

/// How many secrets no key opens, how many only an old one, and how many there are.
fn kept(store: &Store, key: &str) -> Result<[u64; 3]> {
    let kept = &doctor(store, key)?["kept_secrets"];
    let number = |name: &str| kept[name].as_u64().context("a number");
    Ok([number("lost")?, number("old")?, number("looked_at")?])
}

async fn a_secret_moves_to_the_key_that_was_given(store: Store) -> Result<()> {
    let own = if matches!(store, Store::Postgres(_)) { "database" } else { "file" };
    let process = store.launch("up").start().await?;
    let (status, rule) = Api::new(&process.url)?.post("/v1/automation-rules", &hook(true)).await?;
    ensure!(status == StatusCode::CREATED, "{status}: {rule}");
    assert_eq!(rule["actions"][0]["target"]["headers"]["X-Api-Key"], "***");
    assert_eq!(deliver(&process, "1").await?, StatusCode::ACCEPTED);
    if let Store::Postgres(_) = store {
        let another = store.launch("api").start().await?;
        assert_eq!(deliver(&another, "2").await?, StatusCode::ACCEPTED, "all find the same key");
    }
    assert_eq!(told(&store, "")?, (json!(own), json!(false)));
    drop(process);

    // The secret and the credential of the rule, and what its jobs have of it.
    let [lost, old, all] = kept(&store, "")?;
    ensure!(lost == 0 && old == 0 && all >= 2, "{lost} {old} {all}");
    let [lost, old, _] = kept(&store, KEY)?;
    ensure!(lost == 0 && old >= 2, "{lost} {old}");

    // A key is given: the other goes on opening, and what is written is sealed anew.
    let process = store.launch("up").env("TASKFLOW_SECRETS_KEY", KEY).start().await?;
    assert_eq!(deliver(&process, "3").await?, StatusCode::ACCEPTED);
    assert_eq!(told(&store, KEY)?, (json!("setting"), json!(true)));
    let path = format!("/v1/automation-rules/{}", rule["id"].as_str().context("an id")?);
    let put = Api::new(&process.url)?.put(&path, &hook(false)).await?;
    assert_eq!(put["revision"], 2, "it was written, although it says what it said");
    let put = Api::new(&process.url)?.put(&path, &hook(false)).await?;
    assert_eq!(put["revision"], 2, "once");
    let audit = Api::new(&process.url)?.get("/v1/admin/audit?limit=1").await?;
    assert_eq!(audit["items"][0]["action"], "rule.put", "nobody switched it: {audit}");
    drop(process);

    // Now the first key may go.
    match &store {
        Store::Sqlite(directory) => std::fs::remove_file(directory.path().join("taskflow.db.key"))?,
        Store::Postgres(_) => store.execute("delete from sealing_key").await?,
    }
    let process = store.launch("up").env("TASKFLOW_SECRETS_KEY", KEY).start().await?;
    assert_eq!(deliver(&process, "4").await?, StatusCode::ACCEPTED);
    assert_eq!(told(&store, KEY)?, (json!("setting"), json!(false)));
    drop(process);
    let [lost, _, all] = kept(&store, KEY)?;
    ensure!(all - lost >= 2, "those of the rule are opened: {lost} of {all} are not");
    let [lost, old, all] = kept(&store, OTHER_KEY)?;
    ensure!(lost == all && old == 0, "another key opens nothing: {lost} {old} {all}");
    Ok(())
}
