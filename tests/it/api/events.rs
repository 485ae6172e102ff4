//! Webhooks and CloudEvents over HTTP.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::{Api, Reply};

impl Api {
    /// A webhook rule without a signature: its id and its address.
    async fn hook(&self, id_header: Option<&str>) -> (String, String) {
        let mut signature = json!({ "scheme": "none" });
        if let Some(header) = id_header {
            signature["id_header"] = json!(header);
        }
        let rule = json!({
            "name": "hook", "trigger": { "type": "webhook", "signature": signature },
            "actions": [{ "kind": "hooked", "payload": "${event.data}" }]
        });
        let rule = self.post("/v1/automation-rules", rule).await.expect(201);
        let address = format!("/v1/events/webhook/{}", rule["trigger"]["key"].as_str().unwrap());
        (rule["id"].as_str().unwrap().to_owned(), address)
    }

    async fn deliver(&self, address: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::post(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn cloud(&self, media: &str, body: &Value) -> Reply {
        let headers = [("content-type", media)];
        self.deliver("/v1/events", &headers, &body.to_string()).await
    }
}

fn order(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "com.acme.order.paid", "subject": "order/17",
        "time": "2026-01-31T09:00:00Z", "tier": "gold", "data": { "order": 17, "total": 99.5 }
    })
}

#[tokio::test]
async fn a_delivery_counts_once_and_is_answered_twice() {
    let api = Api::new();
    let (id, address) = api.hook(Some("X-Id")).await;
    let first = api.deliver(&address, &[("x-id", "d-1")], r#"{"n":1}"#).await;
    let first = first.expect(202);
    assert_eq!((&first["delivery_id"], &first["firings"][0]["outcome"]), (&json!("d-1"), &json!("FIRED")));
    let again = api.deliver(&address, &[("x-id", "d-1")], r#"{"n":1}"#).await.expect(200);
    assert_eq!(again, first);
    assert_eq!(api.count().await, 1);
    let job = first["firings"][0]["job_ids"][0].as_str().unwrap();
    assert_eq!(api.get(&format!("/v1/jobs/{job}")).await.expect(200)["payload"], json!({ "n": 1 }));
    // Without its name it is refused, and no signature is blamed for it.
    for headers in [&[][..], &[("x-id", "two words")]] {
        let refused = api.deliver(&address, headers, "{}").await;
        assert_eq!(refused.problem(422), ("invalid".to_owned(), vec!["#/X-Id".to_owned()]));
        assert_eq!(refused.json()["errors"][0]["in"], "header");
    }
    assert_eq!(api.deliver("/v1/events/webhook/nobody-knows", &[], "{}").await.problem(404).0, "not_found");
    let listed = api.get(&format!("/v1/automation-rules/{id}/deliveries")).await.expect(200);
    let rejected: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|one| !one["rejected"].is_null()).collect();
    assert_eq!(rejected, [true, true, false], "{listed}");
    let path = format!("/v1/automation-rules/{id}/deliveries?limit=2");
    let page = api.get(&path).await.expect(200);
    let next = page["next_cursor"].as_str().unwrap();
    let last = api.get(&format!("{path}&cursor={next}")).await.expect(200);
    assert_eq!(json!([page["items"][0], page["items"][1], last["items"][0]]), listed["items"]);
    assert_eq!(last["next_cursor"], json!(null));
    let trace = api.get(&format!("/v1/jobs/{job}/trace")).await.expect(200);
    let kinds = (&trace["roots"][0]["type"], &trace["roots"][0]["children"][0]["type"]);
    assert_eq!(kinds, (&json!("event"), &json!("firing")), "{trace}");
}

#[tokio::test]
async fn bodies_of_deliveries_are_bounded_to_the_byte() {
    let api = Api::new();
    let (_, address) = api.hook(None).await;
    let body = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    assert_eq!(api.deliver(&address, &[], &body(1_048_577)).await.problem(413).0, "body_too_large");
    // Kept, though the template makes more of it than a payload may have.
    let large = api.deliver(&address, &[], &body(1_048_576)).await.expect(202);
    assert_eq!(large["firings"][0]["reason"], "template_error");
    let text = api.deliver(&address, &[("content-type", "text/plain")], "just text").await.expect(202);
    let job = text["firings"][0]["job_ids"][0].as_str().unwrap();
    assert_eq!(api.get(&format!("/v1/jobs/{job}")).await.expect(200)["payload"], "just text");
    let get = api.get(&address).await;
    assert_eq!(get.problem(405).0, "method_not_allowed");
}

#[tokio::test]
async fn slack_proves_its_address_over_the_raw_bytes() {
    let api = Api::new();
    let rule = json!({
        "name": "slack",
        "trigger": { "type": "webhook", "key": "slack-slack-slack", "signature": { "scheme": "slack", "secret": "8f742231b10e8888abcd99yyyzzz85a5" } },
        "actions": [{ "kind": "k" }]
    });
    api.post("/v1/automation-rules", rule).await.expect(201);
    let headers = [("x-slack-request-timestamp", "1769851800"), ("x-slack-signature", "v0=00")];
    let refused = api.deliver("/v1/events/webhook/slack-slack-slack", &headers, "{}").await;
    assert_eq!(refused.problem(401).0, "bad_signature");
}

#[tokio::test]
async fn cloudevents_come_in_three_modes_and_once() {
    let api = Api::new();
    let rule = json!({
        "name": "orders", "trigger": { "type": "event", "event": "com.acme.order.*" },
        "condition": "event.data.total > 50.0 && event.headers.tier == 'gold'",
        "actions": [{ "kind": "ship", "payload": { "order": "${event.data.order}", "from": "${event.source}" } }]
    });
    api.rule(rule).await;
    let structured = api.cloud("application/cloudevents+json; charset=utf-8", &order("1")).await.expect(202);
    assert_eq!(structured["items"], json!([{ "id": "1", "source": "/shop", "duplicate": false }]));
    let batch =
        api.cloud("application/cloudevents-batch+json", &json!([order("1"), order("2")])).await.expect(202);
    let duplicates: Vec<_> =
        batch["items"].as_array().unwrap().iter().map(|one| one["duplicate"].clone()).collect();
    assert_eq!(duplicates, [true, false]);
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "3"),
        ("ce-source", "/sh%C3%B6p"),
        ("ce-type", "com.acme.order.paid"),
        ("ce-tier", "gold"),
        ("content-type", "application/json"),
    ];
    api.deliver("/v1/events", &binary, r#"{"order":18,"total":60.5}"#).await.expect(202);
    api.automation.dispatch().await.unwrap();
    api.automation.dispatch().await.unwrap();
    let jobs = api.get("/v1/jobs?kind=ship").await.expect(200);
    let payloads: Vec<_> =
        jobs["items"].as_array().unwrap().iter().map(|job| job["payload"].clone()).collect();
    assert_eq!(payloads.len(), 3, "{payloads:?}");
    assert!(payloads.contains(&json!({ "order": 18, "from": "/shöp" })), "{payloads:?}");
}

