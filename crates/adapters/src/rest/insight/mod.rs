//! Why jobs do not run, what happened over time, and who keeps the engine going.

mod automations;
mod explain;
mod params;
mod recent;
mod runner;
mod stats;
mod steer;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;

pub(super) use recent::recent;

/// The routes. Each call of `routes!` is one path.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(explain::explain_job))
        .routes(routes!(explain::explain_queue))
        .routes(routes!(steer::drain_queue))
        .routes(routes!(steer::purge_queue))
        .routes(routes!(runner::list_runners))
        .routes(routes!(stats::read_stats))
        .routes(routes!(automations::list_automations))
}
