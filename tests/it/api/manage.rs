//! Queues, tenants, workers, health and the pages.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use taskflow_application::insight::Insight;
use taskflow_application::ports::{RunnerStatus, Worker};
use taskflow_domain::{TenantId, TenantSlug, WorkerName};

use super::Api;

#[tokio::test]
async fn a_queue_is_set_held_and_released() {
    let api = Api::new();
    let path = "/v1/admin/queues/mail%2Feu";
    assert_eq!(api.get(path).await.problem(404).0, "not_found");
    assert_eq!(api.act(&format!("{path}/pause")).await.problem(404).0, "not_found");
    let limits = json!({ "max_running": 5, "rate_limit": {"limit": 10, "period_ms": 1000} });
    let queue = api.put(path, limits).await.expect(200);
    insta::assert_snapshot!("queue", serde_json::to_string_pretty(&queue).unwrap());
    api.job(json!({ "kind": "k", "queue": "mail/eu" })).await;
    let hold = json!({ "reason": "down", "until": "2026-02-01T00:00:00Z" });
    let held = api.post(&format!("{path}/pause"), hold).await.expect(200);
    assert_eq!(
        (&held["paused"], &held["pause"]["reason"], &held["depth"]["PENDING"]),
        (&json!(true), &json!("down"), &json!(1))
    );
    let kept = api.put(path, json!({})).await.expect(200);
    assert_eq!((&kept["max_running"], &kept["paused"]), (&json!(null), &json!(true)));
    api.clock.advance(86_400_000);
    let ended = api.get(path).await.expect(200);
    assert_eq!((&ended["paused"], &ended["pause"]), (&json!(false), &json!(null)));
    let again = api.put(path, json!({ "paused": true })).await.expect(200);
    assert_eq!(
        (&again["paused"], &again["pause"]["until"]),
        (&json!(true), &json!(null)),
        "not the one that ended"
    );
    let free = api.act(&format!("{path}/resume")).await.expect(200);
    assert_eq!((&free["paused"], &free["pause"]), (&json!(false), &json!(null)));
    let list = api.get("/v1/admin/queues").await.expect(200);
    assert!(list["items"].as_array().unwrap().iter().any(|queue| queue["name"] == "mail/eu"));
    assert_eq!(
        api.put(path, json!({ "max_running": 0, "paused": "no" })).await.problem(422).1,
        ["#/max_running", "#/paused"]
    );
}

