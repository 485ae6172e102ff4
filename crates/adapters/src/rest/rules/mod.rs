//! Automation rules over HTTP: save, look, start, rehearse.

mod act;
mod action;
mod look;
mod read;
mod save;
mod trace;
mod wire;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use taskflow_application::automation::Automation;
use taskflow_domain::RuleId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::json::decode;
use super::problem::{Code, Problem};

pub(super) use wire::firing;

/// The routes. Each call of `routes!` is one path.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(save::create_rule, look::list_rules))
        .routes(routes!(look::get_rule, save::put_rule, save::delete_rule))
        .routes(routes!(save::enable_rule))
        .routes(routes!(save::disable_rule))
        .routes(routes!(act::trigger_rule))
        .routes(routes!(act::simulate_rule))
        .routes(routes!(look::list_firings))
        .routes(routes!(look::get_schedule))
        .routes(routes!(look::get_rule_stats))
        .routes(routes!(look::list_deliveries))
        .routes(routes!(trace::get_trace))
}

impl ApiState {
    /// The rules, where the process has them.
    pub(super) fn rules(&self) -> Result<&Automation, Problem> {
        self.automation
            .as_ref()
            .ok_or_else(|| Problem::new(Code::Unavailable, "this process has no automation rules"))
    }
}

/// The rule of the path. What is no id names no rule.
pub(super) struct RulePath(RuleId);

impl<S: Send + Sync> FromRequestParts<S> for RulePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        let value = params.as_ref().and_then(|params| params.iter().next()).map(|(_, value)| value);
        let id = value.and_then(decode::hyphenated);
        id.map(|id| Self(RuleId(id))).ok_or_else(|| Problem::not_found("rule"))
    }
}
