//! Keys, limits and the audit, from outside.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use taskflow_tests::process::{Launch, Process, client};

use super::api::{Store, until};
use super::on_both_databases;

on_both_databases! {
    a_key_is_made_rotated_and_revoked
    a_third_key_is_refused
    a_tenant_that_asks_too_often_waits_alone
    a_suspended_tenant_only_looks
    the_audit_shows_a_change_of_it
    false_keys_are_heard_only_so_often
}

pub(super) const OPERATOR: &str = "canary-operator-key-2f9c1e";

/// Somebody with a key.
#[derive(Clone)]
pub(super) struct Holder {
    client: Client,
    url: String,
    pub(super) key: Arc<str>,
}

impl Holder {
    pub(super) fn new(url: &str, key: &str) -> Result<Self> {
        Ok(Self { client: client()?, url: url.to_owned(), key: key.into() })
    }

    /// The same, who asks another process.
    pub(super) fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(request.send().await?)
    }

    pub(super) async fn status(&self, method: Method, path: &str, body: Option<&Value>) -> Result<u16> {
        Ok(self.send(method, path, body).await?.status().as_u16())
    }

    /// What a request that must succeed is answered.
    pub(super) async fn did(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let body = (!body.is_null()).then_some(body);
        let answer = self.send(method, path, body.as_ref()).await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// A key of a tenant, and who holds it.
    pub(super) async fn give(&self, tenant: &str, scopes: &[&str]) -> Result<(String, Self)> {
        let wish = json!({ "name": "k", "tenant": tenant, "scopes": scopes });
        let made = self.did(Method::POST, "/v1/admin/api-keys", wish).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
        Ok((text(&made["api_key"]["id"])?, Self { key: text(&made["key"])?.into(), ..self.clone() }))
    }

    pub(super) async fn tenant(&self, slug: &str, settings: Value) -> Result<Value> {
        self.did(Method::PUT, &format!("/v1/admin/tenants/{slug}"), settings).await
    }
}

pub(super) fn keyed(launch: Launch) -> Launch {
    launch.env("TASKFLOW_AUTH", "on").env("TASKFLOW_OPERATOR_KEY", OPERATOR)
}

async fn up(store: &Store) -> Result<(Process, Holder)> {
    let process = keyed(store.launch("up")).start().await?;
    let operator = Holder::new(&process.url, OPERATOR)?;
    Ok((process, operator))
}

async fn a_key_is_made_rotated_and_revoked(store: Store) -> Result<()> {
    let (process, operator) = up(&store).await?;
    operator.tenant("acme", json!({})).await?;
    let (id, key) = operator.give("acme", &["jobs:read", "jobs:write"]).await?;
    let job = key.did(Method::POST, "/v1/jobs", json!({ "kind": "k" })).await?;
    assert_eq!(job["tenant"], "acme");
    assert_eq!(key.status(Method::GET, "/v1/admin/api-keys", None).await?, 403);
    let path = format!("/v1/admin/api-keys/{id}");
    until("the use is known", async || {
        let shown = operator.did(Method::GET, &path, Value::Null).await.unwrap_or_default();
        shown["last_used_at"].is_string()
    })
    .await?;
    let rotated = operator.did(Method::POST, &format!("{path}/rotate"), json!({})).await?;
    let next = Holder::new(&process.url, rotated["key"].as_str().context("a text")?)?;
    for live in [&key, &next] {
        assert_eq!(live.status(Method::GET, "/v1/jobs", None).await?, 200, "two keys live");
    }
    operator.did(Method::DELETE, &path, Value::Null).await?;
    assert_eq!(key.status(Method::GET, "/v1/jobs", None).await?, 401);
    assert_eq!(next.status(Method::GET, "/v1/jobs", None).await?, 200);
    assert_eq!(operator.status(Method::DELETE, &path, None).await?, 200, "again changes nothing");
    let nobody = Holder::new(&process.url, "tf_key_1_2_3")?;
    assert_eq!(nobody.status(Method::GET, "/v1/jobs", None).await?, 401);
    Ok(())
}

/// The path of what a rotation made, and who holds it.
fn made(operator: &Holder, rotated: &Value) -> Result<(String, Holder)> {
    let id = rotated["api_key"]["id"].as_str().context("an id")?;
    let key = rotated["key"].as_str().context("a text")?;
    Ok((format!("/v1/admin/api-keys/{id}"), Holder { key: key.into(), ..operator.clone() }))
}

