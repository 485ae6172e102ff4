//! How automation rules do.

use axum::extract::State;
use taskflow_application::ports::{RuleLine, RulePage};
use taskflow_domain::TenantSlug;
use taskflow_protocol::{self as wire, Time};

use super::super::ApiState;
use super::super::describe::{AutomationParams, ListProblems, PageParams};
use super::super::extract::{Answer, Asker, Named, Operator, detached};
use super::super::page::{List, Wanted};
use super::super::problem::Problem;
use super::super::query::Query;

fn automation(rule: &RuleLine) -> wire::Automation {
    let health = &rule.health;
    wire::Automation {
        id: rule.id.0,
        tenant: rule.tenant.as_str().to_owned(),
        name: rule.name.clone(),
        trigger: rule.trigger.as_str().to_owned(),
        enabled: rule.enabled,
        mode: rule.mode.as_str().to_owned(),
        revision: rule.revision,
        next_at: rule.next_at.map(Time),
        waiting_at: rule.queued_at.map(Time),
        last_at: health.last_at.map(Time),
        last_outcome: health.last_outcome.map(|outcome| outcome.as_str().to_owned()),
        error_streak: health.streak,
        failing_since: health.failing_since.map(Time),
        jobs_made: rule.jobs_made,
    }
}

/// List automations
///
/// The rules of all tenants in the order of their making, or of the one that the
/// query or the header names: whether each is on, when it fires next, what it last
/// came to, and how often in a row it has failed.
#[utoipa::path(
    get,
    path = "/v1/admin/automations",
    operation_id = "listAutomations",
    tag = "operations",
    security(("key" = ["operator"])),
    params(AutomationParams, PageParams),
    responses((status = 200, description = "The automations.", body = wire::AutomationList), ListProblems)
)]
pub(super) async fn list_automations(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    Named(by_header): Named,
    mut query: Query,
) -> Result<Answer<wire::AutomationList>, Problem> {
    let by_query = query.one("tenant", TenantSlug::new);
    if by_header.as_ref().zip(by_query.as_ref()).is_some_and(|(header, query)| header != query) {
        query.fault("tenant", "must be the tenant that the header Taskflow-Tenant names");
    }
    let tenant = by_query.or(by_header);
    let list = List::new("automations", &tenant);
    let Wanted { after, limit } = Wanted::read(&mut query, &list);
    query.close()?;
    let page = RulePage { after, limit: limit + 1 };
    let mut rules = detached(async move { state.insight.automations(tenant.as_ref(), page).await }).await??;
    let more = rules.len() > limit as usize;
    rules.truncate(limit as usize);
    let next_cursor = rules.last().filter(|_| more).map(|last| list.cursor(&last.id));
    let items = rules.iter().map(automation).collect();
    Ok(Answer(wire::AutomationList { items, next_cursor }))
}
