//! Workers on the network: claim, heartbeat, report.

use serde_json::{Value, json};

use super::Api;

#[tokio::test]
async fn a_worker_claims_and_completes() {
    let api = Api::new();
    let made = api.job(json!({ "kind": "k", "payload": {"a": 1} })).await;
    let wish =
        json!({ "worker_id": "w1", "kinds": ["k"], "queues": ["default"], "max": 5, "lease_ms": 10000 });
    let claim = api.post("/v1/worker/claim", wish).await.expect(200);
    insta::assert_snapshot!("claim", serde_json::to_string_pretty(&claim).unwrap());
    let item = &claim["items"][0];
    let lease = json!({ "job_id": made, "lease_token": item["lease_token"] });
    let beat =
        api.post("/v1/worker/heartbeat", json!({ "items": [lease], "lease_ms": 20000 })).await.expect(200);
    assert_eq!(beat["items"][0]["cancel_requested"], false);
    let mut progress = lease.clone();
    progress["percent"] = json!(40);
    progress["message"] = json!("3 of 8");
    api.post("/v1/worker/progress", json!({ "items": [progress] })).await.expect(200);
    let job = api.get(&format!("/v1/jobs/{made}")).await.expect(200);
    assert_eq!(job["progress"]["percent"], 40);
    let mut end = lease.clone();
    end["result"] = json!({ "ok": true });
    let told = api.post("/v1/worker/complete", json!({ "items": [end.clone()] })).await.expect(200);
    assert_eq!(told["items"][0]["state"], "SUCCEEDED");
    let stale = api.post("/v1/worker/complete", json!({ "items": [end] })).await.expect(200);
    assert_eq!(
        (&stale["items"][0]["ok"], &stale["items"][0]["code"]),
        (&json!(false), &json!("stale_lease"))
    );
    let job = api.get(&format!("/v1/jobs/{made}")).await.expect(200);
    assert_eq!((&job["state"], &job["result"]), (&json!("SUCCEEDED"), &json!({ "ok": true })));
    assert_eq!((&job["progress"]["percent"], &job["progress"]["message"]), (&json!(100), &json!("3 of 8")));
    let attempts = api.get(&format!("/v1/jobs/{made}/attempts")).await.expect(200);
    insta::assert_snapshot!("attempts", serde_json::to_string_pretty(&attempts).unwrap());
}

#[tokio::test]
async fn a_failure_is_retried_and_then_dead() {
    let api = Api::new();
    let policy = json!({ "max_attempts": 2, "base_delay_ms": 1000, "jitter": "none" });
    let made = api.job(json!({ "kind": "k", "retry_policy": policy })).await;
    let fail = |id: String, token: String| json!({ "items": [{"job_id": id, "lease_token": token, "error": {"type": "smtp", "message": "full"}}] });
    let (id, token) = api.claim("k").await;
    let told = api.post("/v1/worker/fail", fail(id, token)).await.expect(200);
    assert_eq!(told["items"][0]["state"], "SCHEDULED");
    let job = api.get(&format!("/v1/jobs/{made}")).await.expect(200);
    assert_eq!((&job["state_reason"], &job["last_error"]["type"]), (&json!("retry_backoff"), &json!("smtp")));
    let now = api.clock.advance(1_000);
    api.world.stores.jobs.promote(now, 10).await.unwrap();
    let claim = json!({ "worker_id": "w1", "kinds": ["k"] });
    let job = api.post("/v1/worker/claim", claim).await.expect(200)["items"][0].clone();
    assert_eq!((&job["attempt"], &job["last_error"]["message"]), (&json!(2), &json!("full")));
    let text = |name: &str| job[name].as_str().unwrap().to_owned();
    let told = api.post("/v1/worker/fail", fail(text("id"), text("lease_token"))).await.expect(200);
    assert_eq!(told["items"][0]["state"], "DEAD");
    let job = api.get(&format!("/v1/jobs/{made}")).await.expect(200);
    assert_eq!((&job["state_reason"], &job["attempts_made"]), (&json!("attempts_exhausted"), &json!(2)));
}

