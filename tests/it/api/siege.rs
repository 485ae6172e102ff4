//! What somebody tries who means harm: each costs the one who tries, and nobody
//! else.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::{Api, Reply};

const OPERATOR: &str = "an-operators-key";

fn depth_of(mut nodes: &[Value]) -> usize {
    let mut depth = 0;
    while let Some(node) = nodes.first() {
        depth += 1;
        nodes = node["children"].as_array().unwrap();
    }
    depth
}

#[tokio::test]
async fn a_long_chain_is_shown_to_a_depth() {
    let api = Api::new();
    let first = api.job(json!({ "kind": "k" })).await;
    let mut last = first.clone();
    for _ in 0..480 {
        last = api.job(json!({ "kind": "k", "parent_job_id": last })).await;
    }
    for job in [first, last] {
        let trace = api.get(&format!("/v1/jobs/{job}/trace")).await.expect(200);
        assert_eq!(trace["truncated"], true);
        assert_eq!(depth_of(trace["roots"].as_array().unwrap()), 32);
    }
}

#[tokio::test]
async fn a_tree_is_shown_to_a_size() {
    let api = Api::new();
    let payload = "x".repeat(250_000);
    let root = api.job(json!({ "kind": "k", "payload": payload })).await;
    for _ in 0..40 {
        api.job(json!({ "kind": "k", "payload": payload, "parent_job_id": root })).await;
    }
    let reply = api.get(&format!("/v1/jobs/{root}/trace")).await;
    assert_eq!(reply.expect(200)["truncated"], true);
    assert!((5_000_000..9_000_000).contains(&reply.text.len()), "{}", reply.text.len());
}

