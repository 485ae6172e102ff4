//! Rules from outside, as they are written, shown, sent back, and started by
//! hand: every fault in words for people, and nothing lost by saying nothing.

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
    every_fault_is_told_to_people
    a_rule_is_sent_back_as_it_was_shown
    a_hook_loses_no_signature_by_silence
    a_start_by_hand_counts_once
    many_tenants_are_started_by_hand_in_one_trace
    a_tenant_has_so_many_rules_and_jobs
}

/// 32 bytes in Base64. On PostgreSQL there are no secrets without a key.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const SECRET: &str = "It's a Secret to Everybody";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Site {
    process: Process,
    api: Api,
    client: Client,
}

impl Site {
    async fn up(store: &Store) -> Result<Self> {
        Self::with(store, "TASKFLOW_SECRETS_KEY", KEY).await
    }

    async fn with(store: &Store, name: &str, value: &str) -> Result<Self> {
        let launch = store.launch("up").env("TASKFLOW_SECRETS_KEY", KEY).env(name, value);
        let process = launch.start().await?;
        Ok(Self { api: Api::new(&process.url)?, client: process::client()?, process })
    }

    async fn rule(&self, rule: &Value) -> Result<Value> {
        let (status, body) = self.api.post("/v1/automation-rules", rule).await?;
        ensure!(status == StatusCode::CREATED, "{status}: {body}");
        Ok(body)
    }

