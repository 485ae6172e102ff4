//! Making rules, changing them, switching them on and off.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use taskflow_application::automation::{AutomationError, RuleWish};
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::body::{Body, MAX_BODY};
use super::super::describe::{RuleParam, RuleProblems, SetRuleProblems, TenantHeader};
use super::super::extract::{Answer, Asker, RulesWrite, detached};
use super::super::fault::{Faults, Path};
use super::super::json::Object;
use super::super::problem::Problem;
use super::super::query::NoQuery;
use super::read::KeptHook;
use super::wire::rule;
use super::{RulePath, read};

/// A rule that was read, if it has no faults.
async fn wish_of(state: &ApiState, (wish, faults): (Option<RuleWish>, Faults)) -> Result<RuleWish, Problem> {
    match wish {
        Some(wish) if faults.is_empty() => Ok(wish),
        wish => Err(all_faults(state, wish, faults).await?),
    }
}

/// Where parts of a rule cannot be read, the rest is judged all the same, so that
/// one answer names everything.
pub(super) async fn all_faults(
    state: &ApiState,
    wish: Option<RuleWish>,
    mut faults: Faults,
) -> Result<Problem, Problem> {
    if let Some(wish) = wish {
        let automation = state.rules()?.clone();
        for fault in detached(async move { automation.faults(wish).await }).await? {
            faults.note_pointer(&fault.pointer, fault.detail);
        }
    }
    Ok(Problem::invalid(faults))
}

/// Make a rule
///
/// Everything that is wrong with it is told at once. A webhook rule gets its key
/// here; secrets are kept sealed and never shown.
#[utoipa::path(
    post,
    path = "/v1/automation-rules",
    operation_id = "createRule",
    tag = "rules",
    security(("key" = ["rules:write"])),
    params(TenantHeader),
    request_body = wire::RuleRequest,
    responses(
        (status = 201, description = "The rule.", body = wire::Rule,
         headers(("Location" = String, description = "Where the rule is."))),
        RuleProblems,
    )
)]
pub(super) async fn create_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesWrite>,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Response, Problem> {
    let wish = wish_of(&state, body.read_partly(read::rule)?).await?;
    let automation = state.rules()?.clone();
    let tenant = caller.slug.clone();
    let made = detached(async move { automation.create(&caller, wish).await }).await??;
    let location = format!("/v1/automation-rules/{}", made.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Answer(rule(&made, &tenant))).into_response())
}

/// Change a rule
///
/// All of it: what is left out has its default, except the webhook's key, its
/// signature and its secret, which stay. A new secret leaves the old one good for a
/// day. A rule may be sent back as it was shown: what the engine says of it is
/// ignored, its `id` and `tenant` cannot be changed, and with `revision` the change
/// is made only if nobody made one in between (409 `contended`).
#[utoipa::path(
    put,
    path = "/v1/automation-rules/{id}",
    operation_id = "putRule",
    tag = "rules",
    security(("key" = ["rules:write"])),
    params(TenantHeader, RuleParam),
    request_body = wire::RulePut,
    responses((status = 200, description = "The rule.", body = wire::Rule), SetRuleProblems)
)]
pub(super) async fn put_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesWrite>,
    RulePath(id): RulePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Rule>, Problem> {
    let automation = state.rules()?.clone();
    let asker = caller.clone();
    let looked = detached(async move {
        let old = automation.get(&asker, id).await?;
        let kept = KeptHook::of(&old.document.trigger, automation.has_secret(&old).await?);
        Ok::<_, AutomationError>((old, kept))
    });
    let (old, kept) = looked.await??;
    let tenant = caller.slug.clone();
    let read = body.read_partly(|value, faults| read::change(value, faults, (&old, &tenant), &kept))?;
    let wish = wish_of(&state, read).await?;
    let automation = state.rules()?.clone();
    let put = detached(async move { automation.replace(&caller, id, wish).await }).await??;
    Ok(Answer(rule(&put, &tenant)))
}

/// Delete a rule
///
/// Its firings and its jobs stay.
#[utoipa::path(
    delete,
    path = "/v1/automation-rules/{id}",
    operation_id = "deleteRule",
    tag = "rules",
    security(("key" = ["rules:write"])),
    params(TenantHeader, RuleParam),
    responses((status = 204, description = "The rule is gone."), SetRuleProblems)
)]
pub(super) async fn delete_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesWrite>,
    RulePath(id): RulePath,
    _: NoQuery,
) -> Result<StatusCode, Problem> {
    let automation = state.rules()?.clone();
    detached(async move { automation.delete(&caller, id).await }).await??;
    Ok(StatusCode::NO_CONTENT)
}

fn no_fields(body: &Body<MAX_BODY>) -> Result<(), Problem> {
    body.read_if_sent(|value, faults: &mut Faults| {
        Object::open(value, &Path::ROOT, faults).map(Object::close)
    })
}

/// Switch a rule on
///
/// What it missed while it was off is not made up for.
#[utoipa::path(
    post,
    path = "/v1/automation-rules/{id}/enable",
    operation_id = "enableRule",
    tag = "rules",
    security(("key" = ["rules:write"])),
    params(TenantHeader, RuleParam),
    responses((status = 200, description = "The rule.", body = wire::Rule), SetRuleProblems)
)]
pub(super) async fn enable_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesWrite>,
    RulePath(id): RulePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Rule>, Problem> {
    no_fields(&body)?;
    let automation = state.rules()?.clone();
    let tenant = caller.slug.clone();
    let put = detached(async move { automation.enable(&caller, id).await }).await??;
    Ok(Answer(rule(&put, &tenant)))
}

/// Switch a rule off
#[utoipa::path(
    post,
    path = "/v1/automation-rules/{id}/disable",
    operation_id = "disableRule",
    tag = "rules",
    security(("key" = ["rules:write"])),
    params(TenantHeader, RuleParam),
    responses((status = 200, description = "The rule.", body = wire::Rule), SetRuleProblems)
)]
pub(super) async fn disable_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesWrite>,
    RulePath(id): RulePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Rule>, Problem> {
    no_fields(&body)?;
    let automation = state.rules()?.clone();
    let tenant = caller.slug.clone();
    let put = detached(async move { automation.disable(&caller, id).await }).await??;
    Ok(Answer(rule(&put, &tenant)))
}
