//! Starting rules by hand, and rehearsing them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use taskflow_application::automation::{HandStart, RuleWish};
use taskflow_domain::Json;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BODY};
use super::super::describe::{RuleParam, SetRuleProblems, StartProblems, SubmitHeaders, TenantHeader};
use super::super::extract::{Answer, Asker, RulesRead, RulesWrite, detached};
use super::super::fault::{Faults, Path};
use super::super::jobs::{MAX_DOCUMENT, key_of, traceparent};
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
/// for many tenants begins to do so, and its firings come one after the other. With
/// an `Idempotency-Key`, a repeat is answered with what came of the first.
#[utoipa::path(
    post,
    path = "/v1/automation-rules/{id}/trigger",
    operation_id = "triggerRule",
    tag = "rules",
    security(("key" = ["rules:write"])),
    params(TenantHeader, RuleParam, SubmitHeaders),
    request_body = Option<wire::TriggerRequest>,
    responses((status = 202, description = "What came of it at once.", body = wire::FiringItems), StartProblems)
)]
pub(super) async fn trigger_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesWrite>,
    RulePath(id): RulePath,
    _: NoQuery,
    headers: HeaderMap,
    body: Body<MAX_BODY>,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let key = key_of(&headers, &mut faults);
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let Given(input) = body.read_if_sent(input)?;
    let input = input.unwrap_or_else(Json::null);
    let start = HandStart { input, key, traceparent: traceparent(&headers) };
    let automation = state.rules()?.clone();
    let work = async move {
        let fired = automation.trigger(&caller, id, start).await?;
        automation.named(fired).await
    };
    let items = detached(work).await??.iter().map(|(fired, tenant)| firing(fired, tenant)).collect();
    Ok((StatusCode::ACCEPTED, Answer(wire::FiringItems { items })).into_response())
}

/// Rehearse a rule
///
/// Runs it, or a changed version of it, against the stored events of the past, of
/// a cron rule the occurrences since then, of a manual rule its starts, or one start
/// with the `input` that is given. Nothing is made.
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
    let (document, enabled, mode) = (old.document, old.enabled, old.mode);
    let old = RuleWish { document, enabled, mode, secret: None, revision: None };
    let (asked, faults) = body.read_partly_if_sent(|value, faults| read::rehearsal(value, faults, &old))?;
    let asked = asked.unwrap_or_default();
    if !faults.is_empty() {
        return Err(all_faults(&state, asked.instead, faults).await?);
    }
    let automation = state.rules()?.clone();
    let work = async move { automation.simulate(&caller, id, asked).await };
    Ok(Answer(simulation(detached(work).await??)))
}
