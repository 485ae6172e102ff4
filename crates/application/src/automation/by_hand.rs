//! What is started by hand.
//!
//! A start is kept as an event, with its input and its trace, in the commit that
//! brings about what comes of it. So a repeat with the same key finds the first
//! one, a fan-out that goes on in another process knows what it was started with,
//! and a rehearsal has something to look back at.

use serde_json::json;
use taskflow_domain::rule::{Cause, Trigger, TriggerKind};
use taskflow_domain::{CorrelationId, EventId, Firing, InboundEvent, Json, Rule, RuleId, Timestamp};

use super::fire::firings;
use super::judge::Occasion;
use super::{Automation, AutomationError};
use crate::caller::Caller;
use crate::ports::{AuditNote, Fire, FireClaim, Fired};

/// A start by hand.
#[derive(Clone, Debug)]
pub struct HandStart {
    /// What expressions see as `trigger.input`.
    pub input: Json,
    /// What makes a repeated start the same start.
    pub key: Option<String>,
    /// W3C trace context, to which the jobs belong.
    pub traceparent: Option<String>,
}

impl Automation {
    /// Starts a rule by hand: one with a manual trigger, or a cron rule out of
    /// its turn. One that acts for many tenants begins to do so. A repeat with the
    /// same key is answered with what came of the first, whatever the rule is now.
    pub async fn trigger(
        &self,
        caller: &Caller,
        id: RuleId,
        start: HandStart,
    ) -> Result<Vec<Firing>, AutomationError> {
        let rule = self.steered(caller, id).await?;
        if !matches!(rule.document.trigger, Trigger::Manual | Trigger::Cron(_)) {
            return Err(AutomationError::WrongTrigger("manual"));
        }
        if let Some(first) = self.started_before(&rule, &start).await? {
            return Ok(first);
        }
        if !rule.enabled {
            return Err(AutomationError::Disabled);
        }
        let now = self.world.clock.now();
        let event = self.start_event(&rule, start.clone(), now);
        let occasion = of_hand(&rule, &event, now);
        let claim = FireClaim::Delivery(Box::new(event));
        let mut fire = Fire { claim, firings: Vec::new(), fan_outs: Vec::new() };
        if let Some(tenant) = self.world.stores.tenants.get_many(&[rule.tenant]).await?.pop() {
            self.add(&rule, &tenant, &occasion, &mut fire).await;
        }
        let asked: Vec<_> = fire.firings.iter().map(|planned| planned.firing.id.to_string()).collect();
        let change = (None, Some(json!({ "firings": asked })));
        let (slug, object) = (Some(&caller.slug), format!("rule:{id}"));
        self.audit.note(AuditNote::of(caller, now, slug, "rule.trigger", object, change)).await?;
        let fired = self.commit(vec![fire]).await?;
        if let Some(fired @ Fired::Done(_)) = fired.first() {
            return Ok(firings(fired).to_vec());
        }
        // Another one with the same key came first.
        self.started_before(&rule, &start).await?.ok_or(AutomationError::Contended)
    }

    /// What came of the first start with this key.
    async fn started_before(
        &self,
        rule: &Rule,
        start: &HandStart,
    ) -> Result<Option<Vec<Firing>>, AutomationError> {
        let Some(key) = &start.key else { return Ok(None) };
        let events = &self.world.stores.events;
        let source = InboundEvent::hand_source(rule.id);
        let Some(id) = events.known(rule.tenant, &source, key).await? else { return Ok(None) };
        let Some(first) = events.get(rule.tenant, id).await? else { return Ok(None) };
        if first.data.to_value() != start.input.to_value() {
            return Err(AutomationError::KeyReused);
        }
        // What a rule does for many tenants comes later, now as then.
        Ok(Some(match rule.document.for_each_tenant {
            Some(_) => Vec::new(),
            None => self.world.stores.rules.firings_of(rule.id, &Firing::event_key(first.id)).await?,
        }))
    }

    /// The event that keeps a start.
    pub(super) fn start_event(&self, rule: &Rule, start: HandStart, now: Timestamp) -> InboundEvent {
        let id = EventId(self.world.ids.job(now).0);
        InboundEvent {
            tenant: rule.tenant,
            id,
            source: InboundEvent::hand_source(rule.id),
            kind: TriggerKind::Manual.as_str().to_owned(),
            external_id: start.key,
            subject: None,
            at: now,
            received_at: now,
            headers: Json::object(),
            data: start.input,
            correlation_id: CorrelationId(id.0),
            traceparent: start.traceparent,
            rejected: None,
        }
    }
}

/// A start by hand as rules see it.
pub(super) fn of_hand(rule: &Rule, event: &InboundEvent, now: Timestamp) -> Occasion {
    let trigger = json!({
        "type": "manual", "input": event.data.to_value(), "scheduled_at": event.at.to_string(),
        "rule": rule.document.name,
    });
    Occasion {
        kind: TriggerKind::Manual,
        cause: Cause { event: Some(event.id), ..Cause::default() },
        key: Some(Firing::event_key(event.id)),
        trigger,
        event: None,
        job: None,
        depth: 0,
        correlation: event.correlation_id,
        traceparent: event.traceparent.clone(),
        now,
    }
}
