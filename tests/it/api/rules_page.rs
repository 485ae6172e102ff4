//! The worked examples of the page about rules, run as they stand there.

use std::fs;
use std::path::Path;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use taskflow_domain::Timestamp;

use super::Api;

/// One example: its title, and its blocks by name.
struct Example {
    title: String,
    blocks: Vec<(String, Value)>,
}

impl Example {
    fn block(&self, name: &str) -> Option<&Value> {
        self.blocks.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

fn examples() -> Vec<Example> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let text = fs::read_to_string(path).unwrap();
    let examples = text.split_once("## Ten worked examples").unwrap().1;
    let example = |section: &str| {
        let title = section.lines().next().unwrap().to_owned();
        let block = |block: &str| {
            let (name, rest) = block.split_once('\n').unwrap();
            let body = rest.split("```").next().unwrap();
            (
                name.to_owned(),
                serde_json::from_str(body).unwrap_or_else(|error| panic!("{title}, {name}: {error}")),
            )
        };
        let blocks = section.split("```json ").skip(1).map(block).collect();
        Example { title: title.clone(), blocks }
    };
    examples.split("\n### ").skip(1).map(example).collect()
}

/// Makes happen what the example says.
async fn happen(api: &Api, example: &Example, rule: &Value) {
    let id = rule["id"].as_str().unwrap();
    if let Some(at) = example.block("clock") {
        api.clock.set(Timestamp::parse_rfc3339(at.as_str().unwrap()).unwrap());
    }
    if let Some(event) = example.block("event") {
        let request = Request::post("/v1/events").header("content-type", "application/cloudevents+json");
        let reply = api.request(request.body(Body::from(event.to_string())).unwrap()).await;
        reply.expect(202);
    }
    if let Some(body) = example.block("webhook") {
        let address = format!("/v1/events/webhook/{}", rule["trigger"]["key"].as_str().unwrap());
        let request = Request::post(address).header("x-delivery", "d-1");
        api.request(request.body(Body::from(body.to_string())).unwrap()).await.expect(202);
    }
    if let Some(input) = example.block("input") {
        api.post(&format!("/v1/automation-rules/{id}/trigger"), json!({ "input": input })).await.expect(202);
    }
    if let Some(fails) = example.block("fails") {
        let kind = fails["kind"].as_str().unwrap();
        let job = api.job(json!({ "kind": kind })).await;
        let (_, token) = api.claim(kind).await;
        let item = json!({ "job_id": job, "lease_token": token, "permanent": true, "error": fails["error"] });
        api.post("/v1/worker/fail", json!({ "items": [item] })).await.expect(200);
    }
    for _ in 0..3 {
        api.post("/v1/pulse", json!({ "max_jobs": 0 })).await.expect(200);
    }
}

/// Whether everything that `expected` says is so in `found`.
fn holds(expected: &Value, found: &Value) -> bool {
    match expected {
        Value::Object(members) => members.iter().all(|(key, member)| match member {
            Value::Object(_) if key == "target" => holds(member, &found[key]),
            _ => found[key] == *member,
        }),
        other => other == found,
    }
}

#[tokio::test]
async fn every_worked_example_does_what_it_says() {
    let examples = examples();
    assert_eq!(examples.len(), 10);
    for example in examples {
        let title = &example.title;
        let api = Api::new();
        for (slug, plan) in [("acme", "pro"), ("zeta", "pro"), ("free", "free")] {
            let tenant = json!({ "attributes": { "plan": plan } });
            api.put(&format!("/v1/admin/tenants/{slug}"), tenant).await.expect(200);
        }
        let rule = api.post("/v1/automation-rules", example.block("rule").unwrap().clone()).await.expect(201);
        happen(&api, &example, &rule).await;
        let firings = format!("/v1/automation-rules/{}/firings", rule["id"].as_str().unwrap());
        let firings = api.get(&firings).await.expect(200)["items"].as_array().unwrap().clone();
        let mut made = Vec::new();
        for slug in ["default", "acme", "zeta", "free"] {
            let request =
                Request::get("/v1/jobs").header("Taskflow-Tenant", slug).body(Body::empty()).unwrap();
            let jobs = api.request(request).await.expect(200)["items"].as_array().unwrap().clone();
            made.extend(jobs.into_iter().filter(|job| job["rule_id"] == rule["id"]));
        }
        let expected = example.block("jobs").cloned().unwrap_or_else(|| json!([]));
        let expected = expected.as_array().unwrap();
        assert_eq!(made.len(), expected.len(), "{title}: {made:#?} {firings:#?}");
        for job in expected {
            assert!(made.iter().any(|found| holds(job, found)), "{title}: {job} is not among {made:#?}");
        }
        if let Some(firing) = example.block("firing") {
            assert_eq!(firings.len(), 1, "{title}: {firings:#?}");
            assert!(holds(firing, &firings[0]), "{title}: {firings:#?}");
        }
    }
}