impl Api {
    /// A request with headers, and a body if it writes.
    async fn by_browser(&self, method: Method, headers: &[(&str, &str)]) -> Reply {
        let write = method == Method::POST;
        let mut request = Request::builder().method(method).uri("/v1/jobs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = request.header("content-type", "application/json");
        let body = if write { Body::from(r#"{"kind":"k"}"#) } else { Body::empty() };
        self.request(request.body(body).unwrap()).await
    }

    async fn with_key(&self, key: &str, method: Method, path: &str, body: Value) -> Reply {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {key}"));
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.request(request.body(body).unwrap()).await
    }
}

/// Without keys, a browser must not act for the pages that it shows.
#[tokio::test]
async fn pages_of_others_reach_nothing_without_keys() {
    let api = Api::new();
    for host in ["localhost:8080", "127.0.0.1", "127.0.0.7:1", "[::1]:8080"] {
        api.by_browser(Method::GET, &[("host", host)]).await.expect(200);
        let own = format!("http://{host}");
        api.by_browser(Method::POST, &[("host", host), ("origin", &own)]).await.expect(201);
    }
    let rebound = api.by_browser(Method::GET, &[("host", "evil.example:8080")]).await;
    assert_eq!(rebound.problem(403).0, "forbidden");
    let host = ("host", "localhost:8080");
    for header in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(api.by_browser(Method::POST, &[host, header]).await.problem(403).0, "forbidden");
    }
    let keyed = Api::keyed(OPERATOR);
    let named = keyed.by_browser(Method::GET, &[("host", "jobs.example")]).await;
    assert_eq!(named.problem(401).0, "unauthenticated", "with keys, any name is good");
}

#[tokio::test]
async fn a_key_that_is_revoked_while_it_waits_gets_no_job() {
    let api = Api::keyed(OPERATOR);
    let made = json!({ "name": "k", "tenant": "acme", "scopes": ["worker", "jobs:write"] });
    api.with_key(OPERATOR, Method::PUT, "/v1/admin/tenants/acme", json!({})).await.expect(200);
    let mut keys = Vec::new();
    for _ in 0..2 {
        let key = api.with_key(OPERATOR, Method::POST, "/v1/admin/api-keys", made.clone()).await.expect(201);
        keys.push((
            key["key"].as_str().unwrap().to_owned(),
            key["api_key"]["id"].as_str().unwrap().to_owned(),
        ));
    }
    let claim = |wait: u64| json!({ "worker_id": "w", "kinds": ["k"], "wait_ms": wait });
    let revoke = format!("/v1/admin/api-keys/{}", keys[0].1);
    let (waited, ()) =
        tokio::join!(api.with_key(&keys[0].0, Method::POST, "/v1/worker/claim", claim(60_000)), async {
            tokio::task::yield_now().await;
            let gone = api.with_key(OPERATOR, Method::DELETE, &revoke, Value::Null).await;
            assert!(gone.status.is_success(), "{}", gone.text);
            let job = json!({ "kind": "k", "payload": "secret" });
            api.with_key(&keys[1].0, Method::POST, "/v1/jobs", job).await.expect(201);
        });
    assert_eq!(waited.problem(401).0, "unauthenticated");
    let mut got = api.with_key(&keys[1].0, Method::POST, "/v1/worker/claim", claim(10_000)).await.expect(200);
    assert_eq!(got["items"][0]["payload"].take(), json!("secret"), "it was handed back at once");
}

#[tokio::test]
async fn what_ended_waits_again_only_where_there_is_room() {
    let api = Api::new();
    let jobs = [api.job(json!({ "kind": "k" })).await, api.job(json!({ "kind": "k" })).await];
    for job in &jobs {
        api.act(&format!("/v1/jobs/{job}/cancel")).await.expect(200);
    }
    let retry = format!("/v1/jobs/{}/retry", jobs[0]);
    let all = json!({ "filter": { "state": ["CANCELLED"] } });
    let limit = |most: u32| api.put("/v1/admin/tenants/default", json!({ "max_backlog": most }));
    limit(0).await.expect(200);
    assert_eq!(api.act(&retry).await.problem(429).0, "backlog_full");
    assert_eq!(api.post("/v1/jobs/retry", all.clone()).await.problem(429).0, "backlog_full");
    limit(1).await.expect(200);
    let partly = api.post("/v1/jobs/retry", all).await.expect(200);
    assert_eq!((&partly["changed"], &partly["backlog_full"]), (&json!(1), &json!(true)));
    let waiting = api.get("/v1/jobs?state=PENDING").await.expect(200);
    let id = waiting["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(api.act(&format!("/v1/jobs/{id}/retry")).await.problem(409).0, "illegal_transition");
}

#[tokio::test]
async fn deliveries_count_in_the_rate_of_their_tenant() {
    let api = Api::new();
    let rule = json!({ "name": "hook", "trigger": {"type": "webhook", "signature": {"scheme": "none"}},
        "actions": [{"kind": "k"}] });
    let rule = api.post("/v1/automation-rules", rule).await.expect(201);
    let address = format!("/v1/events/webhook/{}", rule["trigger"]["key"].as_str().unwrap());
    let rate = json!({ "request_rate": { "limit": 2, "period_ms": 60_000 } });
    api.put("/v1/admin/tenants/default", rate).await.expect(200);
    api.clock.advance(2_000);
    for _ in 0..2 {
        api.post(&address, json!({})).await.expect(202);
    }
    let refused = api.post(&address, json!({})).await;
    assert_eq!(refused.problem(429).0, "rate_limited");
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_page_ends_at_a_size() {
    let api = Api::new();
    let payload = "x".repeat(250_000);
    for _ in 0..40 {
        api.job(json!({ "kind": "k", "payload": payload })).await;
    }
    let first = api.get("/v1/jobs?limit=500").await;
    assert!(first.text.len() < 9_000_000, "{}", first.text.len());
    let first = first.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/v1/jobs?limit=500&cursor={cursor}")).await.expect(200);
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!((count(&first) + count(&rest), &rest["next_cursor"]), (40, &Value::Null));
}