#[tokio::test]
async fn a_tenant_is_set() {
    let api = Api::new();
    let wish = json!({ "attributes": {"plan": "pro"}, "weight": 3, "max_backlog": 1 });
    let tenant = api.put("/v1/admin/tenants/acme", wish).await.expect(200);
    insta::assert_snapshot!("tenant", serde_json::to_string_pretty(&tenant).unwrap());
    assert_eq!(api.get("/v1/admin/tenants/acme").await.expect(200), tenant);
    assert_eq!(api.get("/v1/admin/tenants/Acme").await.problem(404).0, "not_found");
    let first = api.get("/v1/admin/tenants?limit=1").await.expect(200);
    let next = first["next_cursor"].as_str().unwrap();
    let second = api.get(&format!("/v1/admin/tenants?limit=1&cursor={next}")).await.expect(200);
    assert_eq!(
        (&first["items"][0]["slug"], &second["items"][0]["slug"]),
        (&json!("acme"), &json!("default"))
    );
    let submit = || {
        let request = Request::post("/v1/jobs").header("taskflow-tenant", "acme");
        request.header("content-type", "application/json").body(Body::from(r#"{"kind":"k"}"#)).unwrap()
    };
    api.request(submit()).await.expect(201);
    let full = api.request(submit()).await;
    assert_eq!(full.problem(429).0, "backlog_full");
    assert!(full.headers.contains_key("retry-after"));
    let bad = json!({ "attributes": [], "weight": 0 });
    assert_eq!(api.put("/v1/admin/tenants/acme", bad).await.problem(422).1, ["#/attributes", "#/weight"]);
}

/// Every list has its limit and its cursor, and its pages together are the whole.
#[tokio::test]
async fn lists_are_paged_alike() {
    let api = Api::new();
    for name in ["c", "a", "b"] {
        api.job(json!({ "kind": "k", "queue": name })).await;
        let body = json!({ "worker_id": name, "kinds": ["other"] });
        api.post("/v1/worker/claim", body).await.expect(200);
        let (started_at, seen_at) = (api.world.clock.now(), api.world.clock.now());
        let runner = RunnerStatus { name: name.to_owned(), started_at, seen_at, loops: Vec::new() };
        api.world.stores.stats.tell(&runner).await.unwrap();
    }
    Insight::new(api.world.clone()).flush().await.unwrap();
    for path in ["/v1/admin/queues?", "/v1/admin/workers?", "/v1/admin/runner?", "/v1/admin/stats?by=queue&"]
    {
        let whole = api.get(&format!("{path}limit=500")).await.expect(200);
        assert_eq!(whole["items"].as_array().unwrap().len(), 3, "{path} {whole}");
        assert_eq!(whole["next_cursor"], json!(null), "{path}");
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("{path}limit=2{cursor}")).await.expect(200);
            items.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(json!(items), whole["items"], "{path}");
        for wrong in ["limit=501", "limit=0", "cursor=x"] {
            let pointer = format!("#/{}", wrong.split('=').next().unwrap());
            assert_eq!(api.get(&format!("{path}{wrong}")).await.problem(422).1, [pointer], "{path}{wrong}");
        }
    }
}

#[tokio::test]
async fn workers_are_listed() {
    let api = Api::new();
    api.post("/v1/worker/claim", json!({ "worker_id": "w1", "kinds": ["k"], "max": 3 })).await.expect(200);
    let list = api.get("/v1/admin/workers").await.expect(200);
    insta::assert_snapshot!("workers", serde_json::to_string_pretty(&list).unwrap());
}

/// Who names only the end of a stretch of time is told what was before it, however
/// long ago that is.
#[tokio::test]
async fn figures_before_a_time_are_told() {
    let api = Api::new();
    api.job(json!({ "kind": "k" })).await;
    Insight::new(api.world.clone()).flush().await.unwrap();
    let created = async |query: &str| {
        let stats = api.get(&format!("/v1/admin/stats?{query}")).await.expect(200);
        let items = stats["items"].as_array().unwrap().iter();
        items.filter_map(|bucket| bucket["created"].as_u64()).sum::<u64>()
    };
    assert_eq!(created("").await, 1);
    api.clock.advance(30 * 3_600_000);
    assert_eq!(created("").await, 0);
    assert_eq!(created("until=2026-01-31T10:15:00Z").await, 1, "the hour before it");
    assert_eq!(created("until=2026-01-31T09:30:00Z").await, 0, "it begins no earlier");
    assert_eq!(created("until=2026-01-31T10:31:00Z").await, 0, "an hour and no more");
    assert_eq!(created("span=hour&until=2026-02-01T08:00:00Z").await, 1, "the day before it");
    assert_eq!(created("span=hour&until=2026-02-01T11:00:00Z").await, 0, "a day and no more");
    assert_eq!(created("since=2026-01-31T09:00:00Z").await, 1);
}

/// Each worker says whether it is there: those of TaskFlow itself, and those that pull.
#[tokio::test]
async fn a_worker_says_whether_it_is_there() {
    let api = Api::new();
    for (name, slots) in [("engine-1", 9), ("engine-2", 0)] {
        let row = Worker { slots, ..known(&api, name, None) };
        api.world.stores.workers.beat(&row).await.unwrap();
    }
    let claim = json!({ "worker_id": "puller", "kinds": ["k"], "lease_ms": 20_000 });
    api.post("/v1/worker/claim", claim).await.expect(200);
    let shown = async || {
        let list = api.get("/v1/admin/workers").await.expect(200);
        let items = list["items"].as_array().unwrap().iter();
        items.map(|one| format!("{} {}", one["id"], one["state"]).replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(shown().await, ["engine-1 ALIVE", "engine-2 LEAVING", "puller ALIVE"]);
    api.clock.advance(20_000);
    assert_eq!(shown().await, ["engine-1 ALIVE", "engine-2 LEAVING", "puller LOST"]);
    api.clock.advance(10_000);
    assert_eq!(shown().await, ["engine-1 LOST", "engine-2 LOST", "puller LOST"]);
}

/// A worker that was just heard of.
fn known(api: &Api, name: &str, tenant: Option<TenantId>) -> Worker {
    let now = api.world.clock.now();
    Worker {
        name: WorkerName::new(name).unwrap(),
        tenant,
        queues: Vec::new(),
        kinds: Vec::new(),
        slots: 1,
        started_at: now,
        beat_at: now,
        lease_until: now.plus_millis(30_000),
    }
}

/// Workers of several tenants that have one name all stand in the pages.
#[tokio::test]
async fn namesakes_are_listed_each() {
    let api = Api::new();
    let mut tenants = vec![None];
    for slug in ["one", "two"] {
        let slug = TenantSlug::new(slug).unwrap();
        tenants.push(Some(api.world.stores.tenants.ensure(&slug, api.world.clock.now()).await.unwrap().id));
    }
    for tenant in tenants {
        api.world.stores.workers.beat(&known(&api, "mailer-1", tenant)).await.unwrap();
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/admin/workers?limit=1{cursor}")).await.expect(200);
        seen.push(page["items"][0]["tenant"].clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [json!(null), json!("one"), json!("two")]);
}

#[tokio::test]
async fn the_process_answers_for_itself() {
    let api = Api::new();
    assert_eq!(api.get("/health/live").await.expect(200), json!({ "status": "ok" }));
    assert_eq!(api.get("/health/ready").await.expect(200), json!({ "status": "ok" }));
    assert_eq!(api.get("/metrics").await.status, 200);
    for page in ["/", "/docs"] {
        let reply = api.get(page).await;
        assert_eq!(reply.status, 200);
        assert!(reply.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    }
    let script = api.get("/docs/rapidoc-min.js").await;
    assert_eq!((script.status.as_u16(), script.headers.get("content-encoding")), (200, None));
}

#[tokio::test]
async fn a_request_has_a_name() {
    let api = Api::new();
    let named =
        |id: &str| Request::get("/v1/nothing").header("x-request-id", id).body(Body::empty()).unwrap();
    let reply = api.request(named("mine-1")).await;
    assert_eq!(reply.headers["x-request-id"], "mine-1");
    assert_eq!(reply.problem(404).0, "not_found");
    let reply = api.request(named("not harmless")).await;
    assert_eq!(reply.headers["x-request-id"].len(), 32);
}

/// PUT makes what does not exist, so a name that nothing can have is a fault of
/// the request; a time that has passed is one too.
#[tokio::test]
async fn names_and_times_that_cannot_be() {
    let api = Api::new();
    let tenant = api.put("/v1/admin/tenants/ACME", json!({})).await;
    assert_eq!(tenant.problem(422), ("invalid".to_owned(), vec!["#/slug".to_owned()]));
    let queue = api.put("/v1/admin/queues/%C3%BC", json!({})).await;
    assert_eq!(queue.problem(422), ("invalid".to_owned(), vec!["#/name".to_owned()]));
    assert_eq!(queue.json()["errors"][0]["in"], "path", "{}", queue.text);
    api.put("/v1/admin/queues/mail", json!({})).await.expect(200);
    for past in ["2026-01-31T09:30:00Z", "2020-01-01T00:00:00Z"] {
        let held = api.post("/v1/admin/queues/mail/pause", json!({ "until": past })).await;
        assert_eq!(held.problem(422).1, ["#/until"], "{past}");
        let key = json!({ "name": "k", "scopes": ["operator"], "expires_at": past });
        assert_eq!(api.post("/v1/admin/api-keys", key).await.problem(422).1, ["#/expires_at"], "{past}");
    }
}
