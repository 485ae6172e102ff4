//! What no request may be: each is refused with its place, and writes nothing.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use super::Api;

/// Bodies that are no JSON, and where it is seen.
const BROKEN: [(&[u8], &str); 8] = [
    (b"", "#"),
    (b"{", "#"),
    (b"{\"kind\":}", "#/kind"),
    (b"{\"kind\":\"k\"} x", "#"),
    (b"{\"kind\":\"k\",}", "#"),
    (b"{\"kind\":\"\xff\"}", "#"),
    (b"\xef\xbb\xbf{\"kind\":\"k\"}", "#"),
    (b"{\"payload\":[1,NaN]}", "#/payload/1"),
];

/// Bodies that are JSON and no job, and what is wrong with them.
const FAULTY: [(&str, &[&str]); 28] = [
    ("[]", &["#"]),
    ("null", &["#"]),
    ("{}", &["#/kind"]),
    (r#"{"kind":1}"#, &["#/kind"]),
    (r#"{"kind":null}"#, &["#/kind"]),
    (r#"{"kind":""}"#, &["#/kind"]),
    (r#"{"kind":"a b"}"#, &["#/kind"]),
    (r#"{"kind":"k","Kind":"k"}"#, &["#/Kind"]),
    (r#"{"kind":"k","kind":"k"}"#, &["#/kind"]),
    (r#"{"kind":"k","id":"x","state":"DEAD"}"#, &["#/id", "#/state"]),
    (r#"{"kind":"k","payload":"\u0000"}"#, &["#/payload"]),
    (r#"{"kind":"k","payload":{"a~/b":["\ud800"]}}"#, &["#/payload/a~0~1b/0"]),
    (r#"{"kind":"k","payload":"\udc00"}"#, &["#/payload"]),
    (r#"{"kind":"k","payload":1e400}"#, &["#/payload"]),
    (r#"{"kind":"k","payload":{"a":1,"a":2}}"#, &["#/payload/a"]),
    (r#"{"kind":"k","run_at":"tomorrow"}"#, &["#/run_at"]),
    (r#"{"kind":"k","run_at":1769851800}"#, &["#/run_at"]),
    (r#"{"kind":"k","run_at":"2026-02-30T00:00:00Z"}"#, &["#/run_at"]),
    (r#"{"kind":"k","timeout_ms":0,"priority":"urgent"}"#, &["#/priority", "#/timeout_ms"]),
    (r#"{"kind":"k","timeout_ms":86400001}"#, &["#/timeout_ms"]),
    (r#"{"kind":"k","labels":{"":"a","b":1}}"#, &["#/labels/", "#/labels/b"]),
    (r#"{"kind":"k","labels":{"a b":1}}"#, &["#/labels/a%20b", "#/labels/a%20b"]),
    (
        r#"{"kind":"k","target":{"type":"http","url":"http://a/","headers":{"a b":" x"}}}"#,
        &["#/target/headers/a%20b", "#/target/headers/a%20b"],
    ),
    (
        r#"{"kind":"k","retry_policy":{"max_attempts":0,"factor":0.5,"x":1}}"#,
        &["#/retry_policy/max_attempts", "#/retry_policy/factor", "#/retry_policy/x"],
    ),
    (r#"{"kind":"k","target":{"type":"ftp"}}"#, &["#/target/type"]),
    (
        r#"{"kind":"k","target":{"type":"http","url":"file:///x","headers":{"Host":"a"}}}"#,
        &["#/target/url", "#/target/headers/Host"],
    ),
    (
        r#"{"kind":"k","target":{"type":"http","url":"http://a/","permanent_statuses":[99]}}"#,
        &["#/target/permanent_statuses/0"],
    ),
    (
        r#"{"kind":"k","correlation_id":"x","parent_job_id":7,"idempotency_key":""}"#,
        &["#/idempotency_key", "#/correlation_id", "#/parent_job_id"],
    ),
];

#[tokio::test]
async fn bodies_that_are_no_json() {
    let api = Api::new();
    for path in ["/v1/jobs", "/v1/jobs/batch", "/v1/jobs/cancel", "/v1/worker/claim", "/v1/worker/complete"] {
        for (body, pointer) in BROKEN {
            let refused = api.raw(Method::POST, path, body).await;
            let (code, pointers) = refused.problem(400);
            assert_eq!(
                (code.as_str(), pointers[0].as_str()),
                ("malformed_json", pointer),
                "{path} {}",
                refused.text
            );
        }
    }
    assert_eq!(api.count().await, 0);
}

/// Whatever is wrong with a number, its true range is told.
#[tokio::test]
async fn numbers_are_told_their_ranges() {
    let api = Api::new();
    let policy = |field: &str, value: &str| format!(r#"{{"kind":"k","retry_policy":{{"{field}":{value}}}}}"#);
    let cron = |rest: &str| {
        let trigger = format!(r#"{{"type":"cron","expression":"* * * * *",{rest}}}"#);
        format!(r#"{{"name":"r","trigger":{trigger},"actions":[{{"kind":"k"}}]}}"#)
    };
    let hook = r#"{"name":"r","trigger":{"type":"webhook","signature":{"tolerance_s":1.5}},"actions":[{"kind":"k"}]}"#;
    for (path, body, range) in [
        ("/v1/jobs", policy("max_attempts", "1.5"), "from 1 to 100"),
        ("/v1/jobs", policy("max_attempts", "101"), "from 1 to 100"),
        ("/v1/jobs", policy("base_delay_ms", "-1"), "from 0 to 31622400000"),
        ("/v1/jobs", policy("max_delay_ms", "31622400001"), "from 0 to 31622400000"),
        ("/v1/automation-rules", cron(r#""jitter_ms":0.5"#), "from 0 to 3600000"),
        ("/v1/automation-rules", cron(r#""misfire":{"max_lateness_ms":-1}"#), "from 1000 to 2678400000"),
        ("/v1/automation-rules", hook.to_owned(), "from 1 to 3600"),
    ] {
        let refused = api.raw(Method::POST, path, body.clone()).await;
        refused.problem(422);
        assert!(refused.text.contains(range), "{body}: {}", refused.text);
        assert!(!refused.text.contains("18446744073709551615"), "{body}: {}", refused.text);
    }
}

#[tokio::test]
async fn bodies_that_are_no_job() {
    let api = Api::new();
    for (body, pointers) in FAULTY {
        let refused = api.raw(Method::POST, "/v1/jobs", body).await;
        assert_eq!(
            refused.problem(422),
            ("invalid".to_owned(), pointers.iter().map(|&p| p.to_owned()).collect()),
            "{body}"
        );
        let batch = format!("{{\"jobs\":[{body}]}}");
        let refused = api.raw(Method::POST, "/v1/jobs/batch", batch).await.problem(422).1;
        assert_eq!(
            refused,
            pointers.iter().map(|p| p.replacen('#', "#/jobs/0", 1)).collect::<Vec<_>>(),
            "{body}"
        );
    }
    assert_eq!(api.count().await, 0);
}

#[tokio::test]
async fn deep_bodies() {
    let api = Api::new();
    let nested =
        |depth: usize| format!("{{\"kind\":\"k\",\"payload\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    api.raw(Method::POST, "/v1/jobs", nested(63)).await.expect(201);
    for depth in [64, 10_000] {
        let (code, pointers) = api.raw(Method::POST, "/v1/jobs", nested(depth)).await.problem(400);
        assert!(code == "malformed_json" && pointers[0].starts_with("#/payload"), "{pointers:?}");
    }
}

#[tokio::test]
async fn the_limits_are_exact_to_the_byte() {
    let api = Api::new();
    let of_size = |size: usize| {
        let rest = size - r#"{"kind":"k"}"#.len();
        format!("{}{}", r#"{"kind":"k"}"#, " ".repeat(rest))
    };
    api.raw(Method::POST, "/v1/jobs", of_size(1_048_576)).await.expect(201);
    let refused = api.raw(Method::POST, "/v1/jobs", of_size(1_048_577)).await;
    assert_eq!(refused.problem(413).0, "body_too_large");
    let huge = api.raw(Method::POST, "/v1/jobs", of_size(10 * 1_048_576)).await;
    assert_eq!(huge.problem(413).0, "body_too_large");
    api.raw(Method::POST, "/v1/jobs/batch", format!("{{\"jobs\":[{}]}}", of_size(2_000_000)))
        .await
        .expect(201);
    let payload = |size: usize| json!({ "kind": "k", "payload": "x".repeat(size - 2) });
    api.post("/v1/jobs", payload(262_144)).await.expect(201);
    assert_eq!(api.post("/v1/jobs", payload(262_145)).await.problem(422).1, ["#/payload"]);
    let labels = |count: usize| {
        let labels: serde_json::Map<_, _> = (0..count).map(|n| (format!("l{n}"), json!("v"))).collect();
        json!({ "kind": "k", "labels": labels })
    };
    api.post("/v1/jobs", labels(32)).await.expect(201);
    assert_eq!(api.post("/v1/jobs", labels(33)).await.problem(422).1, ["#/labels"]);
    let mut many = labels(33);
    many["labels"]["z z"] = json!(1);
    let told = api.post("/v1/jobs", many).await.problem(422).1;
    assert_eq!(told, ["#/labels", "#/labels/z%20z", "#/labels/z%20z"]);
    let many = |count: usize| json!({ "jobs": vec![json!({ "kind": "k" }); count] });
    assert_eq!(api.post("/v1/jobs/batch", many(10_000)).await.status, 201);
    assert_eq!(api.post("/v1/jobs/batch", many(10_001)).await.problem(422).1, ["#/jobs"]);
}

#[tokio::test]
async fn heads_that_are_wrong() {
    let api = Api::new();
    let text = Request::post("/v1/jobs").header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    assert_eq!(api.request(text).await.problem(415).0, "unsupported_media_type");
    let bare = Request::post("/v1/jobs").body(Body::from("{\"kind\":\"k\"}")).unwrap();
    assert_eq!(api.request(bare).await.problem(415).0, "unsupported_media_type");
    let wrong = api.raw(Method::DELETE, "/v1/jobs", "").await;
    assert_eq!(wrong.problem(405).0, "method_not_allowed");
    assert!(wrong.headers["allow"].to_str().unwrap().contains("POST"), "{:?}", wrong.headers);
    assert_eq!(api.get("/nowhere").await.problem(404).0, "not_found");
    assert_eq!(api.get(&format!("/v1/jobs?x={}", "y".repeat(9_000))).await.problem(414).0, "uri_too_long");
    let large = Request::get("/v1/jobs").header("x-a", "y".repeat(17_000)).body(Body::empty()).unwrap();
    assert_eq!(api.request(large).await.problem(431).0, "headers_too_large");
    let head = Request::head("/nowhere").body(Body::empty()).unwrap();
    let head = api.request(head).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (404, ""));
}

#[tokio::test]
async fn queries_that_are_wrong() {
    let api = Api::new();
    for (query, pointer) in [
        ("limit=0", "#/limit"),
        ("limit=501", "#/limit"),
        ("limit=x", "#/limit"),
        ("limit=1&limit=2", "#/limit"),
        ("cursor=x", "#/cursor"),
        ("cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "#/cursor"),
        ("cursor=", "#/cursor"),
        ("state=dead", "#/state"),
        ("priority=urgent", "#/priority"),
        ("queue=a%20b", "#/queue"),
        ("kind=%ff", "#/kind"),
        ("kind=%00", "#/kind"),
        ("created_after=yesterday", "#/created_after"),
        ("correlation_id=x", "#/correlation_id"),
        ("label.%20=x", "#/label.%20"),
        ("label.a=1&label.a=2", "#/label.a"),
        ("typo=1", "#/typo"),
        ("State=DEAD", "#/State"),
    ] {
        let refused = api.get(&format!("/v1/jobs?{query}")).await;
        assert_eq!(refused.problem(422), ("invalid".to_owned(), vec![pointer.to_owned()]), "{query}");
    }
    let stats = "/v1/admin/stats?until=2026-01-31T09:00:00Z&since=2026-01-31T09";
    assert_eq!(api.get(&format!("{stats}:00:01Z")).await.problem(422).1, ["#/since"]);
    api.get(&format!("{stats}:00:00Z")).await.expect(200);
    let id = api.job(json!({ "kind": "k" })).await;
    assert_eq!(api.get(&format!("/v1/jobs/{id}?x=1")).await.problem(422).1, ["#/x"]);
    assert_eq!(api.get(&format!("/v1/jobs/{id}/events?cursor=x")).await.problem(422).1, ["#/cursor"]);
    assert_eq!(api.post(&format!("/v1/jobs/{id}/pause"), json!({ "x": 1 })).await.problem(422).1, ["#/x"]);
    let refused = api.get("/v1/jobs?limit=0&state=x&typo=1").await;
    insta::assert_snapshot!("problem", serde_json::to_string_pretty(&strip(refused.json())).unwrap());
}

/// Without what differs from request to request.
fn strip(mut problem: serde_json::Value) -> serde_json::Value {
    problem["instance"] = json!("urn:taskflow:request:…");
    problem
}
