//! The HTTP API over the stores in memory: the same router as in production,
//! called without a network, with a clock that stands still.

mod events;
mod guard;
mod jobs;
mod malformed;
mod manage;
mod matrix;
mod openapi;
mod rule_faults;
mod rules;
mod rules_page;
mod secrets;
mod siege;
mod work;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use taskflow_adapters::condition::CelEngine;
use taskflow_adapters::rest::{ApiState, router};
use taskflow_adapters::webhook::{KEY_BYTES, SecretVault, Verifier};
use taskflow_application::World;
use taskflow_application::access::Access;
use taskflow_application::automation::{Automation, Pulse, PulseWorker, Ran, Tools};
use taskflow_application::maintain::{Maintain, Retention};
use taskflow_application::memory::{LocalWakeups, ManualClock, MemoryStore, SeededIds, SeededJitter};
use taskflow_application::ports::StoreResult;
use taskflow_domain::Timestamp;
use tower::ServiceExt;

/// 2026-01-31T09:30:00Z.
const NOW: i64 = 1_769_851_800_000_000;

/// Runs no jobs.
struct Idle;

#[async_trait]
impl PulseWorker for Idle {
    async fn run(&self, _: u32, _: Duration, _: Duration) -> StoreResult<Ran> {
        Ok(Ran::default())
    }
}

/// Rules over the world, with the real engine of conditions.
fn automation(world: &World) -> Automation {
    let tools = Tools { conditions: Arc::new(CelEngine::start(1).unwrap()), signatures: Arc::new(Verifier) };
    Automation::new(world.clone(), tools)
}

/// The API, with the world behind it.
struct Api {
    router: Router,
    world: World,
    clock: Arc<ManualClock>,
    automation: Automation,
}

/// An answer.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The body of an answer with that status.
    fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The code and the pointers of a problem with that status.
    fn problem(&self, status: u16) -> (String, Vec<String>) {
        let body = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status);
        let id = self.headers["x-request-id"].to_str().unwrap();
        assert_eq!(body["instance"], format!("urn:taskflow:request:{id}"));
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("urn:taskflow:problem:{code}"));
        let errors = body["errors"].as_array().unwrap();
        let pointer = |error: &Value| error["pointer"].as_str().unwrap().to_owned();
        (code, errors.iter().map(pointer).collect())
    }
}

impl Api {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// The same, where everybody needs a key; `operator` is the first.
    fn keyed(operator: &str) -> Self {
        Self::with(|state, world| {
            state.access = Access::keyed(world.clone(), Some(operator));
        })
    }

    fn with(change: impl FnOnce(&mut ApiState, &World)) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(NOW)));
        let ids = Arc::new(SeededIds::new(1));
        let vault = SecretVault::new(&[[0; KEY_BYTES]], ids.clone()).unwrap();
        let world = World {
            stores: MemoryStore::stores(),
            clock: clock.clone(),
            ids: ids.clone(),
            jitter: Arc::new(SeededJitter::new(1)),
            wakeups: Arc::new(LocalWakeups::default()),
            tally: taskflow_application::tally::Tally::default(),
            drains: taskflow_application::drains::Drains::default(),
            vault: Some(Arc::new(vault)),
        };
        Self::over(world, clock, change)
    }

    /// The API over the same stores, of a process with another key of secrets.
    fn with_other_secrets_key(&self) -> Self {
        let vault = SecretVault::new(&[[1; KEY_BYTES]], self.world.ids.clone()).unwrap();
        let world = World { vault: Some(Arc::new(vault)), ..self.world.clone() };
        Self::over(world, self.clock.clone(), |_, _| {})
    }

    fn over(world: World, clock: Arc<ManualClock>, change: impl FnOnce(&mut ApiState, &World)) -> Self {
        let automation = automation(&world);
        let maintain = Arc::new(Maintain::new(world.clone(), Retention::default(), 30_000));
        let pulse = Pulse::new(automation.clone(), maintain, Arc::new(Idle));
        let mut state = ApiState::new(&world);
        (state.automation, state.pulse) = (Some(automation.clone()), Some(pulse));
        change(&mut state, &world);
        Self { router: router(state), world, clock, automation }
    }

    async fn request(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    /// A request with a JSON body of any bytes.
    async fn raw(&self, method: Method, path: &str, body: impl Into<Body>) -> Reply {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        self.request(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.request(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.raw(Method::POST, path, body.to_string()).await
    }

    async fn put(&self, path: &str, body: Value) -> Reply {
        self.raw(Method::PUT, path, body.to_string()).await
    }

    async fn patch(&self, path: &str, body: Value) -> Reply {
        self.raw(Method::PATCH, path, body.to_string()).await
    }

    /// A POST without body and type.
    async fn act(&self, path: &str) -> Reply {
        self.request(Request::post(path).body(Body::empty()).unwrap()).await
    }

    /// The id of a new job.
    async fn job(&self, body: Value) -> String {
        self.post("/v1/jobs", body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// The id of a new rule.
    async fn rule(&self, body: Value) -> String {
        self.post("/v1/automation-rules", body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Claims one job of `kind`: its id and its token.
    async fn claim(&self, kind: &str) -> (String, String) {
        let body = json!({ "worker_id": "w1", "kinds": [kind] });
        let answer = self.post("/v1/worker/claim", body).await.expect(200);
        let item = &answer["items"][0];
        (item["id"].as_str().unwrap().to_owned(), item["lease_token"].as_str().unwrap().to_owned())
    }

    /// How many jobs there are.
    async fn count(&self) -> usize {
        self.get("/v1/jobs?limit=500").await.expect(200)["items"].as_array().unwrap().len()
    }
}