async fn a_third_key_is_refused(store: Store) -> Result<()> {
    let (_process, operator) = up(&store).await?;
    operator.tenant("acme", json!({})).await?;
    let (id, first) = operator.give("acme", &["jobs:read"]).await?;
    let first_path = format!("/v1/admin/api-keys/{id}");
    let rotate =
        async |path: &str, body: Value| operator.did(Method::POST, &format!("{path}/rotate"), body).await;
    let (lost_path, _) = made(&operator, &rotate(&first_path, json!({})).await?)?;
    for path in [&first_path, &lost_path] {
        let refused = operator.send(Method::POST, &format!("{path}/rotate"), Some(&json!({}))).await?;
        assert_eq!(refused.status().as_u16(), 409);
        let problem: Value = refused.json().await?;
        assert_eq!(problem["code"], "two_keys_live", "{problem}");
        let other = if *path == first_path { &lost_path } else { &first_path };
        let other = other.rsplit('/').next().unwrap_or_default();
        assert!(problem["detail"].as_str().is_some_and(|told| told.contains(other)), "{problem}");
    }
    // Whoever lost the answer revokes what nobody has, and the next one has no day's end of the old one.
    operator.did(Method::DELETE, &lost_path, Value::Null).await?;
    let again = rotate(&first_path, json!({})).await?;
    assert_eq!((&again["api_key"]["expires_at"], &again["api_key"]["family"]), (&Value::Null, &json!(id)));
    let (second_path, second) = made(&operator, &again)?;
    // One that ends at once makes room for its successor.
    let bounded = json!({ "old_for_ms": 0, "expires_at": "2999-01-01T00:00:00Z" });
    let (third_path, third) = made(&operator, &rotate(&second_path, bounded).await?)?;
    for (holder, expected) in [(&first, 200), (&second, 401), (&third, 200)] {
        assert_eq!(holder.status(Method::GET, "/v1/jobs", None).await?, expected);
    }
    operator.did(Method::DELETE, &first_path, Value::Null).await?;
    let like_it = rotate(&third_path, json!({})).await?;
    let end = like_it["api_key"]["expires_at"].as_str();
    assert!(end.is_some_and(|at| at.starts_with("2999-01-01")), "{like_it}");
    Ok(())
}

/// What is revoked in one process opens nothing in another from that moment on,
/// though the other one has just let it in.
#[tokio::test]
async fn a_revoked_key_opens_nothing_anywhere() -> Result<()> {
    let store = Store::postgres().await?;
    let start = || keyed(store.launch("api")).start();
    let (one, other) = tokio::try_join!(start(), start())?;
    let (first, second) = (Holder::new(&one.url, OPERATOR)?, Holder::new(&other.url, OPERATOR)?);
    first.tenant("acme", json!({})).await?;
    for round in 0..25 {
        let (id, key) = first.give("acme", &["jobs:read"]).await?;
        let there = Holder::new(&other.url, &key.key)?;
        assert_eq!(there.status(Method::GET, "/v1/jobs", None).await?, 200, "round {round}");
        let by = if round % 2 == 0 { &first } else { &second };
        by.did(Method::DELETE, &format!("/v1/admin/api-keys/{id}"), Value::Null).await?;
        for holder in [&key, &there] {
            assert_eq!(holder.status(Method::GET, "/v1/jobs", None).await?, 401, "round {round}");
        }
    }
    let (_, key) = first.give("acme", &["jobs:write"]).await?;
    let there = Holder::new(&other.url, &key.key)?;
    let job = json!({ "kind": "k" });
    assert_eq!(there.status(Method::POST, "/v1/jobs", Some(&job)).await?, 201);
    first.tenant("acme", json!({ "suspended": true })).await?;
    assert_eq!(there.status(Method::POST, "/v1/jobs", Some(&job)).await?, 403, "suspended everywhere");
    Ok(())
}

