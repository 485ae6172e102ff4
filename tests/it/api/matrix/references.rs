//! Ids of another tenant inside of bodies and filters: they mean nothing there.

use axum::http::Method;
use serde_json::{Value, json};

use super::fixture::Fixture;

/// What is answered about the id of another tenant's thing, and about an id that
/// nobody has: the same, but for the id.
async fn same(
    fixture: &Fixture,
    method: Method,
    path: &str,
    body: impl Fn(&str) -> Option<Value>,
    own: &str,
) {
    let absent = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11";
    let mut told = Vec::new();
    for id in [own, absent] {
        let path = path.replace("ID", id);
        let reply = fixture.ask(&fixture.other, &method, &path, body(id)).await;
        // New things have ids and times of their own.
        assert!(!reply.status.is_server_error(), "{path}: {}", reply.text);
        told.push((reply.status, reply.text.replace(id, "ID")));
    }
    assert_eq!(told[0], told[1], "{method} {path}");
}

#[tokio::test]
async fn ids_in_bodies_and_filters_do_not_cross_the_wall() {
    let fixture = Fixture::new().await;
    let (get, post) = (Method::GET, Method::POST);
    let job = fixture.job().await;
    let claim = json!({ "worker_id": "w", "kinds": ["send-email"], "max": 1 });
    let claimed = fixture.ask(&fixture.own, &post, "/v1/worker/claim", Some(claim)).await.expect(200);
    let (running, token) = (&claimed["items"][0]["id"], claimed["items"][0]["lease_token"].clone());
    let running = running.as_str().unwrap().to_owned();
    let mut cases = 0;
    let none = |_: &str| None;
    for path in [
        "/v1/jobs?correlation_id=ID",
        "/v1/jobs?rule_id=ID",
        "/v1/jobs?label.secret=of-acme",
        "/v1/jobs?queue=mail",
        "/v1/jobs?kind=send-email",
    ] {
        same(&fixture, get.clone(), path, none, &job).await;
        let found = fixture.ask(&fixture.other, &get, &path.replace("ID", &job), None).await.expect(200);
        assert_eq!(found["items"], json!([]), "{path}");
        cases += 1;
    }
    let parent = |id: &str| Some(json!({ "kind": "k", "parent_job_id": id }));
    same(&fixture, post.clone(), "/v1/jobs", parent, &job).await;
    let batch = |id: &str| Some(json!({ "jobs": [{ "kind": "k", "parent_job_id": id }] }));
    same(&fixture, post.clone(), "/v1/jobs/batch", batch, &job).await;
    let depends = |id: &str| Some(json!({ "jobs": [{ "kind": "k", "depends_on": [{ "id": id }] }] }));
    same(&fixture, post.clone(), "/v1/jobs/batch", depends, &job).await;
    cases += 3;
    for (path, filter) in [
        ("/v1/jobs/cancel", json!({ "correlation_id": "ID" })),
        ("/v1/jobs/cancel", json!({ "labels": {"secret": "of-acme"} })),
        ("/v1/jobs/cancel", json!({})),
        ("/v1/jobs/retry", json!({ "rule_id": "ID" })),
    ] {
        for dry_run in [true, false] {
            let body = |id: &str| {
                let text = json!({ "filter": filter, "dry_run": dry_run }).to_string();
                serde_json::from_str(&text.replace("\"ID\"", &format!("\"{id}\""))).ok()
            };
            same(&fixture, post.clone(), path, body, &job).await;
            cases += 1;
        }
    }
    cases += reports(&fixture, &running, &token).await;
    let mut many = super::fixture::rule("many");
    many["for_each_tenant"] = "true".into();
    let refused = fixture.ask(&fixture.own, &post, "/v1/automation-rules", Some(many)).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let left = fixture.ask(&fixture.own, &get, &format!("/v1/jobs/{running}"), None).await.expect(200);
    assert_eq!((&left["state"], &left["progress"]["percent"]), (&json!("RUNNING"), &json!(0)));
    let left = fixture.ask(&fixture.own, &get, "/v1/jobs?state=CANCELLED", None).await.expect(200);
    assert_eq!(left["items"], json!([]));
    println!("{cases} cases of ids in bodies and filters");
}

/// What another tenant's worker says of a running job; answers how many cases there were.
async fn reports(fixture: &Fixture, running: &str, token: &Value) -> u32 {
    let mut cases = 0;
    for (path, rest) in [
        ("/v1/worker/heartbeat", json!({})),
        ("/v1/worker/complete", json!({ "result": 1 })),
        ("/v1/worker/fail", json!({ "error": {"type": "e", "message": "m"} })),
        ("/v1/worker/progress", json!({ "percent": 50 })),
    ] {
        let body = |id: &str| {
            let mut item = rest.clone();
            item["job_id"] = id.into();
            item["lease_token"] = token.clone();
            Some(json!({ "items": [item] }))
        };
        same(fixture, Method::POST, path, body, running).await;
        cases += 1;
    }
    cases
}
