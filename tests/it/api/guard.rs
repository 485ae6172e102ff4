//! What callers must not do with rules, and what of a rule nobody is shown.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use taskflow_domain::{RuleId, Target, TenantSlug};

use super::{Api, Reply};

const OPERATOR: &str = "operator-key-of-at-least-32-characters";

async fn ask(api: &Api, key: &str, tenant: &str, method: Method, path: &str, body: &Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .header("taskflow-tenant", tenant)
        .header("content-type", "application/json");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    api.request(request.body(body).unwrap()).await
}

/// A rule that acts for many tenants is an operator's, whosever tenant it lies in.
#[tokio::test]
async fn the_keys_of_its_tenant_do_not_steer_a_fan_out() {
    let api = Api::keyed(OPERATOR);
    let operator =
        async |method, path: &str, body: &Value| ask(&api, OPERATOR, "acme", method, path, body).await;
    operator(Method::PUT, "/v1/admin/tenants/acme", &json!({})).await.expect(200);
    let wish =
        json!({ "name": "acme's", "tenant": "acme", "scopes": ["rules:read", "rules:write", "jobs:read"] });
    let made = operator(Method::POST, "/v1/admin/api-keys", &wish).await.expect(201);
    let key = made["key"].as_str().unwrap().to_owned();
    let document = json!({
        "name": "for all", "trigger": { "type": "manual" }, "for_each_tenant": "true", "actions": [{ "kind": "k" }],
    });
    let rule = operator(Method::POST, "/v1/automation-rules", &document).await.expect(201);
    let path = format!("/v1/automation-rules/{}", rule["id"].as_str().unwrap());
    let own = json!({ "name": "mine", "trigger": { "type": "manual" }, "actions": [{ "kind": "k" }] });
    let tries = [
        (Method::POST, "/simulate", json!({})),
        (Method::POST, "/trigger", json!({})),
        (Method::GET, "/firings", Value::Null),
        (Method::GET, "/stats", Value::Null),
        (Method::POST, "/disable", Value::Null),
        (Method::PUT, "", own),
        (Method::DELETE, "", Value::Null),
    ];
    for (method, end, body) in &tries {
        let reply = ask(&api, &key, "acme", method.clone(), &format!("{path}{end}"), body).await;
        assert_eq!(reply.problem(403).0, "forbidden", "{method} {end}");
    }
    for (method, end, body) in &tries {
        let reply = operator(method.clone(), &format!("{path}{end}"), body).await;
        assert!(reply.status.is_success(), "{method} {end}: {}", reply.text);
    }
}

/// A credential of a rule's target is stored sealed and shown as a mask, which may
/// be sent back in its place as long as the URL is the same.
#[tokio::test]
async fn credentials_of_a_rule_are_sealed_masked_and_kept() {
    let api = Api::new();
    let document = |url: &str, value: &str| {
        json!({
            "name": "call", "trigger": { "type": "manual" },
            "actions": [{ "kind": "k", "target": { "type": "http", "url": url,
                "headers": { "X-Api-Key": value, "X-Team": "a" } } }],
        })
    };
    let made = api.post("/v1/automation-rules", document("http://127.0.0.1/a", "canary")).await.expect(201);
    assert_eq!(made["actions"][0]["target"]["headers"], json!({ "X-Api-Key": "***", "X-Team": "a" }));
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/automation-rules/{id}");
    let stored = async || {
        let tenant = api.world.stores.tenants.get(&TenantSlug::fallback()).await.unwrap().unwrap();
        let rule = api.world.stores.rules.get(tenant.id, RuleId(id.parse().unwrap())).await.unwrap().unwrap();
        match rule.document.actions[0].target.clone() {
            Some(Target::Http(http)) => http,
            other => panic!("{other:?}"),
        }
    };
    let first = stored().await;
    assert_eq!((first.headers.len(), first.sealed_headers.len()), (1, 1));
    assert!(!format!("{first:?}").contains("canary"));
    let mut again = document("http://127.0.0.1/a", "***");
    again["name"] = json!("renamed");
    let shown = api.put(&path, again).await.expect(200);
    assert_eq!((&shown["name"], &shown["revision"]), (&json!("renamed"), &json!(2)));
    assert_eq!(stored().await, first);
    // A credential does not follow a change of whom it is shown to.
    let (_, pointers) = api.put(&path, document("http://127.0.0.1/b", "***")).await.problem(422);
    assert_eq!(pointers, ["#/actions/0/target/headers/X-Api-Key"]);
    assert!(!api.get("/v1/admin/audit").await.text.contains("canary"));
}

/// What a rule renders is judged like what is submitted.
#[tokio::test]
async fn a_rule_cannot_make_what_cannot_be_kept() {
    let api = Api::new();
    for action in [
        json!({ "kind": "k", "labels": { "u": "${'\\u0000'}" } }),
        json!({ "kind": "k", "payload": { "a": ["x${'\\u0000'}"] } }),
    ] {
        let rule = json!({ "name": "nul", "trigger": { "type": "manual" }, "actions": [action] });
        let rule = api.rule(rule).await;
        let fired = api.post(&format!("/v1/automation-rules/{rule}/trigger"), json!({})).await.expect(202);
        let firing = &fired["items"][0];
        assert_eq!((&firing["outcome"], &firing["reason"]), (&json!("ERROR"), &json!("template_error")));
    }
    assert_eq!(api.count().await, 0);
}

/// Nobody takes the place of a webhook's sender.
#[tokio::test]
async fn events_from_outside_are_no_deliveries() {
    let api = Api::new();
    let event =
        json!({ "specversion": "1.0", "id": "1", "source": "webhook:somebodys", "type": "t", "data": 1 });
    let request = Request::post("/v1/events").header("content-type", "application/cloudevents+json");
    let reply = api.request(request.body(Body::from(event.to_string())).unwrap()).await;
    assert_eq!(reply.problem(422).1, ["#/source"]);
}
