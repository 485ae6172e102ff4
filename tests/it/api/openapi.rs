//! The OpenAPI description: whole, unique in its names, and true in its examples.

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::Api;

async fn description(api: &Api) -> Value {
    api.get("/openapi.json").await.expect(200)
}

/// Every operation: its method, its path, itself.
fn operations(document: &Value) -> Vec<(String, String, Map<String, Value>)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.clone(), path.clone(), operation.as_object().unwrap().clone()));
        }
    }
    all
}

#[tokio::test]
async fn the_description_is_a_snapshot() {
    let document = description(&Api::new()).await;
    assert_eq!(document["openapi"], "3.1.0");
    insta::assert_snapshot!("openapi", serde_json::to_string_pretty(&document).unwrap());
}

#[tokio::test]
async fn names_are_unique_and_references_resolve() {
    let document = description(&Api::new()).await;
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} {path}");
        assert!(operation["responses"].as_object().unwrap().contains_key("500"), "{method} {path}");
    }
    assert!(ids.len() >= 33, "{}", ids.len());
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for part in text.split("\"$ref\":\"").skip(1) {
        let reference = part.split('"').next().unwrap();
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{reference}");
    }
}

#[tokio::test]
async fn requests_are_closed_and_answers_are_whole() {
    let document = description(&Api::new()).await;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let Some(properties) = schema["properties"].as_object() else { continue };
        let closed = schema["additionalProperties"] == json!(false);
        let required = schema["required"].as_array().map_or(0, Vec::len);
        assert!(closed || required == properties.len(), "{name} is neither closed nor whole");
    }
}

#[tokio::test]
async fn every_example_of_a_request_is_accepted() {
    let api = Api::new();
    let document = description(&api).await;
    let mut sent = 0;
    for (method, path, operation) in operations(&document) {
        let Some(body) = operation.get("requestBody") else { continue };
        let schema = &body["content"]["application/json"]["schema"];
        // What comes from outside is not only JSON, and has tests of its own.
        if schema.is_null() {
            continue;
        }
        let reference = schema["$ref"].as_str().unwrap();
        let name = reference.rsplit('/').next().unwrap();
        let example = document["components"]["schemas"][name]["example"].clone();
        assert!(example.is_object(), "{name} has no example");
        let id = if path.contains("/api-keys/") {
            let wish = json!({ "name": "k", "scopes": ["operator"] });
            let made = api.post("/v1/admin/api-keys", wish).await.expect(201);
            made["api_key"]["id"].as_str().unwrap().to_owned()
        } else if path.contains("automation-rules") {
            api.rule(json!({ "name": "r", "trigger": { "type": "manual" }, "actions": [{ "kind": "k" }] }))
                .await
        } else {
            api.job(json!({ "kind": "k" })).await
        };
        api.put("/v1/admin/queues/mail", json!({})).await.expect(200);
        api.post("/v1/admin/queues/mail/resume", json!({})).await.expect(200);
        let path = path.replace("{id}", &id).replace("{name}", "mail").replace("{slug}", "acme");
        let method: Method = method.to_uppercase().parse().unwrap();
        let reply = api.raw(method, &path, example.to_string()).await;
        // A reason is right, though this job can be neither retried nor resumed.
        let allowed = reply.status.is_success() || name == "ReasonRequest" && reply.status == 409;
        assert!(allowed, "{name} at {path}: {}", reply.text);
        sent += 1;
    }
    assert!(sent >= 16, "{sent}");
}

/// The documentation of the API names every call with its summary, and every code.
#[tokio::test]
async fn calls_and_codes_are_documented() {
    let document = description(&Api::new()).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut calls = Vec::new();
    let mut codes = BTreeSet::from([(405, "method_not_allowed".to_owned())]);
    for (method, path, operation) in operations(&document) {
        let summary = operation["summary"].as_str().unwrap();
        calls.push(format!("| `{} {path}` | {summary} |", method.to_uppercase()));
        for (status, response) in operation["responses"].as_object().unwrap() {
            let status: u16 = status.parse().unwrap();
            let examples = response["content"]["application/problem+json"]["examples"].as_object();
            codes.extend(examples.into_iter().flat_map(Map::keys).map(|code| (status, code.clone())));
        }
    }
    let is_call = |line: &&str| line.starts_with("| `") && line.contains(" /v1/") && line.ends_with(" |");
    let documented: Vec<_> = text.lines().filter(is_call).collect();
    assert_eq!(documented.join("\n"), calls.join("\n"), "docs/api.md differs from the description");
    let code = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (status, code) = (cells.next()?.parse::<u16>().ok()?, cells.next()?);
        Some((status, code.trim_matches('`').to_owned()))
    };
    let documented: BTreeSet<_> = text.lines().filter_map(code).collect();
    assert_eq!(documented, codes, "docs/api.md differs from the description");
}
