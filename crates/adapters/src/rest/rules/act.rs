//! Starting rules by hand, and rehearsing them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use taskflow_application::automation::RuleWish;
use taskflow_domain::Json;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BODY};
use super::super::describe::{RuleParam, SetRuleProblems, TenantHeader};
use super::super::extract::{Answer, Asker, RulesRead, RulesWrite, detached};
use super::super::fault::{Faults, Path};
use super::super::jobs::{MAX_DOCUMENT, traceparent};
use super::super::json::{Object, Value, decode};
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::save::all_faults;
use super::wire::{firing, simulation};
use super::{RulePath, read};

/// What was given; nothing if nothing was.
#[derive(Default)]
struct Given(Option<Json>);

fn input(value: Value<'_>, faults: &mut Faults) -> Option<Given> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let input = object.optional("input", decode::document(MAX_DOCUMENT));
    object.close();
    Some(Given(input))
}

/// Start a rule by hand
///
/// A rule with a manual trigger, or a cron rule out of its turn. A rule that acts
/// for many tenants begins to do so, and its firings come one after the other.
#[utoipa::path(
    post,
    path = "/v1/automation-rules/{id}/trigger",
    operation_id = "triggerRule",
    tag = "rules",
    security(("key" = ["rules:write"])),
    params(TenantHeader, RuleParam),
    request_body = Option<wire::TriggerRequest>,
    responses((status = 202, description = "What came of it at once.", body = wire::FiringItems), SetRuleProblems)
)]
pub(super) async fn trigger_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesWrite>,
    RulePath(id): RulePath,
    _: NoQuery,
    headers: HeaderMap,
    body: Body<MAX_BODY>,
) -> Result<Response, Problem> {
    let trace = traceparent(&headers);
    let Given(input) = body.read_if_sent(input)?;
    let input = input.unwrap_or_else(Json::null);
    let automation = state.rules()?.clone();
    let work = async move {
        let fired = automation.trigger(&caller, id, input, trace).await?;
        automation.named(fired).await
    };
    let items = detached(work).await??.iter().map(|(fired, tenant)| firing(fired, tenant)).collect();
    Ok((StatusCode::ACCEPTED, Answer(wire::FiringItems { items })).into_response())
}

/// Rehearse a rule
///
/// Runs it, or a changed version of it, against the stored events of the past, or
/// of a cron rule the occurrences since then. Nothing is made.
#[utoipa::path(
    post,
    path = "/v1/automation-rules/{id}/simulate",
    operation_id = "simulateRule",
    tag = "rules",
    security(("key" = ["rules:read"])),
    params(TenantHeader, RuleParam),
    request_body = Option<wire::SimulateRequest>,
    responses((status = 200, description = "What it would have done.", body = wire::SimulateAnswer), SetRuleProblems)
)]
pub(super) async fn simulate_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesRead>,
    RulePath(id): RulePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::SimulateAnswer>, Problem> {
    let automation = state.rules()?.clone();
    let asker = caller.clone();
    let old = detached(async move { automation.get(&asker, id).await }).await??;
    let old = RuleWish { document: old.document, enabled: old.enabled, mode: old.mode, secret: None };
    let (asked, faults) = body.read_partly_if_sent(|value, faults| read::rehearsal(value, faults, &old))?;
    let (since, instead) = asked.unwrap_or_default();
    if !faults.is_empty() {
        return Err(all_faults(&state, instead, faults).await?);
    }
    let automation = state.rules()?.clone();
    let work = async move { automation.simulate(&caller, id, instead, since).await };
    Ok(Answer(simulation(detached(work).await??)))
}
