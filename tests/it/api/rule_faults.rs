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

/// Where the faults of a rule with that action are, in order.
async fn faults(api: &Api, action: Value) -> Vec<String> {
    let (code, mut pointers) = api.post(RULES, rule(&action)).await.problem(422);
    assert_eq!(code, "invalid");
    pointers.sort();
    pointers
}

#[tokio::test]
async fn a_template_that_cannot_be_read_hides_no_other() {
    let api = Api::new();
    let action = json!({
        "kind": "k", "queue": "${", "payload": { "a": "${1 +}", "b": "${zz}" }, "labels": { "x": "${event.type}" }
    });
    let expected =
        ["#/actions/0/labels/x", "#/actions/0/payload/a", "#/actions/0/payload/b", "#/actions/0/queue"];
    assert_eq!(faults(&api, action).await, expected);
}

#[tokio::test]
async fn what_is_wrong_whatever_happens_is_not_saved() {
    let api = Api::new();
    let long = "x".repeat(300);
    for (field, value, pointer) in [
        ("labels", json!({ "a": long }), "labels/a"),
        ("labels", json!({ "a": "${[1]}" }), "labels/a"),
        ("labels", json!({ "a": format!("{long}${{tenant.slug}}") }), "labels/a"),
        ("labels", json!({ "a b": "x" }), "labels/a%20b"),
        (
            "target",
            json!({ "type": "http", "url": "http://a/", "headers": { "x-a": " a" } }),
            "target/headers/x-a",
        ),
        ("idempotency_key", json!(long), "idempotency_key"),
        ("idempotency_key", json!("a b"), "idempotency_key"),
        ("idempotency_key", json!("${'a b'}"), "idempotency_key"),
        ("run_at", json!("soon"), "run_at"),
        ("run_at", json!("${1}"), "run_at"),
        ("run_at", json!("${true}"), "run_at"),
        ("queue", json!("bad ${tenant.slug}"), "queue"),
        ("queue", json!("${'bad queue'}"), "queue"),
        ("target", json!({ "type": "http", "url": "ftp://${tenant.slug}" }), "target/url"),
        ("target", json!({ "type": "http", "url": "${'http://u:p@a.example/'}" }), "target/url"),
    ] {
        let mut action = json!({ "kind": "k" });
        action[field] = value;
        let told = faults(&api, action.clone()).await;
        assert_eq!(told, [format!("#/actions/0/{pointer}")], "{action}");
    }
    // What an expression may still make good is the firing's to judge.
    let good = json!({
        "kind": "k", "queue": "${tenant.slug}-mail", "run_at": "${now}", "idempotency_key": "day-${1 + 1}",
        "labels": { "a": "${true}" }, "target": { "type": "http", "url": "http${'s'}://${tenant.slug}/" }
    });
    api.post(RULES, rule(&good)).await.expect(201);
}

#[tokio::test]
async fn what_renders_to_no_target_is_an_error() {
    let api = Api::new();
    let action = json!({
        "kind": "k", "target": {
            "type": "http", "url": "http://${trigger.input.host}/", "headers": { "x-a": "${trigger.input.a}" }
        }, "labels": { "l/m": "${trigger.input.l}" }
    });
    let rule = api.post(RULES, rule(&action)).await.expect(201);
    let path = format!("{RULES}/{}/trigger", rule["id"].as_str().unwrap());
    for (host, header, told) in [
        ("u:p@a.example", "x", "/actions/0/target/url: must not hold a user name"),
        ("a.example/#", "x", "/actions/0/target/url: must not have a fragment"),
        ("a.example:0", "x", "/actions/0/target/url: must not name port 0"),
        ("a example", "x", "/actions/0/target/url: must be ASCII without spaces"),
        ("a.example", " x", "/actions/0/target/headers/x-a: must not have space around it"),
    ] {
        let input = json!({ "input": { "host": host, "a": header, "l": "x" } });
        let fired = api.post(&path, input).await.expect(202);
        let firing = &fired["items"][0];
        let detail = firing["detail"].as_str().unwrap_or_default();
        assert_eq!(firing["outcome"], "ERROR", "{fired}");
        assert!(detail.contains(told), "{fired}");
    }
    for (input, told) in [
        (
            json!({ "host": "a.example", "a": [1], "l": "x" }),
            "/actions/0/target/headers/x-a: must render to a text",
        ),
        (json!({ "host": "a.example", "a": "x", "l": [1] }), "/actions/0/labels/l~1m: must render to a text"),
        (
            json!({ "host": "a.example", "a": "x", "l": "x".repeat(300) }),
            "/actions/0/labels/l~1m: the value of a label has at most 255 characters",
        ),
    ] {
        let fired = api.post(&path, json!({ "input": input })).await.expect(202);
        assert_eq!(fired["items"][0]["detail"], told, "{fired}");
    }
    let good = json!({ "input": { "host": "a.example", "a": "x", "l": "x" } });
    let good = api.post(&path, good).await.expect(202);
    assert_eq!(good["items"][0]["outcome"], "FIRED", "{good}");
}

#[tokio::test]
async fn a_label_is_told_all_that_is_wrong_with_it() {
    let api = Api::new();
    let told = faults(&api, json!({ "kind": "k", "labels": { "a b": 1 } })).await;
    assert_eq!(told, ["#/actions/0/labels/a%20b", "#/actions/0/labels/a%20b"]);
}

#[tokio::test]
async fn a_condition_that_is_too_deep_is_told_once() {
    let api = Api::new();
    let mut deep = rule(&json!({ "kind": "k" }));
    deep["condition"] = json!(format!("size({}1{}) == 1", "[".repeat(40), "]".repeat(40)));
    let refused = api.post(RULES, deep).await;
    assert_eq!(refused.problem(422).1, ["#/condition"]);
    assert!(refused.text.contains("is nested deeper than 24"), "{}", refused.text);
}
