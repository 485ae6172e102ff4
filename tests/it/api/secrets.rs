//! Secrets of rules that no key of the process opens.

use axum::body::Body;
use axum::http::Request;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use taskflow_tests::hex;

use super::{Api, Reply};

const SECRET: &str = "long enough for a secret";

/// A rule with that secret, or with whatever it has.
fn hook(secret: Option<&str>) -> Value {
    let mut signature = json!({ "scheme": "github" });
    if let Some(secret) = secret {
        signature["secret"] = json!(secret);
    }
    json!({
        "name": "hook", "trigger": { "type": "webhook", "key": "hook-hook-hook", "signature": signature },
        "actions": [{ "kind": "k" }]
    })
}

async fn deliver(api: &Api, secret: &str, body: &'static str) -> Reply {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let code = format!("sha256={}", hex(&mac.finalize().into_bytes()));
    let request = Request::post("/v1/events/webhook/hook-hook-hook").header("x-hub-signature-256", code);
    api.request(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn a_secret_that_no_key_opens_is_told_and_not_kept() {
    let api = Api::new();
    let id = api.rule(hook(Some(SECRET))).await;
    let path = format!("/v1/automation-rules/{id}");
    let other = api.with_other_secrets_key();
    let refused = deliver(&other, SECRET, "1").await;
    assert_eq!(refused.problem(422), ("secrets_unavailable".to_owned(), vec![]));
    assert_eq!(refused.json()["title"], "The secret cannot be kept or opened");
    // Whoever puts the rule back as it is shown is told that its secret is gone.
    let refused = other.put(&path, hook(None)).await;
    let place = vec!["#/trigger/signature/secret".to_owned()];
    assert_eq!(refused.problem(422), ("secrets_unavailable".to_owned(), place));
    // It can be switched off nevertheless.
    other.act(&format!("{path}/disable")).await.expect(200);
    other.act(&format!("{path}/enable")).await.expect(200);
    let new = "another secret, also long";
    other.put(&path, hook(Some(new))).await.expect(200);
    deliver(&other, new, "2").await.expect(202);
    other.put(&path, hook(None)).await.expect(200);
    // The first one is not kept beside it: nobody could compare anything with it.
    assert_eq!(deliver(&other, SECRET, "3").await.problem(401).0, "bad_signature");
}

/// Whoever puts a rule back as it is shown is told which of its credentials are gone.
#[tokio::test]
async fn a_credential_that_no_key_opens_is_told_and_not_kept() {
    let api = Api::new();
    let rule = |first: &str, second: &str| {
        let target = |name: &str, value: &str| json!({ "type": "http", "url": "http://127.0.0.1:9/", "headers": { name: value, "x-team": "a" } });
        json!({
            "name": "calls", "trigger": { "type": "manual" },
            "actions": [
                { "kind": "k", "target": target("authorization", first) },
                { "kind": "k", "target": target("x-api-key", second) },
            ],
        })
    };
    let id = api.rule(rule("Bearer canary", "canary")).await;
    let path = format!("/v1/automation-rules/{id}");
    api.put(&path, rule("***", "***")).await.expect(200);
    let other = api.with_other_secrets_key();
    let at = |action: u8, name: &str| format!("#/actions/{action}/target/headers/{name}");
    let (first, second) = (at(0, "authorization"), at(1, "x-api-key"));
    let refused = other.put(&path, rule("***", "***")).await;
    assert_eq!(refused.problem(422), ("secrets_unavailable".to_owned(), vec![first, second.clone()]));
    assert!(!refused.text.contains("canary"));
    let refused = other.put(&path, rule("Bearer new", "***")).await;
    assert_eq!(refused.problem(422), ("secrets_unavailable".to_owned(), vec![second]));
    // It can be switched off nevertheless.
    other.act(&format!("{path}/disable")).await.expect(200);
    other.act(&format!("{path}/enable")).await.expect(200);
    other.put(&path, rule("Bearer new", "new")).await.expect(200);
    other.put(&path, rule("***", "***")).await.expect(200);
    assert_eq!(api.put(&path, rule("***", "***")).await.problem(422).0, "secrets_unavailable");
}
