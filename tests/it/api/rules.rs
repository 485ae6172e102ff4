//! Rules over HTTP: every fault at once, secrets unseen, each trigger by hand.

use axum::http::Method;
use serde_json::{Value, json};
use taskflow_domain::{TenantSlug, Timestamp};

use super::Api;

fn manual(actions: &Value) -> Value {
    json!({ "name": "by-hand", "trigger": { "type": "manual" }, "actions": actions })
}

/// The example of the contract.
fn nightly() -> Value {
    json!({
        "name": "nightly-billing", "enabled": true, "mode": "live",
        "trigger": {
            "type": "cron", "expression": "0 7 * * *", "timezone": "Europe/Madrid", "overlap": "skip",
            "misfire": { "policy": "run_once", "max_lateness_ms": 3_600_000 },
            "dst": { "gap": "run_after", "overlap": "first" }
        },
        "for_each_tenant": "tenant.attributes.plan == 'pro'",
        "condition": "true",
        "actions": [{
            "kind": "recalculate-billing", "queue": "billing", "priority": "high",
            "payload": { "tenant": "${tenant.slug}", "day": "${trigger.scheduled_at}" }
        }]
    })
}

#[tokio::test]
async fn a_rule_is_made_changed_and_deleted() {
    let api = Api::new();
    let reply = api.post("/v1/automation-rules", nightly()).await;
    let location = reply.headers["location"].to_str().unwrap().to_owned();
    let made = reply.expect(201);
    assert_eq!(location, format!("/v1/automation-rules/{}", made["id"].as_str().unwrap()));
    assert_eq!(
        (&made["revision"], &made["enabled"], &made["mode"]),
        (&json!(1), &json!(true), &json!("live"))
    );
    // 07:00 in Madrid, the day after 09:30 UTC of the last of January.
    assert_eq!(made["next_at"], "2026-02-01T06:00:00.000000Z");
    assert_eq!(made["trigger"]["timezone"], "Europe/Madrid");
    assert_eq!(api.get(&location).await.expect(200), made);
    let mut changed = nightly();
    changed["condition"] = json!("tenant.slug != 'x'");
    let put = api.put(&location, changed).await.expect(200);
    assert_eq!((&put["revision"], &put["condition"]), (&json!(2), &json!("tenant.slug != 'x'")));
    let off = api.act(&format!("{location}/disable")).await.expect(200);
    assert_eq!((&off["enabled"], &off["next_at"]), (&json!(false), &Value::Null));
    assert_eq!(api.act(&format!("{location}/enable")).await.expect(200)["enabled"], true);
    let list = api.get("/v1/automation-rules?limit=1").await.expect(200);
    assert_eq!((list["items"].as_array().unwrap().len(), &list["next_cursor"]), (1, &Value::Null));
    assert_eq!(api.raw(Method::DELETE, &location, "").await.status, 204);
    assert_eq!(api.get(&location).await.problem(404).0, "not_found");
    assert_eq!(api.get("/v1/automation-rules/nothing").await.problem(404).0, "not_found");
    assert_eq!(api.put(&location, nightly()).await.problem(404).0, "not_found");
}

/// Where the faults of a rule are that is refused.
async fn faults(api: &Api, body: Value) -> Vec<String> {
    let reply = api.post("/v1/automation-rules", body).await;
    let (code, mut pointers) = reply.problem(422);
    assert_eq!(code, "invalid");
    pointers.sort();
    pointers.dedup();
    pointers
}

#[tokio::test]
async fn what_cannot_be_read_hides_no_other_fault() {
    let api = Api::new();
    let told = |body: Value| faults(&api, body);
    // Whatever cannot be read, the rest is judged, and every action keeps its number.
    let half_read = json!({
        "nam": "x",
        "trigger": { "type": "cron", "timezone": "Mars/Olympus", "dst": { "gap": "jump" } },
        "condition": "tenant.slug ==",
        "actions": [
            7,
            { "kid": "k", "payload": { "x": "${evnt.a}" } },
            { "kind": "k", "run_at": "soon", "target": { "type": "http", "url": "ftp://${tenant.slug}", "uri": "x" } }
        ]
    });
    let expected = [
        "#/actions/0",
        "#/actions/1/kid",
        "#/actions/1/kind",
        "#/actions/1/payload/x",
        "#/actions/2/run_at",
        "#/actions/2/target/uri",
        "#/actions/2/target/url",
        "#/condition",
        "#/nam",
        "#/name",
        "#/trigger/dst/gap",
        "#/trigger/expression",
        "#/trigger/timezone",
    ];
    assert_eq!(told(half_read).await, expected);
    // Without a trigger nobody knows which variables there are.
    let no_trigger =
        json!({ "name": "n", "condition": "job.kind == 'k' && wrong", "actions": [{ "kind": "" }] });
    assert_eq!(told(no_trigger).await, ["#/actions/0/kind", "#/condition", "#/trigger"]);
    // A rehearsal is judged like a rule.
    let rule = api.post("/v1/automation-rules", manual(&json!([{ "kind": "k" }]))).await.expect(201);
    let path = format!("/v1/automation-rules/{}/simulate", rule["id"].as_str().unwrap());
    let tried = json!({ "enabeld": true, "trigger": { "type": "event" }, "condition": "wrong" });
    let (_, mut pointers) = api.post(&path, tried).await.problem(422);
    pointers.sort();
    assert_eq!(pointers, ["#/condition", "#/enabeld", "#/trigger/event"]);
}