async fn a_tenant_that_asks_too_often_waits_alone(store: Store) -> Result<()> {
    let (_process, operator) = up(&store).await?;
    let limit = json!({ "request_rate": {"limit": 20, "period_ms": 60_000} });
    operator.tenant("noisy", limit).await?;
    operator.tenant("quiet", json!({})).await?;
    let (_, noisy) = operator.give("noisy", &["jobs:read"]).await?;
    let (_, again) = operator.give("noisy", &["jobs:read"]).await?;
    let (_, quiet) = operator.give("quiet", &["jobs:read"]).await?;
    let (mut served, mut refused) = (0, 0);
    let begun = tokio::time::Instant::now();
    for turn in 0..100 {
        let answer = [&noisy, &again][turn % 2].send(Method::GET, "/v1/jobs", None).await?;
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned).with_context(|| format!("{name}: {:?}", answer.headers()))
        };
        assert_eq!(header("ratelimit-policy")?, "\"tenant\";q=20;w=60;qu=\"requests\"");
        let left = header("ratelimit")?;
        match answer.status().as_u16() {
            200 => served += 1,
            429 => {
                refused += 1;
                let wait: u64 = header("retry-after")?.parse()?;
                assert!((1..=3).contains(&wait), "{wait}");
                assert!(left.starts_with("\"tenant\";r=0;t="), "{left}");
                let body: Value = answer.json().await?;
                assert_eq!(body["code"], "rate_limited");
            }
            other => anyhow::bail!("{other}"),
        }
        assert_eq!(quiet.status(Method::GET, "/v1/jobs", None).await?, 200);
        assert_eq!(operator.status(Method::GET, "/v1/jobs", None).await?, 200);
    }
    // The two keys share what their tenant may; every three seconds bring one more.
    let most = 21 + begun.elapsed().as_secs() / 3;
    assert!((20..=most).contains(&served) && served + refused == 100, "{served} served of at most {most}");
    operator.tenant("noisy", json!({})).await?;
    assert_eq!(noisy.status(Method::GET, "/v1/jobs", None).await?, 200, "a lifted limit counts at once");
    let wish = json!({
        "name": "k", "tenant": "quiet", "scopes": ["jobs:read"], "rate_limit": {"limit": 1, "period_ms": 60_000},
    });
    let made = operator.did(Method::POST, "/v1/admin/api-keys", wish).await?;
    let slow = Holder { key: made["key"].as_str().context("a text")?.into(), ..quiet.clone() };
    assert_eq!(slow.status(Method::GET, "/v1/jobs", None).await?, 200);
    assert_eq!(slow.status(Method::GET, "/v1/jobs", None).await?, 429);
    assert_eq!(quiet.status(Method::GET, "/v1/jobs", None).await?, 200, "the limit of one key is its own");
    Ok(())
}

async fn a_suspended_tenant_only_looks(store: Store) -> Result<()> {
    let (_process, operator) = up(&store).await?;
    operator.tenant("acme", json!({})).await?;
    let (_, key) = operator.give("acme", &["jobs:read", "jobs:write"]).await?;
    let job = json!({ "kind": "k", "run_at": "2099-01-01T00:00:00Z" });
    let id = key.did(Method::POST, "/v1/jobs", job.clone()).await?["id"].clone();
    let shown = operator.tenant("acme", json!({ "suspended": true })).await?;
    assert_eq!((&shown["suspended"], &shown["paused"]), (&json!(true), &json!(true)));
    let answer = key.send(Method::POST, "/v1/jobs", Some(&job)).await?;
    assert_eq!(answer.status().as_u16(), 403);
    assert_eq!(answer.json::<Value>().await?["code"], "tenant_suspended");
    let cancel = format!("/v1/jobs/{}/cancel", id.as_str().context("an id")?);
    assert_eq!(key.status(Method::POST, &cancel, None).await?, 403);
    assert_eq!(key.status(Method::GET, "/v1/jobs", None).await?, 200, "it may look");
    let named = operator.client.post(format!("{}/v1/jobs", operator.url)).bearer_auth(OPERATOR);
    let answer = named.header("Taskflow-Tenant", "acme").json(&job).send().await?;
    assert_eq!(answer.status().as_u16(), 403, "nobody submits for it");
    let named = operator.client.post(format!("{}/v1/jobs", operator.url)).bearer_auth(OPERATOR);
    let answer = named.header("Taskflow-Tenant", "nobody").json(&job).send().await?;
    assert_eq!(answer.status().as_u16(), 404, "naming a tenant does not make it");
    operator.tenant("acme", json!({})).await?;
    assert_eq!(key.status(Method::POST, "/v1/jobs", Some(&job)).await?, 201);
    Ok(())
}

