//! The REST API: routes, strict reading of requests, problems, the OpenAPI
//! description and the page that shows it.
//!
//! A handler has four steps and no more: who asks, what is wanted (every fault
//! in one answer), the use case, the wire form of what it answers. What is the
//! same for all requests is in [`context`].

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::response::Response;
use futures_util::future::BoxFuture;
use taskflow_application::World;
use taskflow_application::access::Access;
use taskflow_application::audit::Audit;
use taskflow_application::automation::{Automation, Pulse};
use taskflow_application::insight::Insight;
use taskflow_application::jobs::Jobs;
use taskflow_application::keys::Keys;
use taskflow_application::ports::Ids;
use taskflow_application::queues::Queues;
use taskflow_application::tenants::Tenants;
use taskflow_application::work::Work;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

mod audit;
mod body;
mod budget;
mod context;
mod describe;
mod docs;
mod events;
mod extract;
mod fault;
mod guard;
mod health;
mod insight;
mod jobs;
mod json;
mod keys;
mod openapi;
mod page;
mod patient;
mod problem;
mod query;
mod queues;
mod rules;
pub mod server;
mod shares;
mod tenants;
mod work;
mod workers;

use problem::{Code, Problem};

/// Whether the process can do its work: asks the database.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;
/// What the process counted, in the text form of Prometheus.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the handlers stand on.
#[derive(Clone)]
pub struct ApiState {
    /// Jobs as their owners use them.
    pub jobs: Jobs,
    /// Work as workers see it.
    pub work: Work,
    /// Queues.
    pub queues: Queues,
    /// Tenants.
    pub tenants: Tenants,
    /// API keys.
    pub keys: Keys,
    /// What was done by whom.
    pub audit: Audit,
    /// Automation rules, where the process has them.
    pub automation: Option<Automation>,
    /// One bounded tick, where the process does them.
    pub pulse: Option<Pulse>,
    /// Who may come in; everybody unless it is set.
    pub access: Access,
    /// Why, how much, and who does it.
    pub insight: Insight,
    /// Ids of requests.
    pub ids: Arc<dyn Ids>,
    /// Whether the database answers.
    pub ready: Ready,
    /// What was counted.
    pub metrics: Metrics,
    /// Set when the process is to end: long polls are answered at once.
    pub stop: CancellationToken,
    /// Whether callers without keys may name any host: the process listens beyond
    /// loopback although nobody needs a key.
    pub any_host: bool,
    waiting: work::Waiting,
    description: Arc<str>,
}

impl ApiState {
    /// A state over the use cases, ready without asking anybody, and counting nothing.
    pub fn new(world: &World) -> Self {
        Self {
            jobs: Jobs::new(world.clone()),
            work: Work::new(world.clone()),
            queues: Queues::new(world.clone()),
            tenants: Tenants::new(world.clone()),
            keys: Keys::new(world.clone()),
            audit: Audit::new(world.clone()),
            automation: None,
            pulse: None,
            access: Access::open(world.clone()),
            insight: Insight::new(world.clone()),
            ids: Arc::clone(&world.ids),
            ready: Arc::new(|| Box::pin(async { Ok(()) })),
            metrics: Arc::new(String::new),
            stop: CancellationToken::new(),
            any_host: false,
            waiting: work::Waiting::default(),
            description: "{}".into(),
        }
    }
}

/// The whole API.
pub fn router(mut state: ApiState) -> Router {
    let (described, api) = described().split_for_parts();
    state.description = openapi::document(api).into();
    let routes = described.merge(health::routes()).merge(docs::routes());
    framed(routes.layer(middleware::from_fn_with_state(state.clone(), guard::guard)), state)
}

/// Health and metrics alone, for a process that serves no API.
pub fn health_router(state: ApiState) -> Router {
    framed(health::routes(), state)
}

/// The routes, and around them what is the same for all requests.
fn framed(routes: Router<ApiState>, state: ApiState) -> Router {
    routes
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(|cause: Box<dyn Any + Send>| -> Response {
            context::panicked(&*cause)
        }))
        .layer(middleware::from_fn_with_state(state.clone(), context::context))
        .with_state(state)
}

fn described() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(openapi::Frame::openapi())
        .merge(jobs::routes())
        .merge(work::routes())
        .merge(queues::routes())
        .merge(tenants::routes())
        .merge(workers::routes())
        .merge(rules::routes())
        .merge(events::routes())
        .merge(keys::routes())
        .merge(audit::routes())
        .merge(insight::routes())
}

async fn no_route() -> Problem {
    Problem::new(Code::NotFound, "there is nothing at this path")
}

async fn no_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the methods that are possible here stand in the header Allow")
}
