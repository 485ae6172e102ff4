//! What comes from outside: webhook deliveries, CloudEvents, and the tick of
//! platforms without a process that runs for long.

mod cloud;
mod ingest;
mod pulse;
mod webhook;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;

/// The routes. Each call of `routes!` is one path.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(webhook::deliver))
        .routes(routes!(ingest::post_events, ingest::shake_hands))
        .routes(routes!(pulse::pulse))
}