async fn the_audit_shows_a_change_of_it(store: Store) -> Result<()> {
    let (mut process, operator) = up(&store).await?;
    operator.tenant("acme", json!({ "weight": 3 })).await?;
    let (key_id, key) = operator.give("acme", &["jobs:read", "jobs:write"]).await?;
    let job = json!({ "kind": "k", "run_at": "2099-01-01T00:00:00Z" });
    let id = key.did(Method::POST, "/v1/jobs", job).await?["id"].as_str().context("an id")?.to_owned();
    let url = format!("{}/v1/jobs/{id}/cancel", key.url);
    let cancel = key.client.post(url).bearer_auth(&key.key).header("Taskflow-Reason", "asked by phone");
    assert_eq!(cancel.header("x-request-id", "r-17").send().await?.status().as_u16(), 200);
    let list = operator.did(Method::GET, "/v1/admin/audit?tenant=acme", Value::Null).await?;
    let items = list["items"].as_array().context("a list")?;
    let told: Vec<_> = items.iter().map(|entry| entry["action"].as_str().unwrap_or_default()).collect();
    assert_eq!(told, ["job.cancel", "key.create", "tenant.put"]);
    let cancelled = &items[0];
    assert_eq!(cancelled["actor"], format!("key:{key_id}"));
    assert_eq!((&cancelled["reason"], &cancelled["request_id"]), (&json!("asked by phone"), &json!("r-17")));
    let states = (&cancelled["before"]["state"], &cancelled["after"]["state"]);
    assert_eq!(states, (&json!("SCHEDULED"), &json!("CANCELLED")));
    assert_eq!(cancelled["prev_hash"], items[1]["hash"]);
    process.kill()?;
    let (status, shown, log) = verify(&store)?;
    assert!(status, "{log}");
    assert_eq!((&shown["entries"], &shown["broken"]), (&json!(3), &Value::Null));
    let mut statements = vec![
        "update audit set actor = 'somebody else' where seq = 2",
        "delete from audit where seq = 3",
        "insert into audit select * from audit where seq = 2 on conflict (seq) do update set actor = 'x'",
    ];
    if let Store::Sqlite(_) = store {
        statements.extend([
            "insert or replace into audit select * from audit where seq = 2",
            "replace into audit_head (one, seq, hash) select 1, 1, hash from audit where seq = 1",
        ]);
    }
    for statement in statements {
        assert!(store.execute(statement).await.is_err(), "the database refuses: {statement}");
    }
    // Whoever owns the database can do everything, but not unseen.
    store.tamper("update audit set actor = 'somebody else' where seq = 2").await?;
    let (status, shown, _) = verify(&store)?;
    assert!(!status && shown["broken"]["seq"] == 2, "{shown}");
    Ok(())
}

/// Whether the audit is whole, and what was printed.
fn verify(store: &Store) -> Result<(bool, Value, String)> {
    let launch = Launch::new(["audit", "verify"]).env("DATABASE_URL", &store.url());
    let (status, output, log) = launch.output()?;
    let line = output.lines().find(|line| line.starts_with("{\"broken\"") || line.contains("\"entries\""));
    let shown = line.map(serde_json::from_str).transpose()?.with_context(|| format!("{output}{log}"))?;
    Ok((status.success(), shown, log))
}

async fn false_keys_are_heard_only_so_often(store: Store) -> Result<()> {
    let (process, operator) = up(&store).await?;
    operator.tenant("acme", json!({})).await?;
    let (_, key) = operator.give("acme", &["jobs:read"]).await?;
    assert_eq!(key.status(Method::GET, "/v1/jobs", None).await?, 200);
    let guess = Holder::new(&process.url, "a-guess")?;
    let mut heard = 0;
    let begun = tokio::time::Instant::now();
    for _ in 0..100 {
        match guess.status(Method::GET, "/v1/jobs", None).await? {
            401 => heard += 1,
            429 => {}
            other => anyhow::bail!("{other}"),
        }
    }
    let most = 61 + begun.elapsed().as_secs();
    assert!((60..=most).contains(&heard), "{heard} guesses were heard, of at most {most}");
    assert_eq!(key.status(Method::GET, "/v1/jobs", None).await?, 200, "a known key is heard from there too");
    Ok(())
}
