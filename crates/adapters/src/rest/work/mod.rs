//! What workers on the network ask and tell.

mod claim;
mod report;
mod waiting;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;

pub(super) use waiting::Waiting;

/// The routes. Each call of `routes!` is one path.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(claim::claim_jobs))
        .routes(routes!(report::extend_leases))
        .routes(routes!(report::complete_jobs))
        .routes(routes!(report::fail_jobs))
        .routes(routes!(report::report_progress))
}
