//! Looking at rules, at what they came to, and at when they come next.

use axum::extract::State;
use taskflow_application::automation::AutomationError;
use taskflow_application::ports::{FiringPage, RulePage};
use taskflow_domain::{FiringId, FiringOutcome, RuleId, TenantSlug, Timestamp};
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::describe::{
    DeliveryParams, FiringParams, ListProblems, LookProblems, PageParams, RuleParam, ScheduleParams,
    TenantHeader, WrongTriggerProblems,
};
use super::super::extract::{Answer, Asker, RulesRead, detached};
use super::super::page::{List, Wanted};
use super::super::problem::Problem;
use super::super::query::{NoQuery, Query};
use super::RulePath;
use super::wire::{firing, inbound, occurrence, rule, stats};

/// Occurrences that are told at most.
const MAX_OCCURRENCES: usize = 1_000;

fn count(text: &str, most: usize) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| format!("must be a whole number from 1 to {most}"))
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("must be an RFC 3339 time, such as 2026-01-31T09:30:00Z")
}

/// List rules
///
/// The oldest first.
#[utoipa::path(
    get,
    path = "/v1/automation-rules",
    operation_id = "listRules",
    tag = "rules",
    security(("key" = ["rules:read"])),
    params(TenantHeader, PageParams),
    responses((status = 200, description = "The rules.", body = wire::RuleList), ListProblems)
)]
pub(super) async fn list_rules(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesRead>,
    mut query: Query,
) -> Result<Answer<wire::RuleList>, Problem> {
    let list = List::new("rules", &caller.slug);
    let wanted = Wanted::<RuleId>::read(&mut query, &list);
    query.close()?;
    let page = RulePage { after: wanted.after, limit: wanted.limit };
    let automation = state.rules()?.clone();
    let tenant = caller.slug.clone();
    let listed = detached(async move { automation.list(&caller, page).await }).await??;
    let next_cursor = listed.items.last().filter(|_| listed.more).map(|last| list.cursor(&last.id));
    let items = listed.items.iter().map(|one| rule(one, &tenant)).collect();
    Ok(Answer(wire::RuleList { items, next_cursor }))
}

/// Look at a rule
#[utoipa::path(
    get,
    path = "/v1/automation-rules/{id}",
    operation_id = "getRule",
    tag = "rules",
    security(("key" = ["rules:read"])),
    params(TenantHeader, RuleParam),
    responses((status = 200, description = "The rule.", body = wire::Rule), LookProblems)
)]
pub(super) async fn get_rule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesRead>,
    RulePath(id): RulePath,
    _: NoQuery,
) -> Result<Answer<wire::Rule>, Problem> {
    let automation = state.rules()?.clone();
    let tenant = caller.slug.clone();
    let found = detached(async move { automation.get(&caller, id).await }).await??;
    Ok(Answer(rule(&found, &tenant)))
}

/// List what a rule came to
///
/// Its firings for all tenants, the newest first.
#[utoipa::path(
    get,
    path = "/v1/automation-rules/{id}/firings",
    operation_id = "listFirings",
    tag = "rules",
    security(("key" = ["rules:read"])),
    params(TenantHeader, RuleParam, FiringParams, PageParams),
    responses((status = 200, description = "The firings.", body = wire::FiringList), LookProblems)
)]
pub(super) async fn list_firings(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesRead>,
    RulePath(id): RulePath,
    mut query: Query,
) -> Result<Answer<wire::FiringList>, Problem> {
    let outcome = query.one("outcome", |text| {
        FiringOutcome::parse(text).ok_or("must be FIRED, SKIPPED, BLOCKED, ERROR or SHADOW")
    });
    let of = query.one("tenant", TenantSlug::new);
    let list = List::new("firings", &(&caller.slug, id, outcome, &of));
    let wanted = Wanted::<FiringId>::read(&mut query, &list);
    query.close()?;
    let page = FiringPage { before: wanted.after, outcome, limit: wanted.limit, tenant: None };
    let automation = state.rules()?.clone();
    let work = async move {
        let listed = automation.firings(&caller, id, of.as_ref(), page).await?;
        Ok::<_, AutomationError>((automation.named(listed.items).await?, listed.more))
    };
    let (listed, more) = detached(work).await??;
    let next_cursor = listed.last().filter(|_| more).map(|(last, _)| list.cursor(&last.id));
    let items = listed.iter().map(|(fired, tenant)| firing(fired, tenant)).collect();
    Ok(Answer(wire::FiringList { items, next_cursor }))
}

/// Preview when a cron rule fires
///
/// With the time on the wall clock of its zone, and what changes of the clocks
/// have to do with it.
#[utoipa::path(
    get,
    path = "/v1/automation-rules/{id}/schedule",
    operation_id = "getSchedule",
    tag = "rules",
    security(("key" = ["rules:read"])),
    params(TenantHeader, RuleParam, ScheduleParams),
    responses((status = 200, description = "The occurrences.", body = wire::ScheduleList), WrongTriggerProblems)
)]
pub(super) async fn get_schedule(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesRead>,
    RulePath(id): RulePath,
    mut query: Query,
) -> Result<Answer<wire::ScheduleList>, Problem> {
    let from = query.one("from", time);
    let wanted = query.one("count", |text| count(text, MAX_OCCURRENCES)).unwrap_or(10);
    query.close()?;
    let automation = state.rules()?.clone();
    let found = detached(async move { automation.schedule(&caller, id, from, wanted).await }).await??;
    Ok(Answer(wire::ScheduleList { items: found.iter().map(occurrence).collect() }))
}

/// Count what a rule came to
#[utoipa::path(
    get,
    path = "/v1/automation-rules/{id}/stats",
    operation_id = "getRuleStats",
    tag = "rules",
    security(("key" = ["rules:read"])),
    params(TenantHeader, RuleParam),
    responses((status = 200, description = "The counts.", body = wire::RuleStats), LookProblems)
)]
pub(super) async fn get_rule_stats(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesRead>,
    RulePath(id): RulePath,
    _: NoQuery,
) -> Result<Answer<wire::RuleStats>, Problem> {
    let automation = state.rules()?.clone();
    let found = detached(async move { automation.stats(&caller, id).await }).await??;
    Ok(Answer(stats(&found)))
}

/// List what came to a webhook rule
///
/// The newest first, with what was refused, and why.
#[utoipa::path(
    get,
    path = "/v1/automation-rules/{id}/deliveries",
    operation_id = "listDeliveries",
    tag = "rules",
    security(("key" = ["rules:read"])),
    params(TenantHeader, RuleParam, DeliveryParams, PageParams),
    responses((status = 200, description = "The deliveries.", body = wire::DeliveryList), WrongTriggerProblems)
)]
pub(super) async fn list_deliveries(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<RulesRead>,
    RulePath(id): RulePath,
    mut query: Query,
) -> Result<Answer<wire::DeliveryList>, Problem> {
    let since = query.one("since", time);
    let list = List::new("deliveries", &(&caller.slug, id, since));
    let Wanted { after, limit } = Wanted::read(&mut query, &list);
    query.close()?;
    let automation = state.rules()?.clone();
    let work = async move { automation.deliveries(&caller, id, since, after, limit).await };
    let found = detached(work).await??;
    let next_cursor = found.items.last().filter(|_| found.more).map(|last| list.cursor(&last.id));
    Ok(Answer(wire::DeliveryList { items: found.items.iter().map(inbound).collect(), next_cursor }))
}