#[tokio::test]
async fn a_running_job_hears_of_its_cancel() {
    let api = Api::new();
    api.job(json!({ "kind": "k" })).await;
    let (id, token) = api.claim("k").await;
    let cancelled = api.act(&format!("/v1/jobs/{id}/cancel")).await.expect(200);
    assert_eq!(
        (&cancelled["state"], &cancelled["state_reason"]),
        (&json!("RUNNING"), &json!("cancel_requested"))
    );
    let beat = json!({ "items": [{"job_id": id, "lease_token": token}] });
    let told = api.post("/v1/worker/heartbeat", beat).await.expect(200);
    assert_eq!(told["items"][0]["cancel_requested"], true);
}

#[tokio::test]
async fn a_long_poll_ends_when_work_arrives() {
    let api = Api::new();
    let wish = |wait_ms: u64| json!({ "worker_id": "w1", "kinds": ["k"], "wait_ms": wait_ms });
    let (claim, made) = tokio::join!(api.post("/v1/worker/claim", wish(60_000)), async {
        tokio::task::yield_now().await;
        api.job(json!({ "kind": "k" })).await
    });
    assert_eq!(claim.expect(200)["items"][0]["id"], made);
    let empty = api.post("/v1/worker/claim", wish(20)).await.expect(200);
    assert_eq!(empty["items"], json!([]));
}

#[tokio::test]
async fn faults_of_reports_are_told_at_once() {
    let api = Api::new();
    let item =
        |job: &str, token: &str| json!({ "job_id": job, "lease_token": token, "percent": 101, "x": 1 });
    let id = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11";
    let good = "00017c2e9f5c7b1a";
    let body = json!({ "items": [item("no", good), item(id, "XYZ")] });
    let pointers: Vec<String> = api.post("/v1/worker/progress", body).await.problem(422).1;
    assert_eq!(
        pointers,
        [
            "#/items/0/job_id",
            "#/items/0/percent",
            "#/items/0/x",
            "#/items/1/lease_token",
            "#/items/1/percent",
            "#/items/1/x"
        ]
    );
    let lease = json!({ "job_id": id, "lease_token": good });
    let twice: Value = json!({ "items": [lease, lease] });
    let told = api.post("/v1/worker/heartbeat", twice).await.expect(200);
    assert_eq!(
        (&told["items"][0]["code"], &told["items"][1]["code"]),
        (&json!("stale_lease"), &json!("duplicate"))
    );
    assert_eq!(
        api.post("/v1/worker/claim", json!({ "worker_id": "w", "kinds": [] })).await.problem(422).1,
        ["#/kinds"]
    );
}

#[tokio::test]
async fn an_outcome_goes_with_its_fields() {
    let api = Api::new();
    let lease =
        json!({ "job_id": "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11", "lease_token": "00017c2e9f5c7b1a" });
    let error = json!({ "type": "smtp", "message": "full" });
    for (fields, pointers) in [
        (json!({}), vec!["#/items/0/error"]),
        (json!({ "outcome": "FAILED" }), vec!["#/items/0/error"]),
        (json!({ "outcome": "LOST", "error": error }), vec!["#/items/0/outcome"]),
        (json!({ "outcome": "SNOOZED" }), vec!["#/items/0/retry_after_ms"]),
        (json!({ "outcome": "CANCELLED", "error": error }), vec!["#/items/0/error"]),
        (
            json!({ "outcome": "INTERRUPTED", "permanent": true, "retry_after_ms": 1 }),
            vec!["#/items/0/permanent", "#/items/0/retry_after_ms"],
        ),
        (
            json!({ "outcome": "SNOOZED", "retry_after_ms": 31_622_400_001_u64 }),
            vec!["#/items/0/retry_after_ms"],
        ),
    ] {
        let mut item = lease.clone();
        item.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let refused = api.post("/v1/worker/fail", json!({ "items": [item] })).await;
        let mut told = refused.problem(422).1;
        told.dedup();
        assert_eq!(told, pointers, "{}", refused.text);
    }
}
