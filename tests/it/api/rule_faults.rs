//! What is wrong with the actions of a rule whatever happens, told when it is saved.

use serde_json::{Map, Value, json};

use super::Api;

const RULES: &str = "/v1/automation-rules";

/// A rule that is started by hand.
fn rule(action: &Value) -> Value {
    json!({ "name": "by-hand", "trigger": { "type": "manual" }, "actions": [action] })
}

fn labels(count: usize) -> Map<String, Value> {
    (0..count).map(|index| (format!("label-{index}"), json!("x"))).collect()
}

#[tokio::test]
async fn an_action_has_as_many_labels_as_a_job() {
    let api = Api::new();
    let action = |count| json!({ "kind": "k", "labels": labels(count) });
    api.post(RULES, rule(&action(32))).await.expect(201);
    for (path, body, pointer) in
        [("/v1/jobs", action(33), "#/labels"), (RULES, rule(&action(33)), "#/actions/0/labels")]
    {
        let reply = api.post(path, body).await;
        assert!(reply.text.contains("must have at most 32 members"), "{}", reply.text);
        assert_eq!(reply.problem(422), ("invalid".to_owned(), vec![pointer.to_owned()]));
    }
}