#[tokio::test]
async fn cloudevents_are_read_strictly() {
    let api = Api::new();
    let without = |name: &str| {
        let mut event = order("1");
        event.as_object_mut().unwrap().remove(name);
        event
    };
    for name in ["specversion", "id", "source", "type"] {
        let refused = api.cloud("application/cloudevents+json", &without(name)).await;
        assert_eq!(refused.problem(422).1, [format!("#/{name}")], "{name}");
    }
    let mut odd = order("1");
    for (name, value) in [
        ("specversion", json!("0.3")),
        ("time", json!("soon")),
        ("Tier", json!("x")),
        ("type", json!("job.dead")),
        ("ext", json!({})),
    ] {
        odd[name] = value;
    }
    let (_, mut pointers) = api.cloud("application/cloudevents+json", &odd).await.problem(422);
    pointers.sort();
    assert_eq!(pointers, ["#/Tier", "#/ext", "#/specversion", "#/time", "#/type"]);
    // What is there and wrong is not called missing as well.
    let mut odd = order("1");
    for (name, value) in [
        ("specversion", json!(1)),
        ("id", json!(3)),
        ("source", json!("x".repeat(2_000))),
        ("type", json!("")),
    ] {
        odd[name] = value;
    }
    let (_, mut pointers) = api.cloud("application/cloudevents+json", &odd).await.problem(422);
    pointers.sort();
    assert_eq!(pointers, ["#/id", "#/source", "#/specversion", "#/type"]);
    let second = api.cloud("application/cloudevents-batch+json", &json!([order("1"), without("id")])).await;
    assert_eq!(second.problem(422).1, ["#/1/id"]);
    assert_eq!(api.cloud("application/json", &order("1")).await.problem(415).0, "unsupported_media_type");
    assert_eq!(
        api.cloud("application/cloudevents+avro", &order("1")).await.problem(415).0,
        "unsupported_media_type"
    );
    assert_eq!(
        api.deliver("/v1/events", &[("content-type", "application/cloudevents+json")], "{")
            .await
            .problem(400)
            .0,
        "malformed_json"
    );
    let headers =
        [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-type", "t"), ("content-type", "application/json")];
    let (_, pointers) = api.deliver("/v1/events", &headers, "{}").await.problem(422);
    assert_eq!(pointers, ["#/ce-source"]);
    let headers = [("ce-specversion", "1.0"), ("ce-id", "%ff"), ("ce-source", "/s"), ("ce-type", "t")];
    assert_eq!(api.deliver("/v1/events", &headers, "").await.problem(422).1, ["#/ce-id"]);
}

#[tokio::test]
async fn a_sender_may_ask_whether_it_may_send() {
    let api = Api::new();
    let ask = Request::builder().method(Method::OPTIONS).uri("/v1/events");
    let ask = ask.header("WebHook-Request-Origin", "events.example.com").body(Body::empty()).unwrap();
    let reply = api.request(ask).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["webhook-allowed-origin"], "events.example.com");
    assert_eq!(reply.headers["webhook-allowed-rate"], "*");
}

#[tokio::test]
async fn a_job_that_dies_makes_the_rule_that_waits_for_it_fire() {
    let api = Api::new();
    api.rule(json!({
        "name": "on-failure", "trigger": { "type": "event", "event": "job.failed" },
        "condition": "job.kind == 'import'",
        "actions": [{ "kind": "tell", "payload": { "job": "${job.id}", "state": "${job.state}" } }]
    }))
    .await;
    let id = api.job(json!({ "kind": "import" })).await;
    let (_, token) = api.claim("import").await;
    let fail = json!({ "items": [{ "job_id": id, "lease_token": token, "permanent": true, "error": { "type": "x", "message": "no" } }] });
    let reply = api.post("/v1/worker/fail", fail).await;
    assert!(reply.status.is_success(), "{}", reply.text);
    api.automation.dispatch().await.unwrap();
    let jobs = api.get("/v1/jobs?kind=tell").await.expect(200);
    assert_eq!(jobs["items"][0]["payload"], json!({ "job": id, "state": "FAILED" }), "{jobs}");
    let trace = api.get(&format!("/v1/jobs/{id}/trace")).await.expect(200);
    assert!(trace.to_string().contains("\"kind\":\"tell\""), "{trace}");
}
