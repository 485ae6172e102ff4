//! Jobs over HTTP: submit, look, act.

mod act;
mod bulk;
mod filter;
mod look;
mod submit;
mod target;
mod wire;
mod wish;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;

pub(super) use act::Why;
pub(super) use submit::traceparent;
pub(super) use target::templated_target;
pub(super) use wire::{attempt, claimed, job, state};
pub(super) use wish::{MAX_DOCUMENT, key_of, retry_policy};

/// The routes. Each call of `routes!` is one path.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(submit::submit_job, look::list_jobs))
        .routes(routes!(submit::submit_jobs))
        .routes(routes!(bulk::cancel_jobs))
        .routes(routes!(bulk::retry_jobs))
        .routes(routes!(look::get_job, act::edit_job))
        .routes(routes!(look::list_attempts))
        .routes(routes!(look::list_events))
        .routes(routes!(act::cancel_job))
        .routes(routes!(act::retry_job))
        .routes(routes!(act::pause_job))
        .routes(routes!(act::resume_job))
}