#[tokio::test]
async fn every_fault_of_a_rule_is_told_at_once() {
    let api = Api::new();
    let told = |body: Value| faults(&api, body);
    let pointers = told(json!({
        "name": "",
        "trigger": {
            "type": "cron", "expression": "61 * * * *", "timezone": "Mars/Olympus",
            "misfire": { "policy": "run_all", "max": 0, "max_lateness_ms": 1 }, "jitter_ms": 999_999_999
        },
        "for_each_tenant": "event.type == 'x'",
        "condition": "evnt.data ==",
        "actions": [
            { "kind": "", "payload": { "a/b": ["${nothing.x}", "${1 +}"], "c": "${open" } },
            { "kind": "k", "queue": "${1 + true}", "run_at": "soon", "timeout_ms": 0, "priority": "urgent",
              "labels": { "bad key": "x" }, "retry_policy": { "max_attempts": 0 } }
        ]
    }))
    .await;
    for expected in [
        "#/name",
        "#/trigger/expression",
        "#/trigger/timezone",
        "#/trigger/misfire/max",
        "#/trigger/misfire/max_lateness_ms",
        "#/trigger/jitter_ms",
        "#/for_each_tenant",
        "#/condition",
        "#/actions/0/kind",
        "#/actions/0/payload/c",
        "#/actions/1/run_at",
        "#/actions/1/timeout_ms",
        "#/actions/1/priority",
        "#/actions/1/retry_policy/max_attempts",
    ] {
        assert!(pointers.iter().any(|pointer| pointer == expected), "{expected} is not among {pointers:?}");
    }
    // A typo is told together with what the rest of the rule has wrong.
    let mut typo = manual(&json!([{ "kind": "k", "payload": { "x": "${evnt.a}" } }]));
    typo["enabeld"] = json!(true);
    assert_eq!(told(typo).await, ["#/actions/0/payload/x", "#/enabeld"]);
    let never =
        json!({ "name": "n", "trigger": { "type": "cron", "expression": "0 0 30 2 *" }, "actions": [] });
    assert_eq!(told(never).await, ["#/actions", "#/trigger/expression"]);
    assert_eq!(told(manual(&json!(vec![json!({ "kind": "k" }); 51]))).await, ["#/actions"]);
    let nothing = told(json!({})).await;
    assert_eq!(nothing, ["#/actions", "#/name", "#/trigger"]);
    let event = json!({ "name": "n", "trigger": { "type": "event", "event": "job.started" }, "actions": [{ "kind": "k" }] });
    assert_eq!(told(event).await, ["#/trigger/event"]);
    // A rule that waits for no event sees none.
    let blind = json!({ "name": "n", "trigger": { "type": "manual" }, "condition": "event.type == 'x'", "actions": [{ "kind": "k" }] });
    assert_eq!(told(blind).await, ["#/condition"]);
    assert_eq!(api.get("/v1/automation-rules").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn signatures_are_judged_and_secrets_are_never_shown() {
    let api = Api::new();
    let webhook = |signature: Value| json!({ "name": "w", "trigger": { "type": "webhook", "signature": signature }, "actions": [{ "kind": "k" }] });
    let canary = "canary-canary-canary";
    let told = api.post("/v1/automation-rules", webhook(json!({ "scheme": "github" }))).await;
    assert_eq!(told.problem(422).1, ["#/trigger/signature/secret"]);
    let told = api
        .post("/v1/automation-rules", webhook(json!({ "scheme": "slack", "prefix": "x", "secret": canary })))
        .await;
    assert_eq!(told.problem(422).1, ["#/trigger/signature/prefix"]);
    assert!(!told.text.contains(canary));
    let made =
        api.post("/v1/automation-rules", webhook(json!({ "scheme": "github", "secret": canary }))).await;
    assert!(!made.text.contains(canary));
    let made = made.expect(201);
    let (id, key) = (made["id"].as_str().unwrap(), made["trigger"]["key"].as_str().unwrap());
    assert!(key.len() >= 16);
    let path = format!("/v1/automation-rules/{id}");
    // A change without a secret keeps the one that there is, and the key.
    let put = api.put(&path, webhook(json!({ "scheme": "github" }))).await.expect(200);
    assert_eq!(put["trigger"]["key"], key);
    for path in [path.clone(), "/v1/automation-rules".to_owned(), format!("{path}/stats")] {
        assert!(!api.get(&path).await.text.contains(canary), "{path}");
    }
    let mut other = webhook(json!({ "scheme": "none" }));
    other["trigger"]["key"] = json!(key);
    assert_eq!(api.post("/v1/automation-rules", other).await.problem(409).0, "webhook_key_taken");
}

#[tokio::test]
async fn a_rule_is_started_by_hand() {
    let api = Api::new();
    let id = api
        .rule(json!({
            "name": "by-hand", "trigger": { "type": "manual" }, "condition": "trigger.input.n > 1",
            "actions": [{
                "kind": "count", "queue": "q-${trigger.input.n}", "payload": { "n": "${trigger.input.n}", "t": "n=${trigger.input.n}" },
                "labels": { "n": "${trigger.input.n}" }, "idempotency_key": "n-${trigger.input.n}",
                "target": { "type": "http", "url": "http://127.0.0.1:9/${trigger.input.n}", "headers": { "X-N": "${trigger.input.n}" } }
            }]
        }))
        .await;
    let path = format!("/v1/automation-rules/{id}/trigger");
    let fire = |n: Value| api.post(&path, json!({ "input": { "n": n } }));
    let fired = fire(json!(2)).await.expect(202);
    let firing = &fired["items"][0];
    assert_eq!((&firing["outcome"], &firing["rule_id"]), (&json!("FIRED"), &json!(id)), "{fired}");
    let job = api.get(&format!("/v1/jobs/{}", firing["job_ids"][0].as_str().unwrap())).await.expect(200);
    assert_eq!(
        (&job["kind"], &job["queue"], &job["labels"]["n"]),
        (&json!("count"), &json!("q-2"), &json!("2"))
    );
    assert_eq!(job["payload"], json!({ "n": 2, "t": "n=2" }));
    assert_eq!(
        (&job["target"]["url"], &job["target"]["headers"]["X-N"]),
        (&json!("http://127.0.0.1:9/2"), &json!("2"))
    );
    assert_eq!((&job["rule_id"], &job["firing_id"]), (&json!(id), &firing["id"]));
    let skipped = fire(json!(1)).await.expect(202);
    assert_eq!(skipped["items"][0]["reason"], "condition_false");
    let error = api.post(&path, json!({ "input": {} })).await.expect(202);
    assert_eq!(error["items"][0]["outcome"], "ERROR");
    assert!(error["items"][0]["detail"].as_str().unwrap().contains("trigger.input.n"), "{error}");
    let again = fire(json!(2)).await.expect(202);
    assert_eq!(
        (&again["items"][0]["outcome"], &again["items"][0]["reason"]),
        (&json!("SKIPPED"), &json!("duplicate"))
    );
    let stats = api.get(&format!("/v1/automation-rules/{id}/stats")).await.expect(200);
    let counted = (&stats["fired"], &stats["skipped"], &stats["errors"], &stats["jobs"]);
    assert_eq!(counted, (&json!(1), &json!(2), &json!(1), &json!(1)));
    let firings = api.get(&format!("/v1/automation-rules/{id}/firings?outcome=ERROR")).await.expect(200);
    assert_eq!(firings["items"].as_array().unwrap().len(), 1);
    let page = api.get(&format!("/v1/automation-rules/{id}/firings?limit=3")).await.expect(200);
    let next =
        format!("/v1/automation-rules/{id}/firings?limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(api.get(&next).await.expect(200)["items"].as_array().unwrap().len(), 1);
    api.act(&format!("/v1/automation-rules/{id}/disable")).await.expect(200);
    assert_eq!(fire(json!(2)).await.problem(409).0, "rule_disabled");
    let trace = api.get(&format!("/v1/jobs/{}/trace", job["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(trace["roots"][0]["type"], "event", "{trace}");
    assert_eq!(trace["roots"][0]["children"][0]["children"][0]["job"]["id"], job["id"]);
    assert_eq!(api.get(&format!("/v1/jobs/{id}/trace")).await.problem(404).0, "not_found");
}

#[tokio::test]
async fn a_schedule_is_previewed_with_the_changes_of_the_clocks() {
    let api = Api::new();
    let id = api
        .rule(json!({
            "name": "n", "trigger": { "type": "cron", "expression": "30 2 * * *", "timezone": "Europe/Madrid" },
            "actions": [{ "kind": "k" }]
        }))
        .await;
    let path = format!("/v1/automation-rules/{id}/schedule");
    let items =
        api.get(&format!("{path}?from=2026-03-28T12:00:00Z&count=2")).await.expect(200)["items"].clone();
    assert_eq!(
        items,
        json!([
            { "at": "2026-03-29T01:00:00.000000Z", "local": "2026-03-29T03:00:00+02:00", "note": "dst_gap" },
            { "at": "2026-03-30T00:30:00.000000Z", "local": "2026-03-30T02:30:00+02:00", "note": null }
        ])
    );
    assert_eq!(api.get(&path).await.expect(200)["items"].as_array().unwrap().len(), 10);
    assert_eq!(api.get(&format!("{path}?count=0&from=x")).await.problem(422).1, ["#/from", "#/count"]);
    let hand = api.rule(manual(&json!([{ "kind": "k" }]))).await;
    let refused = api.get(&format!("/v1/automation-rules/{hand}/schedule")).await;
    assert_eq!(refused.problem(409).0, "wrong_trigger");
}

#[tokio::test]
async fn the_clock_fires_once_for_each_tenant_that_is_meant() {
    let api = Api::new();
    for (slug, plan) in [("acme", "pro"), ("zeta", "pro"), ("free", "free")] {
        api.put(&format!("/v1/admin/tenants/{slug}"), json!({ "attributes": { "plan": plan } }))
            .await
            .expect(200);
    }
    let mut rule = nightly();
    rule["for_each_tenant"] = json!("has(tenant.attributes.plan) && tenant.attributes.plan == 'pro'");
    let id = api.rule(rule).await;
    api.clock.set(Timestamp::parse_rfc3339("2026-02-01T06:00:00Z").unwrap());
    for _ in 0..3 {
        api.post("/v1/pulse", json!({ "max_jobs": 0 })).await.expect(200);
    }
    let firings = api.get(&format!("/v1/automation-rules/{id}/firings")).await.expect(200);
    let firings = firings["items"].as_array().unwrap();
    assert_eq!(firings.len(), 2, "{firings:?}");
    assert!(firings.iter().all(|one| one["scheduled_at"] == "2026-02-01T06:00:00.000000Z"));
    let rule = api.get(&format!("/v1/automation-rules/{id}")).await.expect(200);
    assert_eq!(rule["next_at"], "2026-02-02T06:00:00.000000Z");
    let simulated = api
        .post(&format!("/v1/automation-rules/{id}/simulate"), json!({ "condition": "tenant.slug == 'acme'" }))
        .await;
    let simulated = simulated.expect(200);
    assert_eq!((&simulated["matched"], &simulated["errors"]), (&simulated["jobs"], &json!(0)), "{simulated}");
    let refused = api
        .post(&format!("/v1/automation-rules/{id}/simulate"), json!({ "condition": "x.y", "tpyo": 1 }))
        .await;
    assert_eq!(refused.problem(422).0, "invalid");
}

#[tokio::test]
async fn a_rehearsal_asks_every_tenant() {
    let api = Api::new();
    for number in 0..1_200 {
        let slug = TenantSlug::new(&format!("t-{number}")).unwrap();
        api.world.stores.tenants.ensure(&slug, Timestamp::from_micros(0)).await.unwrap();
    }
    let wish = json!({
        "name": "to-all", "trigger": { "type": "cron", "expression": "0 0 * * *" },
        "for_each_tenant": "tenant.slug.startsWith('t-')", "actions": [{ "kind": "k" }]
    });
    let rule = api.post("/v1/automation-rules", wish).await.expect(201);
    let path = format!("/v1/automation-rules/{}/simulate", rule["id"].as_str().unwrap());
    let done = api.post(&path, json!({ "input": {} })).await.expect(200);
    assert_eq!((&done["matched"], &done["truncated"]), (&json!(1_200), &json!(false)), "{done}");
}
