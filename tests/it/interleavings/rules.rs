//! Rules on the stage: one that is due, one whose address is called, and one that
//! an event waits for.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use taskflow_application::World;
use taskflow_application::access::Access;
use taskflow_application::automation::{Automation, Delivered, Delivery, NewEvent};
use taskflow_application::ports::{EventFilter, FiringPage, RulePut};
use taskflow_checker::History;
use taskflow_checker::history::{ClockRow, Known, Op, RuleRow};
use taskflow_domain::rule::Trigger;
use taskflow_domain::{Actor, InboundEvent, Json, Rule, TenantId, Timestamp};
use taskflow_tests::builders::START;
use taskflow_tests::rules::Draft;
use taskflow_tests::sim::{firing_row, inbound_row};

use super::acts::Act;
use super::stage::{Start, caller};

/// From one occurrence to the next.
const EVERY_US: i64 = 1_000_000;

/// The rule of this start, if it has one.
pub(super) async fn set_up(
    rules: &Automation,
    world: &World,
    tenant: TenantId,
    start: Start,
    number: u32,
) -> Result<Option<Rule>> {
    let now = world.clock.now();
    let mut rule = match start {
        Start::Due => Draft::cron(tenant, number, "* * * * * *").next(first(now)).0,
        Start::Called => Draft::webhook(tenant, number, &key(number)).0,
        Start::Told => Draft::event(tenant, number, "order").0,
        _ => return Ok(None),
    };
    if let Trigger::Webhook(webhook) = &mut rule.document.trigger {
        webhook.signature.id_header = Some("id".into());
    }
    rule.document.actions[0].payload = json!({ "number": number });
    ensure!(world.stores.rules.put(&rule, None, &Actor::api(), None).await? == RulePut::Done);
    if start == Start::Told {
        rules.ingest(&caller(), vec![event(number)]).await?;
    }
    Ok(Some(rule))
}

fn first(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.micros() / EVERY_US * EVERY_US)
}

fn key(number: u32) -> String {
    format!("hook-{number}")
}

fn event(number: u32) -> NewEvent {
    NewEvent {
        id: format!("o-{number}"),
        source: "/shop".into(),
        kind: "order".into(),
        subject: None,
        time: None,
        headers: Json::object(),
        data: Json::object(),
        traceparent: None,
    }
}

/// One operation on the rule; what its caller was told.
pub(super) async fn perform(
    rules: &Automation,
    rule: &Rule,
    number: u32,
    act: Act,
) -> Result<Vec<(Known, Op)>> {
    match act {
        Act::Fire => drop(rules.tick().await?),
        Act::Dispatch => drop(rules.dispatch().await?),
        Act::Switch => drop(rules.disable(&caller(), rule.id).await?),
        Act::Deliver => {
            let (id, headers) = (format!("d-{number}"), vec![("id".to_owned(), format!("d-{number}"))]);
            let delivery = Delivery { headers, body: b"{}".to_vec(), traceparent: None };
            let Delivered::Accepted { firings, .. } =
                rules.deliver(&Access::default(), &key(number), delivery).await?
            else {
                bail!("the delivery was taken for a question");
            };
            let firings = firings.iter().map(|firing| firing.id.to_string()).collect();
            let source = InboundEvent::webhook_source(&key(number));
            return Ok(vec![(Known::Ok, Op::Deliver { source, id, genuine: true, firings })]);
        }
        other => bail!("{other:?} is no operation on a rule"),
    }
    Ok(Vec::new())
}

/// The rule and what it came to, in the checker's form.
pub(super) async fn collect(world: &World, rule: &Rule, start: Start, history: &mut History) -> Result<()> {
    let owner = caller().slug.as_str().to_owned();
    let stores = &world.stores;
    let page = FiringPage { before: None, outcome: None, tenant: None, limit: 100 };
    let firings = stores.rules.firings(rule.tenant, rule.id, page).await?;
    let filter = EventFilter { since: Some(rule.created_at), ..EventFilter::default() };
    let events = stores.events.recent(rule.tenant, &filter, 1).await?;
    if start != Start::Due {
        history.inbound.extend(events.iter().map(|event| inbound_row(event, &owner)));
    }
    if start == Start::Told {
        let id = events[0].external_id.clone().context("an id")?;
        let op = Op::Ingest { tenant: owner.clone(), source: "/shop".into(), id };
        let at = history.run.ended_at;
        let known = Known::Ok;
        history.calls.push(taskflow_checker::history::Call { invoked_at: at, returned_at: at, known, op });
        ensure!(firings.len() == 1, "{} firings of one event", firings.len());
    }
    let kept = stores.rules.get(rule.tenant, rule.id).await?.context("the rule")?;
    let clock = rule.next_at.map(|first| {
        // One that was switched off has no cursor any more: it fired or did not.
        let passed = i64::from(!firings.is_empty()) * EVERY_US;
        let cursor = kept.next_at.map_or(first.micros() + passed, Timestamp::micros);
        let seen_at = history.run.ended_at;
        ClockRow {
            first: first.micros(),
            every_us: EVERY_US,
            cursor,
            seen_at,
            waits: None,
            max_late_us: i64::MAX,
        }
    });
    let webhook = match &rule.document.trigger {
        Trigger::Webhook(webhook) => Some(InboundEvent::webhook_source(&webhook.key)),
        _ => None,
    };
    history.firings.extend(firings.iter().map(|firing| firing_row(firing, owner.clone())));
    history.rules.push(RuleRow {
        rule: rule.id.to_string(),
        tenant: owner.clone(),
        since: Some(START.micros()),
        acts_for: vec![owner],
        clock,
        listens: Vec::new(),
        webhook,
    });
    Ok(())
}
