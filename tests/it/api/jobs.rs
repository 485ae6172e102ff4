//! Submitting jobs, looking at them, acting on them.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::Api;

#[tokio::test]
async fn a_job_shows_every_field() {
    let api = Api::new();
    let reply = api.post("/v1/jobs", json!({ "kind": "send-email" })).await;
    let body = reply.expect(201);
    assert_eq!(reply.headers["location"], format!("/v1/jobs/{}", body["id"].as_str().unwrap()));
    insta::assert_snapshot!("job_with_defaults", serde_json::to_string_pretty(&body).unwrap());
    let again = api.get(&format!("/v1/jobs/{}", body["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(again, body);
}

#[tokio::test]
async fn a_job_keeps_what_was_asked() {
    let api = Api::new();
    let text = r#"{ "kind":"k", "queue":"q", "priority":"high", "payload": {"b": 1.0,  "a":[1e2,"\u00e9"]},
        "labels":{"team":"growth"}, "timeout_ms": 5, "run_at":"2026-01-31T11:00:00.5+01:00",
        "target":{"type":"http","url":"http://127.0.0.1:9/x","method":"PUT","headers":{"X-A":"b"},
          "permanent_statuses":[409],"retryable_statuses":[404]},
        "retry_policy":{"max_attempts":5,"strategy":"linear","jitter":"none"},
        "correlation_id":"01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11" }"#;
    let reply = api.raw(axum::http::Method::POST, "/v1/jobs", text).await;
    let body = reply.expect(201);
    assert!(reply.text.contains(r#""payload":{"b": 1.0,  "a":[1e2,"\u00e9"]}"#), "{}", reply.text);
    insta::assert_snapshot!("job_with_all_fields", serde_json::to_string_pretty(&body).unwrap());
}

#[tokio::test]
async fn a_key_makes_a_repeat_the_same_submit() {
    let api = Api::new();
    let first =
        api.post("/v1/jobs", json!({ "kind": "k", "payload": {"a": 1, "b": 2}, "idempotency_key": "x" }));
    let first = first.await.expect(201);
    let spaced = r#"{"payload": {"b":2, "a":1}, "kind":"\u006b", "queue": null, "idempotency_key":"x"}"#;
    let again = api.raw(axum::http::Method::POST, "/v1/jobs", spaced).await.expect(200);
    assert_eq!(again["id"], first["id"]);
    let other = api.post("/v1/jobs", json!({ "kind": "other", "idempotency_key": "x" })).await;
    assert_eq!(other.problem(422), ("idempotency_key_reused".into(), vec!["#/idempotency_key".into()]));
    assert_eq!(api.count().await, 1);
}

fn with_key(key: &str, body: &Value) -> Request<Body> {
    let request = Request::post("/v1/jobs").header("content-type", "application/json");
    request.header("idempotency-key", key).body(body.to_string().into()).unwrap()
}

#[tokio::test]
async fn the_key_may_stand_in_the_header() {
    let api = Api::new();
    let first = api.request(with_key("\"a\\\"b\"", &json!({ "kind": "k" }))).await.expect(201);
    assert_eq!(first["idempotency_key"], "a\"b");
    let bare = api.request(with_key("a\"b", &json!({ "kind": "k" }))).await.expect(200);
    assert_eq!(bare["id"], first["id"]);
    let reused = api.request(with_key("a\"b", &json!({ "kind": "other" }))).await;
    assert_eq!(reused.problem(422), ("idempotency_key_reused".into(), vec!["#/Idempotency-Key".into()]));
    assert_eq!(reused.json()["errors"][0]["in"], "header");
    let both = json!({ "kind": "k", "idempotency_key": "other" });
    let differs = api.request(with_key("a", &both)).await;
    assert_eq!(differs.problem(422).1, ["#/idempotency_key"]);
    let long = "x".repeat(256);
    for bad in ["\"open", "a b", long.as_str()] {
        let refused = api.request(with_key(bad, &json!({ "kind": "k" }))).await;
        assert_eq!(refused.problem(422).1, ["#/Idempotency-Key"], "{bad}");
    }
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let api = Api::new();
    let jobs = json!({ "jobs": [
        {"ref": "a", "kind": "k", "idempotency_key": "1"}, {"ref": "b", "kind": "k", "idempotency_key": "2"}
    ] });
    let made = api.post("/v1/jobs/batch", jobs.clone()).await.expect(201);
    assert_eq!(made["items"].as_array().unwrap().len(), 2);
    assert_eq!(api.post("/v1/jobs/batch", jobs).await.expect(200), made);
    let faulty = json!({ "jobs": [{"kind": "k"}, {"kind": "no name"}, {"kind": "k", "typo": 1}] });
    let refused = api.post("/v1/jobs/batch", faulty).await;
    assert_eq!(refused.problem(422).1, ["#/jobs/1/kind", "#/jobs/2/typo"]);
    let reused = json!({ "jobs": [{"kind": "k"}, {"kind": "other", "idempotency_key": "1"}] });
    let refused = api.post("/v1/jobs/batch", reused).await;
    assert_eq!(
        refused.problem(422),
        ("idempotency_key_reused".into(), vec!["#/jobs/1/idempotency_key".into()])
    );
    assert_eq!(api.count().await, 2);
}

#[tokio::test]
async fn dependencies_are_refused_until_they_exist() {
    let api = Api::new();
    let jobs = json!({ "jobs": [{"ref": "a", "kind": "k"}, {"kind": "k", "depends_on": [{"ref": "a"}]}] });
    let refused = api.post("/v1/jobs/batch", jobs).await.problem(422);
    assert_eq!(refused, ("dependencies_unavailable".into(), vec!["#/jobs/1/depends_on".into()]));
    let jobs = json!({ "jobs": [{"kind": "", "depends_on": [{"ref": "a"}]}] });
    let refused = api.post("/v1/jobs/batch", jobs).await.problem(422);
    assert_eq!(refused, ("invalid".into(), vec!["#/jobs/0/kind".into(), "#/jobs/0/depends_on".into()]));
    let twice = json!({ "jobs": [{"ref": "a", "kind": "k"}, {"ref": "a", "kind": "k"}] });
    assert_eq!(api.post("/v1/jobs/batch", twice).await.problem(422).1, ["#/jobs/1/ref"]);
    assert_eq!(api.post("/v1/jobs/batch", json!({ "jobs": [] })).await.problem(422).1, ["#/jobs"]);
    assert_eq!(api.count().await, 0);
}

#[tokio::test]
async fn a_parent_must_exist() {
    let api = Api::new();
    let parent = api.job(json!({ "kind": "k" })).await;
    let child = api.post("/v1/jobs", json!({ "kind": "k", "parent_job_id": parent })).await.expect(201);
    assert_eq!(child["correlation_id"], parent);
    let nobody = json!({ "kind": "k", "parent_job_id": "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11" });
    let refused = api.post("/v1/jobs", nobody).await.problem(409);
    assert_eq!(refused, ("unknown_parent".into(), vec!["#/parent_job_id".into()]));
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let api = Api::new();
    let mut ids = Vec::new();
    for (kind, team) in [("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")] {
        ids.push(api.job(json!({ "kind": kind, "labels": {"team": team} })).await);
    }
    ids.reverse();
    let found = |body: &Value| -> Vec<String> {
        body["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    let page = api.get("/v1/jobs?limit=3").await.expect(200);
    assert_eq!(found(&page), ids[..3]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/v1/jobs?limit=3&cursor={cursor}")).await.expect(200);
    assert_eq!((found(&rest), &rest["next_cursor"]), (ids[3..].to_vec(), &Value::Null));
    let foreign = api.get(&format!("/v1/jobs?kind=a&cursor={cursor}")).await;
    assert_eq!(foreign.problem(422).1, ["#/cursor"]);
    let some =
        api.get("/v1/jobs?kind=a&label.team=x&state=PENDING&state=DEAD&queue=default").await.expect(200);
    assert_eq!(found(&some), [ids[0].clone(), ids[3].clone()]);
    assert_eq!(found(&api.get("/v1/jobs?priority=high").await.expect(200)).len(), 0);
    assert_eq!(found(&api.get("/v1/jobs?created_after=2027-01-01T00:00:00Z").await.expect(200)).len(), 0);
    assert_eq!(found(&api.get("/v1/jobs?created_before=2027-01-01T00:00:00Z").await.expect(200)).len(), 4);
    assert_eq!(found(&api.get(&format!("/v1/jobs?correlation_id={}", ids[1])).await.expect(200)), ids[1..2]);
}

#[tokio::test]
async fn actions_follow_the_table_of_states() {
    let api = Api::new();
    let id = api.job(json!({ "kind": "k" })).await;
    let act = |verb: &str| format!("/v1/jobs/{id}/{verb}");
    assert_eq!(api.act(&act("pause")).await.expect(200)["state"], "PAUSED");
    assert_eq!(api.act(&act("pause")).await.problem(409).0, "illegal_transition");
    assert_eq!(api.act(&act("resume")).await.expect(200)["state"], "PENDING");
    let later = json!({ "run_at": "2026-02-01T00:00:00Z", "priority": "low", "labels": {"a": "b"} });
    let edited = api.patch(&format!("/v1/jobs/{id}"), later).await.expect(200);
    assert_eq!((&edited["state"], &edited["priority"]), (&json!("SCHEDULED"), &json!("low")));
    assert_eq!(edited["next_run_at"], "2026-02-01T00:00:00.000000Z");
    assert_eq!(edited["labels"], json!({ "a": "b" }));
    let cancelled = api.post(&act("cancel"), json!({ "reason": "why not" })).await.expect(200);
    assert_eq!(cancelled["state"], "CANCELLED");
    assert_eq!(
        api.patch(&format!("/v1/jobs/{id}"), json!({ "priority": "high" })).await.problem(409).1.len(),
        0
    );
    assert_eq!(api.act(&act("retry")).await.expect(200)["state"], "PENDING");
    let events = api.get(&act("events")).await.expect(200);
    insta::assert_snapshot!("events", serde_json::to_string_pretty(&events).unwrap());
    let first = api.get(&format!("{}?limit=2", act("events"))).await.expect(200);
    let next = format!("{}?limit=2&cursor={}", act("events"), first["next_cursor"].as_str().unwrap());
    assert_eq!(api.get(&next).await.expect(200)["items"][0]["seq"], 3);
}

#[tokio::test]
async fn many_are_counted_first_and_then_changed() {
    let api = Api::new();
    for kind in ["a", "a", "b"] {
        api.job(json!({ "kind": kind })).await;
    }
    let dry = json!({ "filter": {"kind": "a", "state": ["PENDING"]}, "dry_run": true });
    let counted = api.post("/v1/jobs/cancel", dry).await.expect(200);
    assert_eq!(counted, json!({ "matched": 2, "changed": 0, "dry_run": true, "backlog_full": false }));
    let done = api.post("/v1/jobs/cancel", json!({ "filter": {"kind": "a"} })).await.expect(200);
    assert_eq!(done, json!({ "matched": 2, "changed": 2, "dry_run": false, "backlog_full": false }));
    let again = api.post("/v1/jobs/retry", json!({ "filter": {"state": ["CANCELLED"]} })).await.expect(200);
    assert_eq!(again, json!({ "matched": 2, "changed": 2, "dry_run": false, "backlog_full": false }));
    assert_eq!(api.post("/v1/jobs/retry", json!({})).await.problem(422).1, ["#/filter"]);
    for path in ["/v1/jobs/cancel", "/v1/jobs/retry"] {
        let nothing = json!({ "filter": {"kind": "a", "state": []} });
        assert_eq!(api.post(path, nothing).await.problem(422).1, ["#/filter/state"], "{path}");
    }
}

#[tokio::test]
async fn another_tenant_sees_nothing() {
    let api = Api::new();
    let id = api.job(json!({ "kind": "k" })).await;
    let as_other =
        |path: &str| Request::get(path).header("taskflow-tenant", "other").body(Body::empty()).unwrap();
    let foreign = api.request(as_other(&format!("/v1/jobs/{id}"))).await;
    let absent = api.get("/v1/jobs/01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11").await;
    assert_eq!(foreign.problem(404), absent.problem(404));
    assert_eq!(foreign.json()["detail"], absent.json()["detail"]);
    assert_eq!(api.get("/v1/jobs/not-an-id").await.problem(404), absent.problem(404));
    assert_eq!(api.request(as_other("/v1/jobs")).await.expect(200)["items"], json!([]));
    let bad = Request::get("/v1/jobs").header("taskflow-tenant", "Not A Slug").body(Body::empty()).unwrap();
    assert_eq!(api.request(bad).await.problem(422).1, ["#/Taskflow-Tenant"]);
}

/// Whatever is done to jobs and queues, its body may say why, and the audit keeps it.
#[tokio::test]
async fn a_reason_may_stand_in_every_body() {
    let api = Api::new();
    let id = api.job(json!({ "kind": "k", "queue": "q" })).await;
    let of_job = |act: &str| format!("/v1/jobs/{id}/{act}");
    let (job, filter) =
        (json!({ "reason": "asked" }), json!({ "filter": {"queue": "q"}, "reason": "asked" }));
    for (path, body) in [
        (of_job("pause"), &job),
        (of_job("resume"), &job),
        ("/v1/jobs/cancel".to_owned(), &filter),
        (of_job("retry"), &job),
        (of_job("cancel"), &job),
        ("/v1/admin/queues/q/pause".to_owned(), &job),
        ("/v1/admin/queues/q/resume".to_owned(), &job),
    ] {
        api.post(&path, body.clone()).await.expect(200);
        let told = api.get("/v1/admin/audit?limit=1").await.expect(200);
        assert_eq!(told["items"][0]["reason"], "asked", "{path} {told}");
    }
    let events = api.get(&format!("/v1/jobs/{id}/events")).await.expect(200);
    let cancelled = events["items"].as_array().unwrap().iter().filter(|event| event["type"] == "cancelled");
    assert!(
        cancelled.clone().count() == 2 && cancelled.clone().all(|event| event["data"]["reason"] == "asked")
    );
    let rule = json!({ "name": "r", "trigger": {"type": "manual"}, "actions": [{"kind": "k"}] });
    let rule = api.rule(rule).await;
    let refused = api.post(&format!("/v1/automation-rules/{rule}/disable"), json!({ "reason": "x" })).await;
    assert_eq!(refused.problem(422).1, ["#/reason"]);
    assert!(refused.text.contains("Taskflow-Reason"), "{}", refused.text);
}
