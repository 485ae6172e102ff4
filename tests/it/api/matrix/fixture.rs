//! Two tenants, their keys, and a thing of each sort.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use taskflow_application::access::{KeyKind, Token};
use taskflow_application::ports::{KeyPage, KnownKey};
use taskflow_domain::{ApiKey, KeyId};
use uuid::Uuid;

use super::super::{Api, Reply};

/// The key of the configuration.
pub(super) const OPERATOR: &str = "the-operators-first-key";

/// What a tenant's key can be good for.
pub(super) const SCOPES: [&str; 5] = ["jobs:read", "jobs:write", "rules:read", "rules:write", "worker"];

pub(super) struct Fixture {
    pub(super) api: Api,
    /// A key of `acme` for everything.
    pub(super) own: String,
    /// A key of `globex` for everything.
    pub(super) other: String,
    /// Keys that open nothing, each with its reason.
    pub(super) dead: Vec<(&'static str, String)>,
    /// For each scope a key of `acme` for everything else.
    pub(super) lacking: Vec<(&'static str, String)>,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let api = Api::keyed(OPERATOR);
        for tenant in ["acme", "globex"] {
            call(&api, OPERATOR, Method::PUT, &format!("/v1/admin/tenants/{tenant}"), Some(json!({})))
                .await
                .expect(200);
        }
        let mut lacking = Vec::new();
        for lacked in SCOPES {
            let rest: Vec<_> = SCOPES.into_iter().filter(|scope| *scope != lacked).collect();
            lacking.push((lacked, make(&api, "acme", &rest, None).await.0));
        }
        let own = make(&api, "acme", &SCOPES, None).await.0;
        let other = make(&api, "globex", &SCOPES, None).await.0;
        let dead = dead(&api, &own).await;
        Self { api, own, other, dead, lacking }
    }

    /// What a key gets as an answer.
    pub(super) async fn ask(&self, key: &str, method: &Method, path: &str, body: Option<Value>) -> Reply {
        call(&self.api, key, method.clone(), path, body).await
    }

    /// The path with a thing of `acme` in it, and the same with one that nobody has.
    pub(super) async fn paths(&self, path: &str) -> (String, String) {
        let absent = Uuid::from_u128(0x0197_0c2e_9f5c_7b1a_8a44_3f1f_6c0f_7d11).to_string();
        let (own, absent) = match path {
            _ if !path.contains('{') => (String::new(), String::new()),
            _ if path.starts_with("/v1/jobs/{id}") => (self.job().await, absent),
            _ if path.starts_with("/v1/admin/api-keys/{id}") => (self.key().await, absent),
            _ if path.starts_with("/v1/automation-rules/{id}") => (self.rule().await, absent),
            _ if path.starts_with("/v1/admin/queues/{name}") => ("mail".to_owned(), "nowhere".to_owned()),
            _ if path.starts_with("/v1/admin/tenants/{slug}") => ("acme".to_owned(), "nobody".to_owned()),
            _ if path.starts_with("/v1/job-kinds/{kind}") => ("send-email".to_owned(), "nothing".to_owned()),
            _ if path.starts_with("/v1/events/webhook/{key}") => ("a-key".to_owned(), "no-key".to_owned()),
            _ => panic!("{path}: the matrix does not know what stands in this path; teach it in fixture.rs"),
        };
        let fill = |with: &str| match (path.find('{'), path.find('}')) {
            (Some(from), Some(to)) => format!("{}{with}{}", &path[..from], &path[to + 1..]),
            _ => path.to_owned(),
        };
        let (own, absent) = (fill(&own), fill(&absent));
        assert!(!own.contains('{'), "{path} has more than one variable part");
        (own, absent)
    }

    /// A new job of `acme`, in a queue that exists from then on.
    pub(super) async fn job(&self) -> String {
        let body = json!({ "kind": "send-email", "queue": "mail", "labels": {"secret": "of-acme"} });
        let job = self.ask(&self.own, &Method::POST, "/v1/jobs", Some(body)).await.expect(201);
        job["id"].as_str().unwrap().to_owned()
    }

    async fn key(&self) -> String {
        make(&self.api, "acme", &["jobs:read"], None).await.1
    }

    async fn rule(&self) -> String {
        let body = Some(rule("secret rule of-acme"));
        let rule = self.ask(&self.own, &Method::POST, "/v1/automation-rules", body).await.expect(201);
        rule["id"].as_str().unwrap().to_owned()
    }
}

/// A rule that any tenant may have.
pub(super) fn rule(name: &str) -> Value {
    json!({ "name": name, "trigger": {"type": "manual"}, "actions": [{"kind": "send-email"}] })
}

async fn call(api: &Api, key: &str, method: Method, path: &str, body: Option<Value>) -> Reply {
    let request = Request::builder().method(method).uri(path).header("x-request-id", "matrix");
    let mut request = request.header("content-type", "application/json");
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    api.request(request.body(body).unwrap()).await
}

/// A key of a tenant: its text and its id.
async fn make(api: &Api, tenant: &str, scopes: &[&str], expires_at: Option<&str>) -> (String, String) {
    let body = json!({ "name": "k", "tenant": tenant, "scopes": scopes, "expires_at": expires_at });
    let made = call(api, OPERATOR, Method::POST, "/v1/admin/api-keys", Some(body)).await.expect(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["key"]), text(&made["api_key"]["id"]))
}

async fn dead(api: &Api, own: &str) -> Vec<(&'static str, String)> {
    let (revoked, id) = make(api, "acme", &SCOPES, None).await;
    let path = format!("/v1/admin/api-keys/{id}");
    call(api, OPERATOR, Method::DELETE, &path, None).await.expect(200);
    let expired = make(api, "acme", &SCOPES, Some("2026-01-31T09:30:00.001Z")).await.0;
    api.clock.advance(1);
    let swapped = if own.ends_with('0') { "1" } else { "0" };
    let bad_check = format!("{}{swapped}", &own[..own.len() - 1]);
    vec![
        ("no key", String::new()),
        ("no such form", "secret".to_owned()),
        ("half a key", own[..own.len() / 2].to_owned()),
        ("another check", bad_check),
        ("revoked", revoked),
        ("expired", expired),
        ("of nobody", Token::make(KeyKind::Tenant, KeyId(Uuid::from_u128(1)), [[1; 16]; 2]).0),
        ("another secret", with_another_secret(api).await),
        ("of another kind", with_another_kind(api).await),
    ]
}

/// A key whose id is known, and whose secret is not its.
async fn with_another_secret(api: &Api) -> String {
    let (_, id) = make(api, "acme", &SCOPES, None).await;
    Token::make(KeyKind::Tenant, KeyId(id.parse().unwrap()), [[9; 16]; 2]).0
}

/// A tenant's key that says that it is an operator's.
async fn with_another_kind(api: &Api) -> String {
    let stores = &api.world.stores;
    let known = stores.keys.list(KeyPage { tenant: None, before: None, limit: 1 }).await.unwrap();
    let like = known.into_iter().find(|key| key.tenant.is_some()).unwrap();
    let id = KeyId(Uuid::from_u128(2));
    let (_, token) = Token::make(KeyKind::Tenant, id, [[5; 16]; 2]);
    let known = KnownKey { key: ApiKey { id, family: id, ..like }, digest: token.digest };
    stores.keys.create(&known, None).await.unwrap();
    Token::make(KeyKind::Operator, id, [[5; 16]; 2]).0
}
