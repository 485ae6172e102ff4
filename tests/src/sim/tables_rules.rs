//! What is known of rules in the end, in the checker's form.

use anyhow::Result;
use taskflow_application::ports::{EventFilter, FiringPage, RulePage, RulePut, Stores};
use taskflow_checker::History;
use taskflow_checker::history::{Cause, ClockRow, FiringRow, InboundRow, RuleRow};
use taskflow_domain::rule::Trigger;
use taskflow_domain::{Actor, Firing, InboundEvent, Rule, TenantId, TenantSlug, Timestamp};

use super::log::tenant_name;
use super::plan::{Plan, TENANTS};
use super::plan_rules::{MEANT, Starts};
use super::world::Sim;

/// More of anything than a run has.
const MOST: u32 = 1_000_000;
/// What holds where a rule does not say how late it may fire.
const LATEST_US: i64 = 31 * 86_400_000_000;

/// Sets the clocks of all rules to a time that never comes, and notes where they stood.
pub(super) async fn stop_clocks(sim: &Sim) -> Result<()> {
    let never = Timestamp::from_micros(sim.now_us()).plus_millis(400 * 86_400_000);
    for (tenant, _) in tenants(&sim.truth).await? {
        for mut rule in rules(&sim.truth, tenant).await? {
            let Some(cursor) = rule.next_at else { continue };
            let seen_at = sim.now_us();
            (rule.next_at, rule.revision) = (Some(never), rule.revision + 1);
            if sim.truth.rules.put(&rule, None, &Actor::api(), None).await? == RulePut::Done {
                sim.log().stopped.insert(rule.id, (cursor.micros(), seen_at));
            }
        }
    }
    Ok(())
}

async fn tenants(stores: &Stores) -> Result<Vec<(TenantId, TenantSlug)>> {
    let mut found = Vec::new();
    for slug in (0..TENANTS).map(tenant_name) {
        found.extend(stores.tenants.get(&slug).await?.map(|tenant| (tenant.id, slug)));
    }
    Ok(found)
}

async fn rules(stores: &Stores, tenant: TenantId) -> Result<Vec<Rule>> {
    Ok(stores.rules.list(tenant, RulePage { after: None, limit: MOST }).await?)
}

/// Reads rules, firings and events into a history.
pub(super) async fn collect_rules(sim: &Sim, history: &mut History) -> Result<()> {
    let known = tenants(&sim.truth).await?;
    let slug_of = |id: TenantId| {
        let found = known.iter().find(|(of, _)| *of == id);
        found.map_or_else(|| format!("tenant number {id:?}"), |(_, slug)| slug.as_str().to_owned())
    };
    for (tenant, slug) in &known {
        for rule in rules(&sim.truth, *tenant).await? {
            history.rules.extend(rule_row(sim, &rule, slug));
            let page = FiringPage { before: None, outcome: None, tenant: None, limit: MOST };
            let mut firings = sim.truth.rules.firings(*tenant, rule.id, page).await?;
            firings.reverse();
            history.firings.extend(firings.iter().map(|firing| firing_row(firing, slug_of(firing.tenant))));
        }
        let filter = EventFilter { rejected: true, ..EventFilter::default() };
        let events = sim.truth.events.recent(*tenant, &filter, MOST).await?;
        history.inbound.extend(events.iter().map(|event| inbound_row(event, slug.as_str())));
    }
    Ok(())
}

fn rule_row(sim: &Sim, rule: &Rule, slug: &TenantSlug) -> Option<RuleRow> {
    let number = rule.document.name.strip_prefix("rule-")?.parse().ok()?;
    let wish = sim.plan.rule(number)?;
    let acts_for: Vec<_> = if wish.for_each {
        MEANT.iter().map(|&index| tenant_name(index).as_str().to_owned()).collect()
    } else {
        vec![slug.as_str().to_owned()]
    };
    let ends = ["job.succeeded", "job.failed", "job.dead", "job.cancelled"];
    let listens: &[&str] = match wish.starts {
        Starts::Event => &[super::client_rules::ORDER],
        Starts::End { any: true, .. } => &ends,
        Starts::End { any: false, .. } => &ends[..1],
        Starts::Clock { .. } | Starts::Delivery => &[],
    };
    let webhook = match &rule.document.trigger {
        Trigger::Webhook(webhook) => Some(InboundEvent::webhook_source(&webhook.key)),
        _ => None,
    };
    let since = sim.log().rules.get(&rule.id).copied();
    Some(RuleRow {
        rule: rule.id.to_string(),
        tenant: slug.as_str().into(),
        since,
        acts_for,
        clock: clock_row(sim, rule, &sim.plan, number),
        listens: listens.iter().map(|&name| name.to_owned()).collect(),
        webhook,
    })
}

/// The occurrences as arithmetic has them, without the engine's calendar.
fn clock_row(sim: &Sim, rule: &Rule, plan: &Plan, number: u32) -> Option<ClockRow> {
    let Starts::Clock { every_s, max_late_ms, .. } = plan.rule(number)?.starts else { return None };
    let every_us = i64::try_from(every_s * 1_000_000).ok()?;
    let (cursor, seen_at) = sim.log().stopped.get(&rule.id).copied()?;
    Some(ClockRow {
        first: (rule.created_at.micros() / every_us + 1) * every_us,
        every_us,
        cursor,
        seen_at,
        waits: rule.queued_at.map(Timestamp::micros),
        max_late_us: max_late_ms.and_then(|ms| i64::try_from(ms * 1_000).ok()).unwrap_or(LATEST_US),
    })
}

/// A firing in the checker's form.
pub fn firing_row(firing: &Firing, tenant: String) -> FiringRow {
    FiringRow {
        firing: firing.id.to_string(),
        rule: firing.rule.to_string(),
        tenant,
        at: firing.at.micros(),
        cause: cause(firing),
        outcome: firing.outcome.as_str().into(),
        reason: firing.reason.clone(),
        jobs: firing.jobs.iter().map(ToString::to_string).collect(),
        depth: firing.depth.into(),
    }
}

fn cause(firing: &Firing) -> Cause {
    if let Some(at) = firing.cause.scheduled_at {
        let first = at.micros();
        return match given_up_until(firing) {
            Some(last) => Cause::Missed { first, last },
            None => Cause::Occurrence { at: first },
        };
    }
    if let Some(event) = firing.cause.event {
        return Cause::Event { event: event.to_string() };
    }
    if let Some(job) = firing.cause.job {
        let seq = firing.key.as_deref().and_then(|key| key.rsplit_once(':')?.1.parse().ok());
        return Cause::JobEnd { job: job.to_string(), seq: seq.unwrap_or_default() };
    }
    Cause::Hand
}

/// The last of the occurrences that a firing says were missed: it is told to people only.
fn given_up_until(firing: &Firing) -> Option<i64> {
    let text = firing.detail.as_deref().filter(|_| firing.reason.as_deref() == Some("misfire"))?;
    let last = text.rsplit_once(" to ")?.1.strip_suffix(" were missed")?;
    Timestamp::parse_rfc3339(last).map(Timestamp::micros)
}

/// What came from outside, in the checker's form.
pub fn inbound_row(event: &InboundEvent, owner: &str) -> InboundRow {
    InboundRow {
        event: event.id.to_string(),
        tenant: owner.into(),
        source: event.source.clone(),
        id: event.external_id.clone(),
        kind: event.kind.clone(),
        received_at: event.received_at.micros(),
        refused: event.rejected.is_some(),
    }
}
