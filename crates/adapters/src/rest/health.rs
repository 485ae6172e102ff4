//! Whether the process lives, whether it can do its work, and what it counted.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::{Duration, timeout};

use super::ApiState;
use super::extract::detached;
use super::problem::{Code, Problem};

/// A database that does not answer within this time is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// The routes, which stand outside of `/v1` and of the OpenAPI description.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
}

async fn live() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#).into_response()
}

async fn ready(State(state): State<ApiState>) -> Result<Response, Problem> {
    if state.stop.is_cancelled() {
        return Err(Problem::new(Code::Unavailable, "the process is shutting down"));
    }
    let check = (state.ready)();
    let unready = match detached(timeout(PATIENCE, check)).await? {
        Ok(Ok(())) => return Ok(live().await),
        Ok(Err(cause)) => cause,
        Err(_) => "the database did not answer in time".to_owned(),
    };
    tracing::warn!(error.message = %unready, "not ready");
    Err(Problem::new(Code::Unavailable, "the database cannot be reached just now"))
}

async fn metrics(State(state): State<ApiState>) -> Response {
    let text = (state.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