    /// What a PUT of a rule answers.
    async fn put(&self, rule: &Value, body: &Value) -> Result<(u16, Value)> {
        let address = format!("{}{}", self.process.url, path(rule, ""));
        let answer = self.client.put(address).json(body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Starts a rule by hand.
    async fn start(&self, rule: &Value, headers: &[(&str, &str)], body: &Value) -> Result<(u16, Value)> {
        let request = self.client.post(format!("{}{}", self.process.url, path(rule, "/trigger"))).json(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Delivers to a webhook, signed as GitHub does unless nothing signs it.
    async fn deliver(&self, rule: &Value, id: &str, secret: Option<&str>) -> Result<(u16, Value)> {
        let key = rule["trigger"]["key"].as_str().context("a key")?;
        let mut request = self.client.post(format!("{}/v1/events/webhook/{key}", self.process.url));
        if let Some(secret) = secret {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).context("any key is one")?;
            mac.update(b"{}");
            let signature = format!("sha256={}", hex(&mac.finalize().into_bytes()));
            request = request.header("x-hub-signature-256", signature);
        }
        let answer = request.header("x-github-delivery", id).body("{}").send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }
}

fn path(rule: &Value, rest: &str) -> String {
    format!("/v1/automation-rules/{}{rest}", rule["id"].as_str().unwrap_or_default())
}

/// Where the faults of a rule are, and what is said of each.
fn told(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| (text(&error["pointer"]), text(&error["detail"]))).collect()
}

async fn every_fault_is_told_to_people(store: Store) -> Result<()> {
    let site = Site::up(&store).await?;
    let rule = |trigger: Value, condition: &str, queue: &str| {
        json!({"name": "r", "trigger": trigger, "condition": condition,
               "actions": [{"kind": "k", "queue": queue}]})
    };
    let never = json!({"type": "cron", "expression": "0 0 30 2 *", "timezone": "Mars/Olympus"});
    let wrong = rule(never, "tenant.nope == 1", "${'a'.matches('(')}");
    let (status, problem) = site.api.post("/v1/automation-rules", &wrong).await?;
    ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let faults = told(&problem);
    for (pointer, detail) in [
        ("#/trigger/timezone", "is not a time zone"),
        ("#/trigger/expression", "never fires"),
        ("#/condition", "there is no field tenant.nope; tenant has slug, attributes, weight"),
        ("#/actions/0/queue", "matches: the pattern cannot be read"),
    ] {
        let met = faults.iter().any(|(at, said)| at == pointer && said.starts_with(detail));
        ensure!(met, "{pointer} is not among {faults:?}");
    }
    // Nobody is told how a text is read.
    for (trigger, condition) in [
        (json!({"type": "cron", "expression": "61 * W * MON#9"}), "true"),
        (json!({"type": "cron", "expression": "a b c d e f", "dialect": "quartz"}), "tenant.slug =="),
        (json!({"type": "manual"}), "((((((((((((((((((((((((((((1"),
        (json!({"type": "manual"}), "has(1)"),
    ] {
        let (status, problem) = site.api.post("/v1/automation-rules", &rule(trigger, condition, "q")).await?;
        ensure!(status == StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        let text = problem.to_string();
        let inner = ["croner", "omponent", "EOF", "yntax error", "macro", "Tok", "limit exceeded", "bit 0b"];
        ensure!(!inner.iter().any(|word| text.contains(word)), "{text}");
    }
    // The marks of the standard dialect are those of Quartz too.
    for (expression, first) in [
        ("0 0 9 L-2 2 ? 2028", "2028-02-27T09:00:00"),
        ("0 0 9 LW 1 ? 2028", "2028-01-31T09:00:00"),
        ("0 0 9 1W 1 ? 2028", "2028-01-03T09:00:00"),
        ("0 0 9 ? 1 6L 2028", "2028-01-28T09:00:00"),
        ("0 0 9 ? 1 MON#2 2028", "2028-01-10T09:00:00"),
    ] {
        let trigger = json!({"type": "cron", "expression": expression, "dialect": "quartz"});
        let made = site.rule(&rule(trigger, "true", "q")).await?;
        let next = site.api.get(&path(&made, "/schedule?count=1")).await?;
        let local = next["items"][0]["local"].as_str().unwrap_or_default();
        ensure!(local.starts_with(first), "{expression}: {next}");
    }
    Ok(())
}

async fn a_rule_is_sent_back_as_it_was_shown(store: Store) -> Result<()> {
    let site = Site::up(&store).await?;
    let action = json!({"kind": "k", "payload": {"n": "${now}"}, "labels": {"a": "b"}});
    let triggers = [
        json!({"type": "manual"}),
        json!({"type": "event", "event": "com.*"}),
        json!({"type": "cron", "expression": "0 7 * * *", "jitter_ms": 5, "misfire": {"policy": "run_all", "max": 3}}),
        json!({"type": "webhook", "signature": {"scheme": "github", "secret": SECRET}}),
    ];
    for trigger in triggers {
        let made = site.rule(&json!({"name": "r", "trigger": trigger, "actions": [action]})).await?;
        let shown = site.api.get(&path(&made, "")).await?;
        let (status, put) = site.put(&made, &shown).await?;
        ensure!((status, &put) == (200, &shown), "{status}: {put} is not {shown}");
        let mut changed = shown.clone();
        changed["name"] = json!("changed");
        let (status, put) = site.put(&made, &changed).await?;
        ensure!(status == 200 && put["revision"] == 2, "{put}");
        // Whoever saw the first revision does not overwrite the second unseen.
        changed["name"] = json!("changed again");
        let (status, problem) = site.put(&made, &changed).await?;
        ensure!((status, &problem["code"]) == (409, &json!("contended")), "{problem}");
        for (field, other) in
            [("id", json!("0197f000-0000-7000-8000-000000000000")), ("tenant", json!("other"))]
        {
            let mut foreign = put.clone();
            foreign[field] = other;
            let (status, problem) = site.put(&made, &foreign).await?;
            ensure!(status == 422 && told(&problem)[0].0 == format!("#/{field}"), "{problem}");
        }
        let mut typo = put.clone();
        typo["enabeld"] = json!(true);
        ensure!(site.put(&made, &typo).await?.0 == 422);
    }
    Ok(())
}

async fn a_hook_loses_no_signature_by_silence(store: Store) -> Result<()> {
    let site = Site::up(&store).await?;
    let rule = |trigger: Value| json!({"name": "hook", "trigger": trigger, "actions": [{"kind": "k"}]});
    let github = json!({"type": "webhook", "signature": {"scheme": "github", "secret": SECRET}});
    let made = site.rule(&rule(github)).await?;
    for (index, trigger) in [
        json!({"type": "webhook"}),
        json!({"type": "webhook", "signature": null}),
        json!({"type": "webhook", "signature": {}}),
        json!({"type": "webhook", "signature": {"tolerance_s": 60}}),
    ]
    .into_iter()
    .enumerate()
    {
        let (status, put) = site.put(&made, &rule(trigger)).await?;
        ensure!(status == 200 && put["trigger"]["signature"]["scheme"] == "github", "{put}");
        ensure!(put["trigger"]["key"] == made["trigger"]["key"]);
        ensure!(site.deliver(&made, &format!("{index}"), None).await?.0 == 401);
        ensure!(site.deliver(&made, &format!("{index}"), Some(SECRET)).await?.0 == 202);
    }
    // Another scheme has another secret, and without a scheme there is none left.
    let other = json!({"type": "webhook", "signature": {"scheme": "slack"}});
    let (status, problem) = site.put(&made, &rule(other)).await?;
    ensure!(status == 422 && told(&problem)[0].0 == "#/trigger/signature/secret", "{problem}");
    // A repeat finds the first answer, whether the rule is on or not.
    let (_, first) = site.deliver(&made, "again", Some(SECRET)).await?;
    site.api.post(&path(&made, "/disable"), &json!({})).await?;
    let (status, again) = site.deliver(&made, "again", Some(SECRET)).await?;
    let fired = first["firings"][0]["outcome"] == "FIRED";
    ensure!(fired && (status, &again) == (200, &first), "{again}: {first}");
    site.api.post(&path(&made, "/enable"), &json!({})).await?;
    let (_, put) =
        site.put(&made, &rule(json!({"type": "webhook", "signature": {"scheme": "none"}}))).await?;
    ensure!(put["trigger"]["signature"]["scheme"] == "none", "{put}");
    ensure!(site.deliver(&made, "open", None).await?.0 == 202);
    let back = json!({"type": "webhook", "signature": {"scheme": "github"}});
    let (status, problem) = site.put(&made, &rule(back)).await?;
    ensure!(status == 422, "a secret that was given up came back: {problem}");
    // Secrets of Standard Webhooks are Base64, with their mark or without.
    for (secret, status) in [
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 200),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 200),
        ("whsec_dG9vIHNob3J0", 422),
        ("not in Base64 at all, and long enough", 422),
    ] {
        let standard = json!({"type": "webhook", "signature": {"scheme": "standard", "secret": secret}});
        let (met, answer) = site.put(&made, &rule(standard)).await?;
        ensure!(met == status, "{secret}: {answer}");
    }
    // What is no JSON is said to be none in each mode of CloudEvents.
    for (media, head) in [("application/json", true), ("application/cloudevents+json", false)] {
        let mut request = site.client.post(format!("{}/v1/events", site.process.url));
        if head {
            for (name, value) in [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")] {
                request = request.header(format!("ce-{name}"), value);
            }
        }
        let answer = request.header("content-type", media).body("{\"a\":").send().await?;
        ensure!(answer.status() == StatusCode::BAD_REQUEST, "{media}: {}", answer.text().await?);
        ensure!(answer.json::<Value>().await?["code"] == "malformed_json");
    }
    Ok(())
}

async fn a_start_by_hand_counts_once(store: Store) -> Result<()> {
    let site = Site::up(&store).await?;
    let rule = json!({"name": "hand", "trigger": {"type": "manual"}, "condition": "trigger.input.n > 1",
                      "actions": [{"kind": "k", "payload": "${trigger.input.n}"}]});
    let rule = site.rule(&rule).await?;
    let key = [("idempotency-key", "\"once\"")];
    let input = json!({"input": {"n": 2}});
    let starts = (0..20).map(|_| site.start(&rule, &key, &input));
    let answers = futures_util::future::try_join_all(starts).await?;
    ensure!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let (status, first) = answers.into_iter().next().context("an answer")?;
    ensure!(status == 202 && first["items"][0]["outcome"] == "FIRED", "{first}");
    let (status, other) = site.start(&rule, &key, &json!({"input": {"n": 3}})).await?;
    ensure!((status, &other["code"]) == (422, &json!("idempotency_key_reused")), "{other}");
    site.api.post(&path(&rule, "/disable"), &json!({})).await?;
    ensure!(site.start(&rule, &key, &input).await? == (202, first.clone()), "the first answer is forgotten");
    ensure!(site.start(&rule, &[], &input).await?.0 == 409);
    site.api.post(&path(&rule, "/enable"), &json!({})).await?;
    ensure!(site.start(&rule, &[], &json!({"input": {"n": 1}})).await?.0 == 202);
    let stats = site.api.get(&path(&rule, "/stats")).await?;
    ensure!((&stats["fired"], &stats["skipped"]) == (&json!(1), &json!(1)), "{stats}");
    // A rehearsal with an input, and one over what was given by hand.
    let (_, rehearsed) = site.api.post(&path(&rule, "/simulate"), &json!({"input": {"n": 7}})).await?;
    ensure!(rehearsed["samples"][0]["jobs"][0]["payload"] == 7, "{rehearsed}");
    let (_, rehearsed) = site.api.post(&path(&rule, "/simulate"), &json!({})).await?;
    ensure!((&rehearsed["events_seen"], &rehearsed["matched"]) == (&json!(2), &json!(1)), "{rehearsed}");
    // The tree begins with the hand.
    let job = first["items"][0]["job_ids"][0].as_str().context("a job")?;
    let trace = site.api.get(&format!("/v1/jobs/{job}/trace")).await?;
    ensure!(trace["roots"][0]["type"] == "event", "{trace}");
    ensure!(trace["roots"][0]["children"][0]["children"][0]["job"]["id"] == job, "{trace}");
    Ok(())
}

async fn many_tenants_are_started_by_hand_in_one_trace(store: Store) -> Result<()> {
    let site = Site::up(&store).await?;
    for (slug, suspended) in [("acme", false), ("gone", true), ("zeta", false)] {
        let settings = json!({"attributes": {"plan": "pro"}, "suspended": suspended});
        site.api.put(&format!("/v1/admin/tenants/{slug}"), &settings).await?;
    }
    let rule = json!({"name": "all", "trigger": {"type": "manual"},
                      "for_each_tenant": "has(tenant.attributes.plan)",
                      "actions": [{"kind": "k", "payload": "${trigger.input}"}]});
    let rule = site.rule(&rule).await?;
    let heads = [("traceparent", TRACE), ("idempotency-key", "all")];
    for _ in 0..2 {
        let (status, begun) = site.start(&rule, &heads, &json!({"input": "now"})).await?;
        ensure!(status == 202 && begun["items"] == json!([]), "{begun}");
    }
    let listed = path(&rule, "/firings");
    let firings = eventually("each tenant has its firing", async || {
        let firings = site.api.get(&listed).await?["items"].as_array().cloned().unwrap_or_default();
        Ok((firings.len() >= 3).then_some(firings))
    });
    let firings = firings.await?;
    ensure!(firings.len() == 3, "{firings:?}");
    ensure!(firings.iter().all(|one| one["correlation_id"] == firings[0]["correlation_id"]), "{firings:?}");
    for firing in &firings {
        let tenant = firing["tenant"].as_str().context("a tenant")?;
        if tenant == "gone" {
            let why = (&firing["outcome"], &firing["reason"]);
            ensure!(why == (&json!("BLOCKED"), &json!("tenant_suspended")), "{firing}");
            continue;
        }
        let job = firing["job_ids"][0].as_str().context("a job")?;
        let request = site.client.get(format!("{}/v1/jobs/{job}", site.process.url));
        let job: Value = request.header("taskflow-tenant", tenant).send().await?.json().await?;
        ensure!(
            (&job["payload"], &job["correlation_id"]) == (&json!("now"), &firing["correlation_id"]),
            "{job}"
        );
    }
    let told = store.count(&format!("select count(*) from job where traceparent = '{TRACE}'")).await?;
    ensure!(told == 2, "{told} jobs belong to the trace");
    Ok(())
}

async fn a_tenant_has_so_many_rules_and_jobs(store: Store) -> Result<()> {
    let site = Site::with(&store, "TASKFLOW_MAX_RULES_PER_TENANT", "2").await?;
    let rule = json!({"name": "r", "trigger": {"type": "manual"},
                      "actions": [{"kind": "k", "run_at": "2099-01-01T00:00:00Z"}]});
    let first = site.rule(&rule).await?;
    site.rule(&rule).await?;
    let (status, problem) = site.api.post("/v1/automation-rules", &rule).await?;
    ensure!((status.as_u16(), &problem["code"]) == (429, &json!("too_many_rules")), "{problem}");
    let (status, _) = site.api.post_as("another", "/v1/automation-rules", &rule).await?;
    ensure!(status == StatusCode::CREATED);
    let deleted = site.client.delete(format!("{}{}", site.process.url, path(&first, ""))).send().await?;
    ensure!(deleted.status() == StatusCode::NO_CONTENT);
    let rule = site.rule(&rule).await?;
    // Jobs of rules wait in the same room as everybody's.
    site.api.put("/v1/admin/tenants/default", &json!({"max_backlog": 1})).await?;
    let (_, made) = site.start(&rule, &[], &json!({})).await?;
    ensure!(made["items"][0]["outcome"] == "FIRED", "{made}");
    let (_, blocked) = site.start(&rule, &[], &json!({})).await?;
    let why = (&blocked["items"][0]["outcome"], &blocked["items"][0]["reason"]);
    ensure!(why == (&json!("BLOCKED"), &json!("backlog_cap")), "{blocked}");
    Ok(())
}
